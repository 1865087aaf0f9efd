"""What the batteries of `scripts/` share; scripts/README.md says what each is for."""
