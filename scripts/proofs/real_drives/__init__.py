"""Real file systems of a real kernel on drives that fail; `scripts/real-drives` runs them."""
