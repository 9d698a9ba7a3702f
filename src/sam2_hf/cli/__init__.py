"""The command `sam2`."""
