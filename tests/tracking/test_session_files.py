"""The files of a session: earlier saves that survive, several savers at once, and files that are no session."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path

import pytest
import safetensors.torch
import torch
from fresh_python import run_fresh
from safetensors import SafetensorError
from stored_sessions import load, remembered, visible_in
from video_scenes import (
    PROCESSOR,
    clip,
    give,
    open_session,
)

from sam2_hf.tracking import session_files
from sam2_hf.tracking.prompts import MaskPrompt


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


class TestFilesThatAreNoSession:
    @pytest.mark.parametrize("name", ["", None, 5])
    def test_a_name_that_is_none_is_not_the_current_folder(
        self, tracked_once, name, tmp_path: Path, monkeypatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        for call in (tracked_once.save, load):
            with pytest.raises(ValueError, match="directory must be the path of a folder, got"):
                call(name)
        assert not list(tmp_path.iterdir())

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
        for name in description.keys() - {
            "sha256",
            "value_range",
            "last_visited",
        }:  # which earlier versions did not write
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
