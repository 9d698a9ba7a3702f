"""`sam2 app`: the browser app."""

from __future__ import annotations

from typing import Annotated

import typer

from .arguments import Checkpoint, Device, Dtype, ImageSize, Quiet, loading_settings, prepare_process


def app(
    checkpoint: Checkpoint = None,
    device: Device = None,
    dtype: Dtype = None,
    image_size: ImageSize = None,
    host: Annotated[str, typer.Option(help="The address to listen on; by default this machine alone.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="By default the first free one from 7860.")] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    most_people: Annotated[int, typer.Option(help="How many people's work is kept.")] = 32,
    max_frames: Annotated[int, typer.Option(help="How many frames a clip may have.")] = 600,
    quiet: Quiet = False,
) -> None:
    """Serve a page that segments images, clips and a camera by clicks."""
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise ImportError('sam2 app needs gradio: pip install "sam2-hf[app]"') from error
    from ..app.context import AppContext
    from ..app.main import launch_app
    from ..app.people import PersonStore
    from ..app.uploads import Limits

    prepare_process(quiet)
    loading = loading_settings(checkpoint, device, dtype, image_size)
    context = AppContext(**loading, limits=Limits(clip_frames=max_frames), people=PersonStore(most_people))
    context.segmenter  # noqa: B018 - a checkpoint that cannot be loaded is told now, and not at the first click
    page, address = launch_app(context, host, port, open_browser, prevent_thread_lock=True)
    typer.echo(f"sam2_hf is at {address} (Ctrl-C ends it)")
    try:
        page.block_thread()
    finally:
        context.people.close()
