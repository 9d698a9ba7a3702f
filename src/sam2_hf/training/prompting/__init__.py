"""Prompts as an annotator would give them, simulated from true masks."""
