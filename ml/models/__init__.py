"""Models: what maps inputs to predictions."""
