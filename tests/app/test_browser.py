"""The app as a person uses it, in Chromium: what is seen is what the package computes."""

from __future__ import annotations

import io
import json
import os
import re
import runpy
import zipfile
from pathlib import Path

import numpy as np
import pytest
from browser import AppPage, find_chromium, started_chromium
from PIL import Image

from sam2_hf import bundled_checkpoint
from sam2_hf.app.everything_work import EverythingWork
from sam2_hf.predictors.tracker import Tracks
from sam2_hf.video_io.open_video import open_video
from sam2_hf.video_io.write_video import write_video

pytestmark = pytest.mark.browser
SPACE = Path(__file__).parents[2] / "spaces"


@pytest.fixture(scope="module")
def chromium():
    pytest.importorskip("playwright", reason="needs playwright: make test-browser")
    path = find_chromium()
    if path is None:
        pytest.skip("needs Chromium, which is not installed: apt-get install chromium, or name it in SAM2_CHROMIUM")
    with started_chromium(path) as browser:
        yield browser


@pytest.fixture(scope="module")
def server():
    """The address of the app, with the bundled checkpoint."""
    pytest.importorskip("gradio", reason="needs gradio: make test-browser")
    from sam2_hf.app.context import AppContext
    from sam2_hf.app.main import launch_app
    from sam2_hf.app.uploads import Limits

    context = AppContext(bundled_checkpoint(), limits=Limits(file_bytes=2_000_000))
    page, address = launch_app(context, prevent_thread_lock=True)
    yield address
    page.close(verbose=False)
    context.people.close()


@pytest.fixture
def open_page(chromium, server):
    """Opens the app, each time as another person; nobody may see an error or cause a request to another machine."""
    opened = []

    def open_one(mode="image", **settings):
        opened.append(AppPage(chromium, server, mode, **settings))
        return opened[-1]

    yield open_one
    for page in opened:
        assert page.faults == []
        assert all(address.startswith((server, "data:", "blob:")) for address in page.addresses)
        page.close()


@pytest.fixture(scope="module")
def photo(tmp_path_factory, world):
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    world.first.save(path)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory, moving):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_video(path, list(moving.frames), fps=10)
    return path


def test_clicks_show_the_masks_of_the_segmenter(open_page, photo, world, segmenter):
    page = open_page()
    page.upload(photo)
    a, b, c = world.points[:3]
    page.click(*a)
    clicked = segmenter.segment(world.first, points=page.points()[0])
    assert np.allclose(page.points()[0], a, atol=1.5)
    assert np.array_equal(page.mask(1), clicked.masks[0]) and clicked.areas[0] > 100

    page.click(*b, button="right")
    refined = clicked.refine(points=page.points()[1], labels=0)
    assert np.array_equal(page.mask(1), refined.masks[0])
    page.press("z")
    assert np.array_equal(page.mask(1), clicked.masks[0])
    with page.answered():
        page.find("[data-do=redo]").click()
    assert np.array_equal(page.mask(1), refined.masks[0])
    page.press("Control+z")

    for index, (mask, _) in enumerate(clicked.candidates()):
        with page.answered():
            page.find(f'.s2-choice[data-candidate="{index}"]').click()
        assert np.array_equal(page.mask(1), mask)

    page.press("n")
    page.page.keyboard.press("b")  # now clicks are on the background
    page.click(*c)
    assert "first point must be on the object" in page.note() and page.layers() == [1]
    page.page.keyboard.press("o")
    page.click(*c)
    assert page.layers() == [1, 2] and np.array_equal(page.mask(1), clicked.choose(2).masks[0])
    with page.answered():
        page.find('.s2-objects li[data-number="1"] .s2-remove').click()
    assert page.layers() == [2]


def test_boxes_are_dragged_or_made_by_two_clicks(open_page, photo, world, segmenter):
    page = open_page()
    page.upload(photo)
    x0, y0, x1, y1 = segmenter.segment(world.first, points=world.points[0]).boxes[0].tolist()
    page.drag((x0, y0), (x1, y1))
    dragged = page.mask(1)
    page.press("n")
    page.page.keyboard.press("x")
    page.page.mouse.click(*page.spot(x1, y1))
    page.click(x0, y0)
    assert np.array_equal(page.mask(2), dragged)
    found = [
        [float(box.get_attribute(name)) for name in ("x", "y", "width", "height")]
        for box in page.find(".s2-marks rect").all()
    ]
    left, top, width, height = found[0]
    expected = segmenter.segment(world.first, boxes=(left, top, left + width, top + height)).masks[0]
    assert np.mean(expected != dragged) < 1e-3  # the corners on the page are rounded to float32 on their way
    assert dragged.sum() > 100


def test_everything_is_filtered_by_the_sliders(open_page, photo, world, segmenter):
    page = open_page()
    page.upload(photo)
    page.page.get_by_role("button", name="Everything in the image").click()
    with page.answered():
        page.page.click("#find-everything")
    everything = EverythingWork(segmenter, world.first)
    expected = everything.filtered(0.5, 0.7)
    assert f"{len(expected)} masks" in page.note() and page.layers() == [0]
    assert np.array_equal(page.mask(0), expected.masks.any(0))
    with page.answered():
        page.page.locator("#filter-iou input[type=number]").fill("0.9")
        page.page.keyboard.press("Enter")
    fewer = everything.filtered(0.9, 0.7)
    assert f"{len(fewer)} masks" in page.note() and 0 < len(fewer) < len(expected)
    assert np.array_equal(page.mask(0), fewer.masks.any(0))
    page.click(*world.points[0])
    assert page.layers() == [1]


def test_files_hold_what_is_shown(open_page, photo, world, tmp_path):
    from pycocotools.coco import COCO

    page = open_page()
    page.upload(photo)
    page.click(*world.points[0])
    page.press("n")
    page.click(*world.points[1])
    name = page.find('.s2-objects li[data-number="2"] input')
    with page.answered():
        name.fill("red star")
        name.press("Enter")
    first, second = page.mask(1), page.mask(2)

    with Image.open(page.download("labels", tmp_path)) as labels:
        assert np.array_equal(np.asarray(labels) == 1, first & ~second) and np.array_equal(
            np.asarray(labels) == 2, second
        )
    with Image.open(page.download("overlay", tmp_path)) as overlay:
        changed = (np.asarray(overlay.convert("RGB")) != world.frames[0]).any(-1)
    assert overlay.size == world.first.size and changed[first | second].mean() > 0.95
    with zipfile.ZipFile(page.download("cutouts", tmp_path)) as archive:
        assert archive.namelist() == ["001_object_1.png", "002_red_star.png"]
        with archive.open("002_red_star.png") as file, Image.open(file) as cutout:
            assert (np.asarray(cutout.getchannel("A")) > 0).sum() == second.sum()
    coco = COCO(str(page.download("coco", tmp_path)))
    masks = [coco.annToMask(annotation).astype(bool) for annotation in coco.loadAnns(coco.getAnnIds())]
    assert np.array_equal(masks, [first, second])
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == ["object 1", "red star"]


def test_two_objects_are_tracked_and_corrected(open_page, clip, moving, tracker, tmp_path):
    page = open_page("clip")
    page.upload(clip)
    a, b, c = moving.points[:3]
    page.click(*a)
    page.press("n")
    page.click(*b)
    p, q = page.points()
    expected = Tracks(tracker, open_video(clip))
    expected.add({1: p})
    expected.add({2: q})
    assert np.array_equal(page.mask(2), expected.segment_frame(0)[2].mask)
    track(page)
    expected.run()
    assert timelines(page) == {1: "1111", 2: "1111"}
    for frame in (3, 1):
        go_to(page, frame)
        for number in (1, 2):
            assert np.array_equal(page.mask(number), expected[frame][number].mask)

    page.click(*c, button="right")
    expected.add({2: {"frame": 1, "points": page.points(), "labels": [0]}})
    track(page)
    expected.run()
    go_to(page, 2)
    assert np.array_equal(page.mask(2), expected[2][2].mask)

    annotations = json.loads(page.download("coco", tmp_path).read_text())["annotations"]
    assert {(item["track_id"], item["image_id"]) for item in annotations} == {
        (t, i) for t in (1, 2) for i in (1, 2, 3, 4)
    }
    with open_video(page.download("mp4", tmp_path)) as written:
        assert len(written) == 4 and written.size == moving.frames.shape[1:3]
    archive = zipfile.ZipFile(page.download("masks", tmp_path))
    with archive, archive.open("00002.png") as file, Image.open(file) as labels:
        assert np.array_equal(np.asarray(labels) == 2, expected[2][2].mask)
    rows = page.download("csv", tmp_path).read_text().splitlines()
    assert len(rows) == 1 + 8


def go_to(page, frame):
    with page.answered():
        page.find(".s2-slider").evaluate("(s, to) => { s.value = to; s.dispatchEvent(new Event('input')) }", frame)


def track(page):
    with page.answered():
        page.find("[data-do=track]").click()
        page.find("[data-do=track]:disabled").wait_for()


def timelines(page):
    rows = page.find(".s2-timeline").all()
    return {int(row.get_attribute("data-number")): row.get_attribute("data-signs") for row in rows}


def test_two_people_do_not_see_each_other(open_page, photo, world):
    one, other = open_page(), open_page()
    one.upload(photo)
    one.click(*world.points[0])
    mask = one.mask(1)
    assert other.find(".s2-empty").is_visible() and other.layers() == []
    other.page.keyboard.press("n")
    other.page.wait_for_function(
        "document.querySelector('#image-stage .s2-note').textContent.includes('open an image')"
    )
    with other.answered():
        other.find(".s2-example").first.click()
    other.click(320, 240)
    assert other.size == (640, 480) and other.layers() == [1]
    one.press("n")
    one.click(*world.points[1])
    assert one.size == world.first.size and one.layers() == [1, 2] and np.array_equal(one.mask(1), mask)
    assert other.layers() == [1]


def test_names_are_shown_as_text_and_other_programs_have_no_way_in(open_page, server, photo, world):
    page = open_page()
    page.upload(photo)
    page.click(*world.points[0])
    name = page.find('.s2-objects li[data-number="1"] input')
    with page.answered():
        name.fill("<img src=x onerror=fail()>")
        name.press("Enter")
    assert name.input_value() == "<img src=x onerror=fail()>"
    info = page.page.evaluate("fetch('gradio_api/info').then((answer) => answer.json())")
    assert info["named_endpoints"] == {} and info["unnamed_endpoints"] == {}


def test_the_space_starts_the_app(monkeypatch):
    pytest.importorskip("gradio", reason="needs gradio: make test-browser")
    import yaml

    from sam2_hf.app import main

    started = []
    monkeypatch.setattr(main, "launch_app", lambda context, **options: started.append((context, options)))
    monkeypatch.setenv("SAM2_CHECKPOINT", bundled_checkpoint())
    runpy.run_path(str(SPACE / "app.py"))
    ((context, options),) = started
    assert context.is_bundled and options == {"host": "0.0.0.0", "port": 7860}
    card = yaml.safe_load((SPACE / "README.md").read_text().split("---")[1])
    assert card["sdk"] == "gradio" and (SPACE / card["app_file"]).exists()
    assert (SPACE / "requirements.txt").read_text() == "sam2-hf[app]\n"


def test_a_file_that_is_no_image_is_refused_and_changes_nothing(open_page, photo, world, tmp_path):
    (tmp_path / "wrong.png").write_text("<svg onload=alert(1)>")
    page = open_page()
    page.upload(photo)
    page.click(*world.points[0])
    mask = page.mask(1)
    page.upload(tmp_path / "wrong.png")
    assert "this file is none" in page.note() and np.array_equal(page.mask(1), mask)


def test_files_that_would_be_refused_are_not_sent(open_page, tmp_path):
    page = open_page()
    for name, content, message in (
        ("notes.txt", b"words", "Expected a file of PNG, JPG"),
        ("vast.png", b"\x89PNG" + bytes(3_000_000), "A file may have 2.0 MB, this one has 3.0 MB"),
    ):
        (tmp_path / name).write_bytes(content)
        page.page.set_input_files("input[type=file]:has(+ #image-upload)", tmp_path / name)
        page.page.wait_for_function(
            "text => document.querySelector('#image-stage .s2-note').textContent.includes(text)", arg=message
        )
    assert page.find(".s2-empty").is_visible()
    assert not any("upload" in address for address in page.addresses)


def test_an_object_is_tracked_through_a_camera(open_page):
    page = open_page("live")
    page.find("[data-do=camera]").click()
    page.find(".s2-frame").wait_for(state="visible")
    page.page.mouse.click(*page.spot(320, 240))
    page.find('.s2-layers img[data-number="1"]').wait_for(state="attached")
    assert page.mask(1).any() and page.size == (640, 480)
    page.find("[data-do=camera]").click()


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone_in_both_modes(open_page, server, dark):
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    page = open_page(**phone, color_scheme="dark" if dark else "light")
    with page.answered():
        page.find(".s2-example").first.tap()
    with page.answered():
        page.page.touchscreen.tap(*page.spot(380, 80))
    assert page.layers() == [1]
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.find(".s2-frame").bounding_box()["width"] > 350
    colour = page.page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3
    assert brightness < 60 if dark else brightness > 200


def test_a_screenshot_of_the_app(open_page, tmp_path):
    """`SAM2_APP_SCREENSHOT=docs/images/app.png` writes the one of the documentation."""
    path = Path(os.environ.get("SAM2_APP_SCREENSHOT") or tmp_path / "app.png")
    page = open_page(viewport={"width": 1180, "height": 800})
    with page.answered():
        page.find(".s2-example").first.click()
    for number, (x, y) in enumerate([(380, 80), (275, 260), (70, 180), (478, 75)]):
        if number:
            page.press("n")
        page.click(x, y)
    page.page.mouse.move(5, 5)
    page.page.evaluate("scrollTo(0, 0)")
    page.page.wait_for_timeout(500)
    shot = page.page.screenshot()
    with Image.open(io.BytesIO(shot)) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)
    assert 20_000 < path.stat().st_size < 300_000 and page.layers() == [1, 2, 3, 4]
