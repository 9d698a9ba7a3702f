"""What programs import from `sam2.utils.amg`: run lengths, boxes, crops and grids of mask generation."""

from __future__ import annotations

import copy
import math
from collections.abc import ItemsView, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...mask_generation.crops import crop_layers, point_grid
from ...masks import boxes, connected_components, stability
from ...masks import rle as run_lengths

Rle = dict[str, Any]


class MaskData:
    """Fields of N masks, each a tensor, an array or a list of N entries, that are filtered and joined together.

    Raises:
        TypeError: for a field of another kind.
    """

    def __init__(self, **fields: Any) -> None:
        self._fields: dict[str, Any] = {}
        for name, values in fields.items():
            self[name] = values

    def __setitem__(self, key: str, item: Any) -> None:
        if not isinstance(item, (list, np.ndarray, Tensor)):
            raise TypeError(f"{key} must be a list, an array or a tensor, got {type(item).__name__}")
        self._fields[key] = item

    def __delitem__(self, key: str) -> None:
        del self._fields[key]

    def __getitem__(self, key: str) -> Any:
        return self._fields[key]

    def items(self) -> ItemsView[str, Any]:
        """Names and values."""
        return self._fields.items()

    def filter(self, keep: Tensor) -> None:
        """Keeps entries of every field: those where `keep` (N,) is True, or those at the indices in it."""
        indices = keep.nonzero().flatten() if keep.dtype == torch.bool else keep
        for name, values in self._fields.items():
            if isinstance(values, Tensor):
                self._fields[name] = values[indices.to(values.device)]
            elif isinstance(values, np.ndarray):
                self._fields[name] = values[indices.cpu().numpy()]
            else:
                self._fields[name] = [values[index] for index in indices.tolist()]

    def cat(self, new_stats: MaskData) -> None:
        """Appends the entries of another one, field by field."""
        for name, values in new_stats.items():
            mine = self._fields.get(name)
            if mine is None:
                self._fields[name] = copy.deepcopy(values)
            elif isinstance(values, Tensor):
                self._fields[name] = torch.cat([mine, values])
            elif isinstance(values, np.ndarray):
                self._fields[name] = np.concatenate([mine, values])
            else:
                self._fields[name] = mine + copy.deepcopy(values)

    def to_numpy(self) -> None:
        """Makes float32 arrays of the tensors."""
        for name, values in self._fields.items():
            if isinstance(values, Tensor):
                self._fields[name] = values.float().detach().cpu().numpy()


def mask_to_rle_pytorch(tensor: Tensor) -> list[Rle]:
    """Masks (masks, height, width) bool as uncompressed COCO run lengths."""
    return run_lengths.mask_to_rle(tensor.bool())


def rle_to_mask(rle: Rle) -> np.ndarray:
    """Run lengths as a mask (height, width) bool."""
    return run_lengths.rle_to_mask(rle).numpy()


def coco_encode_rle(uncompressed_rle: Rle) -> Rle:
    """Run lengths as a COCO string, which JSON can hold."""
    return run_lengths.compress_rle(uncompressed_rle)


def area_from_rle(rle: Rle) -> int:
    """Number of pixels of a mask."""
    return run_lengths.rle_area(rle)


def batched_mask_to_box(masks: Tensor) -> Tensor:
    """Boxes (..., 4) around masks (..., height, width): left, top, right, bottom, inclusive; zeros for empty ones."""
    return boxes.mask_to_box(masks.bool())


def calculate_stability_score(masks: Tensor, mask_threshold: float, threshold_offset: float) -> Tensor:
    """IoU (...) of logits (..., height, width) cut at the threshold plus the offset, and at the threshold minus it."""
    return stability.stability_score(masks, mask_threshold, threshold_offset)


def box_xyxy_to_xywh(box_xyxy: Any) -> Any:
    """A box (left, top, right, bottom) as (left, top, width, height), of the same kind."""
    box = copy.deepcopy(box_xyxy)
    box[2], box[3] = box_xyxy[2] - box_xyxy[0], box_xyxy[3] - box_xyxy[1]
    return box


def batch_iterator(batch_size: int, *args: Any) -> Iterator[list[Any]]:
    """Slices of all arguments, `batch_size` entries at a time.

    Raises:
        ValueError: if they are not of one length.
    """
    if not args or len({len(values) for values in args}) != 1:
        raise ValueError(f"expected values of one length, got lengths {[len(values) for values in args]}")
    for start in range(0, len(args[0]), batch_size):
        yield [values[start : start + batch_size] for values in args]


def build_point_grid(n_per_side: int) -> np.ndarray:
    """Centres of `n_per_side` squared equal cells over the unit square: (points, 2) as (x, y)."""
    return point_grid(n_per_side).astype(np.float64)


def build_all_layer_point_grids(n_per_side: int, n_layers: int, scale_per_layer: int) -> list[np.ndarray]:
    """A grid for the image and each of `n_layers` layers of crops, with fewer points in each."""
    return [build_point_grid(int(n_per_side / scale_per_layer**layer)) for layer in range(n_layers + 1)]


def generate_crop_boxes(
    im_size: tuple[int, ...], n_layers: int, overlap_ratio: float
) -> tuple[list[list[int]], list[int]]:
    """Crops of an image.

    Args:
        im_size: (height, width).
        n_layers: how many layers there are besides the whole image; layer n has 4 to the power of n crops.
        overlap_ratio: how much crops of layer 1 overlap, as a part of the shorter side.

    Returns:
        The crops, left, top, right, bottom each, and the layer of each.
    """
    crops = crop_layers((im_size[0], im_size[1]), n_layers, overlap_ratio)
    return [list(crop[:4]) for crop in crops], [crop.layer for crop in crops]


def uncrop_boxes_xyxy(boxes: Tensor, crop_box: list[int]) -> Tensor:
    """Boxes (..., 4) of a crop in the image."""
    left, top = crop_box[:2]
    return boxes + boxes.new_tensor([left, top, left, top])


def uncrop_points(points: Tensor, crop_box: list[int]) -> Tensor:
    """Points (..., 2) of a crop in the image."""
    return points + points.new_tensor(crop_box[:2])


def uncrop_masks(masks: Tensor, crop_box: list[int], orig_h: int, orig_w: int) -> Tensor:
    """Masks (..., height, width) of a crop in the image, empty outside it."""
    left, top, right, bottom = crop_box
    return torch.nn.functional.pad(masks, (left, orig_w - right, top, orig_h - bottom), value=0)


def is_box_near_crop_edge(boxes: Tensor, crop_box: list[int], orig_box: list[int], atol: float = 20.0) -> Tensor:
    """Which boxes (boxes, 4) of a crop come within `atol` pixels of its edge where that is not the image's: bool."""
    placed = uncrop_boxes_xyxy(boxes, crop_box).float()
    at_crop = (placed - placed.new_tensor(crop_box)).abs() <= atol
    at_image = (placed - placed.new_tensor(orig_box)).abs() <= atol
    return (at_crop & ~at_image).any(dim=1)


def remove_small_regions(mask: np.ndarray, area_thresh: float, mode: str) -> tuple[np.ndarray, bool]:
    """Fills small holes of a mask, or removes its small islands.

    Args:
        mask: (height, width) bool.
        area_thresh: regions of fewer pixels are small.
        mode: "holes" or "islands". The largest island stays whatever its size.

    Returns:
        The mask, and whether it was changed.

    Raises:
        ValueError: for another mode.
    """
    if mode not in ("holes", "islands"):
        raise ValueError(f'mode must be "holes" or "islands", got {mode!r}')
    before, largest_small = torch.from_numpy(np.asarray(mask, dtype=bool)), math.ceil(area_thresh) - 1
    if mode == "holes":
        after = connected_components.fill_holes(before, largest_small)
    else:
        after = connected_components.remove_sprinkles(before, largest_small, keep_largest=True)
    changed = not after.equal(before)
    return (after.numpy() if changed else mask), changed
