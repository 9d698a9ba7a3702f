from ultralytics import SAM

model = SAM("sam2.1_t.pt")
results = model("photo.jpg", points=[500, 375], labels=[1])
mask = results[0].masks.data[0].cpu().numpy()
