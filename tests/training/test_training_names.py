"""One import for fine-tuning: the names of `sam2_hf.training`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from fresh_python import run_fresh

import sam2_hf.training


@pytest.mark.parametrize("name", sam2_hf.training.__all__)
def test_every_name_is_there(name):
    value = getattr(sam2_hf.training, name)
    assert value.__name__ == name
    assert name in dir(sam2_hf.training)


def test_names_for_type_checkers_are_those_at_run_time():
    tree = ast.parse(Path(sam2_hf.training.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    found = {(node.module, alias.name) for node in block.body for alias in node.names}
    assert found == {(module, name) for name, module in sam2_hf.training._MODULE_OF.items()}


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Sam3Trainer'"):
        sam2_hf.training.Sam3Trainer  # noqa: B018


def test_the_package_imports_nothing_before_a_name_is_used():
    loaded = run_fresh("""
        import json, sys
        import sam2_hf.training
        before = [name for name in sys.modules if name.split(".")[0] in ("torch", "transformers", "scipy", "pydantic")]
        sam2_hf.training.Interaction
        after = [name for name in sys.modules if name.split(".")[0] in ("scipy", "pydantic", "yaml", "accelerate")]
        print(json.dumps([before, after]))
    """)
    assert loaded[0] == []
    assert not {"scipy", "pydantic", "accelerate"} & set(loaded[1])
