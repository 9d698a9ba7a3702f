"""Masks of everything in an image: the pipeline and its parts."""
