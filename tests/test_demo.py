"""The demo: every promise of its command line options, on a tiny checkpoint and on the bundled one."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image
from tiny_checkpoint import save_tiny_checkpoint

from sam2_hf import Segmenter
from sam2_hf.app import examples
from sam2_hf.demo import images, photographs, world
from sam2_hf.demo.__main__ import main
from sam2_hf.demo.photographs import Photograph, installed_photographs
from sam2_hf.demo.world import SIZE, draw_clip, draw_image
from sam2_hf.video_io.open_video import open_video
from sam2_hf.video_io.write_video import write_video


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return str(save_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint")))


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.effect_noise((90, 70), 80).convert("RGB").save(path)
    return str(path)


@pytest.fixture
def no_photographs(monkeypatch):
    """An environment without packages that ship photographs."""
    monkeypatch.setattr(photographs, "PHOTOGRAPHS", ())


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A package that ships one of two photographs; importing it fails."""
    folder = tmp_path / "photo_package"
    (folder / "data").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('only its files are wanted')")
    Image.effect_noise((60, 40), 80).save(folder / "data" / "sea.png")
    monkeypatch.syspath_prepend(tmp_path)
    missing = Photograph("photo_package", "data/sand.png", ((1, 1),))
    there = Photograph("photo_package", "data/sea.png", ((30, 20), (5, 6)))
    monkeypatch.setattr(photographs, "PHOTOGRAPHS", (Photograph("no_such_package", "a.png", ((0, 0),)), missing, there))
    return there


def test_an_installed_photograph_is_found_without_an_import_of_its_package(shipped):
    assert list(installed_photographs()) == [shipped] == list(installed_photographs("photo_package"))
    assert list(installed_photographs("no_such_package")) == []
    image = shipped.read()
    assert (shipped.name, image.size, image.mode) == ("sea", (60, 40), "RGB")
    assert "photo_package" not in sys.modules


def test_a_photograph_that_is_not_there_is_named(shipped):
    with pytest.raises(FileNotFoundError, match=r"data/sand.png is a file of the package 'photo_package'"):
        photographs.PHOTOGRAPHS[1].read()


def test_the_demo_shows_an_installed_photograph(shipped, tmp_path, capsys):
    checkpoint = str(save_tiny_checkpoint(tmp_path / "video", video=True))
    draw = ["--checkpoint", checkpoint, "--output", str(tmp_path / "shown"), "--points-per-side", "2", "--frames", "2"]
    assert main(draw) == 0
    printed = capsys.readouterr().out
    assert "data/sea.png of the package photo_package, 60 x 40" in printed and "Clicks at (30, 20), (5, 6)" in printed
    with Image.open(tmp_path / "shown" / "clicks.png") as result:
        assert result.size == (60, 40)


def test_the_app_offers_the_photographs_that_gradio_ships(shipped, monkeypatch):
    monkeypatch.setattr(examples, "installed_photographs", {"gradio": [shipped]}.__getitem__)
    drawn, photograph = examples.example_images.__wrapped__()
    assert drawn.frames.shape == (1, 480, 640, 3)
    assert photograph.name == "sea" and np.array_equal(photograph.frames[0], np.asarray(shipped.read()))


def test_clicks_of_photographs_lie_inside_them():
    for item in installed_photographs():
        width, height = item.read().size
        assert all(0 <= x < width and 0 <= y < height for x, y in item.points)


def test_without_photographs_the_bundled_checkpoint_finds_what_the_demo_draws(
    no_photographs, tmp_path, capsys, monkeypatch
):
    for extra in ("matplotlib", "pydantic", "scipy", "scipy.ndimage"):  # the demo needs no extras
        monkeypatch.setitem(sys.modules, extra, None)
    output = tmp_path / "new" / "folder"
    assert main(["--output", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "the bundled checkpoint" in printed and printed.count("drawn by the demo") == 2
    *_, title, segment, track, help_line = printed.splitlines()
    assert title.startswith("Next") and " segment photo.jpg --point " in segment and " track clip.mp4 " in track
    assert help_line.endswith(("sam2 --help", "-m sam2_hf --help"))
    for name in ("everything.png", "clicks.png"):
        with Image.open(output / name) as result:
            assert result.size == SIZE[::-1]
            assert np.abs(np.asarray(result, dtype=int) - draw_image().frames[0].astype(int)).max() > 50
    with open_video(output / "tracked.mp4") as clip, Image.open(output / "tracked.png") as strip:
        assert len(clip) == len(draw_clip().frames)
        assert strip.width > 5 * strip.height


def test_what_the_demo_draws_has_an_object_under_every_click():
    for drawn in (draw_image(), draw_clip()):
        assert len(drawn.points) >= 2
        assert drawn.frames.shape[1:3] == SIZE


def test_a_click_is_in_the_middle_of_its_object():
    for drawn, objects, moving, number in (
        (draw_image(), (7, 9), False, world.IMAGE),
        (draw_clip(), (3, 4), True, world.CLIP),
    ):
        rendered = world.videos(objects, moving)[number].render([0])
        for (x, y), mask in zip(drawn.points, rendered.masks[0][rendered.visible[0]], strict=True):
            assert mask[y, x] and mask[max(0, y - 3) : y + 4, max(0, x - 3) : x + 4].all()


def test_the_clip_that_the_demo_draws_hides_objects_and_shows_them_again():
    masks = world.videos(objects=(3, 4))[world.CLIP].render(range(40))
    seen = masks.visible[:, masks.visible[0]]
    comes_back = (~seen).any(axis=0) & seen[-1]
    assert comes_back.any()


def test_photo_and_checkpoint_are_those_given(checkpoint, photo, tmp_path, capsys):
    assert main(["--image", photo, "--checkpoint", checkpoint, "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert photo in printed and checkpoint in printed and "90 x 70" in printed
    assert "Clicks at (45, 35)" in printed
    assert not (tmp_path / "tracked.mp4").exists()
    with Image.open(tmp_path / "clicks.png") as result:
        assert result.size == (90, 70)


def test_click_is_where_it_was_asked_for(checkpoint, photo, tmp_path, capsys):
    arguments = ["--image", photo, "--checkpoint", checkpoint, "--output", str(tmp_path), "--points-per-side", "2"]
    main([*arguments, "--click", "10", "60", "--click", "70", "20"])
    assert "from 4 clicks" in (printed := capsys.readouterr().out) and "(10, 60), (70, 20)" in printed
    with Image.open(tmp_path / "clicks.png") as result:
        for point in ((10, 60), (70, 20)):
            red, green, blue = result.getpixel(point)
            assert green > red and green > blue


def test_table_holds_what_the_model_predicts(checkpoint, photo):
    found = images.segment_clicks(Segmenter(checkpoint), Image.open(photo), [(45, 35), (20, 60)])
    masks, scores = found.result.masks, found.result.scores
    assert masks.shape == (2, 70, 90) and masks.dtype == bool
    for (number, score, area, box), mask in zip(found.rows(), masks, strict=True):
        assert score == scores[number - 1] and area == mask.sum()
        if box is not None:
            left, top, right, bottom = box
            assert mask[top : bottom + 1, left : right + 1].sum() == area
            assert mask[top].any() and mask[bottom].any() and mask[:, left].any() and mask[:, right].any()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--image", "no_such_image.jpg"], "no_such_image.jpg"),
        (["--click", "5000", "3"], "outside the image of 512 x 512"),
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
    assert "1 object clicked on the first of 6 frames" in printed
    rows = [line.split() for line in printed.splitlines() if line.split() and line.split()[0].isdigit()]
    with open_video(clip) as before, open_video(tmp_path / "tracked.mp4") as after:
        assert (len(after), after.size, after.fps) == (6, before.size, before.fps)
        difference = (after[5].int() - before[5].int()).abs().sum(0) > 60  # colours of a mask, not of compression
    assert difference.sum() > 0 and int(rows[-1][1]) > 0


def test_several_clicks_track_several_objects_for_the_given_number_of_frames(clip, tmp_path, capsys):
    checkpoint = str(save_tiny_checkpoint(tmp_path / "video", video=True))
    clicks = ["--click", "45", "30", "--click", "5", "60"]
    assert main(["--video", clip, "--checkpoint", checkpoint, "--output", str(tmp_path), "--frames", "3", *clicks]) == 0
    assert "2 objects clicked on the first of 3 frames" in capsys.readouterr().out
    with open_video(tmp_path / "tracked.mp4") as tracked:
        assert len(tracked) == 3


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
