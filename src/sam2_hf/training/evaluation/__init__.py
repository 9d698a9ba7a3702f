"""Scores of checkpoints: clicks, boxes and tracking."""
