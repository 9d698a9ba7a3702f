"""The code of the checkpoints' model card, as it is written there but for the import line.

`data/model_card.md` is the card of facebook/sam2-hiera-large on the Hub. Its chapters build on one another, so their
code runs in order and in one namespace, on a small random checkpoint that lies where the card's name for it leads, and
with images drawn here in place of those that the card fetches.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import requests
import torch
import transformers.image_utils
from PIL import Image
from tiny_checkpoint import save_tiny_checkpoint

import sam2_hf

CARD = Path(__file__).parent / "data" / "model_card.md"
CHECKPOINT = "facebook/sam2-hiera-large"
VIDEO_CHAPTERS = {"Video Segmentation and Tracking", "Streaming Video Inference"}
IMAGE_SIZES = {"truck.jpg": (1800, 1200), "dog-sam.png": (1000, 700), "groceries.jpg": (900, 600)}
FROM_THE_WEIGHTS = ("39", "Generated 3 masks with shape")
"""Beginnings of the outputs in the card that a random checkpoint, or an image of another size, cannot give."""


class Block(NamedTuple):
    """The code of one section of the card, and the chapter (`###`) that it belongs to."""

    chapter: str
    section: str
    code: str


def read_blocks(text: str) -> list[Block]:
    """The code for transformers, in the order of the card; what is above it is for the official package."""
    blocks, chapter, section = [], "", ""
    pattern = re.compile(
        r"^(?P<level>#{3,4}) (?P<title>[^\n]+)$|^```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
    )
    for match in pattern.finditer(text[text.index("Transformers\n", text.index("## Usage with")) :]):
        if match["level"] == "###":
            chapter = section = match["title"]
        elif match["level"]:
            section = match["title"]
        else:
            blocks.append(Block(chapter, section, match["code"]))
    return blocks


def change_import(code: str) -> str:
    """The whole migration: classes come from this package, and `pipeline` gets them once it is imported."""
    code = re.sub(r"^>>> from transformers import (?=.*Sam2)", ">>> from sam2_hf import ", code, flags=re.MULTILINE)
    return re.sub(r"^(>>> from transformers import pipeline)$", r"\1\n>>> import sam2_hf", code, flags=re.MULTILINE)


def run_block(code: str, namespace: dict[str, Any]) -> list[tuple[str, str]]:
    """Runs the examples of a block; returns what they printed beside what the card says."""
    printed_and_wanted = []
    for example in doctest.DocTestParser().get_examples(code):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(example.source, "model card", "single"), namespace)
        if example.want:
            printed_and_wanted.append((printed.getvalue().strip(), example.want.strip()))
    return printed_and_wanted


def draw_image(name: str) -> Image.Image:
    """Rectangles of many colours, of the size of the image that the card fetches."""
    width, height = IMAGE_SIZES[name]
    small = np.random.default_rng(len(name)).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.NEAREST)


def fetch(url: str, **_: Any) -> SimpleNamespace:
    """What `requests.get` and `httpx.get` return, as far as the card and transformers use it."""
    file = io.BytesIO()
    draw_image(url.rsplit("/", 1)[-1]).save(file, "PNG")
    return SimpleNamespace(raw=io.BytesIO(file.getvalue()), content=file.getvalue(), is_error=False)


class Reader:
    """Runs blocks in order, each once, so that any of them can be asked for alone."""

    def __init__(self, blocks: list[Block]):
        self.blocks = blocks
        self.namespace: dict[str, Any] = {}
        self.states: list[dict[str, Any]] = []
        self.outputs: list[list[tuple[str, str]]] = []

    def read(self, section: str) -> tuple[SimpleNamespace, list[tuple[str, str]]]:
        """The variables after the block of `section`, and what it printed beside what the card says."""
        index = [block.section for block in self.blocks].index(section)
        for block in self.blocks[len(self.states) : index + 1]:
            self.outputs.append(run_block(change_import(block.code), self.namespace))
            self.states.append(dict(self.namespace))
        return SimpleNamespace(**self.states[index]), self.outputs[index]


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A working directory in which the card's checkpoint is a folder and its URLs lead to images drawn here."""
    folder = tmp_path_factory.mktemp("hub")
    save_tiny_checkpoint(folder / CHECKPOINT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(requests, "get", fetch)
        patch.setattr(transformers.image_utils.httpx, "get", fetch)
        yield folder


ALL_BLOCKS = read_blocks(CARD.read_text(encoding="utf-8"))
IMAGE_BLOCKS = [block for block in ALL_BLOCKS if block.chapter not in VIDEO_CHAPTERS]
TRUCK, GROCERIES = (IMAGE_SIZES[name][::-1] for name in ("truck.jpg", "groceries.jpg"))


@pytest.fixture(scope="module")
def card(hub):
    return Reader(IMAGE_BLOCKS)


def check_pipeline(state):
    assert type(state.generator) is sam2_hf.Sam2MaskGenerationPipeline
    assert len(state.outputs["masks"]) == len(state.outputs["scores"])
    assert all(mask.shape == TRUCK for mask in state.outputs["masks"])


def check_single_click(state):
    assert type(state.model) is sam2_hf.Sam2Model and type(state.processor) is sam2_hf.Sam2Processor
    assert state.masks.shape == (1, 3, *TRUCK) and state.masks.dtype == torch.bool


def check_one_object(state):
    assert state.masks.shape == (1, 3, *TRUCK)


def check_two_objects(state):
    assert state.masks.shape == (2, 1, *TRUCK)


def check_batched_images(state):
    dog = IMAGE_SIZES["dog-sam.png"][::-1]
    assert [mask.shape for mask in state.all_masks] == [(1, 1, *TRUCK), (1, 1, *dog)]


def check_batched_objects(state):
    assert [mask.shape[0] for mask in state.all_masks] == [2, 2]  # the second image's second object is padding
    assert not state.all_masks[1][1].any()
    assert state.outputs.iou_scores[1, 1] == 0


def check_batched_points(state):
    assert [mask.shape for mask in state.all_masks] == [(2, 1, *TRUCK), (2, 1, *GROCERIES)]


def check_batched_boxes(state):
    assert [mask.shape for mask in state.all_masks] == [(4, 1, *TRUCK), (4, 1, *GROCERIES)]


def check_masks_as_input(state):
    assert state.mask_input.shape == (1, 1, 16, 16)
    assert state.refined_outputs.pred_masks.shape == (1, 1, 1, 16, 16)
    with torch.no_grad():
        without_mask = state.model(
            **state.inputs, image_embeddings=state.outputs.image_embeddings, multimask_output=False
        )
    assert not torch.allclose(without_mask.pred_masks, state.refined_outputs.pred_masks)


IMAGE_CHECKS = {
    "Automatic Mask Generation with Pipeline": check_pipeline,
    "Single Point Click": check_single_click,
    "Multiple Points for Refinement": check_one_object,
    "Bounding Box Input": check_one_object,
    "Multiple Objects Segmentation": check_two_objects,
    "Batched Images": check_batched_images,
    "Batched Objects per Image": check_batched_objects,
    "Batched Images with Batched Objects and Multiple Points": check_batched_points,
    "Batched Bounding Boxes": check_batched_boxes,
    "Using Previous Masks as Input": check_masks_as_input,
}


def test_no_image_block_of_the_card_is_left_out():
    assert [block.section for block in IMAGE_BLOCKS] == list(IMAGE_CHECKS)
    assert sum(block.chapter in VIDEO_CHAPTERS for block in ALL_BLOCKS) == 5


@pytest.mark.parametrize("section", IMAGE_CHECKS)
def test_image_code_runs_as_written(section, card):
    state, outputs = card.read(section)
    IMAGE_CHECKS[section](state)
    for printed, wanted in outputs:
        assert printed == wanted or wanted.startswith(FROM_THE_WEIGHTS)


def test_nothing_but_imports_is_changed():
    for block in ALL_BLOCKS:
        changed = set(change_import(block.code).splitlines()) ^ set(block.code.splitlines())
        assert all("import" in line for line in changed)
