from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_datasets import Blocks, block
from tiny import tiny_image_model, tiny_video_model

from sam2_hf import Sam2ImageProcessor, Sam2Processor, Sam2VideoProcessor
from sam2_hf.training.evaluation import prompt_evaluation
from sam2_hf.training.evaluation.metrics import summarise
from sam2_hf.training.evaluation.prompt_evaluation import evaluate_prompts
from sam2_hf.training.evaluation.tracking_evaluation import evaluate_tracking
from sam2_hf.training.synthetic.world import SyntheticVideos


class Oracle:
    """Stands in for the decoder: knows the truth, and after k clicks has all but 10 / k rows of pixels of it."""

    def __init__(self):
        self.seen = []

    def __call__(self, model, embeddings, clicks, logits, truth):
        count = clicks.points.shape[1]
        self.seen.append((clicks, logits))
        masks = truth.clone()
        if not bool((clicks.labels == 2).any()):
            masks[:, : 10 // count] = False
        return masks, torch.full((len(truth), 1, 4, 4), float(count))


@pytest.fixture
def oracle(monkeypatch):
    found = Oracle()
    monkeypatch.setattr(prompt_evaluation, "_predict", found)
    return found


class TestPrompts:
    def measure(self, images, clicks=(1, 2, 5)):
        model = tiny_image_model()
        return evaluate_prompts(model, Sam2Processor(Sam2ImageProcessor(size=128)), images, clicks)

    def test_scores_are_averages_over_all_objects(self, oracle):
        scores = self.measure([Blocks(), Blocks()])
        # Rows 2 to 7 and 14 to 19: of the first object, clicks leave nothing, then 3 of 6 rows, then all of them.
        assert scores == {"1 click": 0.5, "2 clicks": 0.75, "5 clicks": 1.0, "box": 1.0}

    def test_clicks_go_to_the_middle_of_the_error_and_each_starts_from_the_mask_before(self, oracle):
        self.measure([Blocks()])
        clicks, logits = zip(*oracle.seen, strict=True)
        assert clicks[0].labels.tolist() == [[1], [1]]
        assert clicks[0].points[:, 0].tolist() == [[2, 4], [4, 16]]
        assert clicks[1].points[0, 1].tolist() == [2, 4]  # it was missed altogether
        assert clicks[1].labels[1].tolist() == [1, 0]  # and the other one was right
        assert clicks[4].points.shape[1] == 5
        assert [None if given is None else float(given[0, 0, 0, 0]) for given in logits[:5]] == [None, 1, 2, 3, 4]
        assert logits[5] is None
        assert clicks[5].points.tolist() == [[[0, 2], [7, 7]], [[2, 14], [9, 19]]]

    @pytest.mark.parametrize("make", [tiny_image_model, tiny_video_model])
    def test_runs_with_either_model(self, make):
        processor = Sam2Processor(Sam2ImageProcessor(size=128))
        scores = evaluate_prompts(make(), processor, SyntheticVideos(1, moving=False, size=(96, 64)))
        assert list(scores) == ["1 click", "3 clicks", "5 clicks", "box"]
        assert all(0 <= value <= 1 for value in scores.values())

    def test_coordinates_are_those_of_the_image(self):
        """The same image at another size, and the prompts with it, give about the same masks."""
        model, processor = tiny_image_model(), Sam2Processor(Sam2ImageProcessor(size=128))

        class Doubled(Blocks):
            def image(self, frame):
                return self.twice(super().image(frame))

            def masks(self, frame):
                return {obj_id: self.twice(mask) for obj_id, mask in super().masks(frame).items()}

            @staticmethod
            def twice(array):
                return array.repeat(2, axis=0).repeat(2, axis=1)

        small, large = evaluate_prompts(model, processor, [Blocks()]), evaluate_prompts(model, processor, [Doubled()])
        assert small == pytest.approx(large, abs=0.05)


class TestTracking:
    def score(self, videos, prompt="mask", model=None):
        processor = Sam2VideoProcessor(Sam2ImageProcessor(size=128))
        return list(evaluate_tracking(model or tiny_video_model(), processor, videos, prompt))

    @pytest.mark.parametrize("prompt", ["mask", "click", "box"])
    def test_every_object_of_every_video_gets_a_score(self, prompt):
        scores = self.score([Blocks(5, "one"), Blocks(3, "two")], prompt)
        assert [(score.video, score.object_id) for score in scores] == [
            ("one", "a"),
            ("one", "b"),
            ("one", "late"),
            ("two", "a"),
            ("two", "b"),
        ]
        assert all(0 <= value <= 1 for score in scores for value in (score.region, score.contour, score.visibility))
        assert 0 <= summarise(scores)["J&F"] <= 1

    def answer_with(self, monkeypatch, masks_of_frame, log=None):
        """Makes the model find given masks: a dict of (H, W) bool for each frame."""

        def propagate(model, session):
            ids = session.obj_ids
            for frame in range(session.num_frames):
                found = [masks_of_frame(frame).get(obj_id, np.zeros((24, 32), bool)) for obj_id in ids]
                logits = torch.from_numpy(np.stack(found)[:, None]).float() * 20 - 10
                if log is not None:
                    log.append({obj_id: session.tracks[obj_id].prompts for obj_id in ids})
                yield SimpleNamespace(frame_idx=frame, object_ids=ids, pred_masks=logits)

        monkeypatch.setattr("sam2_hf.Sam2VideoModel.propagate_in_video_iterator", propagate)

    def test_perfect_masks_score_one(self, monkeypatch):
        video = Blocks(6)
        self.answer_with(monkeypatch, video.masks)
        assert [summarise([score]) for score in self.score([video])] == [
            {"J": 1.0, "F": 1.0, "J&F": 1.0, "visibility": 1.0}
        ] * 3

    def test_first_and_last_frame_and_frames_before_an_object_do_not_count(self, monkeypatch):
        video = Blocks(6)
        nothing = {"a": np.zeros((24, 32), bool)}
        wrong = {0: nothing, 5: nothing, 1: {"late": block(0, 0)}, 2: {"late": block(0, 0)}}
        self.answer_with(monkeypatch, lambda frame: {**video.masks(frame), **wrong.get(frame, {})})
        assert all(score.both == 1 for score in self.score([video]))

    def test_what_is_wrong_is_counted_frame_by_frame(self, monkeypatch):
        video = Blocks(6)
        self.answer_with(
            monkeypatch, lambda frame: {**video.masks(frame), **({"a": block(0, 20)} if frame == 2 else {})}
        )
        scores = {score.object_id: score for score in self.score([video])}
        assert scores["a"].region == 3 / 4
        assert scores["a"].visibility == 1
        assert scores["b"].region == 1

    def mistake_for_a(self, monkeypatch, video, mistaken, frames):
        """Makes the model find everything, but in some frames hold `a` for `mistaken`, and more certainly so."""

        def propagate(model, session):
            for frame in range(session.num_frames):
                masks = video.masks(frame)
                found = {obj_id: masks.get(obj_id, np.zeros((24, 32), bool)) * 10.0 - 5 for obj_id in session.obj_ids}
                if frame in frames:
                    found[mistaken] = masks["a"] * 20.0 - 10
                logits = torch.from_numpy(np.stack(list(found.values()))[:, None])
                yield SimpleNamespace(frame_idx=frame, object_ids=session.obj_ids, pred_masks=logits)

        monkeypatch.setattr("sam2_hf.Sam2VideoModel.propagate_in_video_iterator", propagate)

    @pytest.mark.parametrize("exclusive", [False, True])
    def test_masks_that_overlap_must_agree_where_a_pixel_has_one_owner(self, monkeypatch, exclusive):
        video = Blocks(6)
        video.exclusive = exclusive
        self.mistake_for_a(monkeypatch, video, "b", frames=range(6))
        scores = {score.object_id: score for score in self.score([video])}
        assert (scores["a"].region, scores["a"].visibility) == ((0, 0) if exclusive else (1, 1))
        assert (scores["b"].region, scores["late"].region) == (0, 1)

    def test_an_object_that_was_not_seen_yet_takes_no_pixel_from_another(self, monkeypatch):
        video = Blocks(6)
        video.exclusive = True
        self.mistake_for_a(monkeypatch, video, "late", frames=range(3))
        assert all(score.both == score.visibility == 1 for score in self.score([video]))

    def test_objects_are_prompted_once_where_they_are_first_seen(self, monkeypatch):
        log = []
        self.answer_with(monkeypatch, Blocks(6).masks, log)
        self.score([Blocks(6)], "click")
        assert {obj_id: list(prompts) for obj_id, prompts in log[0].items()} == {"a": [0], "b": [0], "late": [3]}
        (late,) = log[0]["late"].values()
        assert late.labels.tolist() == [1]
        np.testing.assert_allclose(late.points[0], [21 * 128 / 32, 10 * 128 / 24], rtol=1e-4)

    def test_videos_with_masks_on_some_frames_are_measured_there(self, monkeypatch):
        video = Blocks(9, step=4)
        asked = []
        self.answer_with(monkeypatch, lambda frame: asked.append(frame) or video.masks(frame))
        scores = self.score([video])
        assert sorted(set(asked)) == list(range(9))
        assert all(score.both == 1 for score in scores)

    def test_videos_without_objects_have_no_score(self):
        class Empty(Blocks):
            def masks(self, frame):
                return {}

        assert self.score([Empty(4)]) == []
