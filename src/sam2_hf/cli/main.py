"""The command `sam2`: its errors in one line, and its exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from ..version import __version__
from .command_table import LazyGroup

FAILED, INTERRUPTED = 1, 130

app = typer.Typer(
    name="sam2",
    help="SAM 2: segment objects in images, and track them through clips.",
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sam2_hf {__version__}")
        raise typer.Exit


@app.callback()
def sam2(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """SAM 2: segment objects in images, and track them through clips."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: those after the command's name; those of the process by default.

    Returns:
        The exit status: 0, 1 for an error, 2 for a wrong use of the command, 130 if it was interrupted.
    """
    try:
        app(args=None if arguments is None else list(arguments), prog_name="sam2")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:  # who reads the output, such as `head`, has had enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - so that nothing is written to it at the end of the process
        return FAILED
    except (ValueError, TypeError, LookupError, OSError, ImportError, RuntimeError) as error:
        typer.echo(f"error: {describe(error)}", err=True)
        return FAILED
    return 0


def subcommand(name: str) -> Callable[[Sequence[str] | None], int]:
    """Make the `main` of a script that runs one subcommand.

    Args:
        name: of the subcommand.

    Returns:
        A function of the arguments, by default those of the process, that returns the exit status.
    """

    def run(arguments: Sequence[str] | None = None) -> int:
        return main([name, *(sys.argv[1:] if arguments is None else arguments)])

    return run


def describe(error: Exception) -> str:
    """Say in one line what an error says."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(text.split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
