import numpy as np
import pytest
from drawn_results import NAMES, SIZE, clip_result, drawn_masks, image_result, objects_of, pixels_of

from sam2_hf.results.clip_result import overlaid_frames
from sam2_hf.results.image_result import ImageResult
from sam2_hf.results.overlay import STYLES
from sam2_hf.video_io.open_video import open_video
from sam2_hf.video_io.write_video import write_video


def test_values():
    clip = clip_result()
    assert (clip.names, clip.frames, len(clip), clip.size) == (list(NAMES), list(range(9)), 9, SIZE)
    assert clip.visible("ring") == [True] * 3 + [False] + [True] * 5
    for frame, mask in clip.masks("cup"):
        assert np.array_equal(mask, drawn_masks(frame)[0])
    assert [result.frame for result in clip] == list(range(9))
    assert np.array_equal(np.asarray(clip[4].image), pixels_of(4))
    assert repr(clip) == "<ClipResult drawn: 9 frames, objects ['cup', 'ring']>"
    with pytest.raises(IndexError, match="frame 9 was not tracked; there are frames 0 to 8"):
        clip[9]
    with pytest.raises(KeyError, match="no object 'plate'"):
        clip.masks("plate")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_clip_is_saved_with_its_overlays(tmp_path, suffix):
    clip = clip_result()
    clip.save(tmp_path / f"out{suffix}", style="plain", fill=1.0)
    with open_video(tmp_path / f"out{suffix}") as video:
        assert (len(video), video.size, video.fps) == (9, SIZE, 25.0)
        for index, frame in video.iterate():
            shown = frame.permute(1, 2, 0).numpy().astype(int)
            expected = np.asarray(clip[index].overlay("plain", fill=1.0)).astype(int)
            assert np.abs(shown - expected).mean() < 4  # grey levels that the codec loses


def test_an_object_keeps_its_colour_while_another_is_out_of_sight():
    clip = clip_result()
    frames = list(clip.overlays("plain", fill=1.0, contour=0))
    colours = {tuple(frame[60, 30 + 2 * index]) for index, frame in enumerate(frames)}
    assert len(colours) == 1


def test_frames_of_a_stream_are_drawn_and_written_one_at_a_time(tmp_path):
    alive = []

    def results():
        for frame in range(12):
            alive.append(frame)
            yield ImageResult(objects_of(drawn_masks(frame)), pixels_of(frame), SIZE, frame=frame)
            assert len(alive) == frame + 1

    drawn = overlaid_frames(results(), STYLES["plain"])
    assert next(drawn).shape == (*SIZE, 3)
    assert alive == [0]  # nothing is taken ahead
    write_video(tmp_path / "out.mp4", drawn)
    with open_video(tmp_path / "out.mp4") as video:
        assert len(video) == 11


def test_a_run_that_is_cut_leaves_a_readable_file(tmp_path):
    def results():
        yield image_result()
        yield image_result()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "out.mp4", overlaid_frames(results(), STYLES["fill"]))
    with open_video(tmp_path / "out.mp4") as video:
        assert len(list(video)) == 2
