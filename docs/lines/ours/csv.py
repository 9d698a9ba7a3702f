import sam2_hf

tracks = sam2_hf.track("clip.mp4", {"cup": (210, 350)}, checkpoint="facebook/sam2.1-hiera-tiny")
tracks.save("tracked.csv")
