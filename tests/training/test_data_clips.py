from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from small_datasets import SIZE, Blocks, block, number_of, plain_image

from sam2_hf import Sam2ImageProcessor
from sam2_hf.network.losses import IGNORED_LABEL
from sam2_hf.prompt_values import PAD_VALUE
from sam2_hf.training.data.annotated_video import Clip
from sam2_hf.training.data.augmentation import ColourJitter, Compose, Flip, ResizedCrop, standard_augmentation
from sam2_hf.training.data.collation import ClipCollator, ImageCollator, read_clip
from sam2_hf.training.data.resizing import resize_clip, resize_masks
from sam2_hf.training.data.sampling import ClipDataset, ClipSampling, move_to_appearance, reappearing_objects


def rng(seed=0):
    return np.random.default_rng(seed)


class Vanishing(Blocks):
    """Its object "b" is out of sight in frames 4 and 5, the others never."""

    def masks(self, frame):
        return {k: v for k, v in super().masks(3).items() if (k, frame) not in (("b", 4), ("b", 5))}


def clip_of(frames=3, ignored=False):
    clip = Blocks().read(range(frames))
    return Clip(clip.frames, clip.masks, clip.object_ids, np.stack([block(20, 0)] * frames) if ignored else None)


class TestSampling:
    def test_frames_are_neighbours_and_every_start_comes(self):
        sampling = ClipSampling(num_frames=4, reverse=0.0)
        starts = Counter()
        for seed in range(200):
            frames = sampling.frames(Blocks(), rng(seed))
            assert np.diff(frames).tolist() == [1, 1, 1]
            starts[frames[0]] += 1
        assert set(starts) == set(range(7))

    def test_time_is_reversed_as_often_as_it_says(self):
        sampling = ClipSampling(num_frames=4, reverse=0.3)
        backwards = sum(np.diff(sampling.frames(Blocks(), rng(seed)))[0] < 0 for seed in range(500))
        assert abs(backwards / 500 - 0.3) < 0.06

    def test_strides_are_drawn_and_made_to_fit(self):
        sampling = ClipSampling(num_frames=4, strides=(1, 3, 50), reverse=0.0)
        steps = {int(np.diff(sampling.frames(Blocks(), rng(seed)))[0]) for seed in range(50)}
        assert steps == {1, 3}

    def test_only_annotated_frames_are_taken(self):
        frames = {f for seed in range(30) for f in ClipSampling(3).frames(Blocks(12, step=4), rng(seed))}
        assert frames == {0, 4, 8}

    def test_short_videos_give_what_they_have(self):
        assert sorted(ClipSampling(8).frames(Blocks(3), rng())) == [0, 1, 2]
        assert ClipSampling(8).frames(Blocks(1), rng()) == [0]

    def test_objects_are_seen_in_the_first_frame(self):
        data = ClipDataset([Blocks()], ClipSampling(4, max_objects=3, reverse=0.0), num_clips=30)
        for clip in data:
            first = number_of(clip.frames[0])
            assert clip.object_ids == (("a", "b", "late") if first >= 3 else ("a", "b"))
            assert clip.masks[0].any(axis=(1, 2)).all()

    def test_no_more_objects_than_wanted_and_all_get_their_turn(self):
        data = ClipDataset([Blocks()], ClipSampling(2, max_objects=1), num_clips=60)
        assert {clip.object_ids for clip in data} == {("a",), ("b",), ("late",)}

    def test_a_clip_is_the_same_whenever_it_is_asked_for(self):
        def data(seed=0):
            return ClipDataset([Blocks()] * 2, ClipSampling(3), standard_augmentation(SIZE), num_clips=6, seed=seed)

        forwards, backwards = list(data()), [data()[index] for index in reversed(range(6))][::-1]
        for one, other in zip(forwards, backwards, strict=True):
            assert np.array_equal(one.frames, other.frames)
            assert np.array_equal(one.masks, other.masks)
        assert len({clip.frames.tobytes() for clip in [*forwards, *data(seed=1)]}) == 12

    def test_every_video_has_its_turn_before_the_first_comes_again(self):
        videos = [Blocks(1, name) for name in "abc"]
        for number, video in enumerate(videos):
            video.image = lambda frame, number=number: plain_image(number)
        data = ClipDataset(videos, ClipSampling(1), num_clips=7)
        assert [number_of(clip.frames) for clip in data] == [0, 1, 2, 0, 1, 2, 0]

    def test_views_in_a_row_are_of_one_video_which_is_opened_once(self):
        class Videos(list):
            opened = 0

            def __getitem__(self, index):
                self.opened += 1
                return super().__getitem__(index)

        videos = Videos(Blocks(8, name) for name in "ab")
        for number, video in enumerate(videos):
            video.image = lambda frame, number=number: plain_image(number)
        videos.opened = 0
        data = ClipDataset(videos, ClipSampling(1, max_objects=1), num_clips=12, clips_per_video=3)
        clips = list(data)
        assert [number_of(clip.frames) for clip in clips] == [0, 0, 0, 1, 1, 1] * 2
        assert videos.opened == 4
        assert any((clips[0].masks.shape != c.masks.shape) or (clips[0].masks != c.masks).any() for c in clips[1:3])

    def test_objects_that_return_are_sought_as_often_as_is_asked_for(self):
        class Hiding(Blocks):
            """Its object "a" cannot be seen in the sixth frame of ten."""

            def masks(self, frame):
                return {k: v for k, v in super().masks(frame).items() if (k, frame) != ("a", 5)}

        def clips(returning):
            sampling = ClipSampling(4, max_objects=1, reappearing=returning)
            return list(ClipDataset([Hiding()], sampling, num_clips=40))

        def share(found):
            return sum(bool(reappearing_objects(clip.masks)) for clip in found) / len(found)

        always = clips(1.0)
        assert share(always) == 1
        assert {clip.object_ids for clip in always} == {("a",)}
        assert share(clips(0.0)) < share(clips(0.5)) < 1

    @pytest.mark.parametrize(
        ("frames", "expected"),
        [
            ([2, 4, 6], ("b", [6, 8, 10])),  # in frames 4 and 5, "b" is out of sight
            ([5, 4, 3], ("b", [3, 2, 1])),
            ([7, 5, 3], None),  # the video begins after the third frame
            ([5, 6], ("b", [6, 7])),
            ([6, 7], None),  # nothing new
            ([5, 11], None),  # the video is over before a second frame
            ([3], None),
        ],
    )
    def test_a_clip_is_moved_to_where_an_object_comes_in_sight(self, frames, expected):
        video = Vanishing(13)
        moved = move_to_appearance(video.read(frames), frames, video.annotated, rng())
        assert moved == expected

    def test_objects_that_come_in_sight_are_sought_as_often_as_is_asked_for(self):
        def clips(appearing):
            sampling = ClipSampling(4, max_objects=1, reverse=0.0, appearing=appearing)
            return list(ClipDataset([Vanishing(13)], sampling, num_clips=40))

        def share(found):
            return sum(number_of(clip.frames[0]) == 6 and clip.object_ids == ("b",) for clip in found) / len(found)

        assert share(clips(1.0)) > 0.8  # unless no such frames are found
        assert share(clips(0.0)) < share(clips(0.5)) < share(clips(1.0))

    def test_clips_without_return_do_where_there_are_no_others(self):
        assert len(ClipDataset([Blocks()], ClipSampling(3, reappearing=1.0))[0].object_ids) > 0

    def test_another_video_takes_the_place_of_one_without_objects(self):
        class Empty(Blocks):
            def masks(self, frame):
                return {}

        data = ClipDataset([Empty(name="empty"), *[Blocks()] * 30], ClipSampling(2))
        assert len(data[0].object_ids) > 0
        with pytest.raises(ValueError, match="no objects were found in clips of 5 videos, the last of them empty"):
            ClipDataset([Empty(name="empty")], ClipSampling(2))[0]

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"num_frames": 0}, "at least 1, got 0 and 3"),
            ({"strides": ()}, "strides must be"),
            ({"strides": (0,)}, "strides must be"),
            ({"reverse": 2.0}, "reverse must be a probability"),
            ({"reappearing": -1.0}, "reappearing must be a probability, got -1"),
            ({"appearing": 3.0}, "appearing must be a probability, got 3"),
        ],
    )
    def test_names_the_setting_that_makes_no_sense(self, settings, message):
        with pytest.raises(ValueError, match=message):
            ClipSampling(**settings)

    def test_refuses_nothing_and_what_is_beyond(self):
        with pytest.raises(ValueError, match="videos is empty"):
            ClipDataset([])
        with pytest.raises(ValueError, match="clips_per_video must be at least 1, got 0"):
            ClipDataset([Blocks()], clips_per_video=0)
        with pytest.raises(IndexError, match=r"0\.\.0"):
            ClipDataset([Blocks()])[1]


class TestResizing:
    def test_a_mask_keeps_what_is_covered_by_half(self):
        mask = np.zeros((1, 8, 8), bool)
        mask[0, :4, :3] = True
        small = resize_masks(mask, (2, 2))
        assert small.shape == (1, 2, 2)
        assert small[0].tolist() == [[True, False], [False, False]]

    def test_masks_frames_and_ignored_pixels_stay_together(self):
        clip = resize_clip(clip_of(ignored=True), (48, 64))
        assert clip.frames.shape == (3, 48, 64, 3)
        assert clip.masks.shape == (3, 2, 48, 64)
        assert np.array_equal(clip.masks[0, 0], np.kron(block(2, 0), np.ones((2, 2))) > 0)
        assert np.array_equal(clip.ignored[0], np.kron(block(20, 0), np.ones((2, 2))) > 0)

    def test_clips_without_objects_can_be_resized(self):
        empty = Clip(plain_image(0)[None], np.zeros((1, 0, *SIZE), bool), ())
        assert resize_clip(empty, (10, 10)).masks.shape == (1, 0, 10, 10)


class TestAugmentation:
    def test_flipping_mirrors_everything(self):
        clip = clip_of(ignored=True)
        flipped = Flip(1.0)(clip, rng())
        for name in ("masks", "ignored"):
            assert np.array_equal(getattr(flipped, name), getattr(clip, name)[..., ::-1])
        assert np.array_equal(flipped.frames, clip.frames[:, :, ::-1])
        assert Flip(0.0)(clip, rng()) is clip

    def test_all_frames_are_cut_alike(self):
        """Images that show where they were cut from: masks and frames agree, frame by frame."""
        y, x = np.indices(SIZE)
        frames = np.stack([np.stack([x * 7, y * 10, 0 * x], axis=-1).astype(np.uint8)] * 3)
        masks = (frames[..., 0] > 60) & (frames[..., 1] > 60)
        clip = Clip(frames, masks[:, None], ("corner",))
        for seed in range(10):
            part = ResizedCrop((48, 64), area=(0.3, 0.6))(clip, rng(seed))
            assert part.frames.shape == (3, 48, 64, 3)
            assert np.array_equal(part.frames[0], part.frames[2])
            assert np.array_equal(part.masks[0], part.masks[2])
            seen = (part.frames[..., 0] > 64) & (part.frames[..., 1] > 64)
            assert (part.masks[:, 0] == seen).mean() > 0.9

    def test_parts_have_the_area_that_is_wanted(self):
        sizes = []
        for seed in range(100):
            part = ResizedCrop(SIZE, area=(0.25, 0.5), aspect=(1.0, 1.0))._cut(clip_of(), rng(seed))
            sizes.append(part.frames[0, ..., 0].size / (SIZE[0] * SIZE[1]))
        assert 0.2 < min(sizes) < 0.3
        assert 0.45 < max(sizes) < 0.55

    def test_parts_hold_an_object(self):
        clip = clip_of().with_objects([1])
        for seed in range(30):
            assert ResizedCrop(SIZE, area=(0.1, 0.2))(clip, rng(seed)).masks[0].any()

    def test_colours_change_for_the_whole_clip_and_masks_do_not(self):
        clip = clip_of()
        jittered = ColourJitter(grey=0.0)(clip, rng(1))
        assert jittered.masks is clip.masks
        same = Clip(np.stack([plain_image(9)] * 3), clip.masks, clip.object_ids)
        levels = ColourJitter(brightness=0.5, contrast=0.0, per_frame=0.1)(same, rng(3)).frames.mean(axis=(1, 2, 3))
        assert abs(levels.mean() - 95) > 5
        assert 0 < np.ptp(levels) < abs(levels.mean() - 95)

    def test_no_jitter_is_no_change(self):
        frames = rng().integers(0, 256, (1, 8, 8, 3)).astype(np.uint8)
        clip = Clip(frames, np.ones((1, 1, 8, 8), bool), ("a",))
        assert np.array_equal(ColourJitter(0, 0, 0, 0)(clip, rng()).frames, frames)

    def test_grey_has_no_colours(self):
        frames = rng().integers(0, 256, (1, 8, 8, 3)).astype(np.uint8)
        clip = Clip(frames, np.ones((1, 1, 8, 8), bool), ("a",))
        grey = ColourJitter(grey=1.0)(clip, rng()).frames
        assert np.ptp(grey.astype(int), axis=-1).max() <= 1

    def test_steps_follow_one_another(self):
        clip = clip_of()
        twice = Compose((Flip(1.0), Flip(1.0)))(clip, rng())
        assert np.array_equal(twice.frames, clip.frames)


class TestCollation:
    processor = Sam2ImageProcessor(size=64)

    def test_clips_become_a_batch(self):
        batch = ClipCollator(self.processor)([clip_of(ignored=True), clip_of().with_objects([1])])
        assert batch["pixel_values"].shape == (2, 3, 3, 64, 64)
        expected = self.processor([plain_image(frame) for frame in range(3)], return_tensors="pt")["pixel_values"]
        assert torch.equal(batch["pixel_values"][0], expected)
        labels = batch["labels"]
        assert (labels.shape, labels.dtype) == ((2, 3, 2, 64, 64), torch.int8)
        assert labels[0].unique().tolist() == [IGNORED_LABEL, 0, 1]
        assert labels[1, :, 0].unique().tolist() == [0, 1]
        assert (labels[1, :, 1] == IGNORED_LABEL).all()
        area = (labels[1, 0, 0] == 1).float().mean()
        assert float(area) == pytest.approx(block(14, 2).mean(), rel=0.1)

    def test_the_number_of_objects_can_be_fixed(self):
        assert ClipCollator(self.processor, 5)([clip_of()])["labels"].shape[2] == 5

    def test_clips_of_a_batch_have_one_length(self):
        with pytest.raises(ValueError, match=r"equally many frames, got \[2, 3\]"):
            ClipCollator(self.processor)([clip_of(2), clip_of(3)])

    def test_images_come_with_a_prompt_for_every_object(self):
        torch.manual_seed(0)
        for uses_boxes in (True, False):
            collator = ImageCollator(self.processor, box=float(uses_boxes))
            batch = collator([clip_of(), clip_of().with_objects([0])])
            assert batch["multimask_output"] == (not uses_boxes)
            assert batch["pixel_values"].shape == (2, 3, 64, 64)
            assert batch["labels"].shape == (2, 2, 64, 64)
            points, labels = batch["input_points"], batch["input_labels"]
            assert points.shape == (2, 2, 2 if uses_boxes else 1, 2)
            assert labels[0].tolist() == [[2, 3] if uses_boxes else [1]] * 2
            assert (labels[1, 1] == PAD_VALUE).all()
            assert (points[1, 1] == PAD_VALUE).all()
            x, y = points[0, 1, 0].long()
            assert uses_boxes or batch["labels"][0, 1, y, x] == 1

    @pytest.mark.parametrize("as_pil", [True, False])
    def test_rows_of_a_data_set_are_clips_too(self, as_pil):
        clip = clip_of()
        numbers = [frame[0] * 1 + frame[1] * 2 for frame in clip.masks]
        convert = (lambda array: Image.fromarray(array.astype(np.uint8))) if as_pil else np.asarray
        video = {"frames": [convert(frame) for frame in clip.frames], "masks": [convert(n) for n in numbers]}
        read = read_clip(video)
        assert np.array_equal(read.frames, clip.frames)
        assert np.array_equal(read.masks, clip.masks)
        row = {"image": convert(clip.frames[0]), "masks": [convert(mask * 255) for mask in clip.masks[0]], "name": "x"}
        assert np.array_equal(read_clip(row).masks, clip.masks[:1])
        assert np.array_equal(read_clip({**row, "masks": clip.masks[0]}).masks, clip.masks[:1])

    def test_rows_without_images_or_masks_are_refused(self):
        with pytest.raises(ValueError, match=r"""a row must hold "masks" and either .* got \['masks'\]"""):
            read_clip({"masks": []})
        with pytest.raises(ValueError, match="an entry for each of 2 frames, got 1"):
            read_clip({"frames": [plain_image(0)] * 2, "masks": [block(0, 0)]})
