"""Evaluation of checkpoints: clicks, boxes and tracking."""
