"""Annotated pictures and videos: reading them, sampling clips of them, augmenting, batching."""
