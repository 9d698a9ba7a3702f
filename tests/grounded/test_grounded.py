import json

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from tiny_checkpoint import save_tiny_checkpoint

import sam2_hf
from sam2_hf import bundled_checkpoint, grounded
from sam2_hf.training.synthetic.world import SyntheticVideos

SMALL = {"checkpoint": bundled_checkpoint(), "image_size": 192}


class PerfectDetector:
    """Gives the boxes of the objects of a synthetic clip; frames are told by their pixels."""

    def __init__(self, video, frames, names, forget=()):
        self.boxes = {}
        self.asked = []
        self.frames, self.forget = [frame.tobytes() for frame in frames], forget
        for index in range(len(frames)):
            masks = video.masks(index)
            self.boxes[index] = [(box_of(mask), 0.9, names[number]) for number, mask in masks.items()]

    def __call__(self, image, candidate_labels):
        index = self.frames.index(np.asarray(image).tobytes())
        self.asked.append((index, candidate_labels))
        return [] if index in self.forget else self.boxes[index]


def box_of(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


@pytest.fixture(scope="module")
def world():
    """Five frames of a clip with two objects, and a detector that is right."""
    video = SyntheticVideos(20, split="validation", objects=(2, 2), length=5, distractors=0)[3]
    frames = video.render(range(5)).frames
    return video, frames, PerfectDetector(video, frames, ["a cup", "a plate"])


def random_owl(folder):
    """A zero-shot detector of transformers with random weights."""
    words = ["!", "<|endoftext|>", "<|startoftext|>", "a</w>", "c", "u", "p", "cup</w>"]
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    # The one that does without torchvision has a name of its own in newer versions.
    name = "OwlViTImageProcessorPil" if hasattr(transformers, "OwlViTImageProcessorPil") else "OwlViTImageProcessor"
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    tokens = {"vocab_size": 8, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
    config = transformers.OwlViTConfig(
        text_config={**sizes, **tokens, "max_position_embeddings": 16},
        vision_config={**sizes, "image_size": 32, "patch_size": 16},
        projection_dim=16,
    )
    torch.manual_seed(0)
    return transformers.pipeline(
        "zero-shot-object-detection",
        model=transformers.OwlViTForObjectDetection(config).eval(),
        tokenizer=tokenizer,
        image_processor=getattr(transformers, name)(size={"height": 32, "width": 32}),
    )


def iou(mask, truth):
    return (mask & truth).sum() / (mask | truth).sum()


def test_the_objects_of_an_image_have_the_detectors_names(world):
    video, frames, detector = world
    result = grounded.segment(frames[0], ["a cup", "a plate"], detector=detector, checkpoint=bundled_checkpoint())
    assert sorted(result.names) == ["a cup 1", "a plate 1"]
    truth = video.masks(0)
    for name, number in (("a cup 1", 0), ("a plate 1", 1)):
        assert iou(result[name].mask, truth[number]) > 0.7
        assert result[name].extra == {"label": name[:-2], "detection_score": 0.9}
    boxes = {"cup": box_of(truth[0])}
    alone = sam2_hf.segment(frames[0], boxes=boxes, checkpoint=bundled_checkpoint())
    assert iou(alone["cup"].mask, result["a cup 1"].mask) > 0.99


def test_an_image_without_detections_is_a_result_without_objects():
    image = Image.new("RGB", (60, 40))
    result = grounded.segment(image, "a cup", detector=lambda image, candidate_labels: [], checkpoint=None)
    assert len(result) == 0 and result.overlay().size == (60, 40)


def test_objects_of_a_clip_are_tracked_and_not_admitted_again(world):
    video, frames, detector = world
    detector.asked.clear()
    tracks = grounded.track(frames, ["a cup", "a plate"], detector=detector, every=2, **SMALL)
    assert detector.asked == [(index, ["a cup", "a plate"]) for index in (0, 2, 4)]
    assert set(tracks.names) == {"a cup 1", "a plate 1"} and len(tracks) == 5
    for frame in tracks:
        truth = video.masks(frame.frame)
        for name, number in (("a cup 1", 0), ("a plate 1", 1)):
            assert iou(frame[name].mask, truth[number]) > 0.6
    assert tracks[4]["a cup 1"].extra["label"] == "a cup"


@pytest.mark.slow
def test_what_a_detector_finds_late_is_followed_back(world):
    video, frames, _ = world
    late = PerfectDetector(video, frames, ["a cup", "a plate"], forget={0})
    tracks = grounded.track(frames, ["a cup"], detector=late, every=2, backward=True, **SMALL)
    assert all(set(frame.names) == {"a cup 1", "a plate 1"} for frame in tracks)


def test_a_stream_is_tracked_frame_by_frame(world):
    _, frames, detector = world
    stream = grounded.track(iter(frames), ["a cup"], detector=detector, every=3, **SMALL)
    assert [set(frame.names) for frame in stream] == [{"a cup 1", "a plate 1"}] * 5
    with pytest.raises(ValueError, match="only be tracked forward"):
        grounded.track(iter(frames), ["a cup"], detector=detector, backward=True)


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return random_owl(tmp_path_factory.mktemp("owl"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny", video=True)


class TestCalls:
    """With a random detector of transformers and a random SAM 2: what comes out is of no use, the calls are right."""

    def test_of_a_pipeline_of_transformers(self, detector, folder):
        image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))
        boxes = [one["box"] for one in detector(image, candidate_labels=["a cup", "a plate"])]
        # Random weights give boxes beside the image, too, and boxes without an area.
        found = [box for box in boxes if box["xmin"] < min(box["xmax"], 60) and box["ymin"] < min(box["ymax"], 40)]
        result = grounded.segment(image, ["a cup", "a plate"], detector=detector, checkpoint=folder)
        assert 0 < len(found) == len(result) and {item.extra["label"] for item in result} <= {"a cup", "a plate"}
        settings = {"checkpoint": folder, "every": 2, "covered": 1.0, "same": 1.0, "least_area": 0}
        tracks = grounded.track([image] * 3, ["a cup"], detector=detector, **settings)
        assert len(tracks) == 3 and all(str(name).startswith("a cup ") for name in tracks.names)

    def test_of_a_function_without_labels(self, folder):
        frames = np.random.default_rng(0).integers(0, 255, (3, 40, 60, 3), np.uint8)
        found = {"boxes": torch.tensor([[5.0, 5, 30, 30], [20, 10, 55, 35]]), "scores": [0.9, 0.8], "labels": [1, 2]}
        result = grounded.segment(frames[0], detector=lambda image: found, checkpoint=folder)
        assert result.names == ["1 1", "2 1"]
        tracks = grounded.track(frames, detector=lambda image: found, checkpoint=folder, covered=1.0, least_area=0)
        assert len(tracks) == 3

    @pytest.mark.parametrize("labels", [[], [""], [1], ""])
    def test_refuse_labels_that_are_no_texts(self, labels):
        with pytest.raises(ValueError, match="labels must be texts"):
            grounded.segment(np.zeros((8, 8, 3), np.uint8), labels, detector=lambda image: [])

    def test_refuse_settings_of_mask_generation(self, folder):
        frames = np.zeros((2, 8, 8, 3), np.uint8)
        with pytest.raises(TypeError, match="points_per_crop is a setting of mask generation"):
            grounded.track(frames, ["a"], detector=lambda image: [], checkpoint=folder, points_per_crop=3)
