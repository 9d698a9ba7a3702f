"""Small models of the official code, through its own classes. Needs the official `sam2` package."""

from __future__ import annotations

from typing import Any

from official_goldens import FEED_FORWARD, HIDDEN, IMAGE_SIZE, MEMORY, SMALL_TRUNK
from sam2.modeling.backbones.hieradet import Hiera
from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
from sam2.modeling.memory_encoder import CXBlock, Fuser, MaskDownSampler, MemoryEncoder
from sam2.modeling.position_encoding import PositionEmbeddingSine
from sam2.modeling.sam.transformer import RoPEAttention
from sam2.sam2_video_predictor import SAM2VideoPredictor

# What the official yaml files say of both versions.
SHARED_SETTINGS: dict[str, Any] = {
    "num_maskmem": 7,
    "sigmoid_scale_for_mem_enc": 20.0,
    "sigmoid_bias_for_mem_enc": -10.0,
    "use_mask_input_as_output_without_sam": True,
    "directly_add_no_mem_embed": True,
    "use_high_res_features_in_sam": True,
    "multimask_output_in_sam": True,
    "iou_prediction_use_sigmoid": True,
    "use_obj_ptrs_in_encoder": True,
    "only_obj_ptrs_in_the_past_for_eval": True,
    "pred_obj_scores": True,
    "pred_obj_scores_mlp": True,
    "fixed_no_obj_ptr": True,
    "multimask_output_for_tracking": True,
    "use_multimask_token_for_obj_ptr": True,
    "multimask_min_pt_num": 0,
    "multimask_max_pt_num": 1,
    "use_mlp_for_obj_ptr_proj": True,
}

VERSION_SETTINGS: dict[str, dict[str, Any]] = {
    "sam2": {"add_tpos_enc_to_obj_ptrs": False},
    "sam2.1": {
        "no_obj_embed_spatial": True,
        "add_tpos_enc_to_obj_ptrs": True,
        "proj_tpos_enc_in_obj_ptrs": True,
        "use_signed_tpos_enc_to_obj_ptrs": True,
    },
}

# What `build_sam2_video_predictor` sets on top, by default. It fills holes too, but only where its CUDA extension was
# built, so not on a CPU.
POSTPROCESSING: dict[str, Any] = {
    "sam_mask_decoder_extra_args": {
        "dynamic_multimask_via_stability": True,
        "dynamic_multimask_stability_delta": 0.05,
        "dynamic_multimask_stability_thresh": 0.98,
    },
    "binarize_mask_from_pts_for_mem_enc": True,
}


def small_official_model(
    version: str, trunk: dict[str, Any] = SMALL_TRUNK, image_size: int = IMAGE_SIZE, **overrides: Any
) -> SAM2VideoPredictor:
    """The official counterpart of `official_goldens.small_config`, with the official defaults but for the widths."""
    return SAM2VideoPredictor(
        image_encoder=_image_encoder(trunk),
        memory_attention=_memory_attention(image_size // 16),
        memory_encoder=_memory_encoder(),
        image_size=image_size,
        **{**SHARED_SETTINGS, **VERSION_SETTINGS[version], **POSTPROCESSING, **overrides},
    ).eval()


def _image_encoder(trunk: dict[str, Any]) -> ImageEncoder:
    neck = FpnNeck(
        position_encoding=PositionEmbeddingSine(HIDDEN),
        d_model=HIDDEN,
        backbone_channel_list=[trunk["embed_dim"] * 2**stage for stage in (3, 2, 1, 0)],
        fpn_top_down_levels=[2, 3],
        fpn_interp_model="nearest",
    )
    return ImageEncoder(trunk=Hiera(**trunk), neck=neck, scalp=1)


def _memory_attention(side: int) -> MemoryAttention:
    attention = {"embedding_dim": HIDDEN, "num_heads": 1, "dropout": 0.1, "feat_sizes": [side, side]}
    layer = MemoryAttentionLayer(
        activation="relu",
        self_attention=RoPEAttention(**attention),
        cross_attention=RoPEAttention(**attention, rope_k_repeat=True, kv_in_dim=MEMORY),
        d_model=HIDDEN,
        dim_feedforward=FEED_FORWARD,
        dropout=0.1,
        pos_enc_at_attn=False,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
    )
    return MemoryAttention(d_model=HIDDEN, pos_enc_at_input=True, layer=layer, num_layers=4)


def _memory_encoder() -> MemoryEncoder:
    return MemoryEncoder(
        in_dim=HIDDEN,
        out_dim=MEMORY,
        position_encoding=PositionEmbeddingSine(MEMORY),
        mask_downsampler=MaskDownSampler(embed_dim=HIDDEN, kernel_size=3, stride=2, padding=1),
        fuser=Fuser(CXBlock(HIDDEN, kernel_size=7, padding=3, layer_scale_init_value=1e-6), num_layers=2),
    )
