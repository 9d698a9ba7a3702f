"""Which subcommands there are, and the group that imports one when it is used.

To add a subcommand, write a function whose arguments typer reads in a module of its own, and enter it in `COMMANDS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, MutableMapping
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup


class CommandEntry(NamedTuple):
    """Where a subcommand's function is, and what it does in a few words."""

    module: str
    function: str
    help: str


COMMANDS: dict[str, CommandEntry] = {
    "segment": CommandEntry("segment_command", "segment", "Segment objects in images."),
    "track": CommandEntry("track_command", "track", "Track objects through clips, or from a camera."),
    "everything": CommandEntry("everything_command", "everything", "Find and track everything in clips."),
    "batch": CommandEntry("batch_command", "batch", "Segment any number of images and clips; resume what was stopped."),
    "collect": CommandEntry("collect_command", "collect", "Write COCO and SA-V JSON of what batch has computed."),
    "convert": CommandEntry("convert_command", "convert", "Convert an original checkpoint (.pt) to a folder."),
    "export": CommandEntry("export_command", "export", "Export a checkpoint as ONNX, torch.export or OpenVINO graphs."),
    "train": CommandEntry("train_command", "train", "Train a model as a recipe says."),
    "evaluate": CommandEntry("evaluate_command", "evaluate", "Measure a checkpoint on annotated data."),
    "app": CommandEntry("app_command", "app", "Serve the browser app."),
    "checkpoints": CommandEntry("overview_commands", "checkpoints", "List the checkpoints."),
    "info": CommandEntry("overview_commands", "info", "Show versions, the device, and the speed of a click."),
}
"""The subcommands by name, in the order of the help."""


class LazyCommands(MutableMapping[str, Any]):
    """Subcommands by name; each is imported when it is taken, so that help and completion stay fast."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = load_command(name)
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class LazyGroup(TyperGroup):
    """The command `sam2`; its help needs none of the subcommands."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "commands": {}})
        self.commands = LazyCommands()

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of subcommands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


def load_command(name: str) -> Any:
    """Import a subcommand and make it ready to run.

    Raises:
        KeyError: there is no subcommand of that name.
    """
    entry = COMMANDS[name]
    module = importlib.import_module(f".{entry.module}", __package__)
    single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    single.command(name)(getattr(module, entry.function))
    return typer.main.get_command(single)
