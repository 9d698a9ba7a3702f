"""The browser app: images, clips and a camera, segmented by clicks. `sam2 app` starts it."""
