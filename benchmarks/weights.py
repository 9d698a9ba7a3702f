"""Checkpoints to measure with: untrained, and adjusted so that they cause as much work as trained ones.

A mask that a filter drops costs less than one that it keeps. So the IoU head is shifted until the usual share of the
masks of an image passes the usual filter, and the masks are sharpened until half of them are stable; both as with
trained weights. Attention is softened, so that rounding stays small and implementations can be compared.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from .processes import environment, python

if TYPE_CHECKING:
    from torch import Tensor

    from sam2_hf import Sam2Model

FOLDER = Path("build/benchmarks/weights")
PASSING = 0.30
_TRAINED_SIZE = 1024
_POINTS_PER_SIDE = 8
_IOU_THRESHOLD, _STABILITY_THRESHOLD, _STABILITY_OFFSET = 0.88, 0.95, 1.0


def checkpoint(preset: str, image_size: int, image: Path | None, trained: Path | None = None) -> Path:
    """The folder of a checkpoint, which is made in a process of its own if it does not exist.

    Args:
        preset: architecture.
        image_size: side of the model's input in pixels.
        image: the image that filters are adjusted to; None for the drawn one.
        trained: folder of trained checkpoints, which are preferred where there is one of that name and size.
    """
    if trained is not None and image_size == _TRAINED_SIZE and (trained / preset).is_dir():
        return trained / preset
    content = b"drawn" if image is None else image.read_bytes()
    folder = FOLDER / f"{preset}-{image_size}-{hashlib.sha256(content).hexdigest()[:8]}"
    if not (folder / "model.safetensors").exists():
        command = python("-m", "benchmarks.weights", preset, str(image_size), str(folder))
        subprocess.run(command + ([] if image is None else ["--image", str(image)]), check=True, env=environment())
    return folder


def make_checkpoint(preset: str, image_size: int, image: Path | None, folder: Path) -> None:
    """Writes a video checkpoint, which image models read too, and its image processor to `folder`."""
    import torch

    from sam2_hf import Sam2Config, Sam2ImageProcessor, Sam2VideoConfig, Sam2VideoModel

    from .random_model import random_model, soften_attention

    torch.manual_seed(0)
    image_model = random_model(Sam2Config.from_preset(preset, image_size=image_size))
    soften_attention(image_model)
    _calibrate(image_model, image, image_size)
    model = Sam2VideoModel(Sam2VideoConfig.from_preset(preset, image_size=image_size))
    unfilled = model.load_state_dict(image_model.state_dict(), strict=False)
    if unfilled.unexpected_keys:
        raise ValueError(f"the video model has no parameters for {unfilled.unexpected_keys}")
    with torch.no_grad():  # every object is there in every frame
        model.mask_decoder.pred_obj_score_head.proj_out.weight.zero_()
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(5.0)
    model.save_pretrained(folder)
    Sam2ImageProcessor(size={"height": image_size, "width": image_size}).save_pretrained(folder)


def _calibrate(model: Sam2Model, image: Path | None, image_size: int) -> None:
    """Shifts the IoU head and sharpens the masks by what the model predicts for an image."""
    import torch

    from sam2_hf.mask_generation.crops import point_grid

    from .images import as_pixels, load_image

    with torch.no_grad():
        embeddings = model.get_image_embeddings(as_pixels(load_image(image), image_size))
        points = (point_grid(_POINTS_PER_SIDE) * image_size)[None, :, None]
        output = model(
            image_embeddings=embeddings, input_points=points, input_labels=torch.ones(points.shape[:-1]).long()
        )
        scores = output.iou_scores.logit(eps=1e-7)
        shift = torch.tensor(_IOU_THRESHOLD).logit() - scores.flatten().quantile(1 - PASSING)
        model.mask_decoder.iou_prediction_head.proj_out.bias.add_(shift)
        passing = output.iou_scores > output.iou_scores.flatten().quantile(1 - PASSING)
        sharpness = _sharpness(output.pred_masks[passing])
        # Masks are linear in the output of these layers.
        for name, parameter in model.mask_decoder.output_hypernetworks_mlps.named_parameters():
            if "proj_out" in name:
                parameter.mul_(sharpness)


def _sharpness(logits: Tensor) -> float:
    """The factor for logits (K, h, w) at which half of the masks are stable."""
    for step in range(60):
        factor = 1.25**step / logits.std().item()
        margin = _STABILITY_OFFSET / factor
        inner, outer = (logits > margin).sum((-1, -2)), (logits > -margin).sum((-1, -2))
        if (inner / outer.clamp(min=1)).median() > _STABILITY_THRESHOLD:
            return factor
    raise ValueError("no factor makes half of the masks stable")


def main() -> None:
    """Make one checkpoint."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("preset")
    parser.add_argument("image_size", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--image", type=Path)
    given = parser.parse_args()
    make_checkpoint(given.preset, given.image_size, given.image, given.folder)


if __name__ == "__main__":
    main()
