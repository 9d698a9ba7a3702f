"""Simulated prompts: clicks, boxes and corrections from true masks."""
