// Clicks on an image with transformers.js: node click.mjs MODULES FOLDER IMAGE X Y [X0 Y0 X1 Y1]. Prints JSON.
import { createRequire } from 'node:module';
import path from 'node:path';

const [modules, folder, image, ...numbers] = process.argv.slice(2);
const load = createRequire(path.join(modules, 'of-this-folder.js'));
const { env, Sam2Model, AutoProcessor, RawImage } = load('@huggingface/transformers');
env.allowRemoteModels = false;
env.localModelPath = path.dirname(folder) + path.sep;

const name = path.basename(folder);
const model = await Sam2Model.from_pretrained(name, { dtype: 'fp32', device: 'cpu' });
const processor = await AutoProcessor.from_pretrained(name);
const [x, y, ...box] = numbers.map(Number);
const pixels = await RawImage.read(image);
const inputs = await processor(pixels, { input_points: [[[[x, y]]]], input_labels: [[[1]]] });
const embeddings = await model.get_image_embeddings({ pixel_values: inputs.pixel_values });

async function decode(prompts) {
  const { iou_scores, pred_masks, object_score_logits } = await model({ ...embeddings, ...prompts });
  const masks = await processor.post_process_masks(pred_masks, inputs.original_sizes, inputs.reshaped_input_sizes);
  const best = iou_scores.data.indexOf(Math.max(...iou_scores.data));
  const [, , height, width] = masks[0].dims;
  const mask = Array.from(masks[0].data.slice(best * height * width, (best + 1) * height * width));
  return { scores: Array.from(iou_scores.data), object_score: object_score_logits.data[0], height, width, mask };
}

const found = { click: await decode({ input_points: inputs.input_points, input_labels: inputs.input_labels }) };
if (box.length === 4) {
  const scaled = await processor(pixels, { input_boxes: [[box]] });
  found.box = await decode({ input_boxes: scaled.input_boxes });
}
console.log(JSON.stringify(found));
