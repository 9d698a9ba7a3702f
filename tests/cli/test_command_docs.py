import io
import json
import re
import shlex
import subprocess
import sys

import pytest
from pages import PAGES, blocks, furnish

from sam2_hf.cli.main import main

ELSEWHERE = ("train", "evaluate", "app", "export", "batch", "collect")
"""Commands whose examples run in tests/training, tests/app, tests/exporters and tests/scale: they need data sets,
gradio, onnx or pyarrow; tests/test_docs.py checks the options."""


def examples():
    lines = [
        line
        for page in PAGES.values()
        for block in blocks(page, "bash")
        for line in block.text.replace("\\\n", " ").splitlines()
    ]
    return [line for line in lines if re.match(r"(\w.* \| )?sam2 ", line) and line.split()[1] not in ELSEWHERE]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reader")
    furnish(folder)
    (block,) = blocks(PAGES["docs/command.md"], "json")
    (folder / "prompts.json").write_text(block.text)
    return folder


@pytest.mark.parametrize("line", examples())
def test_every_example_of_the_command_runs(line, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    before, _, line = line.rpartition(" | ")
    if before:
        content = subprocess.run(before, shell=True, capture_output=True, check=True).stdout
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert main(shlex.split(line)[1:]) == 0
    captured = capsys.readouterr()
    if "--json" in line:
        captured_files = [file for entry in json.loads(captured.out) for file in entry["files"]]
        assert captured_files and all((folder / file).exists() for file in captured_files)
    assert captured.out and "Traceback" not in captured.err


def test_the_page_names_every_command_and_format():
    from sam2_hf.cli import segment_command, track_command
    from sam2_hf.cli.command_table import COMMANDS

    text = PAGES["docs/command.md"].read_text(encoding="utf-8")
    for command in COMMANDS:
        assert f"`sam2 {command}" in text
    assert {*segment_command.FORMATS, *track_command.FORMATS} <= set(re.findall(r"`([\w-]+)`", text))
