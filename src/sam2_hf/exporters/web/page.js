// The page: what is shown, and what buttons and clicks do. `window.sam2` is what it knows, for whoever drives it.
import { Graphs } from './graphs.js';
import { normalised, openImage, openSamples, openVideo, paint } from './pixels.js';
import { Session } from './session.js';

const COLOURS = [[255, 99, 71], [30, 144, 255], [60, 179, 113], [255, 191, 0], [186, 85, 211], [0, 206, 209]];
const element = (id) => document.getElementById(id);
const stage = element('stage');
const slider = element('frame');
const state = { graphs: null, session: null, images: [], frame: 0, object: -1, busy: false, areas: [] };
window.sam2 = state;

function say(text) {
  element('status').textContent = text;
}

function show() {
  const image = state.images[state.frame];
  if (!image) return;
  [stage.width, stage.height] = [image.width, image.height];
  const context = stage.getContext('2d', { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const shown = context.getImageData(0, 0, image.width, image.height);
  state.areas = state.session.objects.map((_, object) => {
    const result = state.session.result(object, state.frame);
    if (!result) return 0;
    const colour = COLOURS[object % COLOURS.length];
    return paint(shown.data, image.width, image.height, result.logits, state.graphs.parameters.mask_size, colour);
  });
  context.putImageData(shown, 0, 0);
  drawPoints(context, image);
}

function drawPoints(context, image) {
  const [height, width] = state.graphs.parameters.image_size;
  state.session.objects.forEach((track, object) => {
    for (const { x, y, label } of track.points.get(state.frame) ?? []) {
      context.beginPath();
      context.arc((x * image.width) / width, (y * image.height) / height, 4, 0, 2 * Math.PI);
      context.fillStyle = label ? `rgb(${COLOURS[object % COLOURS.length]})` : '#000';
      context.strokeStyle = '#fff';
      context.fill();
      context.stroke();
    }
  });
}

function enable() {
  const ready = state.graphs && !state.busy;
  const clicked = ready && state.session && state.session.objects.length > 0;
  for (const id of ['sample-image', 'sample-clip', 'open']) element(id).disabled = !ready;
  element('new-object').disabled = element('clear').disabled = !clicked;
  element('track').disabled = !(clicked && state.images.length > 1);
  slider.disabled = !(ready && state.images.length > 1);
}

// Runs work that nothing else may run beside, and says what came of it.
async function alone(text, work) {
  if (state.busy) return;
  state.busy = true;
  enable();
  say(text);
  try {
    say((await work()) ?? '');
  } catch (error) {
    say(`Error: ${error.message}`);
    console.error(error);
  } finally {
    state.busy = false;
    enable();
  }
}

function start(images) {
  const { parameters } = state.graphs;
  Object.assign(state, { images, frame: 0, object: -1 });
  state.session = new Session(state.graphs, images.length, (frame) => normalised(images[frame], parameters));
  slider.max = images.length - 1;
  slider.value = 0;
  show();
  return images.length > 1 ? `${images.length} frames. Click an object.` : 'Click an object.';
}

function click(event) {
  const image = state.images[state.frame];
  if (!image) return;
  const [height, width] = state.graphs.parameters.image_size;
  const box = stage.getBoundingClientRect();
  const x = ((event.clientX - box.left) / box.width) * width;
  const y = ((event.clientY - box.top) / box.height) * height;
  alone('Segmenting…', async () => {
    if (state.object < 0) state.object = state.session.addObject();
    const began = performance.now();
    const result = await state.session.click(state.object, state.frame, x, y, event.shiftKey ? 0 : 1);
    show();
    return `Object ${state.object + 1}: estimated IoU ${result.iou.toFixed(2)}, ${since(began)} s.`;
  });
}

function track() {
  alone('Tracking…', async () => {
    const began = performance.now();
    let count = 0;
    for (let frame = state.frame; frame < state.images.length; frame++) {
      await state.session.track(frame);
      state.frame = frame;
      slider.value = frame;
      show();
      say(`Tracking: frame ${frame + 1} of ${state.images.length}`);
      await new Promise(requestAnimationFrame);
      count++;
    }
    return `${count} frames in ${since(began)} s. Drag the slider; a click corrects.`;
  });
}

const since = (began) => ((performance.now() - began) / 1000).toFixed(1);

element('sample-image').onclick = () => alone('Opening…', async () => start(await openSamples(['samples/image.jpg'])));
element('sample-clip').onclick = () =>
  alone('Opening…', async () => start(await openSamples(await (await fetch('samples/clip.json')).json())));
element('open').onchange = (event) => {
  const [file] = event.target.files;
  event.target.value = '';
  if (file) {
    alone('Opening…', async () => start(await (file.type.startsWith('video/') ? openVideo(file) : openImage(file))));
  }
};
element('new-object').onclick = () => {
  state.object = -1;
  say('Click the next object.');
};
element('clear').onclick = () => say(start(state.images));
element('track').onclick = track;
slider.oninput = () => {
  state.frame = Number(slider.value);
  show();
};
stage.onclick = click;

enable();
alone('Loading the graphs…', async () => {
  state.graphs = await Graphs.open(new URL('./', import.meta.url));
  await Promise.all(['vision_encoder', 'tracked_mask_decoder'].map((name) => state.graphs.load(name)));
  return start(await openSamples(['samples/image.jpg']));
});
