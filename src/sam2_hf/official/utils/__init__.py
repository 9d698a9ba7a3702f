"""What programs import from `sam2.utils`."""
