"""`replace_in_transformers`: the names of SAM 2 in transformers mean our classes, until `unregister`."""

from __future__ import annotations

import gc
import sys

import pytest
import transformers
from fresh_python import run_fresh

import sam2_hf

NAMES = [
    "Sam2Config",
    "Sam2ImageProcessor",
    "Sam2Model",
    "Sam2Processor",
    "Sam2VideoConfig",
    "Sam2VideoModel",
    "Sam2VideoProcessor",
    "Sam2VisionModel",
]


@pytest.fixture(autouse=True, scope="module")
def seen_modules():
    """The modules to change are found by the garbage collector, from which `conftest.py` keeps what is imported."""
    gc.unfreeze()
    yield
    gc.freeze()


@pytest.fixture
def replaced():
    sam2_hf.replace_in_transformers()
    yield
    sam2_hf.unregister()
    sam2_hf.register()


def _theirs() -> dict[str, type]:
    return {name: getattr(transformers, name) for name in NAMES if not name.endswith("Processor")}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_transformers_are_ours(name, replaced):
    assert getattr(transformers, name) is getattr(sam2_hf, name)


def test_the_former_name_of_the_image_processor_is_ours_too(replaced):
    from transformers import Sam2ImageProcessorFast

    assert Sam2ImageProcessorFast is sam2_hf.Sam2ImageProcessor


def test_later_and_earlier_modules_get_ours(tmp_path, monkeypatch):
    (tmp_path / "earlier_module.py").write_text("import transformers\ndef f(): return transformers.Sam2Model\n")
    (tmp_path / "later_module.py").write_text("from transformers import Sam2Model, Sam2VideoProcessor\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import earlier_module

    theirs = earlier_module.f()
    sam2_hf.replace_in_transformers()
    try:
        import later_module

        assert earlier_module.f() is later_module.Sam2Model is sam2_hf.Sam2Model
        assert later_module.Sam2VideoProcessor is sam2_hf.Sam2VideoProcessor
    finally:
        sam2_hf.unregister()
        sam2_hf.register()
        sys.modules.pop("later_module", None)
        sys.modules.pop("earlier_module", None)
    assert theirs is not sam2_hf.Sam2Model
    assert transformers.Sam2Model is theirs


def test_unregister_gives_back_what_was_there():
    theirs = _theirs()
    assert not any(cls.__module__.startswith("sam2_hf") for cls in theirs.values())
    sam2_hf.replace_in_transformers()
    sam2_hf.replace_in_transformers()  # changes nothing
    assert all(getattr(transformers, name) is not cls for name, cls in theirs.items())
    sam2_hf.unregister()
    try:
        assert _theirs() == theirs
        from transformers import Sam2VideoConfig  # from the module that transformers has put in its own place

        assert Sam2VideoConfig is theirs["Sam2VideoConfig"]
    finally:
        sam2_hf.register()


def test_modules_of_transformers_keep_their_classes(replaced):
    from transformers.models.sam2 import Sam2Model
    from transformers.models.sam2.modeling_sam2 import Sam2Model as Same

    assert Sam2Model is Same
    assert Same.__module__.startswith("transformers.")


def test_a_script_written_for_transformers_runs_on_ours():
    code = """
        import json
        import sam2_hf
        sam2_hf.replace_in_transformers()
        from transformers import Sam2Model, Sam2Processor, Sam2VideoModel, Sam2VideoProcessor
        folder = sam2_hf.bundled_checkpoint()
        kinds = (Sam2Model, Sam2Processor, Sam2VideoModel, Sam2VideoProcessor)
        loaded = [kind.from_pretrained(folder) for kind in kinds]
        ours = [type(part).__module__ for part in loaded]
        sam2_hf.unregister()
        import transformers
        print(json.dumps([ours, transformers.Sam2Model.__module__]))
    """
    ours, after = run_fresh(code)
    assert ours == [
        f"sam2_hf.{module}"
        for module in ("modeling_sam2", "processing_sam2", "modeling_sam2_video", "processing_sam2_video")
    ]
    assert after == "transformers.models.sam2.modeling_sam2"
