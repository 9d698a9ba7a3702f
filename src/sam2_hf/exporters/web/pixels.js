// Frames from images and videos, pixels for the encoder, and masks in colour.
const MOST_FRAMES = 48; // of a video that is opened
const FRAME_RATE = 8;

export async function openImage(source) {
  return [await createImageBitmap(source)];
}

export async function openVideo(file) {
  const video = document.createElement('video');
  video.muted = true;
  video.src = URL.createObjectURL(file);
  try {
    await new Promise((resolve, reject) => {
      video.onloadeddata = resolve;
      video.onerror = () => reject(new Error('this browser does not play the file'));
    });
    const count = Math.max(1, Math.min(MOST_FRAMES, Math.floor(video.duration * FRAME_RATE)));
    const frames = [];
    for (let index = 0; index < count; index++) {
      video.currentTime = index / FRAME_RATE;
      await new Promise((resolve) => { video.onseeked = resolve; });
      frames.push(await createImageBitmap(video));
    }
    return frames;
  } finally {
    URL.revokeObjectURL(video.src);
  }
}

export async function openSamples(names) {
  return Promise.all(names.map(async (name) => createImageBitmap(await (await fetch(name)).blob())));
}

// A frame as three normalised planes of the model's input size.
export function normalised(image, parameters) {
  const [height, width] = parameters.image_size;
  const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
  context.imageSmoothingQuality = 'high';
  context.drawImage(image, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const area = height * width;
  const planes = new Float32Array(3 * area);
  for (let channel = 0; channel < 3; channel++) {
    const mean = parameters.image_mean[channel];
    const scale = parameters.rescale_factor / parameters.image_std[channel];
    const shift = mean / parameters.image_std[channel];
    for (let pixel = 0; pixel < area; pixel++) planes[channel * area + pixel] = data[4 * pixel + channel] * scale - shift;
  }
  return planes;
}

// Colours the pixels whose upsampled logit (bilinear) is above 0; returns how many there are.
export function paint(pixels, width, height, logits, [rows, columns], colour) {
  let count = 0;
  for (let y = 0; y < height; y++) {
    const v = Math.min(Math.max(((y + 0.5) * rows) / height - 0.5, 0), rows - 1);
    const top = Math.floor(v), bottom = Math.min(top + 1, rows - 1), down = v - top;
    for (let x = 0; x < width; x++) {
      const u = Math.min(Math.max(((x + 0.5) * columns) / width - 0.5, 0), columns - 1);
      const left = Math.floor(u), right = Math.min(left + 1, columns - 1), across = u - left;
      const above = logits[top * columns + left] * (1 - across) + logits[top * columns + right] * across;
      const below = logits[bottom * columns + left] * (1 - across) + logits[bottom * columns + right] * across;
      if (above * (1 - down) + below * down <= 0) continue;
      count++;
      const start = 4 * (y * width + x);
      for (let channel = 0; channel < 3; channel++) {
        pixels[start + channel] = 0.45 * pixels[start + channel] + 0.55 * colour[channel];
      }
    }
  }
  return count;
}
