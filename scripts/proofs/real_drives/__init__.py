"""Real file systems of a real kernel on drives that fail: run by `scripts/real-drives`."""
