"""The tab for clips."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import gradio as gr

from ..video_io.open_video import open_video
from .changes import Request, change_clip
from .clip_work import ClipWork
from .context import AppContext, explain, numbered, whole
from .downloads import CLIP_FILES, write_clip_file
from .examples import example_clips
from .image_tab import thumbnail
from .people import Person
from .stage import Message, clip_message
from .uploads import take_clip
from .workspace import AT_ONCE, QUIET, add_downloads, add_stage, add_upload

_FILE_TYPES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif")
_PREVIEW_SECONDS = 0.15  # between frames that are shown while tracking goes on
_TRACKING_AT_ONCE = 2  # people whose clips are tracked at the same time


class ClipRequests:
    """Answers what the tab asks for."""

    def __init__(self, context: AppContext):
        self.context = context

    def open(self, token: str | None, path: str | None) -> Message:
        """Take an uploaded clip; the file goes when the next one comes, or with the person."""

        def make(person: Person) -> Message:
            return self._take(person, take_clip(path or "", person.folder, self.context.limits))

        return self.context.answer(token, make)

    def act(self, token: str | None, request: Request) -> Message:
        """Do what the stage asks for."""

        def make(person: Person) -> Message:
            if request.get("kind") == "example":
                examples = example_clips()
                return self._take(
                    person, open_video(examples[whole(request.get("index"), "index") % len(examples)].frames)
                )
            work = _work(person)
            if request.get("kind") == "again":
                person.senders["clip"].forget()
            return clip_message(work, change_clip(work, request), person.senders["clip"])

        return self.context.answer(token, make)

    def track(self, token: str | None, request: Request) -> Iterator[Message]:
        """Track, and show some of the frames on the way. Other requests are answered between two frames."""
        try:
            with self.context.person(token) as person:
                work = _work(person)
                total = work.steps_to_do()
                run = work.track()
                frame = whole(request.get("frame"), "frame")
            shown, done = 0.0, 0
            while True:
                with self.context.person(token):
                    following = next(run, None)
                    if following is None:
                        break
                    frame, done = following, done + 1
                    is_due = time.monotonic() - shown >= _PREVIEW_SECONDS
                    message = clip_message(work, frame, person.senders["clip"]) if is_due else None
                if message is not None:
                    shown = time.monotonic()
                    message["clip"]["progress"] = min(1.0, done / total)
                    yield numbered(message)
            yield self.context.answer(token, lambda person: clip_message(_work(person), frame, person.senders["clip"]))
        except (ValueError, LookupError, OSError) as error:
            yield numbered({"error": explain(error)})

    def write(self, token: str | None, kind: str) -> str | None:
        """Write a file of all frames that are computed.

        Raises:
            gr.Error: there is nothing to write.
        """
        try:
            with self.context.person(token) as person:
                work = _work(person)
                return str(write_clip_file(kind, work.result(), work.objects.colours(), person.folder))
        except (ValueError, LookupError, OSError) as error:
            raise gr.Error(explain(error), print_exception=False) from error

    def _take(self, person: Person, clip: Any) -> Message:
        if person.clip is not None:
            person.clip.close()
        person.clip = ClipWork(self.context.tracker, clip)
        return clip_message(person.clip, 0, person.senders["clip"])


def add_clip_tab(context: AppContext, token: gr.State) -> None:
    """Add the tab."""
    requests = ClipRequests(context)
    examples = [(item.name, thumbnail(item.frames[0])) for item in example_clips()]
    stage = add_stage("clip", examples, _FILE_TYPES, context.limits.file_bytes)
    upload = add_upload("clip", _FILE_TYPES)

    def act(person: str | None, event: gr.EventData) -> Message:
        return requests.act(person, event._data or {})

    def track(person: str | None, event: gr.EventData) -> Iterator[Message]:
        yield from requests.track(person, event._data or {})

    stage.act(act, [token], [stage], trigger_mode="multiple", concurrency_limit=AT_ONCE, **QUIET)
    stage.track(track, [token], [stage], trigger_mode="once", concurrency_limit=_TRACKING_AT_ONCE, **QUIET)
    upload.upload(requests.open, [token, upload], [stage], concurrency_limit=AT_ONCE, **QUIET)
    with gr.Accordion("Download", open=True, elem_classes="s2-below"):
        add_downloads(CLIP_FILES, "clip", requests.write, [token])


def _work(person: Person) -> ClipWork:
    if person.clip is None:
        raise ValueError("open a clip first")
    return person.clip
