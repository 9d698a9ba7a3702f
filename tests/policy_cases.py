"""Clips and settings of the goldens of memory policies. Coordinates are pixels of a 128 x 128 image."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from official_goldens import IMAGE_SIZE, disc

Case = dict[str, Any]


IOU_BIAS = "sam_mask_decoder.iou_prediction_head.layers.2.bias"
MASK_BIAS = "sam_mask_decoder.output_hypernetworks_mlps.2.layers.2.bias"
OBJECT_SCORE_BIAS = "sam_mask_decoder.pred_obj_score_head.layers.2.bias"


def case(num_frames: int, seed: int, iou: float, object_score: float = 0.0, mask: float = 0.0, **settings: Any) -> Case:
    """A disc that is prompted with its mask on frame 0; the rest is added to biases of scores and of one mask."""
    offsets = {IOU_BIAS: iou, OBJECT_SCORE_BIAS: object_score, MASK_BIAS: mask}
    return {"num_frames": num_frames, "seed": seed, "disc": [36, 44, 20], "offsets": offsets, **settings}


CASES: dict[str, dict[str, Case]] = {
    "samurai": {
        # Some frames are below the score for memories; the predicted box decides on one, and on some.
        "low scores": case(24, 47, iou=1.0, motion_weight=0.25, stable_frames=4),
        "low scores, motion": case(24, 47, iou=1.0, motion_weight=0.8, stable_frames=4),
        "high scores, motion": case(24, 47, iou=2.0, motion_weight=0.8, stable_frames=4),
    },
    "dam4sam": {
        "few trusted": case(32, 47, iou=2.0),
        "trusted": case(32, 47, iou=4.0),
        # A mask so small that what others cover besides it counts.
        "rivals": case(17, 47, iou=4.0, mask=-0.2),
        # The object is hidden in some frames.
        "hidden": case(25, 47, iou=4.0, object_score=-9.8),
    },
}


@cache
def draw_crossing(num_frames: int) -> np.ndarray:
    """uint8 (frame, height, width, channel): two discs of one colour that move in circles and cross."""
    random = np.random.RandomState(7)
    tiles = random.randint(40, 120, size=(IMAGE_SIZE // 8, IMAGE_SIZE // 8, 3))
    ground = tiles.repeat(8, axis=0).repeat(8, axis=1)
    frames = []
    for index in range(num_frames):
        frame, turn = ground.copy(), 2 * np.pi * index / 24
        frame[disc(64 - 28 * np.cos(turn), 44 + 30 * np.sin(turn), 20)] = (230, 200, 60)
        frame[disc(92 - 50 * np.sin(turn), 90, 16)] = (230, 200, 60)
        frames.append(frame.astype(np.uint8))
    return np.stack(frames)
