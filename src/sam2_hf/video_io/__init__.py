"""Frames from files, folders, cameras and addresses, and videos written."""
