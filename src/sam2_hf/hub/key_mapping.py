"""The names of the tensors of an original SAM 2 checkpoint, and their names here and in Transformers.

`MODULES` and `PARAMETERS` are the whole translation: every tensor is named by one row.
"""

from __future__ import annotations

import re

Rows = dict[str, str]


def _attention(source: str, target: str) -> Rows:
    rows = {f"{source}.{name}": f"{target}.{name}" for name in ("q_proj", "k_proj", "v_proj")}
    return {**rows, f"{source}.out_proj": f"{target}.o_proj"}


def _mlp(source: str, target: str) -> Rows:
    """Three linear layers: the first, the hidden one, the last."""
    names = ("proj_in", "layers.0", "proj_out")
    return {f"{source}.layers.{index}": f"{target}.{name}" for index, name in enumerate(names)}


def _mask_downsampler(source: str, target: str, levels: int = 4) -> Rows:
    """Each level is a convolution, a norm and a (nameless) activation; one more convolution ends it."""
    rows = {f"{source}.{3 * levels}": f"{target}.final_conv"}
    for level in range(levels):
        rows[f"{source}.{3 * level}"] = f"{target}.layers.{level}.conv"
        rows[f"{source}.{3 * level + 1}"] = f"{target}.layers.{level}.layer_norm"
    return rows


# Modules, whose `weight` and `bias` keep their names. `#` is a number that both sides share.
MODULES: Rows = {
    # Trunk and neck
    "image_encoder.trunk.patch_embed.proj": "vision_encoder.backbone.patch_embed.projection",
    "image_encoder.trunk.blocks.#.norm1": "vision_encoder.backbone.blocks.#.layer_norm1",
    "image_encoder.trunk.blocks.#.norm2": "vision_encoder.backbone.blocks.#.layer_norm2",
    "image_encoder.trunk.blocks.#.attn.qkv": "vision_encoder.backbone.blocks.#.attn.qkv",
    "image_encoder.trunk.blocks.#.attn.proj": "vision_encoder.backbone.blocks.#.attn.proj",
    "image_encoder.trunk.blocks.#.mlp.layers.0": "vision_encoder.backbone.blocks.#.mlp.proj_in",
    "image_encoder.trunk.blocks.#.mlp.layers.1": "vision_encoder.backbone.blocks.#.mlp.proj_out",
    "image_encoder.trunk.blocks.#.proj": "vision_encoder.backbone.blocks.#.proj",
    "image_encoder.neck.convs.#.conv": "vision_encoder.neck.convs.#",
    # Prompt encoder
    "sam_prompt_encoder.not_a_point_embed": "prompt_encoder.not_a_point_embed",
    "sam_prompt_encoder.no_mask_embed": "prompt_encoder.no_mask_embed",
    "sam_prompt_encoder.mask_downscaling.0": "prompt_encoder.mask_embed.conv1",
    "sam_prompt_encoder.mask_downscaling.1": "prompt_encoder.mask_embed.layer_norm1",
    "sam_prompt_encoder.mask_downscaling.3": "prompt_encoder.mask_embed.conv2",
    "sam_prompt_encoder.mask_downscaling.4": "prompt_encoder.mask_embed.layer_norm2",
    "sam_prompt_encoder.mask_downscaling.6": "prompt_encoder.mask_embed.conv3",
    # Mask decoder: two-way transformer
    **_attention("sam_mask_decoder.transformer.layers.#.self_attn", "mask_decoder.transformer.layers.#.self_attn"),
    **_attention(
        "sam_mask_decoder.transformer.layers.#.cross_attn_token_to_image",
        "mask_decoder.transformer.layers.#.cross_attn_token_to_image",
    ),
    **_attention(
        "sam_mask_decoder.transformer.layers.#.cross_attn_image_to_token",
        "mask_decoder.transformer.layers.#.cross_attn_image_to_token",
    ),
    "sam_mask_decoder.transformer.layers.#.mlp.layers.0": "mask_decoder.transformer.layers.#.mlp.proj_in",
    "sam_mask_decoder.transformer.layers.#.mlp.layers.1": "mask_decoder.transformer.layers.#.mlp.proj_out",
    "sam_mask_decoder.transformer.layers.#.norm1": "mask_decoder.transformer.layers.#.layer_norm1",
    "sam_mask_decoder.transformer.layers.#.norm2": "mask_decoder.transformer.layers.#.layer_norm2",
    "sam_mask_decoder.transformer.layers.#.norm3": "mask_decoder.transformer.layers.#.layer_norm3",
    "sam_mask_decoder.transformer.layers.#.norm4": "mask_decoder.transformer.layers.#.layer_norm4",
    **_attention(
        "sam_mask_decoder.transformer.final_attn_token_to_image",
        "mask_decoder.transformer.final_attn_token_to_image",
    ),
    "sam_mask_decoder.transformer.norm_final_attn": "mask_decoder.transformer.layer_norm_final_attn",
    # Mask decoder: tokens and heads
    "sam_mask_decoder.iou_token": "mask_decoder.iou_token",
    "sam_mask_decoder.mask_tokens": "mask_decoder.mask_tokens",
    "sam_mask_decoder.obj_score_token": "mask_decoder.obj_score_token",
    "sam_mask_decoder.output_upscaling.0": "mask_decoder.upscale_conv1",
    "sam_mask_decoder.output_upscaling.1": "mask_decoder.upscale_layer_norm",
    "sam_mask_decoder.output_upscaling.3": "mask_decoder.upscale_conv2",
    "sam_mask_decoder.conv_s0": "mask_decoder.conv_s0",
    "sam_mask_decoder.conv_s1": "mask_decoder.conv_s1",
    **_mlp("sam_mask_decoder.output_hypernetworks_mlps.#", "mask_decoder.output_hypernetworks_mlps.#"),
    **_mlp("sam_mask_decoder.iou_prediction_head", "mask_decoder.iou_prediction_head"),
    **_mlp("sam_mask_decoder.pred_obj_score_head", "mask_decoder.pred_obj_score_head"),
    # Memory attention
    **_attention("memory_attention.layers.#.self_attn", "memory_attention.layers.#.self_attn"),
    **_attention("memory_attention.layers.#.cross_attn_image", "memory_attention.layers.#.cross_attn_image"),
    "memory_attention.layers.#.linear1": "memory_attention.layers.#.linear1",
    "memory_attention.layers.#.linear2": "memory_attention.layers.#.linear2",
    "memory_attention.layers.#.norm1": "memory_attention.layers.#.layer_norm1",
    "memory_attention.layers.#.norm2": "memory_attention.layers.#.layer_norm2",
    "memory_attention.layers.#.norm3": "memory_attention.layers.#.layer_norm3",
    "memory_attention.norm": "memory_attention.layer_norm",
    # Memory encoder
    **_mask_downsampler("memory_encoder.mask_downsampler.encoder", "memory_encoder.mask_downsampler"),
    "memory_encoder.pix_feat_proj": "memory_encoder.feature_projection",
    "memory_encoder.fuser.layers.#.dwconv": "memory_encoder.memory_fuser.layers.#.depthwise_conv",
    "memory_encoder.fuser.layers.#.norm": "memory_encoder.memory_fuser.layers.#.layer_norm",
    "memory_encoder.fuser.layers.#.pwconv1": "memory_encoder.memory_fuser.layers.#.pointwise_conv1",
    "memory_encoder.fuser.layers.#.pwconv2": "memory_encoder.memory_fuser.layers.#.pointwise_conv2",
    "memory_encoder.out_proj": "memory_encoder.projection",
    # Object pointers
    "mask_downsample": "mask_downsample",
    **_mlp("obj_ptr_proj", "object_pointer_proj"),
    "obj_ptr_tpos_proj": "temporal_positional_encoding_projection_layer",
}

# Single tensors.
PARAMETERS: Rows = {
    "image_encoder.trunk.pos_embed": "vision_encoder.backbone.pos_embed",
    "image_encoder.trunk.pos_embed_window": "vision_encoder.backbone.pos_embed_window",
    "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": "shared_image_embedding.positional_embedding",
    "memory_encoder.fuser.layers.#.gamma": "memory_encoder.memory_fuser.layers.#.scale",
    "maskmem_tpos_enc": "memory_temporal_positional_encoding",
    "no_mem_embed": "no_memory_embedding",
    "no_mem_pos_enc": "no_memory_positional_encoding",
    "no_obj_ptr": "no_object_pointer",
    "no_obj_embed_spatial": "occlusion_spatial_embedding_parameter",
}

# The two cases that are not one tensor to one tensor. The four point embeddings (negative, positive, two box corners)
# are rows of one table here; the Gaussian matrix encodes both the image grid and the prompts.
POINT_EMBEDDING = re.compile(r"sam_prompt_encoder\.point_embeddings\.(\d+)\.weight")
POINT_TABLE = "prompt_encoder.point_embed.weight"
GRID_MATRIX = "shared_image_embedding.positional_embedding"
PROMPT_MATRIX = "prompt_encoder.shared_embedding.positional_embedding"


def rename(name: str) -> str:
    """Return this package's name of an original tensor.

    Raises:
        KeyError: for a name that no row of the tables covers.
    """
    return _translate(name, MODULES, PARAMETERS)


def original_name(name: str) -> str:
    """Return the original name of one of this package's tensors, for messages; `name` itself if it has none."""
    if name == POINT_TABLE:
        return "sam_prompt_encoder.point_embeddings.#.weight"
    if name == PROMPT_MATRIX:
        name = GRID_MATRIX
    try:
        return _translate(name, _inverted(MODULES), _inverted(PARAMETERS))
    except KeyError:
        return name


def _inverted(rows: Rows) -> Rows:
    return {target: source for source, target in rows.items()}


def _translate(name: str, modules: Rows, parameters: Rows) -> str:
    number = re.search(r"\.(\d+)\.", name)
    # A row may spell its first number out (`mask_downscaling.0`) or share it (`blocks.#`): the literal name goes first.
    for pattern in (name, re.sub(r"\.\d+\.", ".#.", name, count=1)):
        module, _, tensor = pattern.rpartition(".")
        if pattern in parameters:
            target = parameters[pattern]
        elif module in modules and tensor in ("weight", "bias"):
            target = f"{modules[module]}.{tensor}"
        else:
            continue
        return target.replace("#", number.group(1)) if number else target
    raise KeyError(name)
