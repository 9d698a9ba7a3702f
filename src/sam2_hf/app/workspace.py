"""The part that all tabs have: the stage with its tools, an upload, and downloads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

_PAGE = Path(__file__).parent / "page"
_SCRIPTS = ("stage.js", "objects.js", "time.js", "live.js", "start.js")

AT_ONCE = 4  # requests of one kind that are answered at the same time, of all people together
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""Events of the page alone: no layer over it while they run, and nothing for other programs to call."""

_SAVE = "(file) => { if (!file) return; const a = document.createElement('a'); a.href = file.url; \
a.download = file.orig_name; document.body.append(a); a.click(); a.remove(); }"


def add_stage(
    mode: str, examples: Sequence[tuple[str, str]] = (), file_types: Sequence[str] = (), file_bytes: int = 0
) -> gr.HTML:
    """Add the stage of a tab.

    Args:
        mode: "image", "clip" or "live".
        examples: names and data addresses of what the empty stage offers.
        file_types: suffixes of the files that can be opened; the page refuses others before they are sent.
        file_bytes: how large they may be.

    Returns:
        The component. Its value is a message; its events are `act`, `track` and `step`.
    """
    html = (_PAGE / "stage.html").read_text(encoding="utf-8").replace("MODE", mode)
    script = "\n".join((_PAGE / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    return gr.HTML(
        value=None,
        html_template=html,
        js_on_load=script,
        apply_default_css=False,
        elem_id=f"{mode}-stage",
        examples=[{"name": name, "url": address} for name, address in examples],
        file_types=list(file_types),
        file_bytes=file_bytes,
    )


def add_upload(mode: str, file_types: Sequence[str]) -> gr.UploadButton:
    """Add the upload that the stage's button, drops and pasted files go through."""
    return gr.UploadButton("Open", file_types=list(file_types), elem_id=f"{mode}-upload", visible="hidden")


def add_downloads(
    kinds: Mapping[str, str], mode: str, write: Callable[[str | None, str], str | None], inputs: Sequence[Any]
) -> None:
    """Add a button for each kind of file.

    Args:
        kinds: what each is called.
        mode: of the tab.
        write: gives the path of a file, of the values of `inputs` and a kind.
        inputs: components.
    """
    file = gr.File(visible="hidden", elem_id=f"{mode}-file")
    with gr.Row(elem_classes="s2-downloads"):
        for kind, label in kinds.items():
            button = gr.Button(label, size="sm", elem_id=f"{mode}-download-{kind}", min_width=110)
            written = button.click(
                _of_kind(write, kind), inputs, file, api_visibility="private", concurrency_limit=AT_ONCE
            )
            written.success(None, file, None, js=_SAVE, **QUIET)


def _of_kind(write: Callable[..., str | None], kind: str) -> Callable[..., str | None]:
    def written(*given: Any) -> str | None:
        return write(*given, kind)

    return written
