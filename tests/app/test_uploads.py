import pytest
from clips import write_clip
from PIL import Image

from sam2_hf.app.uploads import Limits, read_image, take_clip


def test_an_image_is_read_upright_and_in_colour(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("L", (8, 4), 90).save(tmp_path / "a.jpg", exif=exif)
    image = read_image(tmp_path / "a.jpg", Limits())
    assert (image.size, image.mode) == ((4, 8), "RGB")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.png", b"no image", "this file is none"),
        (
            "a.png",
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            "this file is none",
        ),  # Pillow would run a program
        ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "this file is none"),
    ],
)
def test_other_files_are_no_images(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_image(tmp_path / name, Limits())


def test_a_damaged_image_is_refused(tmp_path):
    Image.effect_noise((64, 64), 50).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:900])
    with pytest.raises(ValueError, match="cannot be read"):
        read_image(tmp_path / "a.png", Limits())


def test_large_images_are_refused_before_they_are_decoded(tmp_path):
    Image.new("RGB", (300, 200)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="300 x 200: reduce it"):
        read_image(tmp_path / "a.png", Limits(image_pixels=59_999))
    with pytest.raises(ValueError, match="MB"):
        read_image(tmp_path / "a.png", Limits(file_bytes=50))
    assert read_image(tmp_path / "a.png", Limits(image_pixels=60_000)).size == (300, 200)


def test_a_clip_moves_into_the_folder_of_its_owner(tmp_path):
    write_clip(tmp_path / "c.mp4")
    owned = tmp_path / "owned"
    owned.mkdir()
    with take_clip(tmp_path / "c.mp4", owned, Limits()) as clip:
        assert len(clip) > 1 and clip.seekable
    assert not (tmp_path / "c.mp4").exists() and (owned / "clip.mp4").exists()


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(clip_frames=2), "may have 2 frames"),
        (Limits(clip_pixels=10), "frame of a clip may have"),
        (Limits(file_bytes=10), "MB"),
    ],
)
def test_clips_are_limited(tmp_path, limits, message):
    write_clip(tmp_path / "c.mp4")
    owned = tmp_path / "owned"
    owned.mkdir()
    with pytest.raises(ValueError, match=message):
        take_clip(tmp_path / "c.mp4", owned, limits)
    assert list(owned.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", b"ffconcat version 1.0\nfile /etc/passwd\n", b""]
)
def test_lists_of_other_files_are_no_clips(tmp_path, content):
    (tmp_path / "c.mp4").write_bytes(content)
    owned = tmp_path / "owned"
    owned.mkdir()
    with pytest.raises(ValueError, match="this file is none"):
        take_clip(tmp_path / "c.mp4", owned, Limits())
    assert list(owned.iterdir()) == []
