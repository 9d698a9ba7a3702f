"""Checkpoints and Transformers: Auto classes, conversion, model cards, the bundled checkpoint."""
