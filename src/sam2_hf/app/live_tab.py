"""The tab for cameras."""

from __future__ import annotations

import gradio as gr

from .changes import Request, change_live
from .context import AppContext
from .live_work import LiveWork
from .people import Person
from .pixels import read_frame
from .stage import Message, live_message
from .workspace import AT_ONCE, QUIET, add_stage

_LONGEST_SIDE = 1280


class LiveRequests:
    """Answers what the tab asks for."""

    def __init__(self, context: AppContext):
        self.context = context

    def step(self, token: str | None, request: Request) -> Message:
        """Track to a frame that the page sends."""

        def make(person: Person) -> Message:
            work = self._work(person)
            frame = read_frame(str(request.get("frame", "")), _LONGEST_SIDE)
            return live_message(work, work.step(frame), person.senders["live"])

        return {**self.context.answer(token, make), "live": True}

    def act(self, token: str | None, request: Request) -> Message:
        """Do what the stage asks for; the masks come with the next frame."""

        def make(person: Person) -> Message:
            work = self._work(person)
            if request.get("kind") == "again":
                person.senders["live"].forget()
            change_live(work, request)
            return live_message(work, work.newest, person.senders["live"])

        return self.context.answer(token, make)

    def _work(self, person: Person) -> LiveWork:
        if person.live is None:
            person.live = LiveWork(self.context.tracker)
        return person.live


def add_live_tab(context: AppContext, token: gr.State) -> None:
    """Add the tab."""
    requests = LiveRequests(context)
    stage = add_stage("live")

    def act(person: str | None, event: gr.EventData) -> Message:
        return requests.act(person, event._data or {})

    def step(person: str | None, event: gr.EventData) -> Message:
        return requests.step(person, event._data or {})

    stage.act(act, [token], [stage], trigger_mode="multiple", concurrency_limit=AT_ONCE, **QUIET)
    stage.step(step, [token], [stage], trigger_mode="multiple", concurrency_limit=AT_ONCE, **QUIET)
