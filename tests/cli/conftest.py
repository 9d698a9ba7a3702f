"""The command sets up logging for its process; in tests it shares one with others."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from clips import write_clip
from tiny_checkpoint import save_tiny_checkpoint

from sam2_hf.cli.main import main
from sam2_hf.demo.world import draw_image


@pytest.fixture(autouse=True)
def logging_stays_as_it_was() -> Iterator[None]:
    """Undo what a command sets: the level of our logger, and no progress bars."""
    from transformers.utils import logging as transformers_logging

    logger = logging.getLogger("sam2_hf")
    level, shows_bars = logger.level, transformers_logging.is_progress_bar_enabled()
    yield
    logger.setLevel(level)
    if shows_bars:
        transformers_logging.enable_progress_bar()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint, two photos and a clip."""
    folder = tmp_path_factory.mktemp("desk")
    save_tiny_checkpoint(folder / "tiny", video=True)
    (folder / "photos").mkdir()
    world = draw_image()
    for number in (2, 10):
        world.first.save(folder / "photos" / f"photo{number}.png")
    write_clip(folder / "clip.mp4", 5, size=(96, 224))
    return folder


@pytest.fixture
def sam2(folder, monkeypatch, tmp_path, capsys):
    """Runs the command in the folder, with the tiny checkpoint; (exit status, output, errors)."""
    monkeypatch.chdir(folder)

    def run(*arguments, checkpoint="tiny"):
        options = ["--checkpoint", checkpoint] if checkpoint else []
        status = main([*map(str, arguments), *options])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run
