"""The code that is saved beside a checkpoint: what is written, and that it works without the package."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from fresh_python import WITHOUT_PACKAGE, run_fresh
from tiny import tiny_config, tiny_image_model
from tiny_checkpoint import save_tiny_checkpoint
from transformers import AutoModel, AutoProcessor, dynamic_module_utils
from transformers.dynamic_module_utils import get_imports, get_relative_import_files

import sam2_hf
from sam2_hf.hub.remote_code import ENTRY_MODULES, flatten, write_code

ROOT = Path(sam2_hf.__file__).parent
IMAGE = ("Sam2Config", "Sam2Model", "Sam2Processor", "Sam2ImageProcessor")
VIDEO = ("Sam2VideoConfig", "Sam2VideoModel", "Sam2VideoProcessor", "Sam2ImageProcessor")
SIZE = 64


def click_and_track(model: Any, processor: Any) -> torch.Tensor:
    """Logits of a click on an image, (1, 3, 40, 50), or of the frames of a clip, (3, 1, 40, 50)."""
    image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    click = {"input_points": [[[[20, 20]]]], "input_labels": [[[1]]]}
    if hasattr(processor, "init_video_session"):
        session = processor.init_video_session(video=[image, image[:, ::-1], image])
        processor.add_inputs_to_inference_session(session, frame_idx=0, obj_ids=1, **click)
        outputs = [output.pred_masks for output in model.propagate_in_video_iterator(session)]
        return torch.cat(processor.post_process_masks(outputs, [[40, 50]] * len(outputs), binarize=False))
    inputs = processor(image, **click, return_tensors="pt")
    with torch.no_grad():
        masks = model(**inputs).pred_masks
    return processor.post_process_masks(masks, inputs["original_sizes"], binarize=False)[0]


@contextmanager
def registered_classes(*names: str) -> Iterator[None]:
    """The classes of these names save their code."""
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setattr(getattr(sam2_hf, name), "_auto_classes", ())
            getattr(sam2_hf, name).register_for_auto_class()
        yield


@pytest.fixture(scope="module", params=[False, True], ids=["image", "video"])
def pushed(request, tmp_path_factory):
    """A folder with weights and code, and the names of its classes."""
    folder = tmp_path_factory.mktemp("pushed") / "checkpoint"
    names = VIDEO if request.param else IMAGE
    with registered_classes(*names):
        save_tiny_checkpoint(folder, SIZE, video=request.param)
    return folder, names


def _code(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix == ".py"}


class TestTheFolder:
    def test_auto_maps_name_one_module_for_all_classes(self, pushed):
        folder, (config, model, processor, image_processor) = pushed
        entry = "sam2_video" if "Video" in config else "sam2_image"
        assert json.loads((folder / "config.json").read_text())["auto_map"] == {
            "AutoConfig": f"{entry}.{config}",
            "AutoModel": f"{entry}.{model}",
        }
        saved = json.loads((folder / "processor_config.json").read_text())
        assert saved["auto_map"] == {"AutoProcessor": f"{entry}.{processor}"}
        assert saved["image_processor"]["auto_map"] == {"AutoImageProcessor": f"{entry}.{image_processor}"}

    def test_it_holds_the_files_that_transformers_will_look_for_and_no_others(self, pushed):
        folder, _ = pushed
        found = set()
        for config in ("config.json", "processor_config.json"):
            for reference in json.loads((folder / config).read_text())["auto_map"].values():
                entry = folder / f"{reference.split('.')[0]}.py"
                found |= {entry.name, *(Path(path).name for path in get_relative_import_files(entry))}
        assert _code(folder) == found

    def test_it_holds_no_training_no_demo_and_no_dotted_names(self, pushed):
        rooms = {path.name for path in ROOT.iterdir() if path.is_dir()}
        unwanted = ("training", "demo", "convert", "official", "cli", "app", "export", "results")
        assert {"training", "demo", "network"} <= rooms
        assert not [name for name in _code(pushed[0]) if name.startswith(unwanted) or "." in name.removesuffix(".py")]

    def test_the_code_of_images_holds_nothing_of_videos(self, pushed):
        folder, names = pushed
        of_videos = [name for name in _code(folder) if name.startswith(("tracking", "video_io"))]
        assert bool(of_videos) == (names is VIDEO)

    def test_no_library_is_needed_that_the_package_does_not_need(self, pushed):
        """Transformers refuses code that imports a missing library anywhere, in functions too."""
        # filelock and tqdm come with huggingface_hub
        libraries = {
            "av",
            "filelock",
            "huggingface_hub",
            "numpy",
            "PIL",
            "safetensors",
            "torch",
            "tqdm",
            "transformers",
        }
        for name in _code(pushed[0]):
            assert set(get_imports(pushed[0] / name)) <= libraries | set(sys.stdlib_module_names), name


@pytest.fixture(scope="module")
def loaded(pushed, tmp_path_factory):
    """What a process that cannot find the package has loaded: its classes, its masks, and the folder it saved again."""
    folder, home = pushed[0], tmp_path_factory.mktemp("home")
    code = f"""
        {WITHOUT_PACKAGE}
        import json
        from typing import Any
        import numpy as np
        import torch
        from transformers import AutoModel, AutoProcessor
        model = AutoModel.from_pretrained({str(folder)!r}, trust_remote_code=True).eval()
        processor = AutoProcessor.from_pretrained({str(folder)!r}, trust_remote_code=True)
        CLICK_AND_TRACK
        torch.save(click_and_track(model, processor), {str(home / "masks.pt")!r})
        for part in (model, processor):
            part.save_pretrained({str(home / "again")!r})
        classes = [type(part) for part in (model.config, model, processor, processor.image_processor)]
        print(json.dumps([(found.__module__.split(".")[0], found.__name__) for found in classes]))
    """
    code = textwrap.dedent(code).replace("CLICK_AND_TRACK", inspect.getsource(click_and_track))
    return run_fresh(code, HF_HOME=str(home)), torch.load(home / "masks.pt"), home / "again"


class TestLoading:
    def test_code_pushed_with_the_weights_works_without_the_package(self, pushed, loaded):
        """The classes come from the folder, offline, and their masks are those of the package to the bit."""
        (folder, names), (classes, masks, _) = pushed, loaded
        assert classes == [["transformers_modules", name] for name in names]
        model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
        for part, name in zip((model.config, model, processor, processor.image_processor), names, strict=True):
            assert type(part) is getattr(sam2_hf, name)
        expected = click_and_track(model, processor)
        assert expected.shape == ((3, 1, 40, 50) if names is VIDEO else (1, 3, 40, 50))
        assert torch.equal(masks, expected)

    def test_what_was_loaded_so_saves_the_same_code_again(self, pushed, loaded):
        folder, again = pushed[0], loaded[2]
        assert {name: (again / name).read_bytes() for name in _code(again)} == {
            name: (folder / name).read_bytes() for name in _code(folder)
        }
        for name in ("config.json", "processor_config.json"):
            before, after = (json.loads((path / name).read_text()) for path in (folder, again))
            assert after["auto_map"] == before["auto_map"]


class TestSaving:
    @pytest.fixture
    def registered(self):
        """The image classes, registered for one test."""
        with registered_classes(*IMAGE):
            yield

    def test_without_registration_no_code_is_saved(self, tmp_path):
        save_tiny_checkpoint(tmp_path, SIZE)
        assert not _code(tmp_path)
        assert "auto_map" not in json.loads((tmp_path / "config.json").read_text())

    def test_parts_that_are_saved_apart_carry_the_same_files(self, registered, tmp_path):
        """They may be pushed to one repository, one after the other."""
        contents = []
        for number, part in enumerate((tiny_config(), sam2_hf.Sam2Processor(sam2_hf.Sam2ImageProcessor(size=SIZE)))):
            part.save_pretrained(tmp_path / str(number))
            contents.append(
                {name: (tmp_path / str(number) / name).read_bytes() for name in _code(tmp_path / str(number))}
            )
        assert contents[0] == contents[1]
        assert "sam2_image.py" in contents[0]

    def test_subclasses_elsewhere_are_not_taken_for_the_class(self, registered):
        class Sam2Model(sam2_hf.Sam2Model):
            pass

        assert sam2_hf.Sam2Model.saves_its_code()
        assert not Sam2Model.saves_its_code()

    def test_classes_that_no_checkpoint_is_loaded_with_are_refused(self):
        with pytest.raises(
            ValueError, match=r"code of Sam2PreTrainedModel cannot be saved; expected one of .*Sam2Model"
        ):
            sam2_hf.Sam2PreTrainedModel.register_for_auto_class()

    def test_every_class_is_where_the_table_says(self):
        for classes in ENTRY_MODULES.values():
            assert {name: f"sam2_hf.{module}" for name, module in classes.items()} == {
                name: getattr(importlib.import_module(f"sam2_hf.{module}"), name).__module__
                for name, module in classes.items()
            }

    def test_a_class_may_serve_two_auto_classes(self, registered, tmp_path):
        sam2_hf.Sam2Model.register_for_auto_class("AutoModelForMaskGeneration")
        tiny_image_model(image_size=SIZE).save_pretrained(tmp_path)
        assert json.loads((tmp_path / "config.json").read_text())["auto_map"] == {
            "AutoConfig": "sam2_image.Sam2Config",
            "AutoModel": "sam2_image.Sam2Model",
            "AutoModelForMaskGeneration": "sam2_image.Sam2Model",
        }

    def test_an_unknown_auto_class_is_refused(self):
        with pytest.raises(ValueError, match="AutoSegmenter is not a valid auto class"):
            sam2_hf.Sam2Model.register_for_auto_class("AutoSegmenter")
        assert not sam2_hf.Sam2Model.saves_its_code()

    @pytest.mark.parametrize("way", ["push_to_hub", "save_pretrained"])
    @pytest.mark.parametrize("kind", ["model", "processor", "config"])
    def test_pushing_uploads_the_code(self, way, kind, registered, tmp_path, monkeypatch):
        saved = {
            "model": lambda: tiny_image_model(image_size=SIZE),
            "processor": lambda: sam2_hf.Sam2Processor(sam2_hf.Sam2ImageProcessor(size=SIZE)),
            "config": tiny_config,
        }[kind]()
        uploaded = set()

        def create_commit(self, *, operations, **_):
            uploaded.update(operation.path_in_repo for operation in operations)

        def create_repo(self, repo_id, **_):
            return huggingface_hub.RepoUrl(f"https://huggingface.co/{repo_id}")

        def no_card(*_, **__):
            raise huggingface_hub.errors.EntryNotFoundError("no card")

        monkeypatch.setattr(huggingface_hub.HfApi, "create_commit", create_commit)
        monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
        monkeypatch.setattr(huggingface_hub.ModelCard, "load", no_card)
        if way == "push_to_hub":
            saved.push_to_hub("me/sam2")
        else:
            saved.save_pretrained(str(tmp_path / "sam2"), push_to_hub=True, repo_id="me/sam2")
        entry = {"model": "modeling_sam2.py", "processor": "processing_sam2.py", "config": "configuration_sam2.py"}[
            kind
        ]
        assert entry in uploaded
        if kind == "model":
            assert {"configuration_sam2.py", "network_hiera.py", "config.json", "model.safetensors"} <= uploaded

    def test_classes_of_others_are_refused(self, tmp_path):
        with pytest.raises(ValueError, match=r"cls must be one of .* of sam2_hf, got pathlib"):
            write_code(Path, tmp_path)


class TestFlattening:
    def write(self, folder: Path, **sources: str) -> Path:
        for name, source in sources.items():
            path = folder / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source, encoding="utf-8")
        return folder

    def test_only_import_statements_change(self, tmp_path):
        source = (
            '"""Größe: from ..b import x."""\nfrom ..b import (\n    x,  # ü\n    y,\n)\n'
            "def f():\n    é = 1; from .d import z\n"
        )
        root = self.write(tmp_path, a__c=source, a__d="z = 1\n", b="x = y = 2\n")
        flat = flatten(root, ["a.c"])
        assert set(flat) == {"a_c.py", "a_d.py", "b.py"}
        expected = source.replace("from ..b import (", "from .b import (").replace("from .d import", "from .a_d import")
        assert flat["a_c.py"].decode() == expected

    def test_imports_for_type_checkers_are_left_out_and_not_followed(self, tmp_path):
        source = (
            "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    import os\n    from .b import (\n        x,\n    )\n"
            "else:\n    from .c import x\n"
        )
        root = self.write(tmp_path, a=source, b="x = 1\n", c="x = 2\n")
        flat = flatten(root, ["a"])
        assert set(flat) == {"a.py", "c.py"}
        names = {}
        exec(flat["a.py"].replace(b"from .c import x", b"x = 3"), names)
        assert names["x"] == 3

    def test_names_of_a_package_come_from_its_init(self, tmp_path):
        root = self.write(tmp_path, a="from .b import x\n", b__c="x = 1\n")
        (root / "b" / "__init__.py").write_text("from .c import x\n")
        assert flatten(root, ["a"])["b.py"] == b"from .b_c import x\n"

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("from . import b\n", r"a\.py, line 1: a module is imported"),
            ("\nfrom .b import c\n", r"a\.py, line 2: a module is imported"),
            ("from .. import x\n", r"a\.py, line 1: the import leaves"),
            ("from .nowhere import x\n", r"there is no module 'nowhere'"),
        ],
    )
    def test_what_has_no_flat_form_is_refused_with_file_and_line(self, source, message, tmp_path):
        with pytest.raises(ValueError, match=message):
            flatten(self.write(tmp_path, a=source, b__c=""), ["a"])

    def test_two_modules_of_one_flat_name_are_refused(self, tmp_path):
        root = self.write(tmp_path, a="from .b.c import x\nfrom .b_c import y\n", b__c="x = 1\n", b_c="y = 1\n")
        with pytest.raises(ValueError, match=r"'b_c' and 'b\.c'|'b\.c' and 'b_c'"):
            flatten(root, ["a"])


def test_the_processor_of_clips_carries_its_code_too(tmp_path, monkeypatch):
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    with registered_classes("Sam2VideoVideoProcessor"):
        sam2_hf.Sam2VideoVideoProcessor(size=64).save_pretrained(tmp_path / "saved")
    (saved,) = [json.loads(path.read_text()) for path in (tmp_path / "saved").glob("*.json")]
    reference = saved["auto_map"]["AutoVideoProcessor"]
    assert reference == "sam2_video.Sam2VideoVideoProcessor"
    found = dynamic_module_utils.get_class_from_dynamic_module(reference, tmp_path / "saved")
    assert found.__module__.startswith("transformers_modules.")
    assert found.from_pretrained(tmp_path / "saved").size["height"] == 64
