"""The same contest on a CUDA device: who takes part there, and the few figures that sum it up."""

from __future__ import annotations

from .case import Place
from .contest import Entry
from .results import Report

GPU_MINUTES = 9
_COMPILED, _REFERENCE = "ours", "ours in float32"


def gpu_entries() -> dict[str, Entry]:
    """Ours in bfloat16, compiled and not, and in float32 as the reference for its masks; the others in bfloat16."""
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("--gpu needs a CUDA device; there is none here")
    eager = Place("cuda", "bfloat16")
    return {
        _COMPILED: Entry("ours", Place("cuda", "bfloat16", compiled="throughput")),
        "ours, not compiled": Entry("ours", eager),
        _REFERENCE: Entry("ours", Place("cuda", "float32")),
        "transformers": Entry("transformers", eager),
        # Its mask generation fails in any other dtype.
        "transformers in float32": Entry("transformers", Place("cuda", "float32")),
        "official": Entry("official", eager),
    }


def gpu_summary(report: Report) -> str:
    """Pictures or frames a second of every contender, and the agreement with float32."""
    lines = []
    for result in report.results:
        rates = [f"{name} {1 / found.median:.1f}" for name, found in result.contenders.items() if found.seconds]
        agreed = result.agreement.get(_REFERENCE, {}).get("mean_iou")
        exact = f"; mean IoU with float32 {agreed:.4f}" if agreed is not None else ""
        lines.append(f"{result.title}, a second: {', '.join(rates)}{exact}")
    return "\n".join(lines)
