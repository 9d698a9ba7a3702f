// Objects clicked on and tracked through the frames of a clip; an image is a clip of one frame.
import { flags, floats, integers } from './graphs.js';
import { distanceScale, select } from './memory.js';

export class Session {
  // `pixels(frame)` gives a frame as normalised floats, three planes of the model's input size.
  constructor(graphs, frames, pixels) {
    this.graphs = graphs;
    this.frames = frames;
    this.pixels = pixels;
    this.config = graphs.parameters.video.config;
    this.objects = [];
    this.encoded = { frame: -1, maps: null };
  }

  addObject() {
    this.objects.push({ points: new Map(), prompted: new Map(), tracked: new Map() });
    return this.objects.length - 1;
  }

  result(object, frame) {
    const { prompted, tracked } = this.objects[object];
    return prompted.get(frame) ?? tracked.get(frame);
  }

  // A point (x, y) in pixels of the model's input; label 1 for the object, 0 for the background.
  async click(object, frame, x, y, label) {
    const track = this.objects[object];
    const points = [...(track.points.get(frame) ?? []), { x, y, label }];
    const before = this.result(object, frame);
    const maps = await this.encode(frame);
    // Where tracking has passed, a click corrects what memory says; elsewhere it speaks alone.
    const corrects = track.tracked.has(frame) && track.prompted.size > 0;
    const conditioned = corrects ? await this.condition(track, frame, maps) : maps['image_embeddings.2'];
    const result = await this.decode(maps, conditioned, points, before, corrects);
    await this.remember(result, maps, true);
    track.points.set(frame, points);
    track.prompted.set(frame, result);
    track.tracked.delete(frame);
    return result;
  }

  // Tracks into a frame all objects that were clicked on before it.
  async track(frame) {
    for (const track of this.objects) {
      if (track.prompted.has(frame) || ![...track.prompted.keys()].some((other) => other < frame)) continue;
      const maps = await this.encode(frame);
      const conditioned = await this.condition(track, frame, maps);
      const result = await this.decode(maps, conditioned, [], null, true);
      await this.remember(result, maps, false);
      track.tracked.set(frame, result);
    }
  }

  async encode(frame) {
    if (this.encoded.frame !== frame) {
      const [height, width] = this.graphs.parameters.image_size;
      const pixels = floats(await this.pixels(frame), 1, 3, height, width);
      this.encoded = { frame, maps: await this.graphs.run('vision_encoder', { pixel_values: pixels }) };
    }
    return this.encoded.maps;
  }

  async condition(track, frame, maps) {
    const { memories, pointers } = select(frame, track.prompted, track.tracked, this.config);
    const { embedding_size: [height, width], memory_size: depth, hidden_size: hidden } = this.graphs.parameters;
    const scale = distanceScale(this.config, this.frames);
    const inputs = {
      vision_features: maps.vision_features,
      memory_features: floats(joined(memories.map((each) => each.result.memory)), 1, memories.length, depth, height, width),
      memory_temporal_indices: integers(memories.map((each) => each.index), 1, memories.length),
      memory_key_scales: floats(new Float32Array(memories.length).fill(1), 1, memories.length),
      object_pointers: floats(joined(pointers.map((each) => each.result.pointer)), 1, pointers.length, hidden),
      pointer_distances: floats(Float32Array.from(pointers, (each) => each.distance / scale), 1, pointers.length),
    };
    return (await this.graphs.run('memory_attention', inputs)).conditioned_features;
  }

  async decode(maps, conditioned, points, before, readsMemory) {
    const { mask_size: [height, width], no_object_logit: absent, mask_prompt_limit: limit, hidden_size: hidden } =
      this.graphs.parameters;
    const given = points.length ? points : [{ x: 0, y: 0, label: -1 }]; // the label of no point
    const inputs = {
      'image_embeddings.0': maps['image_embeddings.0'],
      'image_embeddings.1': maps['image_embeddings.1'],
      conditioned_features: conditioned,
      input_points: floats(Float32Array.from(given.flatMap(({ x, y }) => [x, y])), 1, given.length, 2),
      input_labels: integers(given.map(({ label }) => label), 1, given.length),
    };
    if (before) {
      const clamped = before.logits.map((value) => Math.min(Math.max(value, -limit), limit));
      inputs.input_masks = floats(clamped, 1, height, width);
    }
    const found = await this.graphs.run(before ? 'tracked_mask_decoder_with_masks' : 'tracked_mask_decoder', inputs);
    const score = found.object_score_logits.data[0];
    const multimask = this.usesMultimask(points.length, readsMemory);
    const scores = [...(multimask ? found.iou_scores : found.single_iou_scores).data];
    const best = scores.indexOf(Math.max(...scores));
    const row = (tensor, length) => tensor.data.slice(best * length, (best + 1) * length);
    const logits = row(multimask ? found.pred_masks : found.single_masks, height * width);
    return {
      score,
      iou: scores[best],
      logits: score > 0 ? logits : logits.fill(absent),
      pointer: row(multimask ? found.object_pointers : found.single_object_pointers, hidden),
      memory: null,
    };
  }

  usesMultimask(points, readsMemory) {
    const config = this.config;
    const allowed = config.multimask_output_for_tracking || !readsMemory;
    const inRange = config.multimask_min_pt_num <= points && points <= config.multimask_max_pt_num;
    return config.multimask_output_in_sam && allowed && inRange;
  }

  async remember(result, maps, prompted) {
    const [height, width] = this.graphs.parameters.mask_size;
    const inputs = {
      vision_features: maps.vision_features,
      mask_logits: floats(result.logits, 1, 1, height, width),
      object_score_logits: floats(Float32Array.of(result.score), 1, 1),
      binarize: flags([prompted], 1),
    };
    result.memory = (await this.graphs.run('memory_encoder', inputs)).memory_features.data;
  }
}

function joined(arrays) {
  const whole = new Float32Array(arrays.reduce((length, array) => length + array.length, 0));
  let start = 0;
  for (const array of arrays) {
    whole.set(array, start);
    start += array.length;
  }
  return whole;
}
