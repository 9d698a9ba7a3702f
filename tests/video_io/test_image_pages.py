import numpy as np
import pytest
import torch
from clips import cut, number_in, numbered, numbers_in
from PIL import Image

from sam2_hf.video_io.open_video import open_video
from sam2_hf.video_io.source import VideoDecodingError

COUNT = 12
FRAMES = [numbered(index) for index in range(COUNT)]
GREY = [frame[..., 0] for frame in FRAMES]


def save_pages(path, arrays, **options):
    first, *others = (Image.fromarray(array) for array in arrays)
    first.save(path, save_all=True, append_images=others, **options)
    return path


FILES = {
    "stack.tif": lambda path: save_pages(path, FRAMES),
    "compressed.tiff": lambda path: save_pages(path, FRAMES, compression="tiff_lzw"),
    "grey.tif": lambda path: save_pages(path, GREY),
    "sixteen_bit.tif": lambda path: save_pages(path, [grey.astype(np.uint16) * 257 for grey in GREY]),
    "animated.webp": lambda path: save_pages(path, FRAMES, lossless=True, duration=40),
    "animated.png": lambda path: save_pages(path, FRAMES, duration=40),
}


@pytest.mark.parametrize("name", FILES)
def test_the_pages_of_a_file_are_frames(tmp_path, name):
    with open_video(FILES[name](tmp_path / name)) as video:
        assert (len(video), video.size, video.seekable) == (COUNT, (32, 112), True)
        assert all(np.array_equal(frame.permute(1, 2, 0).numpy(), FRAMES[index]) for index, frame in video.iterate())
        assert [number_in(video[index]) for index in (7, 0, 11, 3)] == [7, 0, 11, 3]
        assert numbers_in(frame for _, frame in video.iterate(step=-1)) == list(range(COUNT))[::-1]


@pytest.mark.parametrize("options", [{}, {"duration": 0}, {"duration": 40}])
def test_a_gif_has_all_its_images_whether_or_not_they_have_times(tmp_path, options):
    path = save_pages(tmp_path / "clip.gif", FRAMES, **options)
    with open_video(path) as video:
        assert len(video) == COUNT and numbers_in(video) == list(range(COUNT))
        assert [number_in(video[index]) for index in (7, 0, 11)] == [7, 0, 11]


def test_an_image_of_several_pages_may_be_open_already(tmp_path):
    with Image.open(FILES["stack.tif"](tmp_path / "stack.tif")) as image, open_video(image) as video:
        assert numbers_in(video) == list(range(COUNT))


@pytest.mark.parametrize("name", ["single.tif", "single.webp", "single.png"])
def test_a_file_with_one_page_is_a_video_of_one_frame(tmp_path, name):
    Image.fromarray(FRAMES[5]).save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
    with open_video(tmp_path / name) as video:
        assert numbers_in(video) == [5]


def test_a_page_that_is_lost_is_named_and_the_ones_before_are_given(tmp_path):
    path = FILES["stack.tif"](tmp_path / "stack.tif")
    with Image.open(path) as image:
        image.seek(8)
        start = image.tag_v2[273][0]  # where the pixels of the page begin
    content = path.read_bytes()
    path.write_bytes(content[: start + 100] + content[start + 100 :].replace(b"II", b"XX"))
    with open_video(path) as video:
        seen = []
        with pytest.raises(VideoDecodingError, match="cannot be read"):
            for frame in video:
                seen.append(number_in(frame))
            raise VideoDecodingError(COUNT, "cannot be read: no page was lost")
    assert seen == list(range(len(seen)))


def test_an_animated_webp_that_is_cut_short_gives_no_wrong_frame(tmp_path):
    path = FILES["animated.webp"](tmp_path / "animated.webp")
    with (
        pytest.raises(ValueError, match=r"animated\.webp|frame \d+ cannot be read"),
        open_video(cut(path, 0.6)) as video,
    ):
        for index, frame in video.iterate():
            assert number_in(frame) == index


def test_pages_of_another_size_are_refused(tmp_path):
    path = save_pages(tmp_path / "pyramid.tif", [FRAMES[0], numbered(1, height=40)])
    with open_video(path) as video, pytest.raises(VideoDecodingError, match=r"frame 1 .*40x112.*32x112.*one size"):
        video[1]


def test_options_that_pages_do_not_have_are_refused(tmp_path):
    path = FILES["stack.tif"](tmp_path / "stack.tif")
    with pytest.raises(ValueError, match="cannot be opened with options, stream=True"):
        open_video(path, options={"probesize": "1000"}, stream=True)


VOLUME = np.stack(GREY)  # (slices, height, width)
VOLUMES = {
    "uint8": lambda: VOLUME,
    "uint16": lambda: VOLUME.astype(np.uint16) * 257,
    "int16, where one slice alone looks like 8 bit": lambda: np.where(VOLUME > 128, 0, VOLUME).astype(np.int16) * 200,
    "int64 in 8 bit": lambda: torch.from_numpy(VOLUME).long(),
    "floats": lambda: VOLUME.astype(np.float32) / 255,
    "tensor": lambda: torch.from_numpy(VOLUME),
    "a batch of one": lambda: [VOLUME],
}


@pytest.mark.parametrize("kind", VOLUMES)
def test_a_volume_is_a_video_of_its_slices(kind):
    volume = VOLUMES[kind]()
    values = np.asarray(volume[0] if isinstance(volume, list) else volume).astype(np.float64)
    white = {"u": 255, "i": 255 if values.max() <= 255 else 65535, "f": 1}
    scale = 65535 if kind == "uint16" else white[np.asarray(volume).dtype.kind]
    with open_video(volume) as video:
        assert (len(video), video.size) == (COUNT, (32, 112))
        for index, frame in video.iterate():
            expected = np.round(values[index] * 255 / scale)
            assert np.abs(frame.numpy() - expected[None]).max() <= 1


def test_wide_integers_keep_one_scale_over_all_frames():
    dark, bright = np.full((8, 8, 3), 200, np.int32), np.full((8, 8, 3), 40000, np.int32)
    with open_video(np.stack([dark, bright])) as video:
        assert [int(frame.max()) for frame in video] == [1, 156]
    with open_video(iter([bright, dark])) as video:
        assert [int(frame.max()) for frame in video] == [156, 1]
    with open_video(iter([dark, bright])) as video, pytest.raises(VideoDecodingError, match=r"40000.* 0 to 255"):
        list(video)


@pytest.mark.parametrize("shape", [(3, 8, 8), (8, 8, 3), (1, 8, 8), (4, 9, 9), (8, 8), (2, 8, 8, 3, 1)])
def test_an_array_that_may_be_one_image_is_refused_with_advice(shape):
    with pytest.raises(ValueError, match=r"4 axes.*video=\[image\].*video=list\(slices\)"):
        open_video(np.zeros(shape, np.uint8))


def test_the_advice_for_few_slices_helps():
    with open_video(list(VOLUME[:3])) as video:
        assert numbers_in(video) == [0, 1, 2]


@pytest.mark.parametrize("nested", [False, True])
def test_a_batch_of_one_clip_is_that_clip(nested):
    frames = np.random.default_rng(0).integers(0, 256, (4, 8, 9, 3), np.uint8)
    video = open_video([frames[None]] if nested else frames[None])
    assert len(video) == 4 and np.array_equal(video[2].permute(1, 2, 0), frames[2])
    with pytest.raises(ValueError, match="4 axes"):
        open_video(np.stack((frames, frames)))
