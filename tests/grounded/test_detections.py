from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sam2_hf.grounded import Detection, read_detections

SIZE = (100, 200)
CUP = Detection((10.0, 20.0, 60.0, 80.0), 0.5, "cup")
PLATE = Detection((100.0, 0.0, 150.0, 40.0), 0.75, "plate")
DICTS = [
    {"score": 0.5, "label": "cup", "box": {"xmin": 10, "ymin": 20, "xmax": 60, "ymax": 80}},
    {"score": 0.75, "label": "plate", "box": {"xmin": 100, "ymin": 0, "xmax": 150, "ymax": 40}},
]
BOXES = [[10, 20, 60, 80], [100, 0, 150, 40]]


@pytest.mark.parametrize(
    "found",
    [
        DICTS,
        [DICTS],
        [(BOXES[0], 0.5, "cup"), (np.array(BOXES[1]), np.float32(0.75), "plate")],
        [
            {"box": box, "score": score, "label": label}
            for box, score, label in zip(BOXES, (0.5, 0.75), ("cup", "plate"), strict=True)
        ],
        {"boxes": torch.tensor(BOXES), "scores": torch.tensor([0.5, 0.75]), "labels": ["cup", "plate"]},
        [{"boxes": torch.tensor(BOXES), "scores": [0.5, 0.75], "text_labels": ["cup", "plate"], "labels": [0, 1]}],
        SimpleNamespace(
            xyxy=np.array(BOXES, np.float32),
            confidence=np.array([0.5, 0.75]),
            class_id=np.array([3, 4]),
            data={"class_name": np.array(["cup", "plate"])},
        ),
    ],
)
def test_every_form_is_read(found):
    assert read_detections(found, SIZE) == [PLATE, CUP]


def test_numbers_are_labels_where_there_are_no_names():
    plain = SimpleNamespace(xyxy=np.array(BOXES), confidence=None, class_id=np.array([3, 4]), data={})
    assert [(item.label, item.score) for item in read_detections(plain, SIZE)] == [("3", 1.0), ("4", 1.0)]


def test_boxes_are_cut_to_the_image_and_what_is_outside_is_left_out():
    found = [([-5, -5, 400, 50], 0.9, "a"), ([300, 0, 400, 50], 0.9, "b"), ([10, 10, 10, 40], 0.9, "c")]
    assert read_detections(found, SIZE) == [Detection((0.0, 0.0, 200.0, 50.0), 0.9, "a")]


def test_low_scores_are_left_out():
    assert read_detections(DICTS, SIZE, 0.6) == [PLATE]


def test_nothing_is_nothing():
    assert read_detections([], SIZE) == [] == read_detections({"boxes": [], "scores": [], "labels": []}, SIZE)


@pytest.mark.parametrize(
    ("found", "error", "message"),
    [
        (None, TypeError, "must return a list of detections, got NoneType"),
        ("cup", TypeError, "got str"),
        ([1, 2], ValueError, "detection 0 must be a dictionary"),
        ([{"score": 1}], ValueError, "must have boxes, scores and labels, got score"),
        ([([1, 2, 3], 0.5, "cup")], ValueError, "the box of detection 0 must be"),
        ([([1, 2, 3, float("nan")], 0.5, "cup")], ValueError, "the box of detection 0 must be"),
        ([(BOXES[0], "high", "cup")], ValueError, "the score of detection 0 must be a number"),
        ({"boxes": BOXES, "scores": [1.0], "labels": ["cup"]}, ValueError, "equally many"),
    ],
)
def test_other_forms_are_refused(found, error, message):
    with pytest.raises(error, match=message):
        read_detections(found, SIZE)
