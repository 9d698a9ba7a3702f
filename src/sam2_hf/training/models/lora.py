"""Low-rank adapters by PEFT (arXiv 2106.09685): a few small matrices learn, and the model stays as it is.

Needs `peft`; `pip install peft`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from ...modeling_sam2 import Sam2PromptableModel

Part = Literal["image_encoder", "memory", "decoder"]

# The linear layers that get an adapter. In the decoder, those between tokens and image are left out: their fast form
# multiplies weights before any layer is called, and so would pass the adapters by.
_LAYERS: dict[str, str] = {
    "image_encoder": r"vision_encoder\.backbone\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.proj_(in|out))",
    "memory": r"memory_attention\.layers\.\d+\.(\w+\.[qkvo]_proj|linear[12])",
    "decoder": r"mask_decoder\.transformer\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.proj_(in|out))",
}


def add_lora(
    model: Sam2PromptableModel,
    parts: Sequence[Part] = ("image_encoder", "memory"),
    rank: int = 8,
    alpha: float | None = None,
    dropout: float = 0.0,
) -> Any:
    """The model wrapped in a `PeftModel` whose adapters alone learn; train it as any other.

    Save it with `save_pretrained`, which writes the adapters, or make them part of the weights with
    `merge_and_unload`. `alpha` scales what the adapters add, by `alpha / rank`; twice the rank by default.

    Raises an `ImportError` without `peft`, a `ValueError` for a part that does not exist.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ImportError("LoRA needs PEFT: pip install peft") from error
    unknown = [part for part in parts if part not in _LAYERS]
    if unknown or not parts:
        raise ValueError(f"parts must be some of {sorted(_LAYERS)}, got {list(parts)}")
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank if alpha is None else alpha,
        lora_dropout=dropout,
        target_modules="|".join(f"({_LAYERS[part]})" for part in parts),
    )
    return get_peft_model(model, config)
