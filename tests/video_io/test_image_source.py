import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from clips import number_in, numbered, numbers_in, write_images
from PIL import Image

from sam2_hf.video_io.image_source import images_in_folder
from sam2_hf.video_io.open_video import open_video
from sam2_hf.video_io.source import VideoDecodingError

FRAMES = [numbered(index) for index in range(12)]


def as_tensors():
    return [torch.from_numpy(frame).permute(2, 0, 1) for frame in FRAMES]


KINDS = {
    "PIL images": lambda: [Image.fromarray(frame) for frame in FRAMES],
    "tuple of arrays": lambda: tuple(FRAMES),
    "tensors, channels first": as_tensors,
    "array (frames, height, width, channels)": lambda: np.stack(FRAMES),
    "array (frames, channels, height, width)": lambda: np.stack(FRAMES).transpose(0, 3, 1, 2),
    "tensor (frames, channels, height, width)": lambda: torch.stack(as_tensors()),
    "tensor (frames, height, width, channels)": lambda: torch.from_numpy(np.stack(FRAMES)),
    "floats from 0 to 1": lambda: np.stack(FRAMES).astype(np.float32) / 255,
    "half precision": lambda: torch.stack(as_tensors()).half() / 255,
    "floats from 0 to 255": lambda: torch.stack(as_tensors()).double(),
    "16 bit": lambda: np.stack(FRAMES).astype(np.uint16) * 257,
    "grey arrays": lambda: [frame[..., 0] for frame in FRAMES],
    "grey images": lambda: [Image.fromarray(frame[..., 0]) for frame in FRAMES],
    "images with an opaque alpha channel": lambda: [Image.fromarray(frame).convert("RGBA") for frame in FRAMES],
    "arrays that may not be written": lambda: np.lib.stride_tricks.as_strided(np.stack(FRAMES), writeable=False),
    "arrays turned by strides": lambda: [frame[::-1][::-1] for frame in FRAMES],
    "a batch of one video": lambda: [np.stack(FRAMES)],
    "a nested list": lambda: [list(FRAMES)],
    "an open source in a list": lambda: [open_video(FRAMES)],
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_gives_the_same_frames(kind):
    with open_video(KINDS[kind]()) as video:
        assert (len(video), video.height, video.width) == (12, 32, 112)
        for index, frame in video.iterate():
            assert (frame.dtype, tuple(frame.shape)) == (torch.uint8, (3, 32, 112))
            assert np.array_equal(frame.permute(1, 2, 0).numpy(), FRAMES[index])
        assert numbers_in(frame for _, frame in video.iterate(step=-2)) == [11, 9, 7, 5, 3, 1]


def test_bytes_in_memory_are_not_copied():
    array = np.stack(FRAMES)
    with open_video(array) as video:
        assert video[5].data_ptr() == array[5].ctypes.data


def test_pillow_loads_one_image_at_a_time(monkeypatch):
    from sam2_hf.video_io import frame_reader

    loading, most = [], []

    def slowly(*args, **kwargs):
        loading.append(None)
        most.append(len(loading))
        time.sleep(0.002)
        loading.pop()
        return read(*args, **kwargs)

    read = frame_reader.read_images
    with open_video([Image.fromarray(frame) for frame in FRAMES]) as video:
        monkeypatch.setattr(frame_reader, "read_images", slowly)
        threads = [threading.Thread(target=list, args=(video,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(most) >= 3 * 12
    assert max(most) == 1


class Elsewhere(torch.Tensor):
    """A tensor that stands for one on another device: nobody may bring it to the CPU."""

    def cpu(self, *args, **kwargs):
        raise AssertionError("moved to the CPU")

    numpy = __array__ = cpu


def test_a_tensor_stays_on_its_device():
    frames = torch.zeros(2, 3, 8, 8, dtype=torch.uint8).as_subclass(Elsewhere)
    with open_video(frames) as video:
        assert isinstance(video[1], Elsewhere)


@pytest.mark.gpu
def test_a_tensor_on_a_gpu_stays_there():
    with open_video(torch.zeros(2, 3, 8, 8, dtype=torch.uint8, device="cuda")) as video:
        assert video[1].device.type == "cuda"


def test_where_the_channels_are_can_be_said():
    array = np.zeros((2, 3, 8, 3), np.uint8)
    sizes = {}
    for order in (None, "channels_first", "channels_last"):
        with open_video(array, input_data_format=order) as video:
            sizes[order] = video.size
    assert sizes == {None: (3, 8), "channels_first": (8, 3), "channels_last": (3, 8)}


def test_a_dark_frame_of_floats_is_not_made_bright():
    frames = np.full((3, 8, 8, 3), 200.0)
    frames[1] = 1.0
    with open_video(frames) as video:
        assert [int(frame.max()) for frame in video] == [200, 1, 200]


def test_frames_of_floats_on_two_scales_are_refused():
    frames = np.full((3, 8, 8, 3), 1.0)
    frames[2] = 255.0
    with open_video(frames) as video, pytest.raises(VideoDecodingError, match=r"frame 2 .*255.* 0 to 1"):
        list(video)


def test_any_sequence_is_read_item_by_item():
    class Reader:
        def __init__(self):
            self.read = []

        def __len__(self):
            return 1000

        def __getitem__(self, index):
            self.read.append(index)
            return numbered(index)

    reader = Reader()
    with open_video(reader, cache_size=2) as video:
        assert [number_in(video[index]) for index in (700, 3, 700)] == [700, 3, 700]
    assert reader.read == [0, 700, 3]


def test_a_folder_is_read_in_natural_order(tmp_path):
    folder = write_images(tmp_path / "clip", iter(as_tensors()))
    (folder / "notes.txt").write_text("not an image")
    (folder / ".hidden.png").write_text("not an image either")
    with open_video(folder) as video:
        assert numbers_in(video) == list(range(12))
        assert "12 frames, 112x32" in repr(video)
    with open_video([str(folder / f"frame{index}.png") for index in (4, 2)]) as video:
        assert numbers_in(video) == [4, 2]


def test_images_are_turned_as_their_camera_held(tmp_path):
    image = Image.fromarray(numbered(5))
    exif = image.getexif()
    exif[0x0112] = 6  # the camera stood on its side: turn a quarter clockwise
    (tmp_path / "clip").mkdir()
    image.save(tmp_path / "clip" / "0.png", exif=exif)
    with open_video(tmp_path / "clip") as video:
        assert torch.equal(video[0], torch.rot90(torch.from_numpy(numbered(5)).permute(2, 0, 1), -1, (1, 2)))


def test_nothing_is_opened_before_it_is_needed(tmp_path):
    folder = write_images(tmp_path / "clip", iter(as_tensors()))
    with open_video(folder) as video:
        for path in list(folder.iterdir()):
            if path.name != "frame11.png":
                path.unlink()
        assert number_in(video[11]) == 11


def test_an_image_that_cannot_be_read_is_named_and_the_ones_before_are_given(tmp_path):
    folder = write_images(tmp_path / "clip", iter(as_tensors()))
    whole = (folder / "frame7.png").read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"text"):
        (folder / "frame7.png").write_bytes(content)
        seen = []
        with open_video(folder) as video, pytest.raises(VideoDecodingError, match=r"frame 7 .*frame7\.png") as caught:
            for index, _ in video.iterate():
                seen.append(index)
        assert seen == list(range(7))
        assert caught.value.index == 7


def test_an_image_of_another_size_is_named():
    odd = [*FRAMES[:3], numbered(3, height=40)]
    with pytest.raises(VideoDecodingError, match=r"frame 3 .*40x112.*32x112"):
        open_video(odd)
    with pytest.raises(VideoDecodingError, match=r"frame 3 .*40x112.*32x112"):
        open_video([Image.fromarray(frame) for frame in odd])


def test_an_image_of_another_size_in_a_folder_is_named_when_it_comes(tmp_path):
    folder = write_images(tmp_path / "clip", iter(as_tensors()[:3]))
    Image.fromarray(numbered(3, height=40)).save(folder / "frame3.png")
    with open_video(folder) as video:
        assert number_in(video[2]) == 2
        with pytest.raises(VideoDecodingError, match=r"40x112 \(height x width\).*32x112"):
            video[3]


def test_refuses_folders_without_images(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"holds no images.*nothing"):
        open_video(tmp_path / "empty")
    (tmp_path / "empty" / "readme.txt").touch()
    with pytest.raises(ValueError, match=r"holds no images.*only \.txt"):
        open_video(tmp_path / "empty")


def test_refuses_two_images_for_one_frame(tmp_path):
    (tmp_path / "00001.jpg").touch()
    (tmp_path / "00001.png").touch()
    with pytest.raises(ValueError, match="two images for one frame"):
        images_in_folder(Path(tmp_path))


@pytest.mark.parametrize(
    ("video", "error", "message"),
    [
        ([], ValueError, "the list holds no frames"),
        (np.zeros((0, 8, 8, 3), np.uint8), ValueError, "the ndarray holds no frames"),
        (np.zeros((8, 8, 3), np.uint8), ValueError, r"4 axes.*\(8, 8, 3\).*\[image\]"),
        (np.zeros((2, 8, 8, 2), np.uint8), VideoDecodingError, "channels"),
        ([np.zeros((2, 8, 8, 3), np.uint8)] * 2, VideoDecodingError, "one image, got 2"),
        ([object()], VideoDecodingError, "object"),
        (Image.new("RGB", (8, 8)), TypeError, r"got Image; .*\[image\]"),
        ({"frames": []}, TypeError, "got dict"),
        (b"bytes", TypeError, "got bytes"),
        (7, FileNotFoundError, "no camera 7"),
        (-1, ValueError, "number of a camera must be at least 0, got -1"),
        (True, TypeError, "got bool"),
    ],
)
def test_refuses_what_is_no_video(video, error, message):
    with pytest.raises(error, match=message):
        open_video(video)


def test_a_dangling_link_in_a_folder_is_a_frame_that_cannot_be_read(tmp_path):
    folder = write_images(tmp_path / "clip", iter(as_tensors()))
    (folder / "frame7.png").unlink()
    (folder / "frame7.png").symlink_to(tmp_path / "gone.png")
    with open_video(folder) as video:
        assert len(video) == 12
        with pytest.raises(
            VideoDecodingError, match=r"frame 7 .*frame7\.png' is a link to '.*gone\.png', which does not"
        ):
            video[7]
        assert [number_in(video[index]) for index in (6, 8, 11)] == [6, 8, 11]  # none has moved up


def test_frames_may_be_bgr():
    reversed_channels = [np.ascontiguousarray(frame[..., ::-1]) for frame in coloured()]
    for frames in (reversed_channels, np.stack(reversed_channels), iter(reversed_channels)):
        with open_video(frames, channel_order="bgr") as video:
            seen = [frame.permute(1, 2, 0).numpy() for frame in video]
        assert len(seen) == 12
        assert all(np.array_equal(frame, other) for frame, other in zip(seen, coloured(), strict=True))


def coloured():
    return [frame // np.array([1, 2, 4], np.uint8) for frame in FRAMES]


def test_what_is_known_to_be_rgb_is_not_reversed(tmp_path):
    images = [Image.fromarray(frame) for frame in coloured()]
    images[3].save(tmp_path / "3.png")
    with open_video([*images[:3], tmp_path / "3.png"], channel_order="bgr") as video:
        for index, frame in video.iterate():
            assert np.array_equal(frame.permute(1, 2, 0).numpy(), coloured()[index])
    with pytest.raises(ValueError, match="cannot be opened with channel_order"):
        open_video(tmp_path, channel_order="bgr")
    with pytest.raises(ValueError, match=r"3\.png' cannot be opened with channel_order"):
        open_video(tmp_path / "3.png", channel_order="bgr")
    with pytest.raises(ValueError, match="channel_order must be 'rgb' or 'bgr', got 'grb'"):
        open_video(images, channel_order="grb")


class TorchCodecDecoder:
    """The part of torchcodec's VideoDecoder that is used: length, numbers, and what is known of the rate."""

    def __init__(self):
        self.metadata = SimpleNamespace(average_fps=25.0)

    def __len__(self):
        return len(FRAMES)

    def __getitem__(self, index):
        return as_tensors()[index]


class DecordReader:
    """The part of decord's VideoReader that is used."""

    def __len__(self):
        return len(FRAMES)

    def __getitem__(self, index):
        return SimpleNamespace(asnumpy=lambda: FRAMES[index])

    def get_avg_fps(self):
        return 25.0


@pytest.mark.parametrize("decoder", [TorchCodecDecoder, DecordReader])
def test_a_decoder_of_another_library_is_a_video(decoder):
    with open_video(decoder()) as video:
        assert (len(video), video.fps, video.seekable) == (12, 25.0, True)
        assert numbers_in(video) == list(range(12))
