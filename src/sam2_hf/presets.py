"""The eight published checkpoints as tables: four trunks, each as SAM 2 and as SAM 2.1.

Everything that a preset does not name is a default of the configuration classes.
"""

from __future__ import annotations

from typing import Any

# What differs between the four trunks.
_TRUNKS: dict[str, dict[str, Any]] = {
    "tiny": {
        "embed_dim_per_stage": [96, 192, 384, 768],
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "blocks_per_stage": [1, 2, 7, 2],
        "global_attention_blocks": [5, 7, 9],
        "window_size_per_stage": [8, 4, 14, 7],
        "window_positional_embedding_background_size": [7, 7],
    },
    "small": {
        "embed_dim_per_stage": [96, 192, 384, 768],
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "blocks_per_stage": [1, 2, 11, 2],
        "global_attention_blocks": [7, 10, 13],
        "window_size_per_stage": [8, 4, 14, 7],
        "window_positional_embedding_background_size": [7, 7],
    },
    "base-plus": {
        "embed_dim_per_stage": [112, 224, 448, 896],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "blocks_per_stage": [2, 3, 16, 3],
        "global_attention_blocks": [12, 16, 20],
        "window_size_per_stage": [8, 4, 14, 7],
        "window_positional_embedding_background_size": [14, 14],
    },
    "large": {
        "embed_dim_per_stage": [144, 288, 576, 1152],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "blocks_per_stage": [2, 6, 36, 4],
        "global_attention_blocks": [23, 33, 43],
        "window_size_per_stage": [8, 4, 16, 8],
        "window_positional_embedding_background_size": [7, 7],
    },
}

# What 2.1 added to the memory.
_VERSIONS: dict[str, dict[str, Any]] = {
    "sam2": {
        "enable_occlusion_spatial_embedding": False,
        "enable_temporal_pos_encoding_for_object_pointers": False,
    },
    "sam2.1": {
        "enable_occlusion_spatial_embedding": True,
        "enable_temporal_pos_encoding_for_object_pointers": True,
    },
}


def _preset(trunk: dict[str, Any], video: dict[str, Any]) -> dict[str, Any]:
    backbone = {
        "hidden_size": trunk["embed_dim_per_stage"][0],
        "num_attention_heads": trunk["num_attention_heads_per_stage"][0],
        **trunk,
    }
    return {"vision_config": {"backbone_config": backbone}, "video": video}


PRESETS: dict[str, dict[str, Any]] = {
    f"{version}-hiera-{size}": _preset(trunk, video)
    for version, video in _VERSIONS.items()
    for size, trunk in _TRUNKS.items()
}
