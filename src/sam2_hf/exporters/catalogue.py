"""All graphs of a model, with the names of their inputs and outputs.

Image graphs have the names and axes of transformers.js. Names of video graphs are ours; nobody has a complete set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..configuration_sam2 import Sam2VideoConfig
from ..prompt_values import BOX_CORNER_LABELS
from .graph import Graph, Value
from .image_graphs import MaskPromptDecoderGraph, PromptDecoderGraph, VisionEncoderGraph
from .video_graphs import (
    FixedMemoryAttentionGraph,
    GivenMaskGraph,
    MaskTrackedDecoderGraph,
    MemoryAttentionGraph,
    MemoryEncoderGraph,
    PointerTimeGraph,
    TrackedDecoderGraph,
)

if TYPE_CHECKING:
    from ..network.promptable_network import Sam2PromptableNetwork
    from ..network.video_network import Sam2VideoNetwork

NUM_MULTIMASK = 3


def is_video(model: Sam2PromptableNetwork) -> bool:
    """Whether a model has the parts that track."""
    return isinstance(model.config, Sam2VideoConfig)


def graphs_of(
    model: Sam2PromptableNetwork, fixed_memories: int | None = None, fixed_pointers: int | None = None
) -> list[Graph]:
    """List the graphs of a model.

    Args:
        model: an image or a video model.
        fixed_memories: how many spatial memories the fixed-length form of memory attention has; as many as the
            temporal encoding has rows by default.
        fixed_pointers: how many pointers it has; by default as many as tracking reaches back, and one at least.

    Returns:
        The image graphs; of a video model also the video graphs.
    """
    images = _image_graphs(model)
    if not is_video(model):
        return images
    memories, pointers = fixed_lengths(model.config, fixed_memories, fixed_pointers)
    return [*images, *_video_graphs(model, memories, pointers)]


def fixed_lengths(config: Sam2VideoConfig, memories: int | None = None, pointers: int | None = None) -> tuple[int, int]:
    """The lengths of the fixed-length form: those asked for, or the configuration's.

    Raises:
        ValueError: if one of them is below 1.
    """
    chosen = (
        config.num_maskmem if memories is None else memories,
        max(config.max_object_pointers_in_encoder, 1) if pointers is None else pointers,
    )
    for name, length in zip(("fixed_memories", "fixed_pointers"), chosen, strict=True):
        if length < 1:
            raise ValueError(f"{name} must be at least 1, got {length}")
    return chosen


def _maps(model: Sam2PromptableNetwork, rows: int | str) -> tuple[Value, Value, Value]:
    """The three maps of the vision encoder."""
    channels, (height, width) = model.hidden_dim, model.prompt_encoder.image_embedding_size
    return (
        Value("image_embeddings.0", (rows, channels // 8, 4 * height, 4 * width), is_map=True),
        Value("image_embeddings.1", (rows, channels // 4, 2 * height, 2 * width), is_map=True),
        Value("image_embeddings.2", (rows, channels, height, width), is_map=True),
    )


def _features(model: Sam2PromptableNetwork, name: str, rows: int | str) -> Value:
    return Value(name, (rows, model.hidden_dim, *model.prompt_encoder.image_embedding_size), is_map=True)


def _image_graphs(model: Sam2PromptableNetwork) -> list[Graph]:
    for_video, maps = is_video(model), _maps(model, "images")
    size = model.prompt_encoder.mask_input_size
    pixels = Value("pixel_values", ("images", 3, *model.prompt_encoder.image_size), is_map=True)
    encoded = (*maps, _features(model, "vision_features", "images")) if for_video else maps
    prompts = (
        Value("input_points", ("images", "point_rows", "points", 2)),
        Value("input_labels", ("images", "prompts", "points"), torch.int64, max(BOX_CORNER_LABELS) + 1),
        Value("input_boxes", ("images", "boxes", 4)),
    )
    masks = Value("input_masks", ("images", "prompts", *size))
    outputs = (
        Value("iou_scores", ("images", "prompts", NUM_MULTIMASK)),
        Value("pred_masks", ("images", "prompts", NUM_MULTIMASK, *size)),
        Value("object_score_logits", ("images", "prompts", 1)),
        Value("single_iou_scores", ("images", "prompts", 1)),
        Value("single_masks", ("images", "prompts", 1, *size)),
    )
    name = "prompt_encoder_mask_decoder"
    return [
        Graph("vision_encoder", VisionEncoderGraph(model, for_video), (pixels,), encoded),
        Graph(name, PromptDecoderGraph(model), (*prompts, *maps), outputs),
        Graph(f"{name}_with_masks", MaskPromptDecoderGraph(model), (*prompts, masks, *maps), outputs),
    ]


def _video_graphs(model: Sam2VideoNetwork, fixed_memories: int, fixed_pointers: int) -> list[Graph]:
    features = _features(model, "vision_features", 1)
    conditioned = _features(model, "conditioned_features", "objects")
    decoders = _decoder_graphs(model, conditioned)
    attention = MemoryAttentionGraph(model)
    graphs = [
        Graph("memory_attention", attention, (features, *_memories(model, "memories", "pointers")), (conditioned,)),
        _fixed_attention(model, features, conditioned, fixed_memories, fixed_pointers),
        *decoders,
        _memory_encoder(model, features),
    ]
    if model.temporal_positional_encoding_projection_layer is not None:
        distances = Value("pointer_distances", ("objects", "pointers"))
        encodings = Value("pointer_encodings", ("objects", "pointers", model.mem_dim))
        graphs.append(Graph("pointer_time_encoding", PointerTimeGraph(model), (distances,), (encodings,)))
    return graphs


def _memories(model: Sam2VideoNetwork, memories: int | str, pointers: int | str) -> tuple[Value, ...]:
    size = model.prompt_encoder.image_embedding_size
    return (
        Value("memory_features", ("objects", memories, model.mem_dim, *size)),
        Value("memory_temporal_indices", ("objects", memories), torch.int64, model.num_maskmem),
        Value("memory_key_scales", ("objects", memories)),
        Value("object_pointers", ("objects", pointers, model.hidden_dim)),
        Value("pointer_distances", ("objects", pointers)),
    )


def _fixed_attention(
    model: Sam2VideoNetwork, features: Value, conditioned: Value, memories: int, pointers: int
) -> Graph:
    *spatial, vectors, distances = _memories(model, memories, pointers)
    valid_memories = Value("memory_mask", ("objects", memories), torch.bool)
    valid_pointers = Value("pointer_mask", ("objects", pointers), torch.bool)
    inputs = (features, *spatial, valid_memories, vectors, distances, valid_pointers)
    return Graph("memory_attention_fixed", FixedMemoryAttentionGraph(model), inputs, (conditioned,))


def _decoder_graphs(model: Sam2VideoNetwork, conditioned: Value) -> list[Graph]:
    fine, size = _maps(model, 1)[:2], model.prompt_encoder.mask_input_size
    points = (
        Value("input_points", ("objects", "points", 2)),
        Value("input_labels", ("objects", "points"), torch.int64, max(BOX_CORNER_LABELS) + 1),
    )
    previous = Value("input_masks", ("objects", *size))
    outputs = (
        Value("pred_masks", ("objects", NUM_MULTIMASK, *size)),
        Value("iou_scores", ("objects", NUM_MULTIMASK)),
        Value("object_pointers", ("objects", NUM_MULTIMASK, model.hidden_dim)),
        Value("single_masks", ("objects", 1, *size)),
        Value("single_iou_scores", ("objects", 1)),
        Value("single_object_pointers", ("objects", 1, model.hidden_dim)),
        Value("object_score_logits", ("objects", 1)),
    )
    given = (
        Value("pred_masks", ("objects", 1, *size)),
        Value("iou_scores", ("objects", 1)),
        Value("object_score_logits", ("objects", 1)),
        Value("object_pointers", ("objects", 1, model.hidden_dim)),
    )
    full = Value("input_masks", ("objects", *model.prompt_encoder.image_size))
    inputs, features = (*fine, conditioned, *points), _features(model, "vision_features", 1)
    return [
        Graph("tracked_mask_decoder", TrackedDecoderGraph(model), inputs, outputs),
        Graph("tracked_mask_decoder_with_masks", MaskTrackedDecoderGraph(model), (*inputs, previous), outputs),
        Graph("given_mask_decoder", GivenMaskGraph(model), (*fine, features, full), given),
    ]


def _memory_encoder(model: Sam2VideoNetwork, features: Value) -> Graph:
    inputs = (
        features,
        Value("mask_logits", ("objects", 1, *model.prompt_encoder.mask_input_size)),
        Value("object_score_logits", ("objects", 1)),
        Value("binarize", ("objects",), torch.bool),
    )
    memories = Value("memory_features", ("objects", model.mem_dim, *model.prompt_encoder.image_embedding_size))
    return Graph("memory_encoder", MemoryEncoderGraph(model), inputs, (memories,))
