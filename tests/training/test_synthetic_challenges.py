"""Videos in which tracking is hard, and memory policies measured on them."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import tiny_video_model

from sam2_hf.image_processing_sam2 import Sam2ImageProcessor
from sam2_hf.processing_sam2_video import Sam2VideoProcessor
from sam2_hf.training.evaluation.policy_evaluation import as_table, evaluate_policies
from sam2_hf.training.evaluation.tracking_evaluation import evaluate_tracking
from sam2_hf.training.synthetic.challenges import CHALLENGES, ChallengeVideos


def hidden_for(video) -> int:
    """The most frames in a row in which an object that was visible before and after is hidden."""
    longest = 0
    for seen in video.read(range(video.num_frames)).masks.any(axis=(2, 3)).T:
        frames = np.flatnonzero(seen)
        longest = max(longest, int(np.diff(frames, prepend=frames[:1]).max(initial=1)) - 1)
    return longest


@pytest.mark.parametrize("kind", ["hidden 10", "hidden 30", "exits"])
def test_objects_are_gone_for_as_long_as_the_kind_says(kind) -> None:
    video = ChallengeVideos(1, kinds=[kind], size=(64, 64))[0]
    frames = 20 if kind == "exits" else int(kind.split()[1])
    assert frames <= hidden_for(video) <= frames + 24


def test_look_alikes_have_one_appearance() -> None:
    sprites = [actor.sprite for actor in ChallengeVideos(1, kinds=["look-alikes"])[0].scene.actors]
    assert len(sprites) >= 3 and all(sprite is sprites[0] for sprite in sprites)


def test_kinds_take_turns_and_splits_differ() -> None:
    videos = ChallengeVideos(2, split="test")
    assert [videos[index].name for index in (0, 5, 6)] == ["look-alikes / 0", "exits / 0", "look-alikes / 1"]
    assert len(videos) == 2 * len(CHALLENGES)
    assert (videos[0].image(0) != ChallengeVideos(2, split="validation")[0].image(0)).any()
    with pytest.raises(ValueError, match=r"kinds must be some of .* got .'snow"):
        ChallengeVideos(1, kinds=["snow"])


def test_policies_are_measured_on_the_same_videos() -> None:
    model, processor = tiny_video_model(), Sam2VideoProcessor(Sam2ImageProcessor(size={"height": 128, "width": 128}))
    videos = [ChallengeVideos(1, kinds=["fast"], size=(64, 64))[0]]
    videos[0].num_frames, videos[0].annotated = 6, range(6)
    found = evaluate_policies(model, processor, videos, {"sam2": "sam2", "other": {"name": "visible"}})
    (plain,) = ([score for scores in found["sam2"].scores.values() for score in scores],)
    assert plain == list(evaluate_tracking(model, processor, videos))
    header, _, *rows = as_table(found).splitlines()
    assert "J&F fast" in header and [row.split(" | ")[0] for row in rows] == ["| sam2", "| other"]
    assert rows[0].endswith("1.00 |") and len(found["other"].seconds) == 1
