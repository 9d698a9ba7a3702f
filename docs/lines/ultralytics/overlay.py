from ultralytics import SAM

model = SAM("sam2.1_t.pt")
results = model("photo.jpg", points=[500, 375], labels=[1])
results[0].save("overlay.png")
