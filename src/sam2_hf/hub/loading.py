"""What loading a model does beyond transformers: it is quiet when it is quick, and refuses what would be half a model.

`from_pretrained` of transformers fills weights that a checkpoint lacks with random values and prints a table. Here that
is an error. An original checkpoint (`.pt`) is converted on the way.
"""

from __future__ import annotations

import copy
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard
from transformers import PreTrainedConfig
from transformers.utils import logging as transformers_logging

from .conversion import convert_state_dict, read_checkpoint, recognise_variant
from .input_channels import ChannelInit, check_channel_init, fit_input_channels, trunk_config
from .model_card import saved_model_card

logger = logging.getLogger(__name__)

SECONDS_WITHOUT_BARS = 2.0
_ORIGINAL_SUFFIXES = (".pt", ".pth")
_GENERATED = "This model card has been automatically generated"
"""Stands in cards that transformers makes, and in no others."""

_HUB_ARGUMENTS = {"cache_dir", "force_download", "local_files_only", "revision", "subfolder", "token"}
PATCH_WEIGHTS = "image_encoder.trunk.patch_embed.proj.weight"
"""What an original checkpoint calls the weights that pixels go through first, (width, channels, height, width)."""


class LoadsWholeCheckpoints:
    """Mixin for models of transformers: loading is complete or fails, and saving writes a model card."""

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike | None = None,
        *args: Any,
        output_loading_info: bool = False,
        num_channels: int | None = None,
        channel_init: ChannelInit | None = None,
        **kwargs: Any,
    ) -> Any:
        """Load a model as transformers does, from a folder, the Hub or an original checkpoint.

        Args:
            pretrained_model_name_or_path: a folder, a name on the Hub, or an original `.pt` file, whose preset is
                recognised from its weights unless there is a `config`.
            args: go to the model's constructor.
            output_loading_info: whether to return the keys that did not fit as well, instead of raising for them.
            num_channels: of the images, where it is another number than the checkpoint's; by default that of `config`
                if there is one, and the checkpoint's.
            channel_init: what the weights of other channels than the checkpoint's start from: "mean", the mean over
                its channels, or "zero"; see `fit_input_channels`.
            kwargs: as in transformers; fields of the configuration among them, and `image_size` (pixels, int or
                (height, width)) for another input size than the checkpoint's, for which the processor is loaded too.

        Returns:
            The model in evaluation mode; with `output_loading_info` a pair of it and a dict of keys.

        Raises:
            FileNotFoundError: for an original `.pt` file that does not exist.
            ValueError: for a checkpoint of another kind of model, for a file that is none, and for a checkpoint that
                lacks weights of this one, unless `output_loading_info` asks for their names or
                `ignore_mismatched_sizes` says that weights may be new. For another number of channels than the
                checkpoint's without `channel_init`.
        """
        source, started = pretrained_model_name_or_path, time.perf_counter()
        check_channel_init(channel_init)
        if channel_init is not None and isinstance(kwargs.get("config"), PreTrainedConfig):
            num_channels, kwargs = cls._channels_and_arguments(source, num_channels, kwargs)
        if is_missing_file(source):
            raise FileNotFoundError(f"there is no checkpoint at {source}")
        if isinstance(source, (str, os.PathLike)) and Path(source).is_file() and not is_original_file(source):
            raise ValueError(
                f"{source} is a file: expected the folder that it lies in, with its config.json, or an original "
                f"checkpoint ({', '.join(_ORIGINAL_SUFFIXES)})"
            )
        folder = source
        if source is not None and is_original_file(source):
            folder, kwargs = None, cls._arguments_of_original(Path(source), kwargs)
        if kwargs.get("image_size") is not None and hasattr(kwargs.get("config"), "with_image_size"):
            kwargs = {**kwargs, "config": kwargs["config"].with_image_size(kwargs["image_size"])}
            del kwargs["image_size"]
        with _late_bars(), _held_reports() as release:
            model, info = super().from_pretrained(folder, *args, output_loading_info=True, **kwargs)  # type: ignore[misc]
            missing = sorted(info["missing_keys"])
            if missing and not (output_loading_info or kwargs.get("ignore_mismatched_sizes")):
                raise ValueError(
                    f"{source} lacks {len(missing)} weights of {cls.__name__}: {_some(missing)}; for random ones, make "
                    f"{cls.__name__}(config) and load the others with load_state_dict"
                )
            if num_channels is not None:
                _fit_channels(model, num_channels, channel_init)
            release()
        count = sum(parameter.numel() for parameter in model.parameters())
        logger.info(
            "%s with %.1f M parameters loaded from %s in %.1f s",
            *(cls.__name__, count / 1e6, source, time.perf_counter() - started),
        )
        return (model, info) if output_loading_info else model

    @classmethod
    def _arguments_of_original(cls, path: Path, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of `from_pretrained` that load the converted tensors of an original checkpoint."""
        original = read_checkpoint(path)
        kwargs, config_class = dict(kwargs), cls.config_class  # type: ignore[attr-defined]
        if kwargs.get("config") is None:
            known = {*config_class.__dataclass_fields__, "image_size"}
            fields = {name: kwargs.pop(name) for name in kwargs.keys() & known}
            kwargs["dtype"] = fields.pop("dtype", "auto")
            kwargs["config"] = config_class.from_preset(recognise_variant(original), **fields)
        return {**kwargs, "state_dict": convert_state_dict(original)}

    @classmethod
    def _channels_and_arguments(
        cls, source: Any, num_channels: int | None, kwargs: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        """The number of channels that is wanted, and the arguments of `from_pretrained` with the checkpoint's."""
        config = copy.deepcopy(kwargs["config"])
        part = trunk_config(config)
        wanted = part.num_channels if num_channels is None else num_channels
        if is_original_file(source):
            part.num_channels = read_checkpoint(Path(source))[PATCH_WEIGHTS].shape[1]
        else:
            of_hub = {name: kwargs[name] for name in _HUB_ARGUMENTS & kwargs.keys()}
            saved = cls.config_class.from_pretrained(source, **of_hub)  # type: ignore[attr-defined]
            part.num_channels = trunk_config(saved).num_channels
        return wanted, {**kwargs, "config": config}

    def save_pretrained(self, save_directory: str | os.PathLike, *args: Any, **kwargs: Any) -> Any:
        """Save as transformers does, with a model card where the folder has none."""
        result = super().save_pretrained(save_directory, *args, **kwargs)  # type: ignore[misc]
        if kwargs.get("is_main_process", True):
            self._write_card(Path(save_directory), kwargs.get("repo_id"))
        return result

    def _upload_modified_files(self, working_dir: str | os.PathLike, repo_id: str, *args: Any, **kwargs: Any) -> Any:
        # This comes between saving and uploading. `push_to_hub` has put a card of transformers in place of the one that
        # was saved, where the Hub has none.
        self._write_card(Path(working_dir), repo_id)
        return super()._upload_modified_files(working_dir, repo_id, *args, **kwargs)  # type: ignore[misc]

    def _write_card(self, folder: Path, repo_id: str | None) -> None:
        """Write a card where there is none, or one that transformers has generated, of which the tags are kept."""
        path = folder / "README.md"
        found = path.read_text(encoding="utf-8") if path.is_file() else None
        if not folder.is_dir() or not (found is None or _GENERATED in found):
            return
        title = folder.resolve().name if repo_id is None else repo_id.rpartition("/")[2]
        is_video = self.config.model_type == "sam2_video"  # type: ignore[attr-defined]
        tags = [] if found is None else ModelCard(found).data.to_dict().get("tags") or []
        path.write_text(saved_model_card(title, repo_id, is_video, tags), encoding="utf-8")


def is_original_file(source: Any) -> bool:
    """Whether `from_pretrained` is given an original checkpoint and no folder or name on the Hub."""
    return (
        isinstance(source, (str, os.PathLike))
        and Path(source).suffix.lower() in _ORIGINAL_SUFFIXES
        and Path(source).is_file()
    )


def is_missing_file(source: Any) -> bool:
    """Whether `from_pretrained` is given the name of an original checkpoint that does not exist."""
    return (
        isinstance(source, (str, os.PathLike))
        and Path(source).suffix.lower() in _ORIGINAL_SUFFIXES
        and not Path(source).exists()
    )


def _fit_channels(model: Any, num_channels: int, channel_init: ChannelInit | None) -> None:
    """Give a loaded model the number of channels that was asked for."""
    found = trunk_config(model.config).num_channels
    if num_channels == found:
        return
    if channel_init is None:
        raise ValueError(
            f"the checkpoint is for images of {found} channels and num_channels is {num_channels!r}: say what the "
            'weights of the others start from, channel_init="mean" or channel_init="zero"'
        )
    fit_input_channels(model, num_channels, channel_init)


def _some(names: list[str], at_most: int = 3) -> str:
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return ", ".join(names[:at_most]) + more


_lock = threading.Lock()
_loading = 0
_hook_before: Any = None


@contextmanager
def _late_bars() -> Iterator[None]:
    """Have the progress bars of transformers wait until loading has taken a while."""
    global _loading, _hook_before
    with _lock:
        _loading += 1
        if _loading == 1:
            _hook_before = transformers_logging.set_tqdm_hook(_make_late)
    try:
        yield
    finally:
        with _lock:
            _loading -= 1
            if _loading == 0:
                transformers_logging.set_tqdm_hook(_hook_before)


def _make_late(factory: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    options = {"delay": SECONDS_WITHOUT_BARS, **options}
    return factory(*args, **options) if _hook_before is None else _hook_before(factory, args, options)


@contextmanager
def _held_reports() -> Iterator[Callable[[], None]]:
    """Hold back what transformers logs about loaded weights in this thread, until the function given is called."""
    source = logging.getLogger("transformers.modeling_utils")
    thread, held = threading.get_ident(), []
    released = False

    def hold(record: logging.LogRecord) -> bool:
        if released or record.thread != thread:
            return True
        held.append(record)
        return False

    def release() -> None:
        nonlocal released
        released = True
        for record in held:
            source.handle(record)

    source.addFilter(hold)
    try:
        yield release
    finally:
        source.removeFilter(hold)
