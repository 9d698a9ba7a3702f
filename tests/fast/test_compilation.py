"""Parts as programs: when they run, what they distinguish, and how rows are filled up and cut off."""

from __future__ import annotations

import threading
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from sam2_hf.fast.compilation import PRESETS, Programs, compilable, points_bucket
from sam2_hf.fast.dispatch import plain_paths


class Sums(NamedTuple):
    """What `Toy.add` gives."""

    sums: Tensor


class Toy:
    """Stands for a model."""

    device = torch.device("cpu")
    _programs: Programs | None = None

    def __init__(self, preset: str = "throughput"):
        self.counter = CompileCounterWithBackend("eager")
        self._programs = Programs(preset, backend=self.counter)

    @compilable("n", rows="n", others="n")
    def add(self, rows: Tensor, others: list[Tensor], scale: float = 1.0, negative: bool = False) -> Sums:
        """Rows (n, C) plus all others (n or 1, C)."""
        total = rows * (-scale if negative else scale)
        for other in others:
            total = total + other
        return Sums(total)

    @compilable("nm", left="n", right="m")
    def pair(self, left: Tensor, right: Tensor) -> Tensor:
        """Products (n * m,) of every left with every right."""
        return (left[:, None] * right[None]).flatten()


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


def rows(count: int, start: int = 0) -> Tensor:
    return torch.arange(start, start + 3 * count).float().view(count, 3)


@pytest.fixture
def recording(monkeypatch):
    """As on a CUDA device, where lengths are rounded up; collects the lengths that the backend is given."""
    monkeypatch.setattr(Programs, "_records_graphs", lambda self, model: True)
    toy, lengths = Toy(), []

    def backend(module, inputs):
        compiled = toy.counter(module, inputs)

        def call(*given):
            lengths.append(max(len(tensor) for tensor in given if isinstance(tensor, Tensor)))
            return compiled(*given)

        return call

    toy._programs = Programs("latency", backend=backend)
    return toy, lengths


class TestPrograms:
    def test_one_row_and_several_are_all_there_is(self) -> None:
        toy = Toy()
        for count in (1, 2, 3, 7, 4, 1, 2, 40):
            assert toy.add(rows(count), [rows(count, 5)]).sums.equal(rows(count) + rows(count, 5))
        assert toy.counter.frame_count == len(toy._programs) == 2

    def test_many_programs_do_not_exhaust_torchs_patience(self) -> None:
        toy = Toy()
        for scale in range(12):  # torch gives up after eight variants of a function
            assert toy.add(rows(2), [], float(scale)).sums.equal(rows(2) * scale)
        assert toy.counter.frame_count == 12

    def test_an_entry_that_holds_for_all_rows_is_a_case_of_its_own(self) -> None:
        toy = Toy()
        for count in (2, 3, 4):
            assert toy.add(rows(count), [rows(1), rows(count)]).sums.equal(2 * rows(count) + rows(1))
        assert toy.counter.frame_count == 1

    def test_arguments_can_be_named_and_left_out(self) -> None:
        toy = Toy()
        assert toy.add(rows(2), [], negative=True).sums.equal(-rows(2))
        assert toy.add(rows=rows(3), others=[], negative=True).sums.equal(-rows(3))
        assert toy.counter.frame_count == 1

    def test_the_layout_of_a_tensor_does_not_matter(self) -> None:
        toy, wide = Toy(), rows(3)
        for given in (wide, wide.T.contiguous().T, torch.stack((wide, wide), dim=-1)[..., 0]):
            assert toy.add(given, []).sums.equal(wide)
        toy.add(torch.zeros(1, 3), [])
        toy.add(torch.zeros(1, 3).as_strided((1, 3), (7, 1)), [])
        assert toy.counter.frame_count == 2

    def test_tensors_made_in_inference_mode_and_outside_go_together(self) -> None:
        toy = Toy()
        with torch.inference_mode():
            made_inside = rows(2)
        assert not toy.add(made_inside, []).sums.is_inference()
        assert not toy.add(rows(2), []).sums.is_inference()
        assert toy.counter.frame_count == 1
        with torch.inference_mode():
            toy.add(made_inside, [])
            assert toy.add(rows(2).clone(), []).sums.is_inference()
        assert toy.counter.frame_count == 2

    def test_no_rows_are_no_reason_to_compile(self) -> None:
        toy = Toy()
        assert toy.add(rows(0), []).sums.shape == (0, 3)
        assert toy.counter.frame_count == 0


class TestWhenTheyRun:
    def test_not_without_a_preset(self) -> None:
        toy = Toy()
        toy._programs = None
        assert toy.add(rows(2), []).sums.equal(rows(2))
        assert toy.counter.frame_count == 0

    def test_not_with_gradients(self) -> None:
        toy, given = Toy(), rows(2).requires_grad_()
        with torch.enable_grad():
            toy.add(given, []).sums.sum().backward()
        assert given.grad is not None and toy.counter.frame_count == 0

    def test_not_within_plain_paths(self) -> None:
        toy = Toy()
        with plain_paths():
            assert toy.add(rows(2), []).sums.equal(rows(2))
        assert toy.counter.frame_count == 0

    def test_not_while_somebody_else_compiles(self) -> None:
        toy, other = Toy(), CompileCounterWithBackend("eager")
        function = torch.compile(lambda given: toy.add(given, []).sums, backend=other, fullgraph=True)
        assert function(rows(2)).equal(rows(2))
        assert other.frame_count == 1 and toy.counter.frame_count == 0

    def test_on_other_threads_too_unless_they_are_graphs(self, recording) -> None:
        toy, recorder = Toy(), recording[0]
        found = []

        @torch.no_grad()
        def run() -> None:
            found.append((toy.add(rows(2), []).sums, recorder.add(rows(3), []).sums))

        toy._programs._records_graphs = lambda model: False
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        assert found[0][0].equal(rows(2)) and found[0][1].equal(rows(3))
        assert toy.counter.frame_count == 1 and recorder.counter.frame_count == 0

    def test_an_unknown_preset_is_named(self) -> None:
        with pytest.raises(ValueError, match=r"unknown preset 'fastest'; known are 'latency', 'throughput'"):
            Programs("fastest")
        assert list(PRESETS) == ["latency", "throughput"]


class TestGraphs:
    def test_rows_are_rounded_up_and_cut_off_again(self, recording) -> None:
        toy, lengths = recording
        for count in (1, 2, 3, 5, 8, 6):
            assert toy.add(rows(count), [rows(1), rows(count)]).sums.equal(2 * rows(count) + rows(1))
        assert lengths == [1, 2, 4, 8, 8, 8]
        assert toy.counter.frame_count == 2

    @pytest.mark.parametrize("lengths", [(1, 3), (3, 1), (1, 1)])
    def test_rows_of_pairs_are_cut_off_too(self, recording, lengths) -> None:
        left, right = rows(lengths[0])[:, 2] + 1, rows(lengths[1])[:, 1] + 2
        assert recording[0].pair(left, right).equal(torch.outer(left, right).flatten())

    def test_results_are_copies(self, recording, monkeypatch) -> None:
        """A graph writes to the same memory again."""
        toy, memory = recording[0], torch.zeros(2, 3)
        monkeypatch.setattr(toy._programs, "_compile", lambda part, records: lambda model, *given: Sums(memory))
        kept = toy.add(rows(2), []).sums
        memory.fill_(7)
        assert kept.equal(torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("preset", "options", "expected"),
    [
        ("latency", {}, None),
        ("throughput", {}, None),
        ("throughput", {"mode": "max-autotune"}, "max-autotune-no-cudagraphs"),
        ("latency", {"mode": "default"}, "default"),
        ("latency", {"backend": "eager"}, None),
    ],
)
def test_modes_without_graphs(preset, options, expected, monkeypatch) -> None:
    """Where there is no CUDA device."""
    given = []
    monkeypatch.setattr(torch, "compile", lambda function, **settings: given.append(settings) or function)
    toy = Toy()
    toy._programs = Programs(preset, **options)
    toy.add(rows(2), [])
    assert given[0].pop("mode") == expected
    assert given == [{"dynamic": False, **{name: options[name] for name in options.keys() - {"mode"}}}]


def test_points_are_filled_up_to_few_numbers() -> None:
    assert [points_bucket(count) for count in (1, 4, 5, 16, 17, 65)] == [4, 4, 16, 16, 64, 256]
