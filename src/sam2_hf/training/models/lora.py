"""Low-rank adapters by PEFT (arXiv 2106.09685): a few small matrices learn, and the weights stay as they are.

Needs `peft`, which the extra `lora` installs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

if TYPE_CHECKING:
    from ...modeling_sam2 import Sam2PromptableModel

Part = Literal["image_encoder", "memory", "decoder"]

# The linear layers of each part that get an adapter.
_LAYERS: dict[str, str] = {
    "image_encoder": r"vision_encoder\.backbone\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.proj_(in|out))",
    "memory": r"memory_attention\.layers\.\d+\.(\w+\.[qkvo]_proj|linear[12])",
    "decoder": r"mask_decoder\.transformer\.(layers\.\d+\.)?(\w*attn\w*\.[qkvo]_proj|mlp\.proj_(in|out))",
}
_DEFAULT = ("image_encoder", "memory")


def add_lora(
    model: Sam2PromptableModel,
    parts: Sequence[Part] | None = None,
    rank: int = 8,
    alpha: float | None = None,
    dropout: float = 0.0,
) -> Any:
    """Wrap a model in a `PeftModel` whose adapters alone learn; it trains as any other model.

    `save_pretrained` of the result writes the adapters; `merge_and_unload` makes them part of the weights.

    Args:
        model: an image or a video model; its layers are replaced in place.
        parts: where adapters go; by default the image encoder and, in a video model, the memory attention.
        rank: of the adapters.
        alpha: scales what the adapters add, by `alpha / rank`; twice the rank by default.
        dropout: probability, before the adapters.

    Returns:
        The `PeftModel`.

    Raises:
        ImportError: without PEFT.
        ValueError: for a part that does not exist, or that the model does not have.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ImportError("LoRA needs PEFT: pip install peft") from error
    available = [part for part in _LAYERS if _has_layers(model, _LAYERS[part])]
    chosen = [part for part in _DEFAULT if part in available] if parts is None else list(parts)
    if not chosen or not set(chosen) <= set(available):
        raise ValueError(f"parts must be some of {sorted(available)} for a {type(model).__name__}, got {chosen}")
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank if alpha is None else alpha,
        lora_dropout=dropout,
        target_modules="|".join(f"({_LAYERS[part]})" for part in chosen),
    )
    return get_peft_model(model, config)


def _has_layers(model: nn.Module, pattern: str) -> bool:
    return any(re.fullmatch(pattern, name) for name, _ in model.named_modules())
