"""The parts that the image and the video model share, and what they compute: images to maps, prompts to masks.

Tensors in, tensors out; arguments are not checked here. Axes: B images, P prompts of an image, N points, C channels,
h and w the coarsest map.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from transformers import initialization as init

from ..configuration_sam2 import Sam2Config, Sam2VideoConfig
from ..outputs import Sam2VisionEncoderOutput
from .mask_decoder import DecodedPrompts, MaskDecoder
from .pretrained import PreTrainedNetwork
from .prompt_encoder import PositionalEmbedding, PromptEncoder
from .vision_encoder import VisionEncoder


class Sam2PromptableNetwork(PreTrainedNetwork):
    """Image encoder, prompt encoder and mask decoder."""

    vision_encoder_class: type[VisionEncoder] = VisionEncoder

    def __init__(self, config: Sam2Config | Sam2VideoConfig):
        super().__init__(config)
        self.hidden_dim = config.vision_config.fpn_hidden_size
        self.num_feature_levels = config.vision_config.num_feature_levels
        self.backbone_feature_sizes = config.vision_config.backbone_feature_sizes
        self.shared_image_embedding = PositionalEmbedding(config.prompt_encoder_config)
        self.vision_encoder = self.vision_encoder_class(config.vision_config)
        self.prompt_encoder = PromptEncoder(config.prompt_encoder_config)
        self.mask_decoder = MaskDecoder(config.mask_decoder_config)
        # Stands in for memories where there are none: on images, and on the first frame of a clip.
        self.no_memory_embedding = nn.Parameter(torch.zeros(1, 1, config.vision_config.fpn_hidden_size))

    @torch.no_grad()
    def initialise(self) -> None:
        """Gives the parameters that belong to no part their first values, and both encodings of positions the same."""
        init.zeros_(self.no_memory_embedding)
        # Prompts find their position in the image by attention, so both must be encoded alike.
        init.copy_(
            self.prompt_encoder.shared_embedding.positional_embedding,
            self.shared_image_embedding.positional_embedding,
        )

    def get_input_embeddings(self) -> nn.Module:
        return self.vision_encoder.get_input_embeddings()

    def get_image_wide_positional_embeddings(self) -> torch.Tensor:
        """The encoding of every position of the image embedding, (1, C, h, w)."""
        return self.shared_image_embedding.grid(self.prompt_encoder.image_embedding_size)

    def encode(
        self, pixel_values: torch.Tensor, output_hidden_states: bool = False, output_attentions: bool = False
    ) -> Sam2VisionEncoderOutput:
        """Encodes images (B, 3, H, W); the two finer maps are projected as the mask decoder reads them."""
        return self.vision_encoder(
            pixel_values,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            output_position_encoding=False,
            return_dict=True,
            projections=self.mask_decoder.projections,
        )

    def encode_maps(self, pixel_values: torch.Tensor) -> list[torch.Tensor]:
        """The maps of images (B, 3, H, W) alone: (B, C/8, 4h, 4w), (B, C/4, 2h, 2w) and (B, C, h, w)."""
        return list(self.encode(pixel_values).fpn_hidden_states)

    def add_no_memory(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Maps of `encode_maps` as the decoder reads them for an image that no memories are read for."""
        *fine, coarsest = maps
        return [*fine, coarsest + self.no_memory_embedding.view(1, -1, 1, 1).to(coarsest.device)]

    def decode(
        self,
        embedding: torch.Tensor,
        points: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        boxes: torch.Tensor | None = None,
        masks: torch.Tensor | None = None,
        attention_similarity: torch.Tensor | None = None,
        target_embedding: torch.Tensor | None = None,
        need_weights: bool = False,
    ) -> DecodedPrompts:
        """Scores P prompts on each of B embeddings (B, C, h, w), before any mask is made.

        Prompts as in `PromptEncoder.encode`, guidance as in `MaskDecoder.decode`.
        """
        prompts = self.prompt_encoder.encode(points, labels, boxes, masks, embedding.shape[0])
        positions = self.get_image_wide_positional_embeddings()
        return self.mask_decoder.decode(
            embedding, positions, prompts, attention_similarity, target_embedding, need_weights
        )

    def upscale(self, hidden: torch.Tensor, mask_tokens: torch.Tensor, fine: Sequence[torch.Tensor]) -> torch.Tensor:
        """All masks of K prompts, logits (K, 4, 4h, 4w), from hidden maps (K, h, w, C) and mask tokens (K, 4, C)."""
        return self.mask_decoder.upscale(hidden, mask_tokens, fine)
