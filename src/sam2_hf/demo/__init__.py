"""The demo, `python -m sam2_hf.demo`: segments images, tracks objects through a clip, and writes what it finds."""
