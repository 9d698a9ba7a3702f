"""A world of squares, and a model that tracks them without a mistake: what everything mode makes of it can be told."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from sam2_hf import Sam2ImageProcessor, Sam2VideoProcessor
from sam2_hf.everything.candidates import Candidates, low_resolution
from sam2_hf.everything.everything_tracker import EverythingTracker
from sam2_hf.masks.rle import mask_to_rle
from sam2_hf.network.features import FrameFeatures
from sam2_hf.network.mask_decoder import NO_OBJECT_LOGIT
from sam2_hf.outputs import Sam2VideoSegmentationOutput
from sam2_hf.predictors.loaded_models import LoadedModel
from sam2_hf.predictors.tracker import Tracker

SIZE, LOW = 64, 16


class World:
    """Squares with a side of 16 pixels in frames of 64 x 64.

    Args:
        paths: for each object, its upper left corner (x, y) by frame; None where it is hidden.
    """

    def __init__(self, *paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths[0])

    @property
    def frames(self):
        """(T, 64, 64, 3) uint8, each of its number."""
        return np.stack([np.full((SIZE, SIZE, 3), frame, np.uint8) for frame in range(len(self))])

    def mask(self, number, frame):
        """(64, 64) bool; later objects lie in front."""
        mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
        if self.paths[number][frame] is not None:
            x, y = self.paths[number][frame]
            mask[max(y, 0) : max(y + 16, 0), max(x, 0) : max(x + 16, 0)] = True
        for front in range(number + 1, len(self.paths)):
            mask &= ~self.mask(front, frame)
        return mask

    def masks(self, frame):
        return [self.mask(number, frame) for number in range(len(self.paths))]


class WorldModel:
    """Gives each object of a session the true mask of the square that it was prompted with.

    Args:
        world: the truth.
        blind: names of objects that are taken for hidden in all frames but that of their prompt.
        drifts: `{(name, frame): square}`, frames from which on an object follows another square.
    """

    device, dtype = torch.device("cpu"), torch.float32
    config = SimpleNamespace(vision_config=SimpleNamespace(input_size=(SIZE, SIZE)))
    prompt_encoder = SimpleNamespace(mask_input_size=(LOW, LOW))

    def __init__(self, world, blind=(), drifts=None):
        self.world, self.blind, self.drifts = world, blind, drifts or {}
        self.square_of = {}
        self.encoded, self.largest = [], 0

    def encode_frames(self, pixels):
        self.encoded.append(round(float(pixels.mean() * 255)))
        empty = torch.zeros(1, 1, 1, 1)
        return [FrameFeatures((empty, empty), empty)]

    def __call__(self, session, frame_idx, reverse=False, run_mem_encoder=True):
        self.largest = max(self.largest, len(session.tracks))
        masks, scores = [], []
        for name, track in session.tracks.items():
            (prompted,) = track.prompts
            if name not in self.square_of:
                truth = torch.stack(self.world.masks(prompted))
                common = (truth & track.prompts[prompted].mask).flatten(1).sum(1)
                self.square_of[name] = int(common.argmax())
            for (drifting, frame), other in self.drifts.items():
                if drifting == name and frame_idx >= frame:
                    self.square_of[name] = other
            is_there = frame_idx <= prompted if reverse else frame_idx >= prompted
            mask = self.world.mask(self.square_of[name], frame_idx)
            mask = mask & is_there & (name not in self.blind or frame_idx == prompted)
            masks.append(mask[2::4, 2::4])
            scores.append(5.0 if mask.any() else -5.0)
            track.pending.clear()
        logits = torch.stack(masks).float()[:, None] * 20 - 10
        scores = torch.tensor(scores)[:, None]
        logits[scores[:, 0] < 0] = NO_OBJECT_LOGIT
        return Sam2VideoSegmentationOutput(
            object_ids=list(session.tracks),
            pred_masks=logits,
            object_score_logits=scores,
            iou_scores=torch.full_like(scores, 0.9),
            frame_idx=frame_idx,
        )


class WorldFinder:
    """Finds every square, and what else it is told to.

    Args:
        world: the truth.
        more: `{frame: [mask]}`, (64, 64) bool.
        label: of a square by its number.
    """

    def __init__(self, world, more=None, label=lambda number: None):
        self.world, self.more, self.label = world, more or {}, label
        self.searched = []

    def find(self, frame):
        self.searched.append(frame.index)
        squares = [(self.label(number), mask) for number, mask in enumerate(self.world.masks(frame.index))]
        squares += [(None, mask) for mask in self.more.get(frame.index, [])]
        found = [(label, mask) for label, mask in squares if mask.any()]
        rles = mask_to_rle(torch.stack([mask for _, mask in found])) if found else []
        scores = [0.9 - 0.01 * index for index in range(len(found))]
        return Candidates(rles, low_resolution(rles, frame.free), scores, [label for label, _ in found])


def everything_of(world, finder=None, model=None, **settings):
    """A tracker whose model and finder know the world."""
    tracker = tracker_with(
        model or WorldModel(world), Sam2VideoProcessor(Sam2ImageProcessor(size=SIZE, do_normalize=False))
    )
    return EverythingTracker.of(tracker, finder or WorldFinder(world), **settings)


def tracker_with(model, processor):
    """A `Tracker` with a model that no checkpoint holds."""
    tracker = Tracker.__new__(Tracker)
    tracker.memory_policy = None
    tracker.loaded = LoadedModel("in memory", model, processor)
    return tracker


def names_of(result):
    """Names by frame, and the upper left corner (x, y) of each object's mask."""
    return {frame.frame: {item.name: item.box[:2] for item in frame} for frame in result}
