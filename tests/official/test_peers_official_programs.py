"""Programs from PyPI that import `sam2`, unmodified, on small random weights (`-m peers`, where they are installed).

Each runs in a Python of its own, under `python -m sam2_hf.as_sam2`.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from official_api_ours import checkpoint, load_cases
from official_api_runs import HEIGHT, NUM_FRAMES, write_frames
from official_goldens import draw_clip

import sam2_hf
from sam2_hf.video_io.write_video import write_video

pytestmark = pytest.mark.peers

PROGRAMS = Path(__file__).parent / "programs"
EXPECTED = {
    "samgeo": [
        "image (3, 96, 128) (3,) (3, 32, 32)",
        "boxes (2, 1, 96, 128)",
        "batch [(1, 96, 128), (1, 96, 128)]",
        "everything True ['area', 'bbox', 'crop_box', 'point_coords', 'predicted_iou', 'segmentation', "
        "'stability_score']",
        "video [0, 1, 2, 3, 4, 5, 6, 7] [1, 2] (1, 96, 128)",
    ],
    "simple_sam2": ["frames 8", "mask (96, 128) uint8", "saved 8"],
    "hydra": ["hydra (1, 96, 128)", "hydra (1, 96, 128)"],
    "napari_samv2": ["volume (8, 96, 128) [0, 1, 2] True", "reset 0"],
    "pixano_inference_sam": ["image 3 (1, 3) True", "video [0, 1, 2, 3, 4, 5, 6, 7] [1, 2]"],
    "inference": [
        "points (2, 96, 128) (2,) (2, 32, 32)",
        "box (1, 96, 128)",
        "again (2, 96, 128)",
    ],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Frames, a clip and a checkpoint, the last also under the name of one on the Hub, as if it had been downloaded."""
    write_frames(tmp_path / "frames")
    write_video(tmp_path / "clip.mp4", [frame[:HEIGHT] for frame in draw_clip(NUM_FRAMES)], fps=10)
    (tmp_path / "weights").mkdir()
    converted = checkpoint(load_cases("video")["notebook"], tmp_path / "weights")
    os.symlink(converted, tmp_path / "checkpoint")
    cached = tmp_path / "hub" / "models--facebook--sam2-hiera-tiny"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0" * 40)
    (cached / "snapshots").mkdir()
    os.symlink(converted, cached / "snapshots" / ("0" * 40))
    return tmp_path


@pytest.mark.parametrize("name", EXPECTED)
def test_runs_as_it_is(name: str, folder: Path) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    paths = [str(Path(sam2_hf.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", "sam2_hf.as_sam2", str(PROGRAMS / f"run_{name}.py")],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "HF_HOME": str(folder),
            "HF_HUB_CACHE": str(folder / "hub"),
            "HF_HUB_OFFLINE": "1",
            "MPLBACKEND": "agg",
            "QT_QPA_PLATFORM": "offscreen",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = [
        line for line in done.stdout.splitlines() if line.split(" ")[0] in {one.split(" ")[0] for one in EXPECTED[name]}
    ]
    assert lines == EXPECTED[name], done.stdout
