"""Installs a built wheel in a fresh environment, and there clicks on images and tracks objects with it.

python scripts/check_wheel.py dist/*.whl --python python3.10 --transformers 5.17.0
python scripts/check_wheel.py --contents dist/*      what is in the wheel and in the sdist
python scripts/check_wheel.py --installed            the checks alone, in the environment that runs the script
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

CHECKPOINT = "sam2_hf/checkpoints/sam2.1-hiera-micro"
NEEDED = (
    "sam2_hf/py.typed",
    *(f"sam2_hf/app/page/{name}" for name in ("stage.html", "stage.js", "style.css")),
    f"{CHECKPOINT}/README.md",
    f"{CHECKPOINT}/config.json",
    f"{CHECKPOINT}/model.safetensors",
    f"{CHECKPOINT}/processor_config.json",
)
"""What a user's environment must hold after the installation."""

SDIST_ROOT = {"src", "PKG-INFO", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "pyproject.toml", ".gitignore"}
"""What may lie at the root of the sdist: no tests and no benchmarks. The build backend adds .gitignore."""

RUNTIME = "sam2_hf_runtime"
"""The distribution without torch: archives whose names start with it hold that package."""

RUNTIME_NEEDED = tuple(f"{RUNTIME}/{name}" for name in ("__init__.py", "py.typed", "version.py", "runtime/__init__.py"))
RUNTIME_SDIST_NEEDED = (
    f"{RUNTIME}/__init__.py",
    "sam2_hf/py.typed",
    "sam2_hf/version.py",
    "sam2_hf/runtime/__init__.py",
)
RUNTIME_SDIST_ROOT = {
    RUNTIME,
    "sam2_hf",
    "hatch_build.py",
    "PKG-INFO",
    "README.md",
    "LICENSE",
    "pyproject.toml",
    ".gitignore",
}

LEAST_IOU = 0.9
"""The bundled checkpoint reaches 0.98 in each of the checks; the rest is room for other processors and versions."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line. Returns the exit status."""
    given = _parser().parse_args(arguments)
    if given.installed:
        check_installed()
        return 0
    if not given.archives:
        sys.exit("expected the path of a wheel, got none; build one with: make dist")
    for archive in given.archives:
        check_contents(archive)
    if not given.contents:
        for wheel in given.archives:
            if wheel.suffix == ".whl" and not wheel.name.startswith(RUNTIME):
                try:
                    check_in_new_environment(wheel, given.python, given.transformers, given.torch, given.pip_flags)
                except subprocess.CalledProcessError as error:
                    sys.exit(f"{wheel.name}: {' '.join(map(str, error.cmd))} failed with status {error.returncode}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archives", nargs="*", type=Path, help="wheels, and sdists of which the contents are checked")
    parser.add_argument("--contents", action="store_true", help="check the contents alone")
    parser.add_argument("--installed", action="store_true", help="check the package that is installed")
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the new environment")
    parser.add_argument("--transformers", help="its version, by default the newest that pip finds")
    parser.add_argument("--torch", help="its version, by default the newest that pip finds")
    parser.add_argument("--pip-flags", default="", help="for pip, as one argument")
    return parser


def check_contents(archive: Path) -> None:
    """Compares the files of a wheel or an sdist with what they must and may hold.

    Raises:
        SystemExit: with a line for each missing and each unexpected file.
    """
    wrong = wrong_contents(archive)
    if wrong:
        sys.exit("\n".join(f"{archive.name}: {line}" for line in wrong))
    print(f"{archive.name}: holds what it must, and nothing else")


def wrong_contents(archive: Path) -> list[str]:
    """What is missing in a wheel or an sdist, and what does not belong there."""
    is_runtime = archive.name.startswith(RUNTIME)
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            names = [PurePosixPath(name) for name in wheel.namelist()]
        info = [name for name in names if name.parts[0].endswith(".dist-info")]
        missing = set(RUNTIME_NEEDED if is_runtime else NEEDED) - {str(name) for name in names}
        if not any(name.name == "LICENSE" for name in info):
            missing.add("LICENSE")
        package = RUNTIME if is_runtime else "sam2_hf"
        unexpected = [name for name in names if name.parts[0] != package and name not in info]
    else:
        with tarfile.open(archive) as sdist:
            names = [PurePosixPath(*PurePosixPath(name).parts[1:]) for name in sdist.getnames()]
        needed = {"README.md", "LICENSE", "pyproject.toml"}
        needed |= {*RUNTIME_SDIST_NEEDED} if is_runtime else {"CHANGELOG.md", *(f"src/{name}" for name in NEEDED)}
        missing = needed - {str(name) for name in names}
        root = RUNTIME_SDIST_ROOT if is_runtime else SDIST_ROOT
        unexpected = [name for name in names if name.parts and name.parts[0] not in root]
        unexpected += [
            name for name in names if name.parts[:1] == ("src",) and name.parts[1:2] not in [(), ("sam2_hf",)]
        ]
    unexpected += [name for name in names if name.suffix == ".pyc" or "tests" in name.parts]
    return [
        *(f"{name} is missing" for name in sorted(missing)),
        *(f"{name} does not belong there" for name in sorted({str(name) for name in unexpected})),
    ]


def check_in_new_environment(
    wheel: Path, python: str, transformers: str | None, torch: str | None, pip_flags: str
) -> None:
    """Installs a wheel in a virtual environment of its own and runs `check_installed` there.

    Args:
        wheel: the file.
        python: the interpreter, a name or a path.
        transformers: version to install, None for the newest.
        torch: version to install before everything else, None for the newest.
        pip_flags: further arguments for pip, separated by spaces.

    Raises:
        subprocess.CalledProcessError: where the installation or a check fails.
    """
    with tempfile.TemporaryDirectory(prefix="check_wheel_") as folder:
        subprocess.run([python, "-m", "venv", folder], check=True)
        own_python = Path(folder) / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        pip = [
            str(own_python),
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--quiet",
            *shlex.split(pip_flags),
        ]
        if torch is not None:
            subprocess.run([*pip, f"torch=={torch}"], check=True)
        packages = [str(wheel.resolve())] + ([] if transformers is None else [f"transformers=={transformers}"])
        subprocess.run([*pip, *packages], check=True)
        # From an empty folder, and without the variables that could lead to another copy of the package.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment["HF_HUB_OFFLINE"] = "1"
        empty = Path(folder) / "empty"
        empty.mkdir()
        script = str(Path(__file__).resolve())
        subprocess.run([own_python, "-I", script, "--installed"], check=True, cwd=empty, env=environment)


def check_installed() -> None:
    """Clicks, segments everything and tracks with the installed package and its bundled checkpoint.

    Raises:
        SystemExit: where a mask is not that of the object, or the package is the one in this repository.
    """
    import torch
    import transformers

    import sam2_hf

    if Path(__file__).resolve().parents[1] in Path(sam2_hf.__file__).resolve().parents:
        sys.exit(f"expected the installed package, got the repository's at {sam2_hf.__file__}")
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    print(f"sam2_hf {sam2_hf.__version__}, Python {sys.version.split()[0]}, {versions}")
    for name, iou in {"a click": click(), "everything": everything(), "the last of 8 frames": track()}.items():
        print(f"{name}: IoU {iou:.3f}")
        if not iou >= LEAST_IOU:
            sys.exit(f"{name}: expected an IoU of at least {LEAST_IOU}, got {iou:.3f}")


def draw_scene() -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]]]:
    """Two objects that move on a shaded ground.

    Returns:
        Frames (8, 256, 256, 3) uint8, masks (8, 2, 256, 256) bool, and a point (x, y) in each object of frame 0.
    """
    import numpy as np

    rows, columns = np.mgrid[:256, :256]
    ground = np.stack([90 + rows / 4, 110 + columns / 6, 100 + (rows + columns) / 8], axis=-1)
    frames, masks = [], []
    for time in range(8):
        disc = (columns - 80 - 5 * time) ** 2 + (rows - 80) ** 2 < 36**2
        square = (abs(columns - 180 + 4 * time) < 32) & (abs(rows - 180) < 32)
        frame = ground.copy()
        frame[disc], frame[square] = (210, 60, 50), (40, 70, 200)
        frames.append(frame.astype(np.uint8))
        masks.append(np.stack([disc, square]))
    return np.stack(frames), np.stack(masks), [(80, 80), (180, 180)]


def _mean_iou(masks: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> float:
    """Of masks (N, H, W) bool, each with its counterpart."""
    pairs = zip(masks, others, strict=True)
    return float(sum((mask & other).sum() / (mask | other).sum() for mask, other in pairs) / len(others))


def click() -> float:
    """The mean IoU of the best mask of a click on each of two objects."""
    import torch
    from PIL import Image

    import sam2_hf

    frames, masks, points = draw_scene()
    model = sam2_hf.Sam2Model.from_pretrained(sam2_hf.bundled_checkpoint()).eval()
    processor = sam2_hf.Sam2Processor.from_pretrained(sam2_hf.bundled_checkpoint())
    prompts = {"input_points": [[[list(point)] for point in points]], "input_labels": [[[1], [1]]]}
    inputs = processor(Image.fromarray(frames[0]), **prompts, return_tensors="pt")
    with torch.inference_mode():
        outputs = model(**inputs)
    candidates = processor.post_process_masks(outputs.pred_masks, inputs["original_sizes"])[0].numpy()
    best = outputs.iou_scores[0].argmax(dim=-1).tolist()
    return _mean_iou([candidates[number, index] for number, index in enumerate(best)], list(masks[0]))


def everything() -> float:
    """The mean over two objects of the best IoU with a mask that transformers' pipeline of our classes gives."""
    import numpy as np
    from PIL import Image
    from transformers import pipeline

    import sam2_hf

    frames, masks, _ = draw_scene()
    generator = pipeline("mask-generation", model=sam2_hf.bundled_checkpoint())
    if not isinstance(generator, sam2_hf.Sam2MaskGenerationPipeline):
        sys.exit(f"expected a Sam2MaskGenerationPipeline, got {type(generator).__name__}")
    found = generator(Image.fromarray(frames[0]), points_per_crop=8, pred_iou_thresh=0.5, stability_score_thresh=0.7)
    candidates = [np.asarray(mask) for mask in found["masks"]]
    best = [max(candidates, key=lambda other: _mean_iou([mask], [other])) for mask in masks[0]]
    return _mean_iou(best, list(masks[0]))


def track() -> float:
    """The mean IoU of two objects in the last frame, each clicked on the first."""
    import sam2_hf

    frames, masks, points = draw_scene()
    model = sam2_hf.Sam2VideoModel.from_pretrained(sam2_hf.bundled_checkpoint()).eval()
    processor = sam2_hf.Sam2VideoProcessor.from_pretrained(sam2_hf.bundled_checkpoint())
    session = processor.init_video_session(list(frames))
    prompts = {"input_points": [[[list(point)] for point in points]], "input_labels": [[[1], [1]]]}
    processor.add_inputs_to_inference_session(session, frame_idx=0, obj_ids=[1, 2], **prompts)
    for output in model.propagate_in_video_iterator(session):
        found = processor.post_process_masks([output.pred_masks], [[256, 256]])[0][:, 0].numpy()
    return _mean_iou(list(found), list(masks[-1]))


if __name__ == "__main__":
    raise SystemExit(main())
