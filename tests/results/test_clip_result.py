import numpy as np
import pytest
from drawn_results import NAMES, SIZE, clip_result, drawn_masks, image_result, objects_of, pixels_of

from sam2_hf.results.clip_result import overlaid_frames
from sam2_hf.results.image_result import ImageResult
from sam2_hf.results.overlay import STYLES
from sam2_hf.results.stream_writers import write_csv_rows, write_label_map_files
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


def test_one_pass_writes_several_files_frame_by_frame_and_keeps_them_when_it_is_cut(tmp_path):
    clip = clip_result()

    def results():
        for result in clip:
            if result.frame == 5:
                raise KeyboardInterrupt
            yield result

    chain = write_label_map_files(write_csv_rows(results(), tmp_path / "out.csv"), tmp_path / "maps", list(NAMES))
    with pytest.raises(KeyboardInterrupt):
        for result in chain:
            lines = (tmp_path / "out.csv").read_text().splitlines()
            assert len(lines) == 1 + 2 * (result.frame + 1)
            assert (tmp_path / "maps" / f"{result.frame:05d}.png").exists()
    whole = clip_result()
    whole.save(tmp_path / "whole.csv")
    written = (tmp_path / "out.csv").read_text().splitlines()
    assert written == (tmp_path / "whole.csv").read_text().splitlines()[: len(written)] and len(written) == 11


def test_parquet_is_read_back_by_pyarrow(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    from sam2_hf.masks.rle import rle_to_mask

    clip = clip_result()
    clip.save(tmp_path / "clip.parquet")
    rows = parquet.read_table(tmp_path / "clip.parquet").to_pylist()
    assert len(rows) == 18
    for row in rows:
        mask = rle_to_mask({"size": [row["height"], row["width"]], "counts": row["rle"]}).numpy()
        assert np.array_equal(mask, clip[row["frame"]][row["id"]].mask)
        assert row["area"] == mask.sum() and row["visible"] == clip[row["frame"]][row["id"]].visible
    image_result().save(tmp_path / "image.parquet")
    assert [row["frame"] for row in parquet.read_table(tmp_path / "image.parquet").to_pylist()] == [None, None]
