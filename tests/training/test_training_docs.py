from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from sam2_hf.training.data.data_sets import KINDS
from sam2_hf.training.loop.recipe_file import load_recipe

TEXT = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module")
def names():
    """What the examples import, all together, for later ones build on earlier ones."""
    pytest.importorskip("accelerate")
    namespace: dict[str, object] = {}
    for example in EXAMPLES:
        for node in ast.parse(example).body:
            if isinstance(node, ast.ImportFrom):
                exec(ast.unparse(node), namespace)
    return namespace


def test_calls_in_examples_have_arguments_that_exist(names):
    checked = set()
    for example in EXAMPLES:
        for node in ast.walk(ast.parse(example)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
                signature = inspect.signature(names[node.func.id])
                keywords = {keyword.arg: None for keyword in node.keywords}
                signature.bind(*[None] * len(node.args), **keywords)
                checked.add(node.func.id)
    assert {"ClipDataset", "ClipSampling", "PaletteFolder", "ClipCollator", "Sam2Trainer", "SyntheticVideos"} <= checked


def test_the_synthetic_example_runs():
    (example,) = [example for example in EXAMPLES if "SyntheticVideos(" in example]
    namespace: dict = {}
    exec(example, namespace)
    assert namespace["clip"].frames.shape == (40, 256, 256, 3)


def test_the_recipe_can_be_read_and_its_data_have_the_options_that_it_names(tmp_path):
    (content,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "recipe.yaml").write_text(content)
    (stage,) = load_recipe(tmp_path / "recipe.yaml").stages
    for part in [*stage.data, *stage.evaluation.data]:
        inspect.signature(KINDS[part.kind]).bind(**part.options)


def test_commands_name_data_and_options_that_exist():
    commands = re.findall(r"scripts/evaluate.py CHECKPOINT (clicks|tracking) (\w+) (.*)", TEXT)
    assert len(commands) == 3
    for _, kind, rest in commands:
        options = [word.split("=")[0] for word in rest.split(" --")[0].split()]
        inspect.signature(KINDS[kind]).bind(**dict.fromkeys(options))


def test_every_data_set_is_in_the_table():
    for kind in KINDS.values():
        assert f"| `{kind.__name__}(" in TEXT
