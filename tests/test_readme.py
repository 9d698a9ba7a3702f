"""What the README tells a stranger to run, on a small random checkpoint."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from clips import write_clip
from PIL import Image
from tiny_checkpoint import save_tiny_checkpoint

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """A working directory with the checkpoint, the photo and the clip that the README speaks of."""
    folder = tmp_path_factory.mktemp("stranger")
    save_tiny_checkpoint(folder / "facebook/sam2.1-hiera-tiny", video=True)
    Image.effect_noise((900, 700), 80).convert("RGB").save(folder / "photo.jpg")
    write_clip(folder / "clip.mp4", 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield {}


def run_until(number: int, namespace: dict) -> None:
    """Runs the page's blocks up to `number`, those that have not been run."""
    for block in BLOCKS[len(namespace.setdefault("already_run", [])) : number + 1]:
        namespace["already_run"].append(block)
        exec(compile(block, "README.md", "exec"), namespace)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_code_runs_in_the_order_of_the_page(number, stranger):
    run_until(number, stranger)


def test_code_gives_what_its_comments_say(stranger):
    run_until(len(BLOCKS) - 1, stranger)
    assert stranger["best"].shape == (700, 900)
    everything = {"points_per_crop": 2, "pred_iou_thresh": 0, "stability_score_thresh": 0}
    (record, *_) = stranger["generator"]("photo.jpg", output_mode="coco_rle", **everything)
    assert {"area", "bbox", "predicted_iou"} <= record.keys() and isinstance(stranger["records"], list)
    assert stranger["masks"].shape == (1, 1, stranger["session"].video_height, stranger["session"].video_width)


def test_make_has_every_target_and_variable_that_the_pages_name():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    pages = README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^make ([a-z]+)", pages, re.MULTILINE))
    assert targets >= {"demo", "test", "format"}
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for variable in re.findall(r"\b([A-Z][A-Z_]+)=", pages):
        assert re.search(rf"^{variable} \?=", makefile, re.MULTILINE), variable


def test_every_file_and_link_on_the_pages_exists():
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
        files = re.findall(r"\b((?:tests|scripts|src|docs)/[\w/.-]+\.\w+)", text)
        missing = [link for link in links if not (page.parent / link).exists()]
        missing += [file for file in files if not (ROOT / file).exists() and not (page.parent / file).exists()]
        assert not missing, f"{page.name} names {missing}"


def test_every_room_is_on_the_map():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    package = ROOT / "src" / "sam2_hf"
    rooms = {path.name for path in package.glob("*.py")} | {f"{path.parent.name}/" for path in package.glob("*/*.py")}
    assert not {name for name in rooms if f"`{name}`" not in page}
