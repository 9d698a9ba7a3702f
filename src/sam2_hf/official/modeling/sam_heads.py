"""The prompt encoder and the mask decoder under the calls of Meta's, for programs that train or call them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ...network.mask_decoder import MaskDecoder
from ...network.prompt_encoder import NOT_A_POINT_LABEL, PromptEmbeddings, PromptEncoder


class OfficialPromptEncoder(nn.Module):
    """A prompt encoder that takes and gives what Meta's does.

    Args:
        encoder: the encoder whose weights these are.
        grid: gives the encoding (1, C, h, w) of all positions of the image embedding.
    """

    def __init__(self, encoder: PromptEncoder, grid: Callable[[], Tensor]) -> None:
        super().__init__()
        self.encoder = encoder
        self._grid = grid
        self.embed_dim = encoder.point_embed.embedding_dim
        self.image_embedding_size = encoder.image_embedding_size
        self.input_image_size = encoder.image_size
        self.mask_input_size = encoder.mask_input_size

    def get_dense_pe(self) -> Tensor:
        """The encoding (1, C, h, w) of all positions of the image embedding."""
        return self._grid()

    def forward(
        self,
        points: tuple[Tensor, Tensor] | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Embeds the prompts of B objects.

        Args:
            points: coordinates (B, N, 2) in pixels of the model's input, and labels (B, N).
            boxes: corners (B, 4) or (B, 2, 2).
            masks: logits (B, 1, 4h, 4w).

        Returns:
            Sparse embeddings (B, tokens, C), without tokens for masks alone; dense ones (B, C, h, w).
        """
        corners = None if boxes is None else boxes.reshape(1, -1, 4)
        count = next((len(given) for given in (points and points[0], boxes, masks) if given is not None), 1)
        coordinates: Tensor | None = None
        labels: Tensor | None = None
        if points is None and boxes is None:
            device = self.encoder.point_embed.weight.device
            coordinates = torch.zeros((1, count, 1, 2), device=device)
            labels = torch.full((1, count, 1), NOT_A_POINT_LABEL, device=device)
            num_tokens = 0
        else:
            if points is not None:
                coordinates, labels = points[0][None], points[1][None]
            # A list of points is closed by a token of its own, a box is not.
            num_tokens = (0 if points is None else points[0].shape[1] + (boxes is None)) + (0 if boxes is None else 2)
        embedded = self.encoder.encode(
            coordinates, labels, corners, None if masks is None else masks[:, 0][None], may_have_padding=False
        )
        dense = embedded.dense.expand(1, count if masks is None else -1, -1, *self.image_embedding_size)
        return embedded.tokens[0, :, :num_tokens], dense[0]


class OfficialMaskDecoder(nn.Module):
    """A mask decoder that takes and gives what Meta's does.

    Args:
        decoder: the decoder whose weights these are.
    """

    def __init__(self, decoder: MaskDecoder) -> None:
        super().__init__()
        self.decoder = decoder
        self.conv_s0, self.conv_s1 = decoder.conv_s0, decoder.conv_s1

    def forward(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
        repeat_image: bool,
        high_res_features: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Masks of B objects.

        Args:
            image_embeddings: (1, C, h, w) for all objects with `repeat_image`, else one for each, (B, C, h, w).
            image_pe: encoding of its positions, (1, C, h, w).
            sparse_prompt_embeddings: (B, tokens, C).
            dense_prompt_embeddings: (B or 1, C, h, w).
            multimask_output: three masks an object, or one.
            repeat_image: whether all objects are of one image.
            high_res_features: the two finer maps, (1 or B, C/8, 4h, 4w) and (1 or B, C/4, 2h, 2w).

        Returns:
            Logits (B, M, 4h, 4w), IoU scores (B, M), tokens of the masks (B, M, C), object scores (B, 1).

        Raises:
            ValueError: without `high_res_features`.
        """
        if high_res_features is None:
            raise ValueError("high_res_features must be the two finer maps of the image, got None")
        axis = 0 if repeat_image else 1
        prompts = PromptEmbeddings(
            sparse_prompt_embeddings.unsqueeze(axis), dense_prompt_embeddings.unsqueeze(axis), None, None
        )
        maps = [*high_res_features, image_embeddings]
        decoded = self.decoder.decode(image_embeddings, image_pe, prompts)
        masks, scores = (self.decoder.multimasks if multimask_output else self.decoder.single_mask)(decoded, maps)
        tokens = decoded.mask_tokens[:, :, 1:] if multimask_output else decoded.mask_tokens[:, :, :1]
        fields = (masks, scores, tokens, decoded.object_score_logits)
        return tuple(field.flatten(0, 1) for field in fields)  # type: ignore[return-value]
