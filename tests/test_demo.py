"""The demo: every promise of its two command line options, on a tiny checkpoint."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tiny import tiny_config
from tiny_checkpoint import save_tiny_checkpoint

from sam2_hf.demo import clips, images
from sam2_hf.demo.__main__ import main
from sam2_hf.demo.scene import CLICK, SIZE, draw_scene
from sam2_hf.demo.weights import random_model
from sam2_hf.image_processing_sam2 import Sam2ImageProcessor
from sam2_hf.video_source import open_video
from sam2_hf.video_writing import write_video


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return str(save_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint")))


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.effect_noise((90, 70), 80).convert("RGB").save(path)
    return str(path)


@pytest.fixture
def small_random_model(monkeypatch):
    """Puts a tiny architecture in the place of the full-size one that the demo draws random weights for."""
    size = {"height": 128, "width": 128}
    monkeypatch.setattr(images.Sam2Config, "from_preset", lambda name: tiny_config())
    monkeypatch.setattr(images, "Sam2ImageProcessor", lambda: Sam2ImageProcessor(size=size))
    # Logits are sums over the model's width, and so are smaller in a narrow model.
    monkeypatch.setitem(images.RANDOM_CUTTING, "mask_threshold", 0.2)


def test_without_arguments_it_draws_a_picture_and_says_that_weights_are_random(small_random_model, tmp_path, capsys):
    assert main(["--output", str(tmp_path / "new" / "folder"), "--points-per-side", "3"]) == 0
    printed = capsys.readouterr().out
    assert "RANDOM WEIGHTS" in printed and "drawn by the demo" in printed
    everything = next(line for line in printed.splitlines() if line.startswith("Everything"))
    assert int(everything.split()[1]) > 0
    for name in ("everything.png", "click.png"):
        with Image.open(tmp_path / "new" / "folder" / name) as result:
            assert result.size == SIZE
            assert np.abs(np.asarray(result, dtype=int) - np.asarray(draw_scene(), dtype=int)).max() > 50


def test_photo_and_checkpoint_are_those_given(checkpoint, photo, tmp_path, capsys):
    assert main(["--image", photo, "--checkpoint", checkpoint, "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert photo in printed and checkpoint in printed and "90 x 70" in printed
    assert "RANDOM WEIGHTS" not in printed
    assert "One click at x=45, y=35" in printed
    with Image.open(tmp_path / "click.png") as result:
        assert result.size == (90, 70)


def test_click_is_where_it_was_asked_for(checkpoint, photo, tmp_path, capsys):
    arguments = ["--image", photo, "--checkpoint", checkpoint, "--output", str(tmp_path), "--points-per-side", "2"]
    main([*arguments, "--click", "10", "60"])
    assert "from 4 clicks" in (printed := capsys.readouterr().out) and "x=10, y=60" in printed
    with Image.open(tmp_path / "click.png") as result:
        red, green, blue = result.getpixel((10, 60))
    assert green > red and green > blue


def test_table_holds_what_the_model_said(checkpoint, photo):
    subject = images.load_subject(checkpoint)
    found = images.segment_click(subject, Image.open(photo), (45, 35))
    assert found.masks.shape == (3, 70, 90) and found.masks.dtype == bool
    assert found.scores == sorted(found.scores, reverse=True)
    for (number, score, area, box), mask in zip(found.rows(), found.masks, strict=True):
        assert score == found.scores[number - 1] and area == mask.sum()
        if box is not None:
            left, top, right, bottom = box
            assert mask[top : bottom + 1, left : right + 1].sum() == area
            assert mask[top].any() and mask[bottom].any() and mask[:, left].any() and mask[:, right].any()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--image", "no_such_picture.jpg"], "no_such_picture.jpg"),
        (["--click", "5000", "3"], "outside the picture of 960 x 640"),
        (["--checkpoint", "./no_such_folder"], "no_such_folder"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(arguments, complaint, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert complaint in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_scene_is_the_same_every_time_and_has_an_object_under_the_click():
    scene = draw_scene()
    assert scene.size == SIZE and scene.mode == "RGB"
    assert np.array_equal(scene, draw_scene())
    assert not np.array_equal(scene, draw_scene(seed=1))
    red, green, blue = scene.getpixel(CLICK)
    assert red > 2 * green and red > 2 * blue


def test_random_model_is_seeded_and_leaves_the_callers_generator_alone():
    import torch

    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first, again, other = (random_model(tiny_config(), seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    ground = np.full((64, 96, 3), 90, dtype=np.uint8)
    frames = [ground.copy() for _ in range(6)]
    for index, frame in enumerate(frames):
        frame[20:44, 30 + 3 * index : 60 + 3 * index] = (220, 60, 40)
    write_video(path, frames, fps=12.0)
    return str(path)


def test_clip_is_written_with_the_mask_of_the_click(clip, tmp_path, capsys):
    checkpoint = str(save_tiny_checkpoint(tmp_path / "video", video=True))
    assert main(["--video", clip, "--checkpoint", checkpoint, "--output", str(tmp_path), "--click", "45", "30"]) == 0
    printed = capsys.readouterr().out
    assert "first of 6 frames" in printed and "RANDOM WEIGHTS" not in printed
    rows = [line.split() for line in printed.splitlines() if line.split() and line.split()[0].isdigit()]
    with open_video(clip) as before, open_video(tmp_path / "tracked.mp4") as after:
        assert (len(after), after.size, after.fps) == (6, before.size, before.fps)
        difference = (after[5].int() - before[5].int()).abs().sum(0) > 60  # colours of a mask, not of compression
    assert difference.sum() > 0 and int(rows[-1][1]) > 0


def test_clip_with_random_weights_says_so_and_stops_early(clip, tmp_path, capsys, monkeypatch):
    size = {"height": 128, "width": 128}
    monkeypatch.setattr(clips.Sam2VideoConfig, "from_preset", lambda name: tiny_config(video=True))
    monkeypatch.setattr(clips, "Sam2ImageProcessor", lambda: Sam2ImageProcessor(size=size))
    assert main(["--video", clip, "--output", str(tmp_path), "--frames", "3"]) == 0
    printed = capsys.readouterr().out
    assert "RANDOM WEIGHTS" in printed and "first of 3 frames" in printed


def test_missing_clip_is_named(checkpoint, tmp_path, capsys):
    folder = str(save_tiny_checkpoint(tmp_path / "video", video=True))
    with pytest.raises(SystemExit):
        main(["--video", str(tmp_path / "none.mp4"), "--checkpoint", folder, "--output", str(tmp_path)])
    assert "none.mp4" in capsys.readouterr().err


def test_the_clip_itself_is_never_overwritten(clip, tmp_path, capsys):
    folder = str(save_tiny_checkpoint(tmp_path / "video", video=True))
    original = (tmp_path / "clip.mp4").rename(tmp_path / "tracked.mp4")
    before = original.read_bytes()
    with pytest.raises(SystemExit):
        main(["--video", str(original), "--checkpoint", folder, "--output", str(tmp_path)])
    assert "overwritten" in capsys.readouterr().err and original.read_bytes() == before
