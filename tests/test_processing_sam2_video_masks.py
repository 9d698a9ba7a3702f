"""Masks as prompts of `Sam2VideoProcessor`, and masks that it returns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from test_processing_sam2_video import CLICK, MASK, SIZE, TWO_CLICKS, add, prompt_on
from torch.nn import functional as F
from video_scenes import PROCESSOR, give, open_session, scene_model, tiny_model

from sam2_hf.tracking.prompts import MaskPrompt, PointPrompt


class TestMasks:
    @pytest.mark.parametrize(
        "mask",
        [
            MASK,
            MASK.astype(np.uint8),
            MASK.astype(np.uint8) * 255,
            MASK.astype(np.uint16) * 7,
            MASK.astype(np.float32),
            MASK.astype(np.float64) * 0.9,
            MASK.tolist(),
            torch.from_numpy(MASK),
            torch.from_numpy(MASK).half(),
            torch.from_numpy(MASK)[None, None],
            Image.fromarray(MASK),
            Image.fromarray(MASK.astype(np.uint8) * 255),
            [MASK],
            MASK[None],
            np.asfortranarray(MASK[:, ::-1])[:, ::-1],
        ],
        ids=lambda mask: f"{type(mask).__name__}-{getattr(mask, 'dtype', '')}",
    )
    def test_masks_of_every_kind(self, mask) -> None:
        if isinstance(mask, list) and isinstance(mask[0], list):
            mask = [mask]  # nested lists are rows only where the list of masks is one
        session = add(open_session(), 0, 1, input_masks=mask)
        assert isinstance(prompt_on(session), MaskPrompt) and prompt_on(session).mask.equal(torch.from_numpy(MASK))

    @pytest.mark.parametrize("masks", [[MASK, ~MASK], np.stack([MASK, ~MASK]), np.stack([MASK, ~MASK])[:, None]])
    def test_a_mask_for_each_object(self, masks) -> None:
        session = add(open_session(), 0, ["a", "b"], input_masks=masks)
        assert prompt_on(session, "a").mask.equal(~prompt_on(session, "b").mask)

    def test_a_mask_of_the_frames_size_is_resized_and_cut_at_one_half(self) -> None:
        session = PROCESSOR.init_video_session([np.zeros((64, 256, 3), np.uint8)])
        mask = np.zeros((64, 256), bool)
        mask[16:32, 64:129] = True
        add(session, 0, 1, input_masks=mask)
        expected = torch.zeros(SIZE, dtype=torch.bool)
        expected[32:64, 32:64] = True
        assert prompt_on(session).mask[:, :64].equal(expected[:, :64]) and not prompt_on(session).mask[:, 65:].any()

    @pytest.mark.parametrize("factor", [2, 4])
    def test_a_mask_of_another_size_is_resized(self, factor) -> None:
        """A half-size annotation, or an earlier low-resolution mask."""
        small = MASK[::factor, ::factor]
        session = add(open_session(), 0, 1, input_masks=small)
        expected = F.interpolate(
            torch.from_numpy(small)[None, None].float(), size=SIZE, mode="bilinear", antialias=True
        )[0, 0]
        assert prompt_on(session).mask.equal(expected >= 0.5)

    def test_an_earlier_prediction_is_a_mask(self) -> None:
        logits = torch.randn(32, 32, generator=torch.Generator().manual_seed(0))
        session = add(open_session(), 0, 1, input_masks=logits)
        expected = F.interpolate(logits[None, None], size=SIZE, mode="bilinear", antialias=True)[0, 0]
        assert prompt_on(session).mask.equal(expected > 0)

    @pytest.mark.parametrize("size", [SIZE, (60, 90)])
    def test_a_float_mask_to_255_is_the_same_as_a_bool_one(self, size) -> None:
        grey = np.zeros(size, np.float32)
        grey[10:33, 21:52] = 255
        kept = [
            prompt_on(add(open_session(), 0, 1, input_masks=mask)).mask for mask in (grey, grey > 0, grey.astype("u1"))
        ]
        assert kept[0].equal(kept[1]) and kept[0].equal(kept[2])

    def test_a_mask_of_the_models_size_is_taken_as_it_is(self) -> None:
        session = PROCESSOR.init_video_session([np.zeros((60, 90, 3), np.uint8)])
        assert prompt_on(add(session, 0, 1, input_masks=MASK)).mask.equal(torch.from_numpy(MASK))

    def test_a_mask_tells_a_stream_its_size(self) -> None:
        session = add(PROCESSOR.init_video_session(), 0, 1, input_masks=MASK)
        assert (session.video_height, session.video_width) == SIZE

    def test_the_callers_mask_may_change_afterwards(self) -> None:
        mask = torch.from_numpy(MASK.copy())
        session = add(open_session(), 0, 1, input_masks=mask)
        mask.zero_()
        assert prompt_on(session).mask.any()

    def test_points_take_the_place_of_a_mask_and_the_other_way_round(self) -> None:
        session = add(open_session(), 0, 1, input_masks=MASK)
        add(session, 0, 1, **CLICK, clear_old_inputs=False)
        assert isinstance(prompt_on(session), PointPrompt)
        add(session, 0, 1, input_masks=MASK, clear_old_inputs=False)
        assert isinstance(prompt_on(session), MaskPrompt)


class TestMasksBack:
    def test_they_have_the_size_of_the_frames(self) -> None:
        session = PROCESSOR.init_video_session([np.zeros((60, 90, 3), np.uint8)])
        output = tiny_model()(add(session, 0, [1, 2], **TWO_CLICKS), frame_idx=0)
        sizes = [[session.video_height, session.video_width]]
        (masks,) = PROCESSOR.post_process_masks([output.pred_masks], original_sizes=sizes, binarize=False)
        assert masks.shape == (2, 1, 60, 90) and masks.is_floating_point()

    def test_on_request_they_do_not_overlap(self) -> None:
        session = open_session(3)
        for obj_id, kind in enumerate(("click", "box", "clicks", "mask")):
            give(session, 0, obj_id, kind)
        for output in scene_model().propagate_in_video_iterator(session):
            plain, apart = (
                PROCESSOR.post_process_masks([output.pred_masks], [SIZE], apply_non_overlapping_constraints=flag)[0]
                for flag in (False, True)
            )
            assert plain.sum(0).max() > 1 and apart.sum(0).max() == 1
            assert apart.any(0).equal(plain.any(0)), "every pixel goes to one of those that claim it"
