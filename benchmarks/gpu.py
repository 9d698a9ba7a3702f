"""The comparison on a CUDA device: its variants, and a summary."""

from __future__ import annotations

from .comparison import Variant
from .results import Report
from .settings import Runtime

GPU_MINUTES = 9
_COMPILED, _REFERENCE = "ours", "ours in float32"


def gpu_variants() -> dict[str, Variant]:
    """Variants by name: ours in bfloat16, compiled and not, and in float32 as the reference; the others in bfloat16.

    Raises:
        SystemExit: if there is no CUDA device.
    """
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("--gpu needs a CUDA device; none was found")
    eager = Runtime("cuda", "bfloat16")
    return {
        _COMPILED: Variant("ours", Runtime("cuda", "bfloat16", compiled="throughput")),
        "ours, not compiled": Variant("ours", eager),
        _REFERENCE: Variant("ours", Runtime("cuda", "float32")),
        "transformers": Variant("transformers", eager),
        # Its mask generation fails in any other dtype.
        "transformers in float32": Variant("transformers", Runtime("cuda", "float32")),
        "official": Variant("official", eager),
    }


def gpu_summary(report: Report) -> str:
    """Images or frames per second of every variant, and the agreement with float32: a line for each case."""
    lines = []
    for result in report.results:
        rates = [f"{name} {1 / found.median:.1f}" for name, found in result.variants.items() if found.seconds]
        agreed = result.agreement.get(_REFERENCE, {}).get("mean_iou")
        exact = f"; mean IoU with float32 {agreed:.4f}" if agreed is not None else ""
        lines.append(f"{result.title}, a second: {', '.join(rates)}{exact}")
    return "\n".join(lines)
