"""Annotated images and videos: reading them, sampling clips of them, augmenting, batching."""
