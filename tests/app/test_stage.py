import base64
import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from sam2_hf.app.changes import change_clip, change_image, change_live
from sam2_hf.app.clip_work import ClipWork
from sam2_hf.app.downloads import write_clip_file, write_image_file
from sam2_hf.app.image_work import ImageWork
from sam2_hf.app.live_work import LiveWork
from sam2_hf.app.pixels import display_size, image_address, masks_address, read_frame, reduced
from sam2_hf.app.stage import Sender, clip_message, image_message, live_message
from sam2_hf.video_io.open_video import open_video


def opened(address):
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


def drawn(address):
    """Where a layer is not transparent."""
    return np.asarray(opened(address).convert("RGBA"))[..., 3] > 0


def test_a_layer_covers_the_mask_and_nothing_else():
    mask = np.random.default_rng(0).random((61, 83)) > 0.7
    image = np.asarray(opened(masks_address([mask], [(10, 20, 30)])).convert("RGBA"))
    assert np.array_equal(image[..., 3] > 0, mask) and (image[mask][:, :3] == (10, 20, 30)).all()
    assert not drawn(masks_address([np.zeros((4, 5), bool)], [(1, 2, 3)])).any()


def test_many_masks_lie_in_one_layer_the_later_ones_on_top():
    masks = [np.zeros((8, 200), bool) for _ in range(150)]
    for index, mask in enumerate(masks):
        mask[:, index:] = True
    colours = [(index, 0, 0) for index in range(150)]
    image = np.asarray(opened(masks_address(masks, colours)).convert("RGBA"))
    assert image[0, :127, 0].tolist() == list(range(127)) and image[0, 127, 0] == 0  # and round again


def test_large_images_are_reduced_for_the_page():
    assert display_size((400, 300)) == (400, 300) and display_size((3000, 4000)) == (1200, 1600)
    address = image_address(np.zeros((300, 400, 3), np.uint8), (30, 40))
    assert opened(address).size == (40, 30)
    mask = np.kron(np.eye(4, dtype=bool), np.ones((50, 50), bool))
    assert np.array_equal(reduced(mask, (20, 20)), np.kron(np.eye(4, dtype=bool), np.ones((5, 5), bool)))
    assert reduced(mask, (200, 200)) is mask


@pytest.mark.parametrize(
    "address",
    [
        "",
        "data:image/png;base64,AAAA",
        "data:image/jpeg;base64,????",
        "data:image/jpeg;base64,AAAA",
        "file:///etc/passwd",
    ],
)
def test_frames_that_are_none_are_refused(address):
    with pytest.raises(ValueError, match=r"frame|base64"):
        read_frame(address)


def test_frames_are_read_and_limited():
    address = image_address(np.full((30, 40, 3), 200, np.uint8), (30, 40))
    assert read_frame(address).shape == (30, 40, 3)
    with pytest.raises(ValueError, match="32 pixels a side"):
        read_frame(address, 32)


def test_an_image_is_sent_once_until_it_is_asked_for_again(segmenter, world):
    work, sender = ImageWork(segmenter, world.first), Sender()
    assert "url" in image_message(work, sender)["image"]
    change_image(work, {"kind": "point", "x": world.points[0][0], "y": world.points[0][1], "label": 1})
    message = image_message(work, sender)
    (layer,) = message["layers"]
    assert "url" not in message["image"] and np.array_equal(drawn(layer["url"]), work.mask(1))
    assert len(message["candidates"]) == 3 and message["objects"][0]["points"] == [[*world.points[0], 1]]
    again = image_message(work, sender)
    assert again["layers"] == [{"number": 1, "key": layer["key"]}]
    sender.forget()
    assert image_message(work, sender)["layers"] == [layer]


def test_messages_of_clips_and_cameras(tracker, moving):
    work, sender = ClipWork(tracker, open_video(moving.frames)), Sender()
    x, y = moving.points[0]
    assert change_clip(work, {"kind": "point", "frame": 1, "x": x, "y": y}) == 1
    message = clip_message(work, 1, sender)
    assert message["objects"][0]["timeline"] == ".1.." and message["objects"][0]["prompted"] == [1]
    assert np.array_equal(drawn(message["layers"][0]["url"]), work.masks(1)[1].mask)
    assert message["clip"]["needs_tracking"] and clip_message(work, 0, sender)["layers"] == []

    live = LiveWork(tracker)
    live.step(moving.frames[0])
    change_live(live, {"kind": "point", "x": x, "y": y})
    message = live_message(live, live.step(moving.frames[1]), sender)
    assert np.array_equal(drawn(message["layers"][0]["url"]), live.newest.masks[0])


@pytest.mark.parametrize(
    "request_",
    [
        {"kind": "point", "x": "1", "y": 2},
        {"kind": "point", "x": float("nan"), "y": 2},
        {"kind": "point", "x": 1, "y": 2, "label": 1.5},
        {"kind": "box", "box": [1, 2, 3]},
        {"kind": "box", "box": "1234"},
        {"kind": "choose", "candidate": None},
        {"kind": "remove", "number": True},
        {"kind": "__class__"},
        {},
    ],
)
def test_requests_that_make_no_sense_are_refused_and_change_nothing(segmenter, shared_work, request_):
    before = shared_work.objects
    with pytest.raises(ValueError, match=r"must be|unknown request"):
        change_image(shared_work, request_)
    assert shared_work.objects is before


@pytest.fixture(scope="module")
def shared_work(segmenter, world):
    return ImageWork(segmenter, world.first)


def test_kinds_of_files_are_limited(segmenter, world, tracker, moving, tmp_path):
    work = ImageWork(segmenter, world.first)
    work.add_point(*world.points[0])
    with pytest.raises(ValueError, match="kind of file must be one of overlay"):
        write_image_file("../../etc", work.result(), {}, tmp_path)
    clip = ClipWork(tracker, open_video(moving.frames[:1]))
    clip.add_point(0, *moving.points[0])
    with pytest.raises(ValueError, match="kind of file must be one of mp4"):
        write_clip_file("exe", clip.result(), {}, tmp_path)
    assert list(tmp_path.iterdir()) == []
    work.rename(1, "../a b?")
    path = write_image_file("cutouts", work.result(), work.objects.colours(), tmp_path)
    assert zipfile.ZipFile(path).namelist() == ["001_a_b.png"]
