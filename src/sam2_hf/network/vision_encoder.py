"""The image encoder: a trunk and a feature pyramid on top of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..configuration_sam2 import Sam2VisionConfig
from ..outputs import Sam2VisionEncoderOutput
from .fpn_neck import FpnNeck
from .hiera import Hiera  # noqa: F401  # registers itself
from .layers import is_exported, sine_position_encoding
from .pretrained import PreTrainedNetwork
from .trunks import build_trunk


class VisionEncoder(PreTrainedNetwork):
    """Trunk and feature pyramid."""

    config_class = Sam2VisionConfig

    def __init__(self, config: Sam2VisionConfig):
        super().__init__(config)
        self.backbone = build_trunk(config.backbone_config)
        self.neck = FpnNeck(config)
        self.num_feature_levels = config.num_feature_levels
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return getattr(self.backbone, "input_embedding", self.backbone)

    def forward(
        self,
        pixel_values: torch.Tensor,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        output_position_encoding: bool = True,
        return_dict: bool | None = None,
        projections: Sequence[nn.Conv2d] = (),
    ) -> Sam2VisionEncoderOutput | tuple:
        """Encodes B images.

        Args:
            pixel_values: normalised images (B, 3, H, W), H and W as configured.
            output_hidden_states: whether to return every block's output, by default as the configuration says.
            output_attentions: whether to return every block's weights, by default as the configuration says.
            output_position_encoding: whether to return sine encodings of the maps' positions.
            return_dict: whether to return a `Sam2VisionEncoderOutput` and not a tuple, by default as the
                configuration says.
            projections: 1x1 convolutions through which the finest levels go on, one each.

        Raises:
            ValueError: for images of another size.
        """
        config = self.config
        if not is_exported():
            self._check_shape(pixel_values)
        trunk = self.backbone(
            pixel_values,
            config.output_hidden_states if output_hidden_states is None else output_hidden_states,
            config.output_attentions if output_attentions is None else output_attentions,
        )
        maps = self.neck(trunk.stages, projections)
        output = Sam2VisionEncoderOutput(
            last_hidden_state=trunk.stages[-1],
            hidden_states=trunk.hidden_states or None,
            attentions=trunk.attentions or None,
            fpn_hidden_states=maps,
            fpn_position_encoding=self._position_encodings(maps) if output_position_encoding else None,
        )
        return output if (config.return_dict if return_dict is None else return_dict) else output.to_tuple()

    def _check_shape(self, pixel_values: torch.Tensor) -> None:
        backbone = self.config.backbone_config
        expected = (backbone.num_channels, *self.config.input_size)
        if pixel_values.ndim != 4 or tuple(pixel_values.shape[1:]) != expected:
            raise ValueError(
                f"pixel_values must have the configured shape (batch, {', '.join(map(str, expected))}), "
                f"got {tuple(pixel_values.shape)}"
            )

    @staticmethod
    def _position_encodings(maps: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return tuple(
            sine_position_encoding((level.shape[2], level.shape[3]), level.shape[1], level.device, level.dtype).expand(
                len(level), -1, -1, -1
            )
            for level in maps
        )
