"""Checkpoints in other layouts to folders that `from_pretrained` loads."""
