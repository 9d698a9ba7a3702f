"""The tab for images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from .changes import Request, change_image
from .context import AppContext, explain, whole
from .downloads import IMAGE_FILES, write_image_file
from .everything_work import EverythingWork
from .examples import example_images
from .image_work import ImageWork
from .people import Person
from .pixels import image_address
from .stage import Message, image_message
from .uploads import read_image
from .workspace import AT_ONCE, QUIET, add_downloads, add_stage, add_upload

_FILE_TYPES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")


class ImageRequests:
    """Answers what the tab asks for."""

    def __init__(self, context: AppContext):
        self.context = context

    def open(self, token: str | None, path: str | None) -> Message:
        """Read an uploaded image; the file is removed."""

        def make(person: Person) -> Message:
            try:
                image = read_image(path or "", self.context.limits)
            finally:
                Path(path or "").unlink(missing_ok=True)
            return self._take(person, image)

        return self.context.answer(token, make)

    def act(self, token: str | None, request: Request) -> Message:
        """Do what the stage asks for."""

        def make(person: Person) -> Message:
            if request.get("kind") == "example":
                examples = example_images()
                return self._take(person, examples[whole(request.get("index"), "index") % len(examples)].frames[0])
            work = _work(person)
            if request.get("kind") == "again":
                person.senders["image"].forget()
                return self._describe(person)
            change_image(work, request)
            person.shown_everything = None
            return self._describe(person)

        return self.context.answer(token, make)

    def find_everything(self, token: str | None, points: float, iou: float, stability: float, area: float) -> Message:
        """Compute everything, and show what the sliders let through."""

        def make(person: Person) -> Message:
            work = _work(person)
            person.everything = EverythingWork(self.context.segmenter, work.pixels, int(points))
            return self._filtered(person, iou, stability, area)

        return self.context.answer(token, make)

    def filter(self, token: str | None, iou: float, stability: float, area: float) -> Message:
        """Show what the sliders let through of what is computed."""

        def make(person: Person) -> Message:
            if person.everything is None:
                raise ValueError("press Find everything first: the sliders filter what it finds")
            return self._filtered(person, iou, stability, area)

        return self.context.answer(token, make)

    def write(self, token: str | None, kind: str) -> str | None:
        """Write a file of what is shown.

        Raises:
            gr.Error: there is nothing to write.
        """
        try:
            with self.context.person(token) as person:
                shown = person.shown_everything
                work = _work(person)
                result = work.result() if shown is None else shown
                colours = work.objects.colours() if shown is None else {}
                return str(write_image_file(kind, result, colours, person.folder))
        except (ValueError, LookupError, OSError) as error:
            raise gr.Error(explain(error), print_exception=False) from error

    def _take(self, person: Person, image: Any) -> Message:
        person.image = ImageWork(self.context.segmenter, image)
        person.everything = person.shown_everything = None
        return self._describe(person)

    def _filtered(self, person: Person, iou: float, stability: float, area: float) -> Message:
        assert person.everything is not None
        person.shown_everything = person.everything.filtered(iou, stability, area / 100)
        return self._describe(person)

    def _describe(self, person: Person) -> Message:
        return image_message(_work(person), person.senders["image"], person.shown_everything)


def add_image_tab(context: AppContext, token: gr.State) -> None:
    """Add the tab."""
    requests = ImageRequests(context)
    examples = [(item.name, thumbnail(item.frames[0])) for item in example_images()]
    stage = add_stage("image", examples, _FILE_TYPES, context.limits.file_bytes)
    upload = add_upload("image", _FILE_TYPES)

    def act(person: str | None, event: gr.EventData) -> Message:
        return requests.act(person, event._data or {})

    stage.act(act, [token], [stage], trigger_mode="multiple", concurrency_limit=AT_ONCE, **QUIET)
    upload.upload(requests.open, [token, upload], [stage], concurrency_limit=AT_ONCE, **QUIET)
    with gr.Row(elem_classes="s2-below"):
        with gr.Column(min_width=320), gr.Accordion("Everything in the image", open=False, elem_id="everything"):
            _add_everything(requests, token, stage)
        with gr.Column(min_width=320), gr.Accordion("Download", open=True):
            add_downloads(IMAGE_FILES, "image", requests.write, [token])


def _add_everything(requests: ImageRequests, token: gr.State, stage: gr.HTML) -> None:
    bundled = requests.context.is_bundled
    gr.Markdown("A grid of points finds the masks once. The sliders filter them at once.")
    points = gr.Slider(4, 32, 16, step=4, label="Points a side of the grid")
    find = gr.Button("Find everything", variant="primary", elem_id="find-everything")
    sliders = [
        gr.Slider(0, 1, 0.5 if bundled else 0.88, step=0.01, label="Least predicted IoU", elem_id="filter-iou"),
        gr.Slider(0, 1, 0.7 if bundled else 0.95, step=0.01, label="Least stability", elem_id="filter-stability"),
        gr.Slider(0, 20, 0, step=0.1, label="Least area, % of the image", elem_id="filter-area"),
    ]
    waiting: dict[str, Any] = {**QUIET, "show_progress": "minimal"}
    find.click(requests.find_everything, [token, points, *sliders], [stage], concurrency_limit=2, **waiting)
    for slider in sliders:
        slider.input(
            requests.filter, [token, *sliders], [stage], trigger_mode="always_last", concurrency_limit=AT_ONCE, **QUIET
        )


def thumbnail(pixels: np.ndarray, width: int = 200) -> str:
    """Reduce an image for a card, as a data address."""
    height = round(pixels.shape[0] * width / pixels.shape[1])
    return image_address(pixels, (height, width))


def _work(person: Person) -> ImageWork:
    if person.image is None:
        raise ValueError("open an image first")
    return person.image
