"""Models that learn: prompted images and clips, and what is done to them before and after."""
