"""Runs transformers' own tests of SAM 2 on the classes of this package: the same files with the import lines changed.

python scripts/check_transformers_suites.py transformers             the suites of images, videos and processors
python scripts/check_transformers_suites.py transformers --theirs    as they are, on transformers itself
python scripts/check_transformers_suites.py transformers -- -k save  with arguments for pytest
python scripts/check_transformers_suites.py transformers --checkpoint folder --media folder    the integration tests

The argument is a checkout of transformers' repository, best at the version that is installed. The tests need
torchvision, parameterized, datasets and httpx beside the packages for development. The files are rewritten in a
temporary folder; the checkout stays as it is.

The integration tests compare with values of a checkpoint on the Hub. Given a checkpoint of image size 1024 and a folder
with truck.jpg, groceries.jpg, dog-sam.png and bedroom.mp4, they run twice without the Hub: on transformers, whose
values are kept, and on this package, which must give the same.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

SUITES = ("sam2", "sam2_video")
PREFIX = "Sam2"
ALIASES = {"Sam2ImageProcessorFast": "Sam2ImageProcessor"}
"""Names that transformers had before its version 5."""

EXCEPTIONS = {
    "Sam2VisionModelTest::test_attention_outputs": "attentions are attention weights; there, what attention returns",
    "Sam2ModelTest::test_attention_outputs": "the same",
    "test_init_arguments_not_in_class_attributes": "target_size is a property, which follows the image processor",
    "test_model_input_names": "the names of prompts belong to them, which a call with images alone does not return",
    "Sam2VideoProcessorTest::test_subprocessor_defaults_2_videos": "the video processor follows the image processor",
    "Sam2VideoModelIntegrationTest::test_inference_with_different_dtypes": "masks of a tracked frame are float32",
}
"""Tests that pass on transformers and are left out here, with the reason why they cannot pass."""

LEAVING_OUT = """
def pytest_collection_modifyitems(config, items):
    left_out = [item for item in items if item.nodeid.endswith({names})]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
"""
"""The conftest.py that leaves them out."""

OF_IMAGE_PROCESSOR = """

import sys

import sam2_hf

common = sys.modules[ImageProcessingTestMixin.__module__]
common.get_image_processor_class_from_name = lambda name: sam2_hf.Sam2ImageProcessor
"""
"""The suite of the image processor asks transformers' table for the class to test, and imports none."""


INTEGRATION = "IntegrationTest"
"""Part of the name of every class of integration tests."""

COMPARING_VALUES = """
import os
from pathlib import Path

import pytest
import torch

compare = torch.testing.assert_close


@pytest.fixture(autouse=True)
def values(request, monkeypatch):
    path, kept = Path(os.environ["VALUES"]) / f"{request.node.name}.pt", []
    known = torch.load(path) if path.exists() else None

    def assert_close(actual, expected, **tolerances):
        kept.append(actual)
        if known is not None:
            compare(actual, known[len(kept) - 1], **tolerances)

    monkeypatch.setattr(torch.testing, "assert_close", assert_close)
    yield
    if known is None:
        torch.save(kept, path)
    else:
        assert len(kept) == len(known)
"""
"""The conftest.py that keeps the values of a first run and compares those of a second with them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line. Returns pytest's exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    own, rest = (given[: given.index("--")], given[given.index("--") + 1 :]) if "--" in given else (given, [])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="the folder of a checkout of transformers")
    parser.add_argument("--theirs", action="store_true", help="leave the import lines as they are")
    parser.add_argument("--checkpoint", type=Path, help="runs the integration tests, with this in place of the Hub's")
    parser.add_argument("--media", type=Path, help="the folder of the integration tests' images and clip")
    options = parser.parse_args(own)
    if (options.checkpoint is None) != (options.media is None):
        parser.error("--checkpoint and --media need each other")
    if not (options.checkout / "tests" / "models" / SUITES[0]).is_dir():
        parser.error(f"expected a checkout of transformers with tests/models/{SUITES[0]}, got {options.checkout}")
    with tempfile.TemporaryDirectory(prefix="suites_") as folder:
        suites = copy_suites(options.checkout, Path(folder))
        if options.checkpoint is not None:
            return run_integration(Path(folder), suites, options.checkpoint.resolve(), options.media.resolve(), rest)
        if not options.theirs:
            for suite in suites:
                rewrite_folder(suite)
            leave_out(Path(folder))
        return run(Path(folder), suites, rest)


def run_integration(
    folder: Path, suites: Sequence[Path], checkpoint: Path, media: Path, arguments: Sequence[str]
) -> int:
    """Runs the integration tests on transformers, and on this package with the values of the first run.

    Returns:
        pytest's exit status; the first that is not zero.
    """
    for path in (path for suite in suites for path in suite.glob("test_modeling_*.py")):
        path.write_text(without_hub(path.read_text(encoding="utf-8"), checkpoint, media), encoding="utf-8")
    (folder / "conftest.py").write_text(COMPARING_VALUES, encoding="utf-8")
    (folder / "values").mkdir()
    os.environ |= {"VALUES": str(folder / "values"), "RUN_SLOW": "1"}
    chosen = ["-k", INTEGRATION, *arguments]
    status = run(folder, suites, chosen)
    for suite in suites:
        rewrite_folder(suite)
    return status or run(folder, suites, chosen)


def without_hub(text: str, checkpoint: Path, media: Path) -> str:
    """Has a module of tests read a checkpoint and media from folders.

    Args:
        text: Python code.
        checkpoint: in place of every checkpoint of the Hub.
        media: folder of files by the names that their addresses end with.

    Returns:
        The same code with paths in place of names and addresses.
    """
    text = re.sub(r'"facebook/sam2[^"]*"', repr(str(checkpoint)), text)
    text = re.sub(r'"https://huggingface.co/[^"]*/([^"/]+)"', lambda found: repr(str(media / found[1])), text)
    return text.replace("requests.get(img_url, stream=True).raw", "img_url")


def leave_out(folder: Path) -> None:
    """Has pytest leave out the tests in `EXCEPTIONS`, and prints them."""
    for name, reason in EXCEPTIONS.items():
        print(f"left out: {name} ({reason})")
    (folder / "conftest.py").write_text(LEAVING_OUT.format(names=tuple(EXCEPTIONS)), encoding="utf-8")


def copy_suites(checkout: Path, folder: Path) -> list[Path]:
    """Copies what the suites need of a checkout.

    Args:
        checkout: of transformers.
        folder: where to; empty.

    Returns:
        The folder of each suite.
    """

    def others(parent: str, names: Iterable[str]) -> list[str]:
        is_models = Path(parent) == checkout / "tests" / "models"
        return [name for name in names if is_models and name not in (*SUITES, "__init__.py")]

    shutil.copytree(checkout / "tests", folder / "tests", ignore=others)
    if (checkout / "utils").is_dir():
        shutil.copytree(checkout / "utils", folder / "utils")
    # Some of the tests load transformers from its sources; that is the one that is installed.
    spec = importlib.util.find_spec("transformers")
    assert spec is not None and spec.origin is not None, "transformers is not installed"
    (folder / "src").mkdir()
    (folder / "src" / "transformers").symlink_to(Path(spec.origin).parent, target_is_directory=True)
    return [folder / "tests" / "models" / name for name in SUITES]


def rewrite_folder(suite: Path) -> None:
    """Rewrites the test files of a folder for this package, in place."""
    for path in sorted(suite.glob("test_*.py")):
        text = rewrite_imports(path.read_text(encoding="utf-8"))
        if path.name.startswith("test_image_processing"):
            text += OF_IMAGE_PROCESSOR
        path.write_text(text, encoding="utf-8")


def rewrite_imports(text: str) -> str:
    """Has a module import the classes of SAM 2 from this package.

    Args:
        text: Python code.

    Returns:
        The same code, with `from transformers import Sam2Model` and the like, and imports from the modules of
        transformers' SAM 2, made imports from `sam2_hf`.
    """
    lines = text.splitlines(keepends=True)
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    for node in sorted(imports, key=lambda node: node.lineno, reverse=True):
        if node.level or not (node.module or "").startswith("transformers"):
            continue
        ours = [alias for alias in node.names if alias.name.startswith(PREFIX)]
        if not ours:
            continue
        indent = " " * node.col_offset
        rest = [alias for alias in node.names if alias not in ours]
        renamed = [ast.alias(ALIASES.get(alias.name, alias.name), alias.asname or alias.name) for alias in ours]
        new = [ast.ImportFrom("sam2_hf", renamed, 0)]
        new += [ast.ImportFrom(node.module, rest, 0)] if rest else []
        lines[node.lineno - 1 : node.end_lineno] = [f"{indent}{ast.unparse(one)}\n" for one in new]
    return "".join(lines)


def run(folder: Path, suites: Sequence[Path], arguments: Sequence[str]) -> int:
    """Runs pytest on the suites in a folder, with this repository's package. Returns its exit status."""
    source = Path(__file__).resolve().parents[1] / "src"
    paths = [str(source), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, suites), *arguments]
    return subprocess.run(command, cwd=folder, env=environment).returncode


if __name__ == "__main__":
    raise SystemExit(main())
