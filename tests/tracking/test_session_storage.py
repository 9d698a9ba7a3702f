"""Sessions on disk: going on as without a break, earlier saves that survive, and files that are no session."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from clips import write_images
from fresh_python import run_fresh
from safetensors import SafetensorError
from tiny import tiny_video_model
from video_scenes import (
    PROCESSOR,
    assert_same,
    clip,
    give,
    open_session,
    pixels,
    prompted,
    snapshot,
    stream,
    tiny_model,
    track,
)

from sam2_hf.tracking import session_files
from sam2_hf.tracking.prompts import MaskPrompt
from sam2_hf.tracking.session import Sam2VideoInferenceSession
from sam2_hf.video_io.open_video import VideoDecodingError

load = Sam2VideoInferenceSession.load


def tracked_clip(num_frames: int = 8, **settings) -> Sam2VideoInferenceSession:
    """A session in the middle of its work: tracked both ways, corrected, and with prompts that wait."""
    session = open_session(num_frames, **settings)
    give(give(session, 2, "a"), 3, ("b", 1), "box")
    track(tiny_model(), session, direction="both", max_frame_num_to_track=3)
    give(session, 4, "a", "background")
    tiny_model()(session, frame_idx=4)
    give(session, 1, "a", "mask")
    return give(session, 5, 7, "mask")


def streamed(num_frames: int = 6) -> Sam2VideoInferenceSession:
    session = PROCESSOR.init_video_session()
    give(give(session, 0, "a"), 3, "b", "box")
    stream(tiny_model(), session, range(num_frames))
    return give(session, num_frames - 1, "c", "mask")


@pytest.fixture(scope="module")
def tracked_once() -> Sam2VideoInferenceSession:
    """For tests that do not change it."""
    return tracked_clip()


@pytest.fixture
def saved(tracked_once: Sam2VideoInferenceSession, tmp_path: Path) -> Path:
    tracked_once.save(tmp_path)
    return tmp_path


GOLDENS = Path(__file__).parents[1] / "goldens"


def visible_in(folder: Path) -> list[str]:
    """Names in a folder, but for the lock file."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def remembered(session: Sam2VideoInferenceSession) -> list:
    """The session's memory but for features, which are computed again."""
    return [entry for entry in snapshot(session) if entry[0] != "feature_cache"]


class TestEarlierVersions:
    def test_a_session_of_format_1_loads_and_goes_on(self) -> None:
        """`goldens/make_session.py` says what is in it: a correction, and a prompt that is still pending."""
        session = Sam2VideoInferenceSession.load(GOLDENS / "session_format_1", video=clip(6))
        assert session.obj_ids == ["a", ("b", 7)]
        assert session.tracks["a"].results.keys() == {0, 1, 2, 3} and session.tracks["a"].results.conditioning == [0, 2]
        assert session.tracks[("b", 7)].pending == {1}
        again = prompted((0, "a", "click"), num_frames=6)
        track(tiny_model(), again, max_frame_num_to_track=3)
        give(again, 2, "a", "background")
        tiny_model()(again, frame_idx=2)
        give(again, 1, ("b", 7), "mask")
        expected, masks = track(tiny_model(), again), track(tiny_model(), session)
        assert masks.keys() == expected.keys()
        for frame, by_object in expected.items():
            for obj_id, mask in by_object.items():
                # The stored half was computed on another processor: room for another order of sums, through memories.
                torch.testing.assert_close(masks[frame][obj_id], mask, atol=1e-3, rtol=1e-3)


class TestGoingOn:
    @pytest.mark.parametrize("retention", ["everything", "readable"])
    def test_a_clip_comes_back_as_it_was(self, retention: str, tmp_path: Path) -> None:
        session = tracked_clip(retention=retention)
        session.save(tmp_path)
        assert remembered(load(tmp_path, video=clip(8))) == remembered(session)

    def test_a_stream_comes_back_as_it_was(self, tmp_path: Path) -> None:
        session = streamed()
        session.save(tmp_path)
        assert remembered(load(tmp_path)) == remembered(session)

    def test_an_empty_session_comes_back(self, tmp_path: Path) -> None:
        for session, video in ((PROCESSOR.init_video_session(), None), (open_session(3), clip(3))):
            session.save(tmp_path)
            assert remembered(load(tmp_path, video=video)) == remembered(session)

    def test_settings_come_back(self, tmp_path: Path) -> None:
        session = open_session(3, dtype="bfloat16", max_vision_features_cache_size=3, retention="readable")
        session.save(tmp_path)
        loaded = load(tmp_path, video=clip(3))
        assert (loaded.dtype, loaded.feature_cache.size, loaded.retention) == (torch.bfloat16, 3, "readable")
        assert loaded.image_processor.to_dict() == session.image_processor.to_dict()

    def test_a_clip_goes_on_bit_for_bit(self, tmp_path: Path) -> None:
        session = tracked_clip()
        session.save(tmp_path)
        loaded = load(tmp_path, video=clip(8))
        for settings in ({}, {"reverse": True, "start_frame_idx": 7}):
            assert_same(track(tiny_model(), loaded, **settings), track(tiny_model(), session, **settings))
        assert remembered(loaded) == remembered(session)

    def test_a_stream_goes_on_bit_for_bit(self, tmp_path: Path) -> None:
        session = streamed()
        session.save(tmp_path)
        loaded = load(tmp_path)
        assert_same(stream(tiny_model(), loaded, range(6, 20)), stream(tiny_model(), session, range(6, 20)))

    def test_a_generator_goes_on_where_it_was(self, tmp_path: Path) -> None:
        session = give(PROCESSOR.init_video_session(iter(clip(20))), 0, "a")
        expected = track(tiny_model(), give(PROCESSOR.init_video_session(iter(clip(20))), 0, "a"))
        first = track(tiny_model(), session, max_frame_num_to_track=9)
        session.save(tmp_path)
        rest = track(tiny_model(), load(tmp_path, video=iter(clip(20))))
        assert_same({**first, **rest}, expected)

    def test_another_process_goes_on_bit_for_bit(self, tmp_path: Path) -> None:
        cut, handed_over = tracked_clip(), streamed()
        cut.save(tmp_path / "clip")
        handed_over.save(tmp_path / "stream")
        code = f"""
            import json, pathlib, torch
            torch.set_num_threads({torch.get_num_threads()})
            from video_scenes import *
            folder = pathlib.Path({str(tmp_path)!r})
            cut = Sam2VideoInferenceSession.load(folder / "clip", video=clip(8))
            handed_over = Sam2VideoInferenceSession.load(folder / "stream")
            track(tiny_model(), cut), stream(tiny_model(), handed_over, range(6, 12))
            cut.save(folder / "clip after"), handed_over.save(folder / "stream after")
            print(json.dumps(handed_over.num_frames))
        """
        assert run_fresh(code) == 12
        track(tiny_model(), cut), stream(tiny_model(), handed_over, range(6, 12))
        assert remembered(load(tmp_path / "clip after", video=clip(8))) == remembered(cut)
        assert remembered(load(tmp_path / "stream after")) == remembered(handed_over)

    def test_nothing_is_computed_again(self, tmp_path: Path, monkeypatch) -> None:
        session = give(open_session(8), 0, "a")
        expected = track(tiny_model(), session)
        session.save(tmp_path)
        monkeypatch.setattr(tiny_model(), "encode_frame", None)
        assert_same(track(tiny_model(), load(tmp_path, video=clip(8))), expected)

    def test_the_clip_may_come_in_another_form(self, tmp_path: Path) -> None:
        session = tracked_clip()
        session.save(tmp_path / "saved")
        frames = (torch.from_numpy(frame).permute(2, 0, 1) for frame in clip(8))
        folder = write_images(tmp_path / "images", frames)
        loaded = load(tmp_path / "saved", video=folder)
        assert_same(track(tiny_model(), loaded), track(tiny_model(), session))

    def test_state_goes_to_the_device_asked_for(self, tmp_path: Path) -> None:
        streamed().save(tmp_path)
        loaded = load(tmp_path, inference_state_device="meta", video_storage_device="meta", processing_device="cpu")
        stored = [tensor for track in loaded.tracks.values() for tensor in track.tensors()]
        assert {tensor.device.type for tensor in (*stored, loaded.stream_state()[1])} == {"meta"}
        assert loaded.inference_device.type == "cpu" and loaded.processing_device == "cpu"


class TestIds:
    @pytest.mark.parametrize(
        "obj_id", [0, -3, 10**30, "cup", "", "ü", 2.5, True, None, ("left", 2), (("deep", 1.5), None), ()]
    )
    def test_ids_come_back_as_they_were(self, obj_id, tmp_path: Path) -> None:
        give(open_session(2), 0, obj_id).save(tmp_path)
        (loaded,) = load(tmp_path, video=clip(2)).obj_ids
        assert loaded == obj_id and type(loaded) is type(obj_id)

    def test_ids_of_arrays_come_back_as_plain_numbers(self, tmp_path: Path) -> None:
        session = open_session(2)
        prompts = {"input_points": [[[[9, 9]], [[20, 20]]]], "input_labels": [[[1], [1]]]}
        PROCESSOR.add_inputs_to_inference_session(session, np.int64(0), np.array([4, 2]), **prompts)
        tiny_model()(session, frame_idx=np.int64(0))
        session.save(tmp_path)
        assert load(tmp_path, video=clip(2)).obj_ids == [4, 2]

    @pytest.mark.parametrize("obj_id", [b"cup", frozenset({1}), ("a", b"b"), object()])
    def test_an_id_that_cannot_be_written_leaves_the_earlier_save(self, obj_id, tmp_path: Path) -> None:
        session = tracked_clip()
        session.save(tmp_path)
        before = remembered(session)
        give(session, 0, obj_id)
        with pytest.raises(TypeError, match="ids that JSON can hold"):
            session.save(tmp_path)
        assert remembered(load(tmp_path, video=clip(8))) == before
        with pytest.raises(TypeError, match="ids that JSON can hold"):
            session.save(tmp_path / "new")
        assert not (tmp_path / "new").exists()


class TestOnDisk:
    def test_a_folder_holds_one_text_and_one_file_of_tensors(self, tracked_once, tmp_path: Path) -> None:
        for _ in range(3):
            tracked_once.save(tmp_path / "a" / "folder")
        names = visible_in(tmp_path / "a" / "folder")
        assert len(names) == 2 and names[0] == "session.json"
        assert names[1].startswith("tensors-") and names[1].endswith(".safetensors")

    def test_it_is_small(self, tracked_once, saved: Path) -> None:
        sizes = {path.suffix: path.stat().st_size for path in saved.iterdir()}
        # The state and some headers: no pixels of the clip, no features, no masks of the model's size.
        assert sizes[".safetensors"] < 1.1 * tracked_once.state_nbytes + 20_000
        assert sizes[".json"] < 10_000

    def test_objects_whose_prompts_came_in_one_tensor_are_saved(self, tmp_path: Path) -> None:
        session = open_session(2)
        boxes = torch.tensor([[[10.0, 10.0, 40.0, 40.0], [50.0, 50.0, 90.0, 90.0]]])
        PROCESSOR.add_inputs_to_inference_session(session, 0, ["a", "b"], input_boxes=boxes)
        masks = torch.zeros(1, 128, 128, dtype=torch.bool)
        session.add_prompts(1, {"c": MaskPrompt(masks[0]), "d": MaskPrompt(masks[0])})
        session.save(tmp_path)
        assert remembered(load(tmp_path, video=clip(2))) == remembered(session)

    @pytest.mark.parametrize("step", ["save_file", "_flush", "_checksum", "replace", "write_text"])
    @pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
    def test_a_save_that_is_cut_short_leaves_the_earlier_one(
        self, step, error, tracked_once, tmp_path: Path, monkeypatch
    ) -> None:
        earlier = give(open_session(8), 0, "a")
        earlier.save(tmp_path)
        before = visible_in(tmp_path)
        later = tracked_once

        def fail(*args, **kwargs):
            if step == "save_file":
                Path(args[1]).write_bytes(b"half a file")
            raise error

        owner = {"replace": Path, "write_text": Path, "save_file": safetensors.torch}.get(step, session_files)
        with monkeypatch.context() as patch, pytest.raises(type(error)):
            patch.setattr(owner, step, fail)
            later.save(tmp_path)
        assert remembered(load(tmp_path, video=clip(8))) == remembered(earlier)
        assert visible_in(tmp_path) == before, "no half-written tensors are left lying about"
        later.save(tmp_path)
        assert remembered(load(tmp_path, video=clip(8))) == remembered(later)
        assert len(visible_in(tmp_path)) == 2

    def test_what_a_killed_process_left_is_cleared_by_the_next_save(self, tracked_once, tmp_path: Path) -> None:
        (tmp_path / "tensors-0123456789abcdef.safetensors").write_bytes(b"half a file")
        (tmp_path / "session.partial").write_text("{")
        (tmp_path / ".saving-0123456789abcdef").mkdir()
        (tmp_path / ".saving-0123456789abcdef" / ".tmpXYZ").write_bytes(b"half a file")
        (tmp_path / "tensors-of-mine.safetensors").write_bytes(b"of the user")
        (tmp_path / "notes.txt").write_text("mine")
        tracked_once.save(tmp_path)
        others = {"notes.txt", "tensors-of-mine.safetensors"}
        assert len(visible_in(tmp_path)) == 4 and others < set(visible_in(tmp_path))
        assert sorted(path.name for path in tmp_path.glob(".*")) == [".session.lock"]
        assert remembered(load(tmp_path, video=clip(8))) == remembered(tracked_once)


class TestOtherVideos:
    @pytest.mark.parametrize(
        "video, message",
        [
            (clip(7), "video must be the clip of the session, .*'num_frames': 8.* got .*'num_frames': 7"),
            ([frame[:64] for frame in clip(8)], "video must be the clip of the session, .*'size': \\[128, 128\\]"),
            (
                [255 - frame for frame in clip(8)],
                "video must be the clip of the session, but its first frame is another",
            ),
            (iter(clip(8)), "video must be the clip of the session"),
            (None, "the session was of a video: give it as video"),
        ],
        ids=["shorter", "smaller", "inverted", "generator", "none"],
    )
    def test_another_video_is_refused(self, saved: Path, video, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            load(saved, video=video)

    def test_the_same_clip_encoded_anew_is_taken(self, saved: Path) -> None:
        noisy = [
            np.clip(frame.astype(int) + np.arange(128)[:, None] % 7 - 3, 0, 255).astype(np.uint8) for frame in clip(8)
        ]
        assert load(saved, video=noisy).obj_ids == ["a", ("b", 1), 7]

    def test_a_stream_takes_no_video(self, tmp_path: Path) -> None:
        streamed().save(tmp_path)
        with pytest.raises(ValueError, match="the session was of a stream: load it without video"):
            load(tmp_path, video=clip(8))

    def test_a_clip_that_begins_with_damage_can_be_saved(self, tmp_path: Path, monkeypatch) -> None:
        def torn(index: int):
            raise VideoDecodingError(index, "torn")

        session = give(open_session(4), 2, "a")
        session.video._cache.clear()
        monkeypatch.setattr(session.video, "_load", torn)
        session.save(tmp_path)
        assert load(tmp_path, video=clip(4)).obj_ids == ["a"]


class TestFilesThatAreNoSession:
    def test_a_folder_without_one_is_named(self, tmp_path: Path) -> None:
        for folder in (tmp_path, tmp_path / "missing"):
            with pytest.raises(FileNotFoundError, match=r"no session in .*: there is no session\.json"):
                load(folder)

    @pytest.mark.parametrize(
        "text", ["", "[]", "null", "{}", '{"format": 1}', "{" * 5, "[" * 100_000, '{"format": 2, "tensors": "x"}']
    )
    def test_a_text_that_is_none(self, saved: Path, text: str) -> None:
        (saved / "session.json").write_text(text)
        with pytest.raises(ValueError, match=r"session\.json does not describe a session"):
            load(saved, video=clip(8))

    @pytest.mark.parametrize(
        "name, value",
        [
            ("format", 2),
            ("tensors", "../tensors.safetensors"),
            ("tensors", "/etc/passwd"),
            ("tensors", "elsewhere.safetensors"),
            ("tensors", 5),
            ("dtype", "load"),
            ("dtype", "__import__('os').abort()"),
            ("dtype", "uint8"),
            ("retention", "nothing"),
            ("feature_cache_size", 0),
            ("feature_cache_size", "many"),
            ("num_streamed", -1),
            ("num_streamed", None),
            ("next_version", 1.5),
            ("height", "128"),
            ("video", 5),
            ("video", {}),
            ("image_processor", 5),
            ("objects", 5),
            ("objects", [{}]),
            ("objects", [{"id": [1], "prompts": [], "pending": [], "results": {}}]),
            ("objects", [{"id": 1, "prompts": [99], "pending": [], "results": {}}]),
            ("objects", [{"id": 1, "prompts": [], "pending": ["x"], "results": {}}]),
            ("objects", [{"id": 1, "prompts": [], "pending": [], "results": {"x": {}}}]),
            ("objects", [{"id": {"eval": "1"}, "prompts": [], "pending": [], "results": {}}]),
        ],
    )
    def test_a_text_that_was_tampered_with(self, saved: Path, name: str, value) -> None:
        description = json.loads((saved / "session.json").read_text())
        assert name in description
        (saved / "session.json").write_text(json.dumps({**description, name: value}))
        with pytest.raises(ValueError, match=r"session\.json does not describe a session"):
            load(saved, video=clip(8))

    def test_every_entry_is_needed(self, saved: Path) -> None:
        description = json.loads((saved / "session.json").read_text())
        for name in description.keys() - {"sha256", "value_range"}:  # which earlier versions did not write
            less = {key: value for key, value in description.items() if key != name}
            (saved / "session.json").write_text(json.dumps(less))
            with pytest.raises(ValueError, match=r"session\.json does not describe a session"):
                load(saved, video=clip(8))

    @pytest.mark.parametrize("damage", ["cut", "empty", "other", "missing"])
    def test_tensors_that_are_broken(self, saved: Path, damage: str) -> None:
        (path,) = saved.glob("*.safetensors")
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes({"cut": path.read_bytes()[:-100], "empty": b"", "other": b"x" * 100}[damage])
        with pytest.raises(ValueError, match=r"session\.json does not describe a session"):
            load(saved, video=clip(8))

    def test_a_changed_byte_is_noticed(self, saved: Path) -> None:
        (path,) = saved.glob("*.safetensors")
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(bytes(content))
        with pytest.raises(ValueError, match=r"checksum of tensors-.* the file was changed or damaged"):
            load(saved, video=clip(8))

    @pytest.mark.parametrize("change", [lambda tensor: tensor[None], lambda tensor: tensor.to(torch.int32)])
    def test_tensors_of_another_shape_or_kind_are_refused(self, saved: Path, change) -> None:
        """As of a file from elsewhere, whose checksum is right."""
        description, tensors = session_files.read_folder(saved, as_tensors=True)
        for name in tensors:
            changed = change(tensors[name])
            if name.endswith((".labels", ".mask")) and changed.shape == tensors[name].shape:
                continue
            session_files.write_folder(saved, description, {**tensors, name: changed})
            with pytest.raises(ValueError, match=re.escape(name)):
                load(saved, video=clip(8))

    def test_a_loaded_session_does_not_need_its_file_any_more(self, saved: Path) -> None:
        session = load(saved, video=clip(8))
        before = remembered(session)
        (path,) = saved.glob("*.safetensors")
        path.write_bytes(b"")  # of a memory-mapped file, this would end the process
        assert remembered(session) == before

    def test_a_full_disk_is_an_os_error(self, tracked_once, tmp_path: Path, monkeypatch) -> None:
        def fail(*args, **kwargs):
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

        monkeypatch.setattr(safetensors.torch, "save_file", fail)
        with pytest.raises(OSError, match="No space left on device"):
            tracked_once.save(tmp_path)

    def test_nothing_in_a_folder_is_executed(self, saved: Path) -> None:
        """Both formats hold plain data; what a pickle would have run has nowhere to be."""
        (path,) = saved.glob("*.safetensors")
        header = json.loads(path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")])
        header.pop("__metadata__", None)
        assert all(set(entry) == {"dtype", "shape", "data_offsets"} for entry in header.values())


def test_a_session_of_a_model_of_another_size_is_refused_and_stays_as_it_was() -> None:
    session = tracked_clip()
    before = remembered(session)
    for other in (tiny_video_model(seed=0, image_size=192), tiny_video_model(seed=0, memory_encoder_output_channels=4)):
        with pytest.raises(ValueError, match="inference_session must be of a model of this size, with"):
            track(other, session)
    assert remembered(session) == before


class TestSeveralAtOnce:
    """An autosave and a button, or a viewer that reloads."""

    def test_threads_that_save_and_load_the_same_folder(self, tracked_once, tmp_path: Path) -> None:
        small = give(open_session(8), 0, "a")
        expected = [remembered(small), remembered(tracked_once)]
        small.save(tmp_path)
        failures, done = [], threading.Event()

        def save(session) -> None:
            try:
                for _ in range(40):
                    session.save(tmp_path)
            except BaseException as error:
                failures.append(error)

        def read() -> None:
            try:
                while not done.is_set():
                    assert remembered(load(tmp_path, video=clip(8))) in expected
            except BaseException as error:
                failures.append(error)

        savers = [threading.Thread(target=save, args=(session,)) for session in (small, tracked_once)]
        reader = threading.Thread(target=read)
        for thread in (*savers, reader):
            thread.start()
        for thread in savers:
            thread.join()
        done.set()
        reader.join()
        assert failures == []
        assert remembered(load(tmp_path, video=clip(8))) in expected
        assert len(visible_in(tmp_path)) == 2

    def test_processes_that_save_into_the_same_folder(self, tmp_path: Path) -> None:
        ended = run_fresh(f"""
            import json, multiprocessing, pathlib
            from video_scenes import clip, give, open_session
            from sam2_hf.tracking.session import Sam2VideoInferenceSession

            FOLDER = pathlib.Path({str(tmp_path / "session")!r})

            def save(obj_id):
                session = give(open_session(2), 0, obj_id)
                for _ in range(60):
                    session.save(FOLDER)

            processes = [multiprocessing.get_context("fork").Process(target=save, args=(name,)) for name in "ab"]
            for process in processes:
                process.start()
            for process in processes:
                process.join()
            loaded = Sam2VideoInferenceSession.load(FOLDER, video=clip(2))
            names = [path.name for path in FOLDER.iterdir() if not path.name.startswith(".")]
            print(json.dumps([[process.exitcode for process in processes], loaded.obj_ids, len(names)]))
        """)
        assert ended[0] == [0, 0] and ended[1] in (["a"], ["b"]) and ended[2] == 2


def test_pixels_of_the_newest_frame_are_saved_for_prompts_on_it(tmp_path: Path) -> None:
    session = PROCESSOR.init_video_session(video_storage_device="cpu")
    stream(tiny_model(), session, range(3))
    session.save(tmp_path)
    loaded = load(tmp_path)
    for each in (session, loaded):
        give(each, 2, "late")
    late = tiny_model()(loaded, frame_idx=2).pred_masks
    assert late.equal(tiny_model()(session, frame_idx=2).pred_masks)
    assert loaded.stream_state()[1][0].equal(pixels(2))
