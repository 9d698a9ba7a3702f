"""What weights of fewer bits cost: IoU of an exported folder's masks with those of its float32 graphs, and sizes.

    sam2 export bundled graphs --dtype fp32,fp16,int8
    python -m benchmarks.export_loss graphs --images 20

Images of the synthetic world's test split, with a click in the middle of each object; of the three masks, the one with
the highest estimated IoU counts. Graphs run on the CPU with one thread.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from sam2_hf.training.synthetic.world import SyntheticVideos

EMBEDDINGS = [f"image_embeddings.{level}" for level in range(3)]


def main() -> None:
    """Measure a folder, and print a line for each dtype."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=20)
    arguments = parser.parse_args()
    parameters = json.loads((arguments.folder / "parameters.json").read_text(encoding="utf-8"))
    graphs = {dtype: _open(arguments.folder, files) for dtype, files in parameters["files"].items()}
    overlaps: dict[str, list[float]] = {dtype: [] for dtype in graphs}
    size = tuple(parameters["image_size"])
    videos = SyntheticVideos(arguments.images, split="test", size=size, objects=(3, 8), moving=False)
    for index in range(arguments.images):
        rendered = videos[index].render(range(1))
        points = [_middle(mask) for mask in rendered.masks[0][rendered.visible[0]]]
        masks = {dtype: _click(pair, rendered.frames[0], points, parameters) for dtype, pair in graphs.items()}
        for dtype, found in masks.items():
            together, either = (found & masks["fp32"]).sum((1, 2)), (found | masks["fp32"]).sum((1, 2))
            overlaps[dtype] += (together / np.maximum(either, 1)).tolist()
    for dtype, values in overlaps.items():
        files = [arguments.folder / file for file in parameters["files"][dtype].values()]
        megabytes = sum(path.stat().st_size for path in files) / 1e6
        sys.stdout.write(
            f"{dtype}: {len(values)} clicks, IoU mean {np.mean(values):.4f} least {min(values):.4f}, "
            f"{megabytes:.1f} MB\n"
        )


def _open(folder: Path, files: dict[str, str]) -> tuple[Any, Any]:
    """The sessions of encoder and decoder."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    names = ("vision_encoder", "prompt_encoder_mask_decoder")
    providers = ["CPUExecutionProvider"]
    encoder, decoder = (onnxruntime.InferenceSession(folder / files[name], options, providers) for name in names)
    return encoder, decoder


def _click(pair: tuple[Any, Any], frame: np.ndarray, points: list[list[int]], parameters: dict) -> np.ndarray:
    """The best mask (P, h, w) of each of P points (x, y) on a frame (H, W, 3)."""
    encoder, decoder = pair
    mean, std = (np.array(parameters[name], np.float32) for name in ("image_mean", "image_std"))
    pixels = ((frame.astype(np.float32) * np.float32(parameters["rescale_factor"]) - mean) / std).transpose(2, 0, 1)
    maps = dict(zip(EMBEDDINGS, encoder.run(EMBEDDINGS, {"pixel_values": pixels[None]}), strict=True))
    prompts = {
        "input_points": np.array(points, np.float32)[None, :, None],
        "input_labels": np.ones((1, len(points), 1), np.int64),
        "input_boxes": np.zeros((1, 0, 4), np.float32),
    }
    scores, logits = decoder.run(["iou_scores", "pred_masks"], {**prompts, **maps})
    return logits[0][np.arange(len(points)), scores[0].argmax(1)] > 0


def _middle(mask: np.ndarray) -> list[int]:
    """The pixel (x, y) of a mask (H, W) that is farthest from its edge."""
    from scipy.ndimage import distance_transform_edt

    y, x = np.unravel_index(distance_transform_edt(np.pad(mask, 1)).argmax(), (mask.shape[0] + 2, mask.shape[1] + 2))
    return [int(x) - 1, int(y) - 1]


if __name__ == "__main__":
    main()
