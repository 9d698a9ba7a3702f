"""How far it is from a call to the tensors: calls, files and depth of a click and of a tracked frame.

    python -m benchmarks.hops

What is counted: calls of Python functions that are defined in the package, comprehensions and the steps of generators
included (Python 3.12 and later run comprehensions in place, and count fewer); the files in which these functions are
defined; and how deep they are nested, the outermost call being 1. Calls of PyTorch, transformers and Python itself do
not count, nor do they end a nesting.

The model is the bundled checkpoint; the numbers depend on its depth, not on the image. A tracked frame is the twelfth
of a clip with one object, so that it reads as many memories as it ever does.

On Python 3.11, before the network and its fast forms were parted, a click took 164 calls in 10 files, 10 deep, and a
tracked frame 1305 calls in 29 files, 20 deep; since then a click takes 81 calls in 9 files, 8 deep.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

_FRAMES = 12


class Hops(NamedTuple):
    """Calls by file and function, and the deepest nesting."""

    calls: Counter[tuple[str, str]]
    depth: int

    @property
    def files(self) -> set[str]:
        return {file for file, _ in self.calls}

    def within(self, *rooms: str) -> int:
        """Calls of functions in some files or folders of the package."""
        return sum(count for (file, _), count in self.calls.items() if file.startswith(rooms))

    def __str__(self) -> str:
        return f"{self.calls.total():5d} calls in {len(self.files):2d} files, {self.depth:2d} deep"


def count(action: Callable[[], Any], package: Path) -> Hops:
    """The hops of an action within a package."""
    root = f"{package}/"
    calls: Counter[tuple[str, str]] = Counter()
    depth = deepest = 0

    def watch(frame: FrameType, event: str, _: Any) -> None:
        nonlocal depth, deepest
        code = frame.f_code
        if event not in ("call", "return") or not code.co_filename.startswith(root):
            return
        if event == "return":
            depth -= 1
            return
        depth += 1
        deepest = max(deepest, depth)
        calls[code.co_filename.removeprefix(root), code.co_name] += 1

    sys.setprofile(watch)
    try:
        action()
    finally:
        sys.setprofile(None)
    return Hops(calls, deepest)


def click() -> Callable[[], Any]:
    """One click on an image that is encoded already."""
    import torch

    from sam2_hf import Sam2Model
    from sam2_hf.hub.bundled import bundled_checkpoint

    model = Sam2Model.from_pretrained(bundled_checkpoint())
    size = model.config.vision_config.backbone_config.image_size
    embeddings = model.get_image_embeddings(torch.zeros(1, 3, *size))
    points, labels = torch.full((1, 1, 1, 2), 60.0), torch.ones(1, 1, 1, dtype=torch.long)
    return lambda: model(image_embeddings=embeddings, input_points=points, input_labels=labels)


def tracked_frame() -> Callable[[], Any]:
    """The last frame of a clip in which one object was clicked on the first."""
    import numpy as np

    from sam2_hf import Sam2VideoModel, Sam2VideoProcessor
    from sam2_hf.hub.bundled import bundled_checkpoint

    processor = Sam2VideoProcessor.from_pretrained(bundled_checkpoint())
    model = Sam2VideoModel.from_pretrained(bundled_checkpoint())
    clip = list(np.random.default_rng(0).integers(0, 255, (_FRAMES, 96, 96, 3), dtype=np.uint8))
    session = processor.init_video_session(clip)
    processor.add_inputs_to_inference_session(session, 0, 1, input_points=[[[[48, 48]]]], input_labels=[[[1]]])
    outputs = model.propagate_in_video_iterator(session)
    for _ in range(_FRAMES - 1):
        next(outputs)
    return lambda: next(outputs)


def main() -> None:
    """Print the hops of both."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hops", description=__doc__.partition("\n")[0])
    parser.add_argument("--list", action="store_true", help="print every function with its number of calls")
    show_functions = parser.parse_args().list

    import torch

    import sam2_hf

    package = Path(sam2_hf.__file__).parent
    for name, prepare in {"click": click, "tracked frame": tracked_frame}.items():
        with torch.inference_mode():
            hops = count(prepare(), package)
        share = hops.within("network/", "fast/", "modeling_sam2.py")
        print(f"{name:14}{hops}; {share} of the calls in the network and its fast forms")  # noqa: T201
        if show_functions:
            for (file, function), calls in sorted(hops.calls.items()):
                print(f"{calls:8d}  {file}: {function}")  # noqa: T201


if __name__ == "__main__":
    main()
