"""Shared code of the batteries in `scripts/`; scripts/README.md says what each is for."""
