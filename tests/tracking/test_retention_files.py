"""Checkpoints in files, and in saved sessions."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from test_retention import LENGTH, SHORT
from video_scenes import (
    clip,
    give,
    prompted,
    tiny_model,
    track,
)

from sam2_hf.tracking import session_files, spill
from sam2_hf.tracking.retention import Checkpointed
from sam2_hf.tracking.session import Sam2VideoInferenceSession


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.safetensors"))


class TestFiles:
    @pytest.fixture(autouse=True)
    def small_files(self, monkeypatch) -> None:
        monkeypatch.setattr(spill, "BYTES_PER_FILE", 30_000)

    def test_state_in_files_gives_the_same_and_is_removed_with_the_session(self, tmp_path: Path) -> None:
        expected = prompted((0, "a"), num_frames=16, retention="everything")
        track(tiny_model(), expected)
        session = prompted((0, "a"), num_frames=16, retention=Checkpointed(4, 2, tmp_path / "state"))
        track(tiny_model(), session)
        assert files_in(tmp_path)
        session.save(tmp_path / "saved")
        loaded = Sam2VideoInferenceSession.load(
            tmp_path / "saved", video=clip(16), spill_directory=tmp_path / "elsewhere"
        )
        for frame in (2, 9):
            masks = tiny_model()(expected, frame_idx=frame).pred_masks
            assert tiny_model()(session, frame_idx=frame).pred_masks.equal(masks)
            assert tiny_model()(loaded, frame_idx=frame).pred_masks.equal(masks)
        assert files_in(tmp_path / "elsewhere")
        del session, loaded
        gc.collect()
        assert not files_in(tmp_path / "state") and not files_in(tmp_path / "elsewhere")

    def test_a_file_goes_with_the_last_result_in_it(self, tmp_path: Path) -> None:
        session = prompted((0, "a"), num_frames=16, retention=Checkpointed(4, 2, tmp_path))
        track(tiny_model(), session)
        before = files_in(tmp_path)
        session.remove_object("a")
        gc.collect()
        assert before and not files_in(tmp_path)

    def test_what_a_killed_process_left_is_removed_and_what_is_in_use_stays(self, tmp_path: Path) -> None:
        used = spill.Spill(tmp_path)
        left = tmp_path / f"{spill.PREFIX}left"
        left.mkdir()
        (left / "000000.safetensors").write_bytes(b"half a file")
        (tmp_path / "mine").mkdir()
        spill.Spill(tmp_path)
        assert used.folder.exists() and not left.exists() and (tmp_path / "mine").exists()

    def test_a_full_disk_is_an_os_error_and_loses_nothing(self, tmp_path: Path, monkeypatch) -> None:
        from safetensors import SafetensorError
        from safetensors import torch as safetensors_torch

        def fail(*arguments: Any) -> None:
            raise SafetensorError("No space left on device")

        session = prompted((0, "a"), num_frames=16, retention=Checkpointed(4, 2, tmp_path))
        with monkeypatch.context() as patch:
            patch.setattr(safetensors_torch, "save_file", fail)
            with pytest.raises(OSError, match="cannot be written: No space left on device"):
                track(tiny_model(), session)
        track(tiny_model(), session)
        expected = prompted((0, "a"), num_frames=16, retention="everything")
        track(tiny_model(), expected)
        for frame in (3, 12):
            masks = tiny_model()(session, frame_idx=frame).pred_masks
            assert masks.equal(tiny_model()(expected, frame_idx=frame).pred_masks)

    def test_a_directory_is_for_checkpoints(self, tmp_path: Path) -> None:
        session = prompted((0, "a"), num_frames=3, retention="everything")
        session.save(tmp_path)
        with pytest.raises(ValueError, match='spill_directory is for a session with retention="checkpointed"'):
            Sam2VideoInferenceSession.load(tmp_path, video=clip(3), spill_directory=tmp_path)


class TestSaved:
    @pytest.fixture(scope="class")
    @classmethod
    def saved(cls, tmp_path_factory) -> Path:
        folder = tmp_path_factory.mktemp("saved")
        session = prompted((0, "a"), num_frames=LENGTH, retention=SHORT)
        track(tiny_model(), session)
        give(session, 9, "a", "background")
        track(tiny_model(), session, start_frame_idx=9, max_frame_num_to_track=1)
        session.save(folder)
        return folder

    def test_a_session_comes_back_with_its_checkpoints(self, saved: Path) -> None:
        loaded = Sam2VideoInferenceSession.load(saved, video=clip(LENGTH))
        assert loaded.rule == SHORT
        results = loaded.tracks["a"].results
        assert len(results.whole) < LENGTH - 2 and any(block.nbytes for block in results.archive)

    @pytest.mark.parametrize(
        "name", ["sources", "recipes", "blocks.0.masks", "blocks.0.pointers", "blocks.0.scores", "blocks.0.features"]
    )
    def test_tables_and_blocks_that_were_tampered_with(self, saved: Path, name: str, tmp_path: Path) -> None:
        description, tensors = session_files.read_folder(saved, as_tensors=True)
        name = f"objects.0.{name}"
        for damaged in (tensors[name][:1], tensors[name] - 1000, tensors[name][None], tensors[name].to(torch.int16)):
            session_files.write_folder(tmp_path, description, {**tensors, name: damaged})
            if damaged.dtype.is_floating_point and damaged.shape == tensors[name].shape:
                continue  # other numbers are still numbers
            try:
                loaded = Sam2VideoInferenceSession.load(tmp_path, video=clip(LENGTH))
            except ValueError as error:
                assert "does not describe a session" in str(error)
            else:
                assert name.endswith("masks")
                with pytest.raises(ValueError, match="a packed mask is damaged"):
                    _ = [result.shown_logits for result in loaded.tracks["a"].results.values()]

    def test_a_file_does_not_say_where_to_write(self, saved: Path, tmp_path: Path) -> None:
        description, tensors = session_files.read_folder(saved, as_tensors=True)
        description["retention"]["directory"] = str(tmp_path / "there")
        session_files.write_folder(tmp_path / "changed", description, tensors)
        assert Sam2VideoInferenceSession.load(tmp_path / "changed", video=clip(LENGTH)).spill is None
        assert json.loads((tmp_path / "changed" / "session.json").read_text())["retention"]["directory"]
        assert not (tmp_path / "there").exists()
