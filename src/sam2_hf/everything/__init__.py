"""Everything in a clip: objects found on a frame every so often, tracked, lost and found again."""
