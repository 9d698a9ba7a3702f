"""`SAM2VideoPredictor`: objects tracked through a video, as Meta's class does it."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

import torch
from torch import Tensor

from ..processing_sam2_video import Sam2VideoProcessor
from ..tracking.memory.registry import PolicySetting
from ..tracking.retention import Retention, RetentionRule
from .inference_state import InferenceState
from .object_changes import forget_around
from .prompts import read_mask, read_points
from .utils import misc
from .utils.misc import load_video_frames
from .video_base import FrameMasks, Frames, VideoPredictorBase, takes_state

_load_video_frames = load_video_frames


class SAM2VideoPredictor(VideoPredictorBase):
    """Prompts on some frames of a video, masks on all of them.

    Args:
        network: a `Sam2VideoModel`; `build_sam2_video_predictor` is the usual way here.
        non_overlap_masks: give each pixel of the masks that are handed out to one object.
        clear_non_cond_mem_around_input: forget what was tracked around a frame that is prompted.
        binarize_mask_from_pts_for_mem_enc: remember a prompted mask as it is shown, cut at 0.
        settings: fields of the network's configuration to set, such as `fill_hole_area` and
            `add_all_frames_to_correct_as_cond`.

    Raises:
        TypeError: for a model without memory parts, or a setting that does not exist.
    """

    # State

    @torch.inference_mode()
    def init_state(
        self,
        video_path: Any,
        offload_video_to_cpu: bool = False,
        offload_state_to_cpu: bool = False,
        async_loading_frames: bool = False,
        retention: Retention | RetentionRule | None = None,
        memory_policy: PolicySetting | None = None,
    ) -> InferenceState:
        """Opens a video. Nothing is decoded but its first frame, unless a program has replaced `load_video_frames`.

        Args:
            video_path: a folder of images, a video file, or anything else that `open_video` takes.
            offload_video_to_cpu: keep frames on the CPU.
            offload_state_to_cpu: keep memories and masks on the CPU.
            async_loading_frames: not needed here, where frames are always read when they are tracked; handed on to
                a `load_video_frames` of the program's own.
            retention: "readable" keeps of each object only what later frames can still read, "everything" all as it
                was computed; see `SessionState`. By default "checkpointed", and "everything" with `non_overlap_masks`,
                which compare the logits of objects in all pixels.
            memory_policy: which memories tracking reads, by name; that of the model by default.

        Raises:
            OSError, ValueError, TypeError: see `open_video`.
        """
        frames = self._open(video_path, offload_video_to_cpu, async_loading_frames)
        return self._new_state(frames, offload_video_to_cpu, offload_state_to_cpu, retention, memory_policy)

    def _open(self, video_path: Any, offload: bool, asynchronous: bool) -> Frames:
        """The video as it is, or its frames if a program has put a function of its own there to read them."""
        replaced = [
            loader for loader in (load_video_frames, misc.load_video_frames) if loader is not _load_video_frames
        ]
        if not replaced:
            return Sam2VideoProcessor(misc.frame_processor(self._input_size)), video_path, None
        images, height, width = replaced[0](
            video_path=video_path,
            image_size=self.image_size,
            offload_video_to_cpu=offload,
            async_loading_frames=asynchronous,
            compute_device=self.device,
        )
        return self._loaded(images, height, width)

    @takes_state
    @torch.inference_mode()
    def reset_state(self, inference_state: InferenceState) -> None:
        """Forgets all objects, prompts and results; the video stays open."""
        inference_state.session.reset_tracking_data()

    # Prompts

    @takes_state
    @torch.inference_mode()
    def add_new_points_or_box(
        self,
        inference_state: InferenceState,
        frame_idx: int,
        obj_id: Hashable,
        points: Any = None,
        labels: Any = None,
        clear_old_points: bool = True,
        normalize_coords: bool = True,
        box: Any = None,
    ) -> FrameMasks:
        """Prompts an object, known or new, on a frame, and segments it there at once.

        Args:
            inference_state: from `init_state`.
            frame_idx: the frame.
            obj_id: any hashable.
            points: (points, 2) as (x, y).
            labels: (points): 1 for the object, 0 for the background.
            clear_old_points: whether these replace the object's points on the frame, or are added to them.
            normalize_coords: whether coordinates are pixels of the video, or fractions of it.
            box: left, top, right, bottom; goes before the points.

        Returns:
            The frame, the ids of all objects, and their logits (N, 1, height, width) at the video's size.

        Raises:
            ValueError: for prompts that do not fit together.
            IndexError: for a frame outside the video.
        """
        size = inference_state.size if normalize_coords else None
        prompt = {obj_id: read_points(points, labels, box, clear_old_points, size, self._input_size)}
        inference_state.session.add_prompts(frame_idx, prompt, keep_old_points=not clear_old_points)
        return self._segment_prompts(inference_state, frame_idx)

    def add_new_points(self, *args: Any, **kwargs: Any) -> FrameMasks:
        """The former name of `add_new_points_or_box`."""
        return self.add_new_points_or_box(*args, **kwargs)

    @takes_state
    @torch.inference_mode()
    def add_new_mask(self, inference_state: InferenceState, frame_idx: int, obj_id: Hashable, mask: Any) -> FrameMasks:
        """Gives an object its mask on a frame, and segments it there at once.

        Args:
            inference_state: from `init_state`.
            frame_idx: the frame.
            obj_id: any hashable.
            mask: (height, width) of any size: bool, or an array of numbers, of which any but 0 is the object; a
                floating tensor is cut at one half.

        Returns:
            What `add_new_points_or_box` returns.

        Raises:
            ValueError: for a mask of another shape.
            IndexError: for a frame outside the video.
        """
        prompt = {obj_id: read_mask(mask, self._input_size)}
        inference_state.session.add_prompts(frame_idx, prompt)
        return self._segment_prompts(inference_state, frame_idx)

    def _segment_prompts(self, state: InferenceState, frame_idx: int) -> FrameMasks:
        frame_idx = state.session.check_frame_idx(frame_idx)
        return self._frame_masks(state, self._video_network.segment_prompts(state.session, frame_idx))

    @takes_state
    @torch.inference_mode()
    def clear_all_prompts_in_frame(
        self, inference_state: InferenceState, frame_idx: int, obj_id: Hashable, need_output: bool = True
    ) -> FrameMasks | None:
        """Takes back an object's prompts on a frame. What was tracked from them goes on as an ordinary memory.

        Args:
            inference_state: from `init_state`.
            frame_idx: the frame.
            obj_id: the object.
            need_output: whether to return the masks of the frame.

        Returns:
            What `add_new_points_or_box` returns; None without `need_output`.

        Raises:
            KeyError: for an unknown object.
        """
        session = inference_state.session
        if obj_id not in session.tracks:
            raise KeyError(f"obj_id {obj_id!r} is not in this state, which has {session.obj_ids}")
        frame_idx = session.check_frame_idx(frame_idx)
        session.clear_prompts(frame_idx, obj_id, keep_result=True)
        if not need_output:
            return None
        return self._frame_masks(inference_state, self._video_network.read_results(session, frame_idx))

    @takes_state
    @torch.inference_mode()
    def remove_object(
        self, inference_state: InferenceState, obj_id: Hashable, strict: bool = False, need_output: bool = True
    ) -> tuple[list[Hashable], list[tuple[int, Tensor]]]:
        """Forgets an object.

        Args:
            inference_state: from `init_state`.
            obj_id: the object.
            strict: whether an unknown object is an error.
            need_output: whether to return masks.

        Returns:
            The ids of the objects that are left; and the frames that the object had prompts on, each with the masks
            of the others there.

        Raises:
            RuntimeError: for an unknown object, if `strict`.
        """
        session = inference_state.session
        if obj_id not in session.tracks:
            if strict:
                raise RuntimeError(f"cannot remove obj_id {obj_id!r}, as there are only {session.obj_ids}")
            return session.obj_ids, []
        frames = sorted(session.tracks[obj_id].prompts)
        session.remove_object(obj_id)
        if not session.tracks or not need_output:
            return session.obj_ids, []
        outputs = (self._video_network.read_results(session, frame) for frame in frames)
        return session.obj_ids, [
            (output.frame_idx, self._frame_masks(inference_state, output)[2]) for output in outputs
        ]

    # Tracking

    @takes_state
    @torch.inference_mode()
    def propagate_in_video_preflight(self, inference_state: InferenceState) -> None:
        """Settles the prompts given so far, so that what follows reads their memories.

        Raises:
            RuntimeError: if there is no object, or one without a prompt that conditions it.
        """
        session = inference_state.session
        if not session.tracks:
            raise RuntimeError("no input points or masks are provided for any object; please add inputs first")
        for obj_id, track in session.tracks.items():
            if not track.results.conditioning:
                raise RuntimeError(
                    f"no input points or masks are provided for obj_id {obj_id!r}; please add inputs first"
                )
            self._settle(track)
        session.settle_prompts()

    @takes_state
    @torch.inference_mode()
    def propagate_in_video(
        self,
        inference_state: InferenceState,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
    ) -> Iterator[FrameMasks]:
        """Tracks all objects through the video.

        Args:
            inference_state: from `init_state`; prompts may be added and taken back between two frames.
            start_frame_idx: the first frame; the earliest prompted one by default.
            max_frame_num_to_track: how many frames to go beyond it; to the end by default.
            reverse: go backward.

        Yields:
            What `add_new_points_or_box` returns, frame by frame.

        Raises:
            RuntimeError: see `propagate_in_video_preflight`.
        """
        self.propagate_in_video_preflight(inference_state)
        outputs = self._video_network.propagate_in_video_iterator(
            inference_state.session, start_frame_idx, max_frame_num_to_track, reverse
        )
        for output in outputs:
            yield self._frame_masks(inference_state, output)
            if self.clear_non_cond_mem_around_input:
                for track in inference_state.session.tracks.values():
                    if output.frame_idx in track.results.conditioning:
                        forget_around(track, output.frame_idx, self.num_maskmem)


class SAM2VideoPredictorVOS(SAM2VideoPredictor):
    """`SAM2VideoPredictor` with compiled parts."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.network.compile("throughput")
