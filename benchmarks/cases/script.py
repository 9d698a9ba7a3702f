"""A program written for Meta's package, run by that package and, unchanged, by ours under its name: a new process each.

The program opens a folder of images, clicks on objects in the first, and tracks them to the end.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch
from PIL import Image

from ..case import Bench, Case, Job, groups, register
from ..images import load_image
from ..implementations.base import require
from ..processes import environment, python
from ..settings import Output
from .image import points_for

NUM_FRAMES, NUM_OBJECTS = 10, 3
_PAN = 6  # pixels from frame to frame

PROGRAM = """
import sys
import torch
from sam2.build_sam import build_sam2_video_predictor

config, checkpoint, size, video, clicks, answer = sys.argv[1:]
predictor = build_sam2_video_predictor(
    config, checkpoint, device="cpu", hydra_overrides_extra=[f"++model.image_size={size}"]
)
with torch.inference_mode():
    state = predictor.init_state(video_path=video)
    for obj_id, point in enumerate(torch.load(clicks)):
        predictor.add_new_points_or_box(state, frame_idx=0, obj_id=obj_id, points=point[None], labels=[1])
    masks = [logits[:, 0] > 0 for _, _, logits in predictor.propagate_in_video(state)]
torch.save({"masks": torch.cat(masks)}, answer)
status = open("/proc/self/status").read()
print(int(status.split("VmHWM:")[1].split()[0]) * 1024)
"""


def run_program(command: list[str], answer: Path) -> tuple[int, Path]:
    """Runs the program; its peak memory in bytes, and where its masks are."""
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]), answer


def prepare(bench: Bench) -> Job:
    """Writes the program, its video, its clicks and a checkpoint in Meta's layout."""
    if bench.implementation.name == "official":
        require("sam2")
    folder = Path(tempfile.mkdtemp(prefix="sam2-script-"))
    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    write_frames(load_image(bench.image), folder / "frames", bench.image_size)
    torch.save(points_for(bench, NUM_OBJECTS).cpu(), folder / "clicks.pt")
    config = write_original(bench.weights, folder / "checkpoint.pt")
    launcher = ("-m", "sam2_hf.as_sam2") if bench.implementation.name == "ours" else ()
    files = [str(folder / name) for name in ("frames", "clicks.pt", "answer.pt")]
    program = [*launcher, str(folder / "program.py"), config, str(folder / "checkpoint.pt"), str(bench.image_size)]
    return Job(
        partial(run_program, python(*program, *files), folder / "answer.pt"),
        read=lambda result: read_masks(result[1]),
        peak=lambda result: result[0],
    )


def read_masks(answer: Path) -> Output:
    """The masks that the program saved."""
    return torch.load(answer)


def write_frames(image: Image.Image, folder: Path, size: int) -> None:
    """A pan over an image, square frames of `size` pixels."""
    folder.mkdir()
    wide = image.resize((size + _PAN * (NUM_FRAMES - 1), size), Image.Resampling.BILINEAR)
    for index in range(NUM_FRAMES):
        left = _PAN * index
        wide.crop((left, 0, left + size, size)).save(folder / f"{index:05d}.jpg", quality=95)


def write_original(weights: Path, checkpoint: Path) -> str:
    """Writes the weights in Meta's layout; the name of the YAML file that goes with them."""
    from sam2_hf.official import build_sam2_hf
    from sam2_hf.official.settings import PRESET_OF_FILE

    torch.save({"model": build_sam2_hf(str(weights), device="cpu").state_dict()}, checkpoint)
    name = next(name for name, preset in PRESET_OF_FILE.items() if weights.name.startswith(preset))
    return f"configs/{name.split('_')[0]}/{name}"


if sys.platform.startswith("linux"):  # the program reads its peak memory there
    register(
        Case(
            "script",
            f"a script for sam2, {NUM_FRAMES} frames at 512 px, {NUM_OBJECTS} objects",
            prepare,
            groups("full"),
            implementations=("ours", "official"),
            image_size=512,
            warm_up=0,
            least_runs=1,
            runs=3,
            seconds=300,
        )
    )
