"""Annotated images and videos: readers, sampling of clips, augmentation, batches."""
