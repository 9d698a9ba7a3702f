"""Importing the package: cheap, complete, and the same names for people and for type checkers."""

from __future__ import annotations

import ast
import importlib.metadata
from pathlib import Path

import pytest
from fresh_python import run_fresh

import sam2_hf
from sam2_hf.hub.remote_code import ENTRY_MODULES, flatten


def _names_for_type_checkers() -> dict[str, set[str]]:
    """The imports in the `if TYPE_CHECKING` block, as {module: names}."""
    tree = ast.parse(Path(sam2_hf.__file__).read_text(encoding="utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    return {node.module: {alias.name for alias in node.names} for node in imports}


def test_import_loads_neither_torch_nor_transformers_nor_our_model_code():
    loaded = run_fresh("""
        import json, sys
        import sam2_hf
        print(json.dumps([name for name in sys.modules if name.split(".")[0] in ("torch", "transformers", "sam2_hf")]))
    """)
    assert sorted(loaded) == [
        "sam2_hf",
        "sam2_hf.hub",
        "sam2_hf.hub.auto_classes",
        "sam2_hf.hub.import_hooks",
        "sam2_hf.hub.json_files",
        "sam2_hf.hub.replacing",
        "sam2_hf.version",
    ]


def test_import_after_the_auto_classes_still_loads_no_model_code():
    loaded = run_fresh("""
        import json, sys
        from transformers import AutoModel, AutoProcessor, pipeline
        import sam2_hf
        print(json.dumps([name for name in sys.modules if name.startswith("sam2_hf.")]))
    """)
    assert "sam2_hf.hub.auto_classes" in loaded
    assert not [name for name in loaded if name.split(".")[1].startswith(("modeling", "processing", "image", "mask"))]


def test_configuration_needs_no_model_code():
    loaded = run_fresh("""
        import json, sys
        from sam2_hf import Sam2Config
        Sam2Config()
        print(json.dumps([name for name in sys.modules if name.startswith("sam2_hf.")]))
    """)
    assert "sam2_hf.configuration_sam2" in loaded
    assert "sam2_hf.modeling_sam2" not in loaded


@pytest.mark.parametrize("name", sam2_hf.__all__)
def test_every_public_name_is_there(name):
    assert getattr(sam2_hf, name) is not None
    assert name in dir(sam2_hf)


def test_names_for_type_checkers_are_those_of_run_time():
    assert _names_for_type_checkers() == {module: set(names) for module, names in sam2_hf._NAMES.items()}


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"'sam2_hf' has no attribute 'Sam3Model'"):
        sam2_hf.Sam3Model  # noqa: B018


def test_version_of_the_metadata_is_that_of_the_module():
    assert importlib.metadata.version("sam2-hf") == sam2_hf.__version__


def _imports_of(path: Path) -> list[ast.Import | ast.ImportFrom]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]


PACKAGE = Path(sam2_hf.__file__).parent
PUSHED = flatten(PACKAGE, [module for classes in ENTRY_MODULES.values() for module in classes.values()])


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_source_is_our_own_and_can_be_pushed_to_the_hub(path):
    """No torchvision, no model of transformers; and what checkpoints carry imports names from its siblings."""
    is_pushed = "_".join(path.relative_to(PACKAGE).parts) in PUSHED
    for node in _imports_of(path):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        assert not any(name.startswith(("torchvision", "transformers.models")) for name in names)
        if is_pushed:
            assert all(names), f"line {node.lineno}: write `from .{node.names[0].name} import ...`"
            assert not any(name.split(".")[0] == "sam2_hf" for name in names), f"line {node.lineno}: import from `.`"


def test_what_checkpoints_carry_is_found():
    assert {"modeling_sam2.py", "hub_remote_code.py", "tracking_session.py"} <= PUSHED.keys()
