import sam2_hf

result = sam2_hf.segment("photo.jpg", points=(500, 375), checkpoint="facebook/sam2.1-hiera-tiny")
mask = result.masks[0]
