"""The presets of `model.compile`: parts of a model as programs of `torch.compile`, each of which is compiled once.

A *part* is a method that takes and gives tensors, made one with `compilable`, which also names the axes of its
arguments whose lengths differ from call to call: objects, prompts, memories. For each of these lengths torch
distinguishes one from several, and so does this file: a part has a program for a single object and one for any larger
number of them, in which the number is a variable. Whatever else could differ is the same in each call or brought to a
few sizes before: points are filled up to `points_bucket`. Which methods of the models are parts is in `compiled_parts`.

CUDA graphs are recorded once for every length, so where they are used, lengths are rounded up to powers of two with
copies of the last row. Rows never see each other, and those that were added are cut off again. A graph writes its
results to the same memory each time; they are copied, because a session goes on reading what earlier frames gave.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from types import CodeType, FunctionType
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor

from .conditions import enabled

Method = TypeVar("Method", bound=Callable[..., Any])

SMALLEST_POINTS_BUCKET = 4


# Each preset is a mode of `torch.compile`. Autotuning is left to those who ask for it: it takes minutes at the start.
PRESETS: dict[str, str | None] = {"latency": "reduce-overhead", "throughput": None}
# The modes that record CUDA graphs, each with the mode that is the same without.
GRAPH_MODES = {"reduce-overhead": None, "max-autotune": "max-autotune-no-cudagraphs"}


class Part(NamedTuple):
    """A method that can be a program.

    `axes` are, for each parameter, the names of the axes of its tensors whose lengths differ from call to call, from
    the first axis on; `result` those of all tensors that come out, where a name of several letters stands for the
    product of lengths. `changing` tells that lengths change from frame to frame: such a part is never a CUDA graph,
    which would be recorded anew in each.
    """

    method: Callable[..., Any]
    parameters: Sequence[inspect.Parameter]
    axes: Mapping[str, str]
    result: Sequence[str]
    changing: bool

    def arguments(self, given: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
        """The values of all parameters after the model, in their order."""
        rest = self.parameters[len(given) :]
        return [*given, *(named.get(parameter.name, parameter.default) for parameter in rest)]

    def axes_of(self, arguments: Sequence[Any]) -> Iterator[tuple[Any, str]]:
        """All tensors and other values in the arguments, each with the names of its axes."""
        for parameter, value in zip(self.parameters, arguments, strict=True):
            for leaf in _leaves(value):
                yield leaf, self.axes.get(parameter.name, "")


Prepare = Callable[[Any, Sequence[Any]], "Sequence[Any] | None"]


def compilable(
    *result: str, changing: bool = False, prepare: Prepare | None = None, **axes: str
) -> Callable[[Method], Method]:
    """Makes a part of a method of a model; the arguments are explained at `Part`.

    What is called is the plain method, unless the model was given a preset; see `runs_compiled`.

    Args:
        prepare: is called with the model and the values of all parameters, and gives those that the program is called
            with, or None if this call has no program.
    """

    def decorate(method: Method) -> Method:
        parameters = [*inspect.signature(method).parameters.values()][1:]
        part = Part(method, parameters, axes, result, changing)

        @functools.wraps(method)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            if not runs_compiled(self):
                return method(self, *args, **kwargs)
            arguments: Sequence[Any] | None = part.arguments(args, kwargs)
            if prepare is not None and arguments is not None:
                arguments = prepare(self, arguments)
            return method(self, *args, **kwargs) if arguments is None else self._programs.run(part, self, arguments)

        return cast(Method, call)

    return decorate


def runs_compiled(model: Any) -> bool:
    """Whether the model's parts run as programs now.

    They do not where gradients are wanted, where somebody else is compiling, within `plain_paths`, and, of CUDA
    graphs, on any thread but the one that called `compile`.
    """
    if torch.compiler.is_compiling() or model._programs is None:
        return False
    return enabled() and not torch.is_grad_enabled() and model._programs.serve(model)


def points_bucket(count: int) -> int:
    """How many points a prompt of `count` points is filled up to: 4, 16, 64, ..."""
    bucket = SMALLEST_POINTS_BUCKET
    while bucket < count:
        bucket *= 4
    return bucket


class Programs:
    """The compiled parts of one model, made when they are first needed."""

    def __init__(self, preset: str, **options: Any):
        """`options` are arguments of `torch.compile`, which go before those of the preset.

        Raises a `ValueError` for an unknown preset.
        """
        if preset not in PRESETS:
            raise ValueError(f"unknown preset {preset!r}; known are {', '.join(map(repr, PRESETS))}")
        self.preset = preset
        # Other backends than torch's own know no modes.
        self._mode = options.pop("mode", None if "backend" in options else PRESETS[preset])
        self._options = options
        self._thread = threading.get_ident()
        self._programs: dict[Hashable, Callable[..., Any]] = {}

    def __len__(self) -> int:
        """How many there are by now."""
        return len(self._programs)

    def serve(self, model: Any) -> bool:
        """Whether they can be used on this thread: CUDA graphs belong to one."""
        return threading.get_ident() == self._thread or not self._records_graphs(model)

    def run(self, part: Part, model: Any, arguments: Sequence[Any]) -> Any:
        """What the part's method returns."""
        lengths = _lengths(part.axes_of(arguments))
        if 0 in lengths.values():
            return part.method(model, *arguments)
        records = self._records_graphs(model) and not part.changing
        if records:
            wanted = {name: _power_of_two(length) for name, length in lengths.items()}
            arguments = [
                _map(value, functools.partial(_fill_up, axes=part.axes.get(parameter.name, ""), wanted=wanted))
                for parameter, value in zip(part.parameters, arguments, strict=True)
            ]
        arguments = [_map(value, _uniform) for value in arguments]
        program = self._program(part, arguments, records)
        if records:
            torch.compiler.cudagraph_mark_step_begin()
        result = program(model, *arguments)
        return _map(result, functools.partial(_finish, axes=part.result, lengths=lengths)) if records else result

    def _program(self, part: Part, arguments: Sequence[Any], records: bool) -> Callable[..., Any]:
        key = (part.method, records, *(_kind(leaf, axes) for leaf, axes in part.axes_of(arguments)))
        for leaf, axes in part.axes_of(arguments):
            if isinstance(leaf, Tensor):
                for axis in _varying(leaf, axes):
                    torch._dynamo.maybe_mark_dynamic(leaf, axis)
        if key not in self._programs:
            self._programs[key] = self._compile(part, records)
        return self._programs[key]

    def _compile(self, part: Part, records: bool) -> Callable[..., Any]:
        mode = self._mode if records else GRAPH_MODES.get(self._mode or "", self._mode)
        return torch.compile(_own_copy(part.method), **{"dynamic": False, "mode": mode, **self._options})

    def _records_graphs(self, model: Any) -> bool:
        return self._mode in GRAPH_MODES and model.device.type == "cuda"


def _own_copy(method: Callable[..., Any]) -> Callable[..., Any]:
    """A function of its own that does the same.

    torch keeps what it has compiled with a function's code, and gives up after a few variants.
    """
    function = cast(FunctionType, method)
    code: CodeType = function.__code__.replace()
    copy = FunctionType(code, function.__globals__, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for entry in value:
            yield from _leaves(entry)
    else:
        yield value


def _map(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """`function` on every tensor in a value of lists, tuples and named tuples."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, (list, tuple)):
        entries = [_map(entry, function) for entry in value]
        return type(value)(*entries) if hasattr(value, "_fields") else type(value)(entries)
    return value


def _lengths(tensors: Iterable[tuple[Any, str]]) -> dict[str, int]:
    """The length of each axis by its name; some tensors may have a single entry that holds for all."""
    lengths: dict[str, int] = {}
    for leaf, axes in tensors:
        if isinstance(leaf, Tensor):
            for name, length in zip(axes, leaf.shape, strict=False):
                known = lengths.get(name, 1)
                lengths[name] = max(length, known) if length and known else 0
    return lengths


def _kind(leaf: Any, axes: str) -> Hashable:
    """What distinguishes programs: any value but a tensor; of a tensor, which axes have more than one entry."""
    return (leaf.ndim, *_varying(leaf, axes)) if isinstance(leaf, Tensor) else (type(leaf), leaf)


def _varying(tensor: Tensor, axes: str) -> list[int]:
    return [axis for axis in range(len(axes)) if tensor.shape[axis] > 1]


def _power_of_two(length: int) -> int:
    return 1 << (length - 1).bit_length()


def _fill_up(tensor: Tensor, axes: str, wanted: Mapping[str, int]) -> Tensor:
    """The tensor with its last rows repeated up to the wanted lengths, unless one entry holds for all."""
    for axis in _varying(tensor, axes):
        missing = wanted[axes[axis]] - tensor.shape[axis]
        if missing > 0:
            last = tensor.narrow(axis, tensor.shape[axis] - 1, 1)
            sides = [missing if other == axis else -1 for other in range(tensor.ndim)]
            tensor = torch.cat((tensor, last.expand(sides)), dim=axis)
    return tensor


def _finish(tensor: Tensor, axes: Sequence[str], lengths: Mapping[str, int]) -> Tensor:
    """A copy of what a graph gave, without what was filled up."""
    for axis, names in enumerate(axes):
        length = 1
        for name in names:
            length *= lengths.get(name, 1)
        tensor = tensor.narrow(axis, 0, length)
    return tensor.clone()


def _uniform(tensor: Tensor) -> Tensor:
    """The tensor as all others come, so that nothing has to be compiled again for its sake: laid out in the order of
    its axes, and made in inference mode if that is on, outside of it if not."""
    strides, step = [0] * tensor.ndim, 1
    for axis in reversed(range(tensor.ndim)):
        strides[axis], step = step, step * tensor.shape[axis]
    if tensor.stride() == tuple(strides) and tensor.is_inference() == torch.is_inference_mode_enabled():
        return tensor
    return tensor.clone(memory_format=torch.contiguous_format)
