"""Runs transformers' own tests of SAM 2 on the classes of this package: the same files with the import lines changed.

python scripts/check_transformers_suites.py transformers             the suites of images, videos and processors
python scripts/check_transformers_suites.py transformers --theirs    as they are, on transformers itself
python scripts/check_transformers_suites.py transformers -- -k save  with arguments for pytest

The argument is a checkout of transformers' repository, best at the version that is installed. The tests need
torchvision, parameterized, datasets and httpx beside the packages for development. The files are rewritten in a
temporary folder; the checkout stays as it is.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import os
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line. Returns pytest's exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    own, rest = (given[: given.index("--")], given[given.index("--") + 1 :]) if "--" in given else (given, [])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="the folder of a checkout of transformers")
    parser.add_argument("--theirs", action="store_true", help="leave the import lines as they are")
    options = parser.parse_args(own)
    if not (options.checkout / "tests" / "models" / SUITES[0]).is_dir():
        parser.error(f"expected a checkout of transformers with tests/models/{SUITES[0]}, got {options.checkout}")
    with tempfile.TemporaryDirectory(prefix="suites_") as folder:
        suites = copy_suites(options.checkout, Path(folder))
        if not options.theirs:
            for suite in suites:
                rewrite_folder(suite)
            leave_out(Path(folder))
        return run(Path(folder), suites, rest)


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
