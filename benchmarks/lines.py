"""Lines that a user writes for common tasks, here and with other libraries.

python -m benchmarks.lines                     count them, and write the table into docs/lines.md
python -m benchmarks.lines run LIBRARY FOLDER  run the programs of a library on random weights, in a new folder

The programs are docs/lines/LIBRARY/TASK.py. Each is complete: it imports, loads, prompts and writes. Blank lines do not
count. Libraries other than this one must be installed where `run` runs; nothing is downloaded.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROGRAMS, PAGE = ROOT / "docs/lines", ROOT / "docs/lines.md"
LIBRARIES = {"ours": "sam2_hf", "transformers": "transformers", "official": "`sam2`", "ultralytics": "ultralytics"}
TASKS = {
    "click": "a click to a mask",
    "overlay": "an overlay as PNG",
    "polygons": "polygons",
    "coco": "COCO JSON",
    "video": "a clip with overlays",
    "csv": "a table of a clip",
}
WRITTEN = {"overlay": "overlay.png", "coco": "coco.json", "video": "tracked.mp4", "csv": "tracked.csv"}
BEGIN, END = "<!-- lines -->", "<!-- end of lines -->"
CHECKPOINT, SMALL = "facebook/sam2.1-hiera-tiny", 64


def count(library: str, task: str) -> int:
    """Count the lines of a program that are not blank."""
    text = (PROGRAMS / library / f"{task}.py").read_text(encoding="utf-8")
    return sum(bool(line.strip()) for line in text.splitlines())


def table() -> str:
    """Format the counts as a Markdown table."""
    rows = ["| | " + " | ".join(LIBRARIES.values()) + " |", "|---" * (len(LIBRARIES) + 1) + "|"]
    for task, name in TASKS.items():
        cells = (f"[{count(library, task)}](lines/{library}/{task}.py)" for library in LIBRARIES)
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def write_page() -> None:
    """Put the table into the page."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    PAGE.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}", encoding="utf-8")


def run_programs(library: str) -> None:
    """Run all programs of a library in the working directory.

    Raises:
        FileNotFoundError: a program did not write its file.
    """
    for task in TASKS:
        names = runpy.run_path(str(PROGRAMS / library / f"{task}.py"))
        if task in ("click", "polygons"):
            assert "mask" in names or "polygons" in names
        elif library == "ultralytics" and task == "video":
            if not list(Path().rglob("runs/**/clip.*")):
                raise FileNotFoundError("ultralytics wrote no clip under runs")
        elif not Path(WRITTEN[task]).stat().st_size:
            raise FileNotFoundError(f"{WRITTEN[task]} is empty")


def _prepare(library: str) -> None:
    """Write random weights, a photo and a clip into the working directory."""
    import av
    import numpy as np
    import torch
    from PIL import Image

    torch.manual_seed(0)
    Image.effect_noise((900, 700), 80).convert("RGB").save("photo.jpg")
    with av.open("clip.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 360, 480, "yuv420p"
        for pixels in np.random.default_rng(0).integers(0, 255, (3, 360, 480, 3), np.uint8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode(None))
    makers: dict[str, Callable[[], None]] = {"transformers": _save_for_transformers, "ours": _save_for_ours}
    makers.get(library, _save_original)()


def _save_for_ours() -> None:
    from sam2_hf import Sam2VideoProcessor, bundled_checkpoint
    from sam2_hf.modeling_sam2_video import Sam2VideoModel

    Sam2VideoModel.from_pretrained(bundled_checkpoint()).save_pretrained(CHECKPOINT)
    Sam2VideoProcessor.from_pretrained(bundled_checkpoint()).save_pretrained(CHECKPOINT)


def _save_for_transformers() -> None:
    import transformers

    parts = (transformers.Sam2ImageProcessorFast(), transformers.Sam2VideoVideoProcessor())
    transformers.Sam2VideoModel(transformers.Sam2VideoConfig()).save_pretrained(CHECKPOINT)
    transformers.Sam2VideoProcessor(*parts).save_pretrained(CHECKPOINT)


def _save_original() -> None:
    """A checkpoint in the original layout, whose masks are all predicted to be good."""
    import torch
    from sam2.build_sam import build_sam2  # type: ignore[import-not-found, unused-ignore]

    state = build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", None, device="cpu").state_dict()
    state["sam_mask_decoder.iou_prediction_head.layers.2.bias"].fill_(5.0)
    for name in ("sam2.1_hiera_tiny.pt", "sam2.1_t.pt"):
        torch.save({"model": state}, name)


def main(arguments: list[str]) -> int:
    """Count, or run; the exit status."""
    if not arguments:
        write_page()
        return 0
    import os

    _, library, folder = arguments
    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)
    _prepare(library)
    run_programs(library)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
