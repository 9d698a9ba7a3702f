"""Anything a person hands over, to tensors: images, prompts, nested lists, sizes."""
