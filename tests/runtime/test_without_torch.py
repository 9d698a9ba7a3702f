"""That the runtime needs neither torch nor transformers: in a process without them, and as a distribution."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import tomllib
from fresh_python import run_fresh

from sam2_hf import __version__

ROOT = Path(__file__).parents[2]
DISTRIBUTION = ROOT / "packages" / "runtime"
# Graphs whose outputs have the right shapes and a blob in their masks; what is tested is all that lies around them.
GRAPHS = """
import sys
sys.modules["torch"] = sys.modules["transformers"] = None
import json, pathlib, tempfile
import numpy as np

blob = np.full((24, 32), -9.0, np.float32)
blob[6:15, 8:20] = 9.0
SHAPES = {"image_embeddings.0": (2, 24, 32), "image_embeddings.1": (4, 12, 16), "image_embeddings.2": (16, 6, 8),
          "vision_features": (16, 6, 8), "conditioned_features": (16, 6, 8), "memory_features": (8, 6, 8),
          "iou_scores": (3,), "single_iou_scores": (1,), "object_score_logits": (1,),
          "object_pointers": (3, 16), "single_object_pointers": (1, 16)}

class Graphs:
    def run(self, name, inputs, outputs):
        rows = max(inputs[key].shape[0] for key in inputs)
        lead = inputs["input_labels"].shape[:2] if name.startswith("prompt") else (rows,)
        found = {key: np.ones((*lead, *shape), np.float32) for key, shape in SHAPES.items()}
        found["pred_masks"] = np.broadcast_to(blob, (*lead, 3, 24, 32))
        found["single_masks"] = np.broadcast_to(blob, (*lead, 1, 24, 32))
        return [found[key] for key in outputs]

folder = pathlib.Path(tempfile.mkdtemp())
config = dict(num_maskmem=7, max_object_pointers_in_encoder=16, max_cond_frame_num=-1, memory_policy="sam2",
    multimask_output_in_sam=True, multimask_min_pt_num=0, multimask_max_pt_num=1, multimask_output_for_tracking=True,
    add_all_frames_to_correct_as_cond=True, track_before_first_prompt=False, fill_hole_area=4,
    binarize_prompted_memory=True)
(folder / "parameters.json").write_text(json.dumps(dict(format="sam2_hf.export", format_version=1,
    model_type="sam2_video", files={"fp32": {"vision_encoder": "onnx/vision_encoder.onnx"}}, image_size=[96, 128],
    image_mean=[0.5] * 3, image_std=[0.2] * 3, rescale_factor=1 / 255, mask_threshold=0.0, mask_size=[24, 32],
    embedding_size=[6, 8], hidden_size=16, memory_size=8, no_memory_embedding=[0.0] * 16, video={"config": config})))
"""


def load_hook():
    spec = importlib.util.spec_from_file_location("hatch_build", DISTRIBUTION / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_importing_the_runtime_loads_neither():
    names = run_fresh("import json, sys, sam2_hf.runtime\nprint(json.dumps([*sys.modules]))")
    assert not {name.split(".")[0] for name in names} & {"torch", "transformers", "huggingface_hub", "onnxruntime"}
    assert "sam2_hf.tracking.step" in names


def test_images_and_clips_in_a_process_without_torch():
    told = run_fresh(
        GRAPHS
        + """
import sam2_hf.runtime as runtime
from sam2_hf.runtime import one_call
one_call.Graphs = lambda *arguments: Graphs()

image = np.zeros((60, 80, 3), np.uint8)
segmented = runtime.Segmenter(folder).segment(image, points=[[(30, 25)], [(5, 5)]])
refined = segmented.refine(1, points=(31, 26))
masked = runtime.segment(image, masks=refined.masks[0], folder=folder)
found = runtime.segment_everything(image, folder=folder, points_per_crop=3)

frames = [image + step for step in range(6)]
tracks = runtime.Tracker(folder).track(frames, {"a": [(30, 25)], "b": {"box": (1, 1, 9, 9)}})
tracks.correct("a", 3, points=[(4, 4)], labels=[0])
tracks.session.save(folder / "saved")
loaded = runtime.VideoSession.load(folder / "saved", frames, tracks.tracker.processor)
streamed = list(runtime.Tracker(folder, memory_policy="samurai").stream(iter([image] * 4), {"a": [(30, 25)]}))
live = runtime.LiveTracks(runtime.Tracker(folder))
live.step(image)
live.prompt("a", points=(30, 25))
stepped = live.step(image)
tracks.save(folder / "clip.mp4")
decoded = runtime.open_video(folder / "clip.mp4")
print(json.dumps([segmented.boxes.tolist(), masked.boxes.tolist(), [tracks[5].boxes.tolist()], repr(loaded),
                  len(streamed), len(decoded), type(decoded[2]).__name__, stepped.boxes.tolist(),
                  found.boxes.tolist()]))
"""
    )
    box = [20, 15, 50, 37]
    boxes, masked, tracked, loaded, streamed, decoded, kind, stepped, found = told
    assert boxes == [box, box] and masked == [box] and tracked == [[box, box]] and stepped == found == [box]
    assert loaded.startswith("VideoSession(") and "objects=['a', 'b']" in loaded
    assert (streamed, decoded, kind) == (4, 6, "ndarray")


def test_a_missing_onnxruntime_is_told():
    message = run_fresh(
        GRAPHS
        + """
sys.modules["onnxruntime"] = None
import sam2_hf.runtime as runtime
try:
    runtime.Segmenter(folder)
except ImportError as error:
    print(json.dumps(str(error)))
"""
    )
    assert message == 'the runtime needs onnxruntime: pip install "sam2-hf[runtime]"'


class TestTheDistribution:
    def test_its_modules_are_those_that_the_runtime_imports(self):
        files = load_hook().module_files(ROOT / "src" / "sam2_hf")
        assert {"runtime/__init__.py", "tracking/step.py", "masks/rle.py", "video_io/source.py", "version.py"} <= {
            *files
        }
        assert not [name for name in files if name.startswith(("training/", "fast/", "cli/", "hub/", "official/"))]
        assert "__init__.py" not in files and "network/mask_decoder.py" not in files

    def test_a_module_that_needs_torch_at_its_top_is_refused(self, tmp_path):
        (tmp_path / "version.py").write_text("")
        (tmp_path / "runtime.py").write_text("from .torch_side import f\n")
        (tmp_path / "torch_side.py").write_text("import torch\n")
        with pytest.raises(ValueError, match=r"runtime\.py imports torch_side\.py at its top"):
            load_hook().module_files(tmp_path)
        (tmp_path / "runtime.py").write_text("def g():\n    from .torch_side import f\n")
        # A hook that is loaded anew has read no file yet.
        assert load_hook().module_files(tmp_path) == ["runtime.py", "version.py"]

    def test_version_licence_and_requirements_fit_those_of_the_package(self):
        ours = tomllib.loads((DISTRIBUTION / "pyproject.toml").read_text())["project"]
        theirs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        assert ours["version"] == __version__
        assert ours["requires-python"] == theirs["requires-python"]
        assert (DISTRIBUTION / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
        assert {*ours["dependencies"]} - {*theirs["dependencies"]} == {"onnxruntime"}

    @pytest.mark.slow
    def test_its_wheel_segments_and_tracks_where_neither_is_installed(self, tmp_path):
        """Needs `build` and hatchling here, and an index of packages."""
        subprocess.run(
            [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path / "dist"), str(DISTRIBUTION)],
            check=True,
        )
        (wheel,) = (tmp_path / "dist").glob("*.whl")
        venv.create(tmp_path / "venv", with_pip=True)
        python = tmp_path / "venv" / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], check=True)
        code = GRAPHS.replace('sys.modules["torch"] = sys.modules["transformers"] = None', "") + (
            "import importlib.util\n"
            'assert not [name for name in ("torch", "transformers", "sam2_hf") if importlib.util.find_spec(name)]\n'
            "import onnxruntime, sam2_hf_runtime as runtime\n"
            "from sam2_hf_runtime.runtime import one_call\n"
            "one_call.Graphs = lambda *arguments: Graphs()\n"
            "image = np.zeros((60, 80, 3), np.uint8)\n"
            "print(runtime.Segmenter(folder).segment(image, points=(30, 25)).boxes.tolist())\n"
            "tracks = runtime.Tracker(folder).track([image] * 4, {'a': [(30, 25)]})\n"
            "tracks.save(folder / 'clip.mp4')\n"
            "print(runtime.__version__, tracks[3].boxes.tolist())\n"
        )
        done = subprocess.run([python, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == ["[[20, 15, 50, 37]]", f"{__version__} [[20, 15, 50, 37]]"]
