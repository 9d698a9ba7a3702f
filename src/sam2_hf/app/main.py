"""The app as a whole: its page, and the server that shows it."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

import gradio as gr

from ..version import __version__
from .clip_tab import add_clip_tab
from .context import AppContext
from .image_tab import add_image_tab
from .live_tab import add_live_tab
from .people import PersonStore

_STYLE = Path(__file__).parent / "page" / "style.css"
# Gradio confines the style sheet to what lies within its margins; on a phone these would take a quarter of the width.
_NARROW_MARGINS = (
    "<style>@media (max-width: 760px) { .gradio-container .main { padding-inline: 0 !important; }"
    " .gradio-container .main main { padding: 4px 12px 24px !important; } }</style>"
)
_CLEANING = (600, 3600)  # seconds: how often files that gradio holds are looked at, and how old they become
_ABOUT_BUNDLED = (
    '<p class="s2-about">The bundled checkpoint knows drawn shapes and no photographs. '
    "For those: <code>sam2 app --checkpoint facebook/sam2.1-hiera-tiny</code></p>"
)
_LONGEST_QUEUE = 100  # requests that wait; more are refused
_FONTS = ["ui-sans-serif", "system-ui", "sans-serif"]


def build_app(context: AppContext) -> gr.Blocks:
    """Build the page.

    Args:
        context: what it runs with.

    Returns:
        The page, not yet served; `launch_app` serves it.
    """
    with gr.Blocks(title="sam2_hf", analytics_enabled=False, delete_cache=_CLEANING, fill_width=True) as page:
        gr.HTML(_header(context), elem_id="s2-header", padding=False)
        token = gr.State(None, delete_callback=context.people.forget)  # an hour after the page was closed
        with gr.Tabs(elem_id="s2-tabs"):
            with gr.Tab("Image", id="image"):
                add_image_tab(context, token)
            with gr.Tab("Clip", id="clip"):
                add_clip_tab(context, token)
            with gr.Tab("Live", id="live"):
                add_live_tab(context, token)
        page.load(context.people.new, None, token, show_progress="hidden", api_visibility="private")
    return page.queue(max_size=_LONGEST_QUEUE)


def launch_app(
    context: AppContext, host: str = "127.0.0.1", port: int | None = None, open_browser: bool = False, **options: Any
) -> tuple[gr.Blocks, str]:
    """Serve the page.

    Args:
        context: what it runs with.
        host: the address that is listened on. The default is reached from this machine alone.
        port: the first free one from 7860 by default.
        open_browser: whether the page is opened.
        options: of `gradio.Blocks.launch`, such as `prevent_thread_lock=True` to return at once.

    Returns:
        The page, and its address.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    page = build_app(context)
    threading.Thread(target=_remove_old, args=(context.people,), daemon=True).start()
    theme = gr.themes.Base(
        primary_hue="indigo", neutral_hue="slate", font=_FONTS, font_mono=["ui-monospace", "monospace"]
    )
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        inbrowser=open_browser,
        share=False,
        max_file_size=context.limits.file_bytes,
        theme=theme,
        css=_STYLE.read_text(encoding="utf-8"),
        head=_NARROW_MARGINS,
        footer_links=[],
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        run_history=False,
        enable_monitoring=False,
        **{"quiet": True, **options},
    )
    return page, address


def _remove_old(people: PersonStore) -> None:
    """Let those go who are too old, also while nobody else comes."""
    while True:
        time.sleep(_CLEANING[0])
        people.remove_old()


def _header(context: AppContext) -> str:
    about = _ABOUT_BUNDLED if context.is_bundled else ""
    return (
        '<div class="s2-head"><strong>sam2_hf</strong><span>Click on anything: its mask, in images and clips</span>'
        f"<code>{_escaped(context.model_name)}</code><small>{__version__}</small></div>{about}"
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
