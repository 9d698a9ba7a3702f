"""The pass over a source: every frame is tracked, and searched for new objects every so often.

What is held does not grow with the number of frames: the objects that are tracked, the last of those that are lost, and
of each what a later frame can read.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..masks.rle import rle_to_mask
from ..network.features import FrameFeatures
from ..predictors.tracker import Tracker
from ..results.records import ObjectMask, encode_masks
from ..tracking.session import Sam2VideoInferenceSession
from ..video_io.source import VideoSource
from .admission import Admission, admit, duplicates, intersections, match_masks
from .candidates import Candidates, Finder, SearchedFrame, no_candidates, resized
from .chunks import FrameMasks, ObjectChunks
from .known_objects import KnownObject, Names
from .settings import EverythingSettings

_RESTORED_AT_ONCE = 16  # masks of the frame's size in logits


class ForwardPass:
    """The objects of one clip or stream, frame by frame.

    Invariant: every known object is in exactly one of `active` and `lost`.

    Args:
        tracker: has the model and opens sessions.
        source: where the frames come from.
        finder: finds candidates for new objects.
        settings: see there.
    """

    def __init__(self, tracker: Tracker, source: VideoSource, finder: Finder, settings: EverythingSettings):
        self.tracker, self.source = tracker, source
        self.model, self.processor = tracker.model, tracker.processor
        self.finder, self.settings = finder, settings
        self.known: dict[Hashable, KnownObject] = {}
        self.active = ObjectChunks(self.model, self.new_session, settings.objects_per_chunk)
        self.lost = ObjectChunks(self.model, self.new_session, settings.objects_per_chunk)
        self.renamed: dict[Hashable, Hashable] = {}
        """Names of objects that were recognised as older ones since `take_renamed`, with the names of those."""
        self._names = Names()
        self._reader = self.new_session()
        self._reader.follow(self.model.device, self.model.dtype)
        self._last_search = -1

    def new_session(self) -> Sam2VideoInferenceSession:
        """Open a session over the source that keeps what later frames can read."""
        return self.tracker.open_session(self.source, retention="readable")

    @torch.inference_mode()
    def step(self, frame_idx: int, frame: Tensor) -> list[ObjectMask]:
        """Track all objects in the next frame, and search it if its turn has come.

        Args:
            frame_idx: the index of the frame.
            frame: (3, height, width) uint8.

        Returns:
            The objects that are visible.
        """
        features = self.encode(frame)
        found = self.active.run(frame_idx, features)
        self._compare(found)
        if frame_idx % self.settings.every == 0:
            self._note(frame_idx, found)
            found = self._search(SearchedFrame(frame_idx, frame, features, ~found.masks.any(0)), found)
            self._last_search = frame_idx
        self._note(frame_idx, found)
        self._lose(frame_idx)
        return self.objects(found)

    def encode(self, frame: Tensor) -> FrameFeatures:
        """Encode a frame (3, height, width) uint8 once, for all sessions and the finder."""
        features: FrameFeatures = self.model.encode_frames(self._reader.frames.preprocess(frame))[0]
        return features

    def objects(self, found: FrameMasks, facts: Mapping[Hashable, dict[str, Any]] | None = None) -> list[ObjectMask]:
        """The visible objects of a frame, as results have them.

        Args:
            found: the objects.
            facts: what else is shown of each, by name; by default what is known of them.
        """
        rows = found.masks.flatten(1).any(1).nonzero().flatten().tolist()
        size, result = list(self.source.size), []
        for start in range(0, len(rows), _RESTORED_AT_ONCE):
            few = found.take(rows[start : start + _RESTORED_AT_ONCE])
            (masks,) = self.processor.post_process_masks([few.logits[:, None]], [size])
            scores = zip(few.ious.tolist(), few.object_scores.tolist(), strict=True)
            for name, rle, (iou, score) in zip(few.names, encode_masks(masks[:, 0]), scores, strict=True):
                result.append(
                    ObjectMask(name, rle, iou, score, extra=self._facts(name) if facts is None else facts[name])
                )
        return result

    def take_renamed(self) -> dict[Hashable, Hashable]:
        """The names that have changed since this was last called; see `renamed`."""
        renamed, self.renamed = self.renamed, {}
        return renamed

    def _facts(self, name: Hashable) -> dict[str, Any]:
        known = self.known[name]
        return dict(known.facts) if known.label is None else {"label": known.label, **known.facts}

    def _note(self, frame_idx: int, found: FrameMasks) -> None:
        """Note which objects are visible."""
        for name, visible in zip(found.names, found.masks.flatten(1).any(1).tolist(), strict=True):
            if visible:
                self.known[name].show(frame_idx)

    def _compare(self, found: FrameMasks) -> None:
        """Note how masks go on from the frame before."""
        if not found.names:
            return
        masks, known = found.masks, [self.known[name] for name in found.names]
        before = torch.stack([item.before for item in known])
        union = (masks | before).flatten(1).sum(1)
        ious = ((masks & before).flatten(1).sum(1) / union.clamp(min=1)).tolist()
        for item, mask, iou in zip(known, masks, ious, strict=True):
            item.before, item.continuity = mask, min(item.continuity, iou)

    def _lose(self, frame_idx: int) -> None:
        """Take the objects that have been hidden for long out of tracking, and forget those that nobody will miss."""
        for name in self.active.names:
            if frame_idx - self.known[name].last_visible > self.settings.patience:
                self._park(name)
        oldest_first = sorted(self.lost.names, key=lambda name: self.known[name].last_visible)
        for name in oldest_first[: max(0, len(oldest_first) - self.settings.max_lost)]:
            self.lost.pop(name)
            del self.known[name]

    def _park(self, name: Hashable) -> None:
        known = self.known[name]
        known.before = torch.zeros_like(known.before)
        self.lost.put(name, self.active.pop(name))

    def _forget(self, name: Hashable) -> None:
        self.active.pop(name)
        del self.known[name]

    # The search

    def _search(self, frame: SearchedFrame, found: FrameMasks) -> FrameMasks:
        """Merge duplicates, find what was lost, admit what is new; returns the objects of the frame after that."""
        found = self._merge(found)
        found = self._separate(frame, found)
        candidates = self._candidates(frame)
        lost = self.lost.run(frame.index, frame.features, remember=False)
        again = self._recover(frame, found, lost, candidates)
        changed = bool(again)
        if again:
            found = self.active.run(frame.index, frame.features)
            self._note(frame.index, found)
        room = self.settings.max_objects - len(self.active)
        if room > 0 and len(candidates):
            rows = [self.known[name].label for name in found.names]
            admission = admit(
                candidates.masks, candidates.scores, found.masks, self.settings.rule, room, candidates.labels, rows
            )
            self._admit(frame, candidates, admission)
            changed = changed or bool(admission.admitted)
        found = self.active.run(frame.index, frame.features) if changed else found
        for name, mask in zip(found.names, found.masks, strict=True):
            self.known[name].before, self.known[name].continuity = mask, 1.0
        return found

    def _merge(self, found: FrameMasks) -> FrameMasks:
        """Give objects that reappeared their names back, where they were admitted as new ones meanwhile."""
        known = [self.known[name] for name in found.names]
        masks = found.masks

        def may_match(row: int, column: int) -> bool:
            return row != column and known[row].may_be(known[column], self._last_search)

        pairs = match_masks(masks, masks, self.settings.rule.same, may_match)
        for row, column in pairs:
            self._rename(found.names[column], found.names[row])
            self._forget(found.names[column])
        gone = {column for _, column in pairs}
        return found.take([row for row in range(len(found.names)) if row not in gone])

    def _separate(self, frame: SearchedFrame, found: FrameMasks) -> FrameMasks:
        """Take out objects that have passed over to another one; those that were tracked for a while are lost."""
        continuity = [self.known[name].continuity for name in found.names]
        dropped = [row for _, row in duplicates(found.masks, continuity, self.settings.rule)]
        for row in dropped:
            name = found.names[row]
            if frame.index - self.known[name].first_frame >= 2 * self.settings.every:
                self._park(name)
            else:
                self._forget(name)
        return found.take([row for row in range(len(found.names)) if row not in dropped])

    def _candidates(self, frame: SearchedFrame) -> Candidates:
        if len(self.active) >= self.settings.max_objects and not len(self.lost):
            return no_candidates(frame.free)
        return self.finder.find(frame)

    def _recover(
        self, frame: SearchedFrame, found: FrameMasks, lost: FrameMasks, candidates: Candidates
    ) -> list[Hashable]:
        """Find lost objects where their memories and a candidate, or a younger object, agree on a mask."""
        again: list[Hashable] = []
        if not lost.names:
            return again
        rule, masks = self.settings.rule, lost.masks
        records = [self.known[name] for name in lost.names]
        younger = [self.known[name] for name in found.names]

        def is_younger(row: int, column: int) -> bool:
            other = younger[column]
            return other.first_frame > records[row].last_visible and other.label == records[row].label

        for row, column in match_masks(masks, found.masks, rule.same, is_younger):
            self._rename(found.names[column], lost.names[row])
            self._forget(found.names[column])
            again.append(lost.names[row])
        left = [row for row, name in enumerate(lost.names) if name not in again]
        room = self.settings.max_objects - len(self.active) - len(again)
        for row, column in match_masks(masks[left], candidates.masks, rule.same)[: max(room, 0)]:
            mask = masks[left[row]]
            covered = float(intersections(mask[None], ~frame.free[None])) / max(int(mask.sum()), 1)
            if covered < rule.covered and candidates.labels[column] == records[left[row]].label:
                again.append(lost.names[left[row]])
        for name in again:
            self.active.put(name, self.lost.pop(name))
        return again

    def _rename(self, name: Hashable, right: Hashable) -> None:
        self.renamed = {old: right if new == name else new for old, new in self.renamed.items()}
        self.renamed[name] = right

    def _admit(self, frame: SearchedFrame, candidates: Candidates, admission: Admission) -> None:
        """Prompt new objects with their masks."""
        input_size = self.model.config.vision_config.input_size
        prompts: dict[Hashable, Tensor] = {}
        for index, left in zip(admission.admitted, admission.masks, strict=True):
            label = candidates.labels[index]
            name = self._names.next(label)
            facts = dict(candidates.facts[index]) if candidates.facts else {}
            self.known[name] = KnownObject(name, label, facts, frame.index, frame.index, frame.index, left)
            whole = resized(rle_to_mask(candidates.rles[index]).to(left.device), input_size)
            taken = candidates.masks[index] & ~left
            prompts[name] = whole & ~_enlarged(taken, input_size)
        self.active.add(frame.index, frame.features, prompts)


def _enlarged(mask: Tensor, size: Sequence[int]) -> Tensor:
    """A low-resolution mask (h, w) bool at the size (H, W) of the model's input."""
    return F.interpolate(mask[None, None].float(), size=tuple(size), mode="nearest")[0, 0] > 0
