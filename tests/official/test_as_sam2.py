"""Programs written for `sam2`, run as they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from official_api_ours import checkpoint, load_cases
from official_api_runs import HEIGHT, NUM_FRAMES, sample_image, write_frames
from official_goldens import draw_clip
from PIL import Image

import sam2_hf
from sam2_hf.video_io.write_video import write_video

CARD = (Path(__file__).parents[1] / "data" / "model_card.md").read_text(encoding="utf-8")
SOURCE = Path(sam2_hf.__file__).parents[1]
CLIPS = ("clip", "clip.mp4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(load_cases("video")["notebook"], tmp_path_factory.mktemp("official"))


def card_blocks() -> tuple[str, str]:
    """The model card's two blocks for `sam2`."""
    blocks = [block.split("```")[0] for block in CARD.split("```python\n")[1:]]
    return next(block for block in blocks if "SAM2ImagePredictor" in block), next(
        block for block in blocks if "SAM2VideoPredictor" in block
    )


def run(arguments: list[str], folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "sam2_hf.as_sam2", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(SOURCE), "PATH": "", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def filled_in(block: str, checkpoint_folder: Path, **values: str) -> str:
    """A block of the card as it is written, with its placeholders filled in and a stray colon after a call removed."""
    block = block.replace("facebook/sam2-hiera-large", str(checkpoint_folder)).replace(
        "<your_prompts>):", "<your_prompts>)"
    )
    for name, value in values.items():
        block = block.replace(f"<{name}>", value)
    return block


def image_script(folder: Path) -> str:
    block = filled_in(
        card_blocks()[0],
        folder,
        your_image='Image.open("image.png")',
        input_prompts="point_coords=np.array([[36, 40]]), point_labels=np.array([1])",
    )
    return f"import numpy as np\nfrom PIL import Image\n{block}\nprint(masks.shape, masks.dtype)\n"


def video_script(folder: Path, clip: str) -> str:
    prompts = "frame_idx=0, obj_id=1, points=[[36, 40]], labels=[1]"
    block = filled_in(card_blocks()[1], folder, your_video=repr(clip), your_prompts=prompts)
    return block.replace("        ...", "        print(frame_idx, object_ids, tuple(masks.shape))")


@pytest.fixture(scope="module")
def card_output(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What the card's blocks print, by what they are run on. One process runs them all, each as a program."""
    work = tmp_path_factory.mktemp("card")
    Image.fromarray(sample_image()).save(work / "image.png")
    write_frames(work / "clip")
    write_video(work / "clip.mp4", [frame[:HEIGHT] for frame in draw_clip(NUM_FRAMES)], fps=10)
    written = {"image": image_script(folder)} | {clip: video_script(folder, clip) for clip in CLIPS}
    on_the_cpu = {f"{name} on the cpu": script.replace('"cuda"', '"cpu"') for name, script in written.items()}
    scripts = written | on_the_cpu  # the latter under autocast, which the others are where there is a GPU
    for name, script in scripts.items():
        (work / f"card_{name}.py").write_text(script, encoding="utf-8")
    programs = f"import runpy\nfor name in {list(scripts)}:\n    print(f'## {{name}}')\n"
    programs += "    runpy.run_path(f'card_{name}.py', run_name='__main__')\n"
    (work / "all.py").write_text(programs, encoding="utf-8")
    parts = run(["all.py"], work).split("## ")[1:]
    return {lines[0]: lines[1:] for lines in (part.splitlines() for part in parts)}


@pytest.mark.parametrize("where", ["", " on the cpu"])
def test_the_cards_image_block(where: str, card_output: dict[str, list[str]]) -> None:
    assert card_output[f"image{where}"] == ["(3, 96, 128) float32"]


@pytest.mark.parametrize("where", ["", " on the cpu"])
@pytest.mark.parametrize("clip", CLIPS)
def test_the_cards_video_block(clip: str, where: str, card_output: dict[str, list[str]]) -> None:
    assert card_output[f"{clip}{where}"] == [f"{frame} [1] (1, 1, 96, 128)" for frame in range(NUM_FRAMES)]


def test_every_module_is_there_under_its_name(tmp_path: Path) -> None:
    (tmp_path / "names.py").write_text(
        "import sys\n"
        "import sam2, sam2.utils.amg, sam2.utils.misc as misc\n"
        "from sam2 import build_sam\n"
        "from sam2.build_sam import build_sam2, build_sam2_hf, build_sam2_video_predictor\n"
        "from sam2.build_sam import build_sam2_camera_predictor\n"
        "from sam2.sam2_camera_predictor import SAM2CameraPredictor\n"
        "from sam2.modeling.sam2_base import SAM2Base\n"
        "from sam2.utils.transforms import SAM2Transforms\n"
        "from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator\n"
        "assert sys.modules['sam2.utils.misc'] is misc and build_sam.build_sam2 is build_sam2\n"
        "assert __name__ == '__main__' and sys.path[0]\n"
        "print(sys.argv[1:], issubclass(SAM2CameraPredictor, SAM2Base), sam2.__name__)\n",
        encoding="utf-8",
    )
    assert run(["names.py", "--size", "3"], tmp_path) == "['--size', '3'] True sam2_hf.official\n"
    assert run(["-m", "names", "x"], tmp_path) == "['x'] True sam2_hf.official\n"


def test_metas_own_package_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "sam2.py").write_text("", encoding="utf-8")
    code = "import sam2\ntry:\n    import sam2_hf.as_sam2\nexcept ImportError as error:\n    print(error)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{tmp_path}:{SOURCE}", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "another package is imported as 'sam2' already" in done.stdout and "sam2.py" in done.stdout


@pytest.mark.parametrize("arguments", [[], ["-m"]])
def test_without_a_program_the_usage_is_said(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "modules", dict(sys.modules))  # the import puts `sam2` there
    from sam2_hf.as_sam2 import main

    with pytest.raises(SystemExit, match=r"usage: python -m sam2_hf\.as_sam2"):
        main(arguments)
