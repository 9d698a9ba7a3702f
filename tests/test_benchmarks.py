"""The arithmetic of the benchmarks: what they count, compare and print. `test_speed` runs them."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny_image_model
from torch import nn
from torch.nn import functional as F

from benchmarks import comparison
from benchmarks.__main__ import main
from benchmarks.agreement import compare
from benchmarks.case import Case, Job, groups, register
from benchmarks.cases.planning import plan
from benchmarks.gpu import gpu_summary, gpu_variants
from benchmarks.images import Clip, as_pixels, as_square, load_image
from benchmarks.implementations.base import settle
from benchmarks.memory import held_bytes, peak_bytes
from benchmarks.results import Measurement, Report, Result
from benchmarks.settings import Runtime, Unavailable
from benchmarks.table import marks, put_into, tables
from benchmarks.work import count_work


def a_result(name: str = "click", **variants: Measurement) -> Result:
    return Result(name, "one click", "tiny", 1024, False, variants, rates={"flops": 1e9, "bytes": 1e9})


def a_report(*results: Result) -> Report:
    machine = {"gpu": None, "processor": "Abacus", "instructions": "beads", "threads": 2, "memory_gib": 8.0}
    return Report(machine, {"torch": "2.11"}, {}, "2030-01-02T03:04:05+00:00", list(results))


def test_a_ratio_compares_runs_of_the_same_round():
    result = a_result(ours=Measurement([1.0, 2.0, 4.0]), transformers=Measurement([3.0, 4.0, 20.0]))
    assert result.ratio("transformers") == (2.0, 3.0, 5.0)


def test_there_is_no_ratio_to_a_variant_that_was_not_measured():
    result = a_result(ours=Measurement([1.0]), transformers=Measurement(skipped="needs torchvision"))
    assert result.ratio("transformers") is None
    assert result.ratio("official") is None


def test_growth_is_that_of_the_last_third():
    assert Measurement(held=[0, 50, 90, 100, 100, 100, 100, 103, 106]).growth == 3.0


def test_a_variant_that_cannot_run_leaves_the_others_measured(monkeypatch, tmp_path):
    class FakeWorker:
        def __init__(self, case, variant, weights, image):
            self.variant, self.is_active = variant, variant.implementation == "ours"
            self.measured = Measurement(skipped=None if self.is_active else "needs torchvision")

        def run(self):
            return {"seconds": 1.0, "processor": 1.0, "held": 0}

        def order(self, name, path=None):
            if path is not None:
                torch.save({}, path)
            return {"flops": 5, "traffic": 6}

        def close(self):
            pass

    monkeypatch.setattr(comparison, "Worker", FakeWorker)
    case = Case("fake", "a fake", lambda bench: Job(int), groups("quick"), runs=3)
    variants = {name: comparison.Variant(name, Runtime()) for name in ("ours", "transformers")}
    result = comparison.compare_variants(case, variants, tmp_path, None, most_runs=3, seconds=60)
    assert result.variants["ours"] == Measurement([1.0] * 3, [1.0] * 3, [0] * 3, flops=5, traffic=6)
    assert result.variants["transformers"] == Measurement(skipped="needs torchvision")


def test_a_report_survives_its_file(tmp_path):
    report = a_report(a_result(ours=Measurement([1.0], peak=5)))
    report.save(tmp_path / "kept" / "report.json")
    assert Report.load(tmp_path / "kept" / "report.json") == report


def test_merging_replaces_the_same_cases_and_keeps_the_others():
    report = a_report(a_result("click", ours=Measurement([1.0])), a_result("encode", ours=Measurement([2.0])))
    report.merge(a_report(a_result("click", ours=Measurement([3.0]))))
    assert {result.name: result.variants["ours"].seconds for result in report.results} == {
        "encode": [2.0],
        "click": [3.0],
    }


def test_tables_give_ratios_memory_floors_and_what_is_missing():
    ours = Measurement([0.5, 0.5], [1.0, 1.0], peak=2**30, flops=100_000_000, traffic=200_000_000)
    theirs = Measurement([1.0, 2.0], [2.0, 4.0], peak=3 * 2**30, flops=150_000_000, traffic=1)
    result = a_result(ours=ours, transformers=theirs, official=Measurement(skipped="needs sam2"))
    result.agreement = {"transformers": {"error": 1.2e-5}}
    text = tables(a_report(result))
    assert "Abacus (beads), 2 threads, 8 GiB" in text
    assert "500 ms | 3.00x (2.00 to 4.00)" in text
    assert "1024 MiB |         3.0x" in text
    assert "1e-05" in text
    assert "100 ms" in text and "5.0x" in text  # 0.1 GFLOP at 1 GFLOP/s, and half a second taken
    assert "- click: official left out, needs sam2" in text


def test_tables_measure_up_to_the_goals():
    result = a_result("prompts-64", ours=Measurement([1.0], [1.0]), transformers=Measurement([2.4], [3.0]))
    assert "2.5x |   2.40x |             3.00x |  no" in tables(a_report(result))
    result.variants["transformers"].seconds = [2.6]
    assert "2.5x |   2.60x |             3.00x | yes" in tables(a_report(result))


def test_tables_replace_those_of_the_same_results_in_a_document():
    (begin, end), other = marks("desk"), "\n".join(marks("desk_avx2"))
    document = f"before\n{other}\n{begin}\nold\n{end}\nafter\n"
    assert put_into(document, "desk", "new\n") == f"before\n{other}\n{begin}\n\nnew\n\n{end}\nafter\n"
    with pytest.raises(ValueError, match="no <!-- results: desk -->"):
        put_into("nothing", "desk", "new")


def test_tables_give_what_a_stream_holds():
    grown = a_result(ours=Measurement([1.0] * 6, held=[2**20] * 6), transformers=Measurement(skipped="died"))
    grown.measures_growth = True
    assert "0.00 MiB" in tables(a_report(grown))


def test_held_bytes_finds_tensors_anywhere_and_counts_memory_once():
    class Session:
        __slots__ = ("ring", "views")

        def __init__(self):
            self.ring = torch.zeros(100)
            self.views = [{"a": self.ring[:3]}, {"b": (self.ring[50:], torch.zeros(7))}]

    session = Session()
    session.views.append(session)
    assert held_bytes(session) == 428


def test_the_peak_of_memory_rises_with_what_is_used():
    before = peak_bytes()
    block = bytearray(2**28)
    block[:: 2**12] = b"x" * len(block[:: 2**12])
    assert peak_bytes() >= before and peak_bytes() > 2**28


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_arithmetic_is_counted_in_every_mode(context):
    layer, queries = nn.Linear(8, 16, bias=False), torch.randn(1, 2, 32, 8)
    with context():
        linear = count_work(lambda: layer(torch.ones(4, 8)))
        attention = count_work(lambda: F.scaled_dot_product_attention(queries, queries, queries))
    assert linear["flops"] == 2 * 4 * 8 * 16
    assert attention["flops"] == 2 * (2 * 2 * 32 * 32 * 8)


def test_traffic_leaves_views_out():
    tensor = torch.zeros(10, 10)
    assert count_work(lambda: tensor.view(100)[5:].reshape(5, 19))["traffic"] == 0
    assert count_work(lambda: tensor.add_(1))["traffic"] == 2 * 400  # read and written


def test_masks_are_compared_by_their_best_counterparts():
    masks = torch.zeros(2, 4, 4, dtype=torch.bool)
    masks[0, :2], masks[1, :, :1] = True, True
    smaller = masks.clone()
    smaller[1, 0, 0] = False
    found = compare({"masks": masks}, {"masks": smaller.flip(0)})
    assert found == {"masks": [2, 2], "mean_iou": 0.875, "least_iou": 0.75}


def test_tensors_are_compared_in_relation_to_the_largest_value():
    ours, theirs = {"logits": torch.tensor([1.0, 4.0])}, {"logits": torch.tensor([2.0, 4.0])}
    assert compare(ours, theirs) == {"error": 0.25}


def test_a_clip_pans_over_the_image():
    clip = Clip(load_image(None), image_size=32, num_frames=5)
    assert len(clip) == 5 and clip[0].shape == (3, 32, 32)
    torch.testing.assert_close(clip[1][..., :-4], clip[0][..., 4:])
    with pytest.raises(IndexError, match="frame 5 of a clip of 5"):
        clip[5]


def test_pixels_are_normalised_and_squares_have_the_longer_side():
    image = load_image(None)
    assert image.size == (1800, 1200) and as_square(image).size == (1800, 1800)
    pixels = as_pixels(image, 64)
    assert pixels.shape == (1, 3, 64, 64) and -2.2 < pixels.min() < pixels.max() < 2.7


@pytest.mark.parametrize(
    ("selection", "read"), [("recent", {0, 35, 36, 37, 38, 39, 40}), ("visible", {0, 34, 35, 36, 37, 38, 40})]
)
def test_the_planned_frame_reads_what_the_policy_selects(selection, read):
    """In frame 39 the object is hidden."""
    (task,) = plan(None, 41, selection).run().tasks
    assert {slot.frame for slot in task.selection.memories} == read


def test_names_of_cases_are_unique():
    case = Case("click", "again", lambda bench: Job(int), groups("quick"))
    with pytest.raises(ValueError, match="two cases named 'click'"):
        register(case)


def test_the_command_lists_its_cases(capsys):
    assert main(["--list", "--only", "video-1024-*"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        f"video-1024-{count}" for count in (1, 4, 8, 16)
    ]


def test_frames_a_second_sum_up_a_gpu():
    reference = Measurement([2.0, 2.0])
    result = a_result(**{"ours": Measurement([0.1, 0.1]), "ours in float32": reference, "official": Measurement()})
    result.agreement = {"ours in float32": {"mean_iou": 0.99876, "masks": [3, 3]}}
    expected = "one click, a second: ours 10.0, ours in float32 0.5; mean IoU with float32 0.9988"
    assert gpu_summary(a_report(result)) == expected


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_gpu_is_asked_for_where_there_is_none():
    with pytest.raises(SystemExit, match="needs a CUDA device"):
        gpu_variants()


def test_an_unknown_case_is_refused():
    with pytest.raises(SystemExit, match="no case is named nonsense"):
        main(["--only", "nonsense"])


@pytest.mark.parametrize("preset", [None, "latency", "throughput"])
def test_our_models_settle_with_a_preset(preset):
    model = settle(tiny_image_model(), Runtime(dtype="bfloat16", compiled=preset))
    assert model.dtype == torch.bfloat16 and not model.training
    assert (None if model._programs is None else model._programs.preset) == preset


def test_a_model_without_presets_cannot_be_compared_compiled():
    with pytest.raises(Unavailable, match="no compile presets"):
        settle(nn.Linear(2, 2), Runtime(compiled="throughput"))
