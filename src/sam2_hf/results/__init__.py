"""What people take home: records of masks, overlays, polygons, and the files that other tools read."""
