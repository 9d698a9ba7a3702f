"""`Sam2Model`: promptable segmentation of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init

from .configuration_sam2 import Sam2Config, Sam2VideoConfig, Sam2VisionConfig
from .fast.chunking import how_many_fit, keep_freed_memory
from .fast.compilation import Programs, compilable, points_bucket, runs_compiled
from .fast.dispatch import suit as fast_paths_suit
from .hub.loading import LoadsWholeCheckpoints
from .hub.remote_code import SavesItsCode
from .inputs.prompt_tensors import PromptTensors, read_prompt_tensors
from .network.fpn_neck import FpnNeck
from .network.hiera import Hiera
from .network.layers import sine_position_encoding
from .network.losses import segmentation_loss
from .network.mask_decoder import DecodedPrompts, MaskDecoder, MaskPrediction, join_predictions
from .network.prompt_encoder import (
    PositionalEmbedding,
    PromptEmbeddings,
    PromptEncoder,
    fill_up_points,
    join_points,
)
from .outputs import Sam2ImageSegmentationOutput, Sam2VisionEncoderOutput
from .prompt_values import NOT_A_POINT_LABEL

_TORCH = "torch"  # in the place of a preset: what `nn.Module.compile` does


class Sam2PreTrainedModel(LoadsWholeCheckpoints, SavesItsCode, PreTrainedModel):
    """What all SAM 2 models share: configuration, initialisation, loading."""

    config_class = Sam2Config
    base_model_prefix = "sam2"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    # A model may be spread over devices between these parts, never within them.
    _no_split_modules = [  # noqa: RUF012
        "MultiScaleBlock",
        "FpnNeck",
        "PromptEncoder",
        "MaskDecoder",
        "MemoryAttention",
        "MemoryEncoder",
    ]

    def __init__(self, config: PreTrainedConfig, *args: Any, **kwargs: Any):
        super().__init__(config, *args, **kwargs)
        _pass_on_attention_implementation(config)
        keep_freed_memory()

    def set_attn_implementation(self, attn_implementation: str | dict, *args: Any, **kwargs: Any) -> None:
        """As in transformers, of which older versions do not reach the trunk, two levels deep in the configuration."""
        super().set_attn_implementation(attn_implementation, *args, **kwargs)
        vision = self.config if isinstance(self.config, Sam2VisionConfig) else self.config.vision_config
        vision.backbone_config._attn_implementation = vision._attn_implementation

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, Hiera):
            init.zeros_(module.pos_embed)
            init.zeros_(module.pos_embed_window)
        elif isinstance(module, PositionalEmbedding):
            init.normal_(module.positional_embedding, std=module.scale)
        elif isinstance(module, Sam2PromptableModel):
            init.zeros_(module.no_memory_embedding)
            # Prompts find their place in the image by attention, so both must be encoded alike.
            init.copy_(
                module.prompt_encoder.shared_embedding.positional_embedding,
                module.shared_image_embedding.positional_embedding,
            )


def _pass_on_attention_implementation(config: PreTrainedConfig) -> None:
    """Gives a model's attention implementation to the parts that have none of their own.

    The parts are plain modules, each of which reads it from its own configuration.
    """
    for name in config.sub_configs:
        part = getattr(config, name)
        if part._attn_implementation is None:
            part._attn_implementation_internal = config._attn_implementation
        _pass_on_attention_implementation(part)


class Sam2VisionModel(Sam2PreTrainedModel):
    """The image encoder alone: trunk and feature pyramid."""

    config_class = Sam2VisionConfig

    def __init__(self, config: Sam2VisionConfig):
        super().__init__(config)
        self.backbone = Hiera(config.backbone_config)
        self.neck = FpnNeck(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.backbone.patch_embed

    def forward(
        self,
        pixel_values: torch.Tensor,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        output_position_encoding: bool = True,
        return_dict: bool | None = None,
        narrowing: Sequence[nn.Conv2d] = (),
    ) -> Sam2VisionEncoderOutput | tuple:
        """Encodes `pixel_values` (B, 3, H, W), normalised, H and W as configured.

        `output_position_encoding=False` spares callers who read the features alone the sine encodings. `narrowing` are
        convolutions through which the finest levels go on, one each. Raises a `ValueError` for pictures of another
        size.
        """
        expected = (self.config.backbone_config.num_channels, *self.config.backbone_config.image_size)
        if pixel_values.ndim != 4 or tuple(pixel_values.shape[1:]) != expected:
            raise ValueError(
                f"pixel_values must have the configured shape (batch, {', '.join(map(str, expected))}), "
                f"got {tuple(pixel_values.shape)}"
            )
        trunk = self.backbone(
            pixel_values,
            self.config.output_hidden_states if output_hidden_states is None else output_hidden_states,
            self.config.output_attentions if output_attentions is None else output_attentions,
        )
        maps = self.neck(trunk.stages, narrowing)
        output = Sam2VisionEncoderOutput(
            last_hidden_state=trunk.stages[-1],
            fpn_hidden_states=maps,
            fpn_position_encoding=self._position_encodings(maps) if output_position_encoding else None,
            hidden_states=trunk.hidden_states or None,
            attentions=trunk.attentions or None,
        )
        return output if _wants_dict(self.config, return_dict) else output.to_tuple()

    @staticmethod
    def _position_encodings(maps: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return tuple(
            sine_position_encoding((level.shape[2], level.shape[3]), level.shape[1], level.device, level.dtype)
            for level in maps
        )


def _wants_dict(config: PreTrainedConfig, return_dict: bool | None) -> bool:
    return bool(config.return_dict if return_dict is None else return_dict)


class Sam2PromptableModel(Sam2PreTrainedModel):
    """The parts that the image and the video model share, and what can be done with them."""

    _programs: Programs | None = None

    def __init__(self, config: Sam2Config | Sam2VideoConfig):
        super().__init__(config)
        self.shared_image_embedding = PositionalEmbedding(config.prompt_encoder_config)
        self.vision_encoder = Sam2VisionModel(config.vision_config)
        self.prompt_encoder = PromptEncoder(config.prompt_encoder_config)
        self.mask_decoder = MaskDecoder(config.mask_decoder_config)
        # Stands in for memories where there are none: on pictures, and on the first frame of a clip.
        self.no_memory_embedding = nn.Parameter(torch.zeros(1, 1, config.vision_config.fpn_hidden_size))

    def get_input_embeddings(self) -> nn.Module:
        return self.vision_encoder.get_input_embeddings()

    def compile(self, preset: str | None = _TORCH, **options: Any) -> None:
        """Compiles the model's parts for inference, by a preset; they are compiled when they are first used.

        Args:
            preset: "latency" answers one person fast: CUDA graphs. "throughput" is for many pictures, frames or
                objects: no graphs, and nothing is rounded up. Neither compiles again between clicks or objects: there
                is a program for one object and one for several. None undoes everything and goes back to the plain
                form. Without a preset, this is `torch.nn.Module.compile`.
            options: arguments of `torch.compile` that go before those of the preset.

        With gradients, in `fast_paths.plain_paths` and, of CUDA graphs, on other threads than this one, the plain form
        is used. Raises a `ValueError` for an unknown preset.
        """
        if preset == _TORCH:
            super().compile(**options)
            return
        self._programs = None if preset is None else Programs(preset, **options)
        self._compiled_call_impl = None

    def __getstate__(self) -> dict[str, Any]:
        # Programs are neither copied nor pickled; like those of torch, they are gone in the copy.
        return {name: value for name, value in super().__getstate__().items() if name != "_programs"}

    def get_image_wide_positional_embeddings(self) -> torch.Tensor:
        """The encoding of every position of the image embedding, (1, C, h, w)."""
        return self.shared_image_embedding.grid(self.prompt_encoder.image_embedding_size)

    @torch.no_grad()
    def get_image_embeddings(self, pixel_values: torch.Tensor) -> list[torch.Tensor]:
        """Encodes pictures (B, 3, H, W) once, for any number of calls with prompts; without gradients.

        Returns three maps, from high to low resolution: (B, C/8, 4h, 4w), (B, C/4, 2h, 2w), (B, C, h, w).
        """
        return self._image_embeddings(self._encode_maps(pixel_values))

    def get_image_features(self, pixel_values: torch.Tensor, **options: Any) -> Sam2VisionEncoderOutput:
        """Features of pictures (B, 3, H, W) as transformers lays them out: places first, (h * w, B, C).

        The two finer maps are narrowed as the mask decoder reads them, and there is no `no_memory_embedding` in the
        coarsest. `options` are those of `Sam2VisionModel.forward`.
        """
        vision = self.vision_encoder(pixel_values, **{**options, "return_dict": True})
        maps = self.mask_decoder.project_high_resolution(vision.fpn_hidden_states)
        vision.fpn_hidden_states = tuple(level.flatten(2).permute(2, 0, 1) for level in maps)
        if vision.fpn_position_encoding is not None:
            encodings = (level.expand(len(pixel_values), -1, -1, -1) for level in vision.fpn_position_encoding)
            vision.fpn_position_encoding = tuple(level.flatten(2).permute(2, 0, 1) for level in encodings)
        return vision

    @torch.no_grad()
    def get_prompt_embeddings(
        self,
        input_points: torch.Tensor | None = None,
        input_labels: torch.Tensor | None = None,
        input_boxes: torch.Tensor | None = None,
        input_masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Embeds prompts as `forward` does; without gradients.

        Returns the tokens (B, P, N, C), None if there are neither points nor boxes, and the dense embedding
        (B, C, h, w); of P masks on an image, (B, P, C, h, w).
        """
        has_tokens = input_points is not None or input_boxes is not None
        prompts = self._embed_prompts(self._read_prompts(input_points, input_labels, input_boxes, input_masks))
        size = self.prompt_encoder.image_embedding_size
        dense = prompts.dense.expand(len(prompts.tokens), -1, -1, *size)
        return prompts.tokens if has_tokens else None, dense.squeeze(1)

    def decode_prompts(
        self,
        image_embeddings: Sequence[torch.Tensor],
        input_points: torch.Tensor | None = None,
        input_labels: torch.Tensor | None = None,
        input_boxes: torch.Tensor | None = None,
        input_masks: torch.Tensor | None = None,
        attention_similarity: torch.Tensor | None = None,
        target_embedding: torch.Tensor | None = None,
        output_attentions: bool = False,
    ) -> DecodedPrompts:
        """Scores prompts on encoded images and prepares their masks, none of which is made yet.

        Shapes as in `Sam2Model.forward`. Hand the result to `upscale_masks` for the masks that are wanted.
        """
        self._check_image_embeddings(image_embeddings)
        coarsest = image_embeddings[-1]
        prompts = self._read_prompts(input_points, input_labels, input_boxes, input_masks, len(coarsest))
        unguided = attention_similarity is None and target_embedding is None
        if runs_compiled(self) and unguided and not output_attentions:
            points, labels = self._program_points(prompts, len(coarsest))
            return self._decode(coarsest, points, labels, prompts.masks)
        return self.mask_decoder.decode(
            coarsest,
            self.get_image_wide_positional_embeddings(),
            self._embed_prompts(prompts, len(coarsest)),
            attention_similarity,
            target_embedding,
            need_weights=output_attentions,
        )

    def upscale_masks(
        self, decoded: DecodedPrompts, image_embeddings: Sequence[torch.Tensor], selection: torch.Tensor
    ) -> torch.Tensor:
        """The masks for which `selection` (B, P, 4) is True, in row-major order: logits (K, 4h, 4w).

        Of the last axis, 0 is the single-mask output, 1 to 3 are the multimask outputs.
        """
        return self.mask_decoder.selected_masks(decoded, image_embeddings, selection, self._upscale)

    @compilable("k", hidden="k", mask_tokens="k", fine="k")
    def _upscale(self, hidden: torch.Tensor, mask_tokens: torch.Tensor, fine: Sequence[torch.Tensor]) -> torch.Tensor:
        """All masks of K prompts, logits (K, 4, 4h, 4w), from hidden maps (K, h, w, C) and mask tokens (K, 4, C)."""
        return self.mask_decoder._upscale(hidden, mask_tokens, fine)

    @compilable("b", "p", coarsest="b", points="bp", labels="bp", masks="bp")
    def _decode(
        self, coarsest: torch.Tensor, points: torch.Tensor, labels: torch.Tensor, masks: torch.Tensor | None
    ) -> DecodedPrompts:
        """Points (B, P, N, 2) and masks after the two-way transformer, before any mask is made."""
        prompts = self.prompt_encoder(points, labels, None, masks)
        return self.mask_decoder.decode(coarsest, self.get_image_wide_positional_embeddings(), prompts)

    def _check_image_embeddings(self, maps: Sequence[torch.Tensor]) -> None:
        height, width = self.prompt_encoder.image_embedding_size
        channels = self.config.mask_decoder_config.hidden_size
        expected = [
            (channels // 8, 4 * height, 4 * width),
            (channels // 4, 2 * height, 2 * width),
            (channels, height, width),
        ]
        given = [tuple(level.shape) for level in maps]
        if [shape[1:] for shape in given] != expected:
            raise ValueError(
                "image_embeddings must be three maps as get_image_embeddings gives them, with the shapes "
                f"{', '.join(f'(batch, {c}, {h}, {w})' for c, h, w in expected)}; got {given}"
            )

    def _encode(
        self, pixel_values: torch.Tensor, output_hidden_states: bool = False, output_attentions: bool = False
    ) -> Sam2VisionEncoderOutput:
        """Encodes pictures; the two finer maps are narrowed as the mask decoder reads them."""
        narrowing = (self.mask_decoder.conv_s0, self.mask_decoder.conv_s1)
        at_once = (
            fast_paths_suit(pixel_values, keeps_gradients=True) and narrowing[0].weight.device == pixel_values.device
        )
        vision = self.vision_encoder(
            pixel_values,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            output_position_encoding=False,
            return_dict=True,
            narrowing=narrowing if at_once else (),
        )
        if not at_once:
            vision.fpn_hidden_states = tuple(self.mask_decoder.project_high_resolution(vision.fpn_hidden_states))
        return vision

    @compilable("b", pixel_values="b")
    def _encode_maps(self, pixel_values: torch.Tensor) -> list[torch.Tensor]:
        """The pyramid's maps of pictures, the finer ones narrowed as the decoder reads them."""
        return list(self._encode(pixel_values).fpn_hidden_states)

    def _image_embeddings(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Maps of `_encode_maps` as the decoder reads them for a picture that has no memories."""
        *fine, coarsest = maps
        return [*fine, coarsest + self.no_memory_embedding.view(1, -1, 1, 1).to(coarsest.device)]

    def _read_prompts(
        self,
        points: torch.Tensor | None,
        labels: torch.Tensor | None,
        boxes: torch.Tensor | None,
        masks: torch.Tensor | None,
        batch: int | None = None,
    ) -> PromptTensors:
        """Checks prompts and brings them to the prompt encoder; `batch` is the number of images they are for."""
        device = self.prompt_encoder.not_a_point_embed.weight.device
        return read_prompt_tensors(points, labels, boxes, masks, batch, device)

    def _embed_prompts(self, prompts: PromptTensors, batch: int | None = None) -> PromptEmbeddings:
        """Embeds prompts; `batch` is the number of images they are for."""
        may_have_padding = prompts.points is not None or prompts.boxes is not None
        points, labels = self._complete_points(*prompts, batch)
        return self.prompt_encoder(points, labels, prompts.boxes, prompts.masks, may_have_padding)

    def _complete_points(
        self,
        points: torch.Tensor | None,
        labels: torch.Tensor | None,
        boxes: torch.Tensor | None,
        masks: torch.Tensor | None,
        batch: int | None = None,
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Points with the labels that they have if none are given; a mask alone, or nothing, is one point that is
        none."""
        if points is not None and labels is None:
            labels = torch.ones(points.shape[:-1], dtype=torch.long, device=points.device)
        if points is None and boxes is None:
            shape = (1 if batch is None else batch, 1, 1) if masks is None else (*masks.shape[:2], 1)
            device = self.no_memory_embedding.device
            points = torch.zeros((*shape, 2), device=device)
            labels = torch.full(shape, NOT_A_POINT_LABEL, device=device)
        return points, labels

    def _program_points(self, prompts: PromptTensors, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Checked prompts as points (B, P, N, 2) with labels (B, P, N), where N is one of a few numbers."""
        points, labels = join_points(*self._complete_points(*prompts, batch), prompts.boxes)
        return fill_up_points(points, labels, points_bucket(labels.shape[2]))


class Sam2Model(Sam2PromptableModel):
    """SAM 2 for pictures: masks for points, boxes and masks (arXiv 2408.00714)."""

    config_class = Sam2Config
    # A video checkpoint holds these beside the image model.
    _keys_to_ignore_on_load_unexpected = [  # noqa: RUF012
        r"^memory_",
        r"^mask_downsample\.",
        r"^object_pointer_proj\.",
        r"^temporal_positional_encoding_projection_layer\.",
        r"^no_memory_positional_encoding$",
        r"^no_object_pointer$",
        r"^occlusion_spatial_embedding_parameter$",
    ]

    def __init__(self, config: Sam2Config):
        config.check()
        super().__init__(config)
        self.post_init()

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        input_points: torch.Tensor | None = None,
        input_labels: torch.Tensor | None = None,
        input_boxes: torch.Tensor | None = None,
        input_masks: torch.Tensor | None = None,
        image_embeddings: list[torch.Tensor] | None = None,
        multimask_output: bool = True,
        attention_similarity: torch.Tensor | None = None,
        target_embedding: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        original_sizes: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> Sam2ImageSegmentationOutput | tuple:
        """Predicts masks for P prompts on each of B images.

        Args:
            pixel_values: normalised pictures (B, 3, H, W) of the configured size.
            input_points: points (B, P, N, 2) as (x, y) in pixels of the model's input; the processor brings them there.
            input_labels: (B, P, N): 1 for foreground, 0 for background, -1 for no point, -10 for padding, which is
                masked out. All foreground if left out.
            input_boxes: boxes (B, P, 4) as (left, top, right, bottom); four times -10 is padding.
            input_masks: masks to start from, (B, P, h, w), or (B, 1, h, w) for all prompts of an image, of any size.
                Floating masks are logits, as an earlier call gave them; bool and integer masks are a person's, the
                object where they are not 0.
            image_embeddings: from `get_image_embeddings` or an earlier output, in place of `pixel_values`.
            multimask_output: three masks a prompt, or the best one.
            attention_similarity: bias on the tokens' attention to the image, broadcast to (B, P, tokens, h * w)
                (PerSAM, arXiv 2305.03048).
            target_embedding: added to the tokens, broadcast to (B, P, tokens, C) (PerSAM).
            original_sizes: not read; accepted so that the processor's output can be passed on whole.
            labels: for training, the true mask of every prompt's object, (B, P, height, width) of any size: above 0
                is the object, 0 is not, -100 is unknown. Prompts that are padding have labels of -100 alone.

        A prompt that is padding alone gets scores of 0 and logits of -1024. Raises a `ValueError` that names the
        argument for wrong shapes.
        """
        output_attentions = self.config.output_attentions if output_attentions is None else output_attentions
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states

        vision = None
        if pixel_values is not None and image_embeddings is None:
            if output_hidden_states or output_attentions:
                vision = self._encode(pixel_values, output_hidden_states, output_attentions)
                maps = list(vision.fpn_hidden_states)
            else:
                maps = self._encode_maps(pixel_values)
            image_embeddings = self._image_embeddings(maps)
        elif pixel_values is not None or image_embeddings is None:
            given = "neither" if pixel_values is None else "both"
            raise ValueError(f"expected exactly one of pixel_values and image_embeddings, got {given}")
        self._check_image_embeddings(image_embeddings)
        predicted = self._answer(
            image_embeddings,
            self._read_prompts(input_points, input_labels, input_boxes, input_masks, len(image_embeddings[-1])),
            multimask_output,
            (attention_similarity, target_embedding),
            output_attentions,
        )
        masks, scores, presence = predicted.logits, predicted.iou_scores, predicted.object_score_logits
        output = Sam2ImageSegmentationOutput(
            loss=None if labels is None else _loss(masks, scores, presence, labels),
            iou_scores=scores,
            pred_masks=masks,
            object_score_logits=presence,
            image_embeddings=image_embeddings,
            vision_hidden_states=vision.hidden_states if vision is not None else None,
            vision_attentions=vision.attentions if vision is not None else None,
            mask_decoder_attentions=predicted.attentions or None,
        )
        return output if _wants_dict(self.config, return_dict) else output.to_tuple()

    def _answer(
        self,
        image_embeddings: list[torch.Tensor],
        prompts: PromptTensors,
        multimask: bool,
        guidance: tuple[torch.Tensor | None, torch.Tensor | None],
        need_weights: bool,
    ) -> MaskPrediction:
        """Masks and scores of all prompts."""
        images = len(image_embeddings[-1])
        if runs_compiled(self) and all(bias is None for bias in guidance) and not need_weights:
            points, labels = self._program_points(prompts, images)
            return self._predict_in_portions(image_embeddings, points, labels, prompts.masks, multimask)
        positions, embedded = self.get_image_wide_positional_embeddings(), self._embed_prompts(prompts, images)
        return self.mask_decoder.predict(image_embeddings, positions, embedded, multimask, *guidance, need_weights)

    def _predict_in_portions(
        self,
        image_embeddings: list[torch.Tensor],
        points: torch.Tensor,
        labels: torch.Tensor,
        masks: torch.Tensor | None,
        multimask: bool,
    ) -> MaskPrediction:
        """Masks and scores of all prompts, as many at once as are fast together."""
        coarsest, parts = image_embeddings[-1], []
        at_once = how_many_fit(coarsest.nbytes, coarsest.device)
        for start in range(0, points.shape[1], at_once):
            few = slice(start, start + at_once)
            some_masks = masks if masks is None or masks.shape[1] == 1 else masks[:, few]
            parts.append(self._predict(image_embeddings, points[:, few], labels[:, few], some_masks, multimask))
        return join_predictions(parts)

    @compilable("b", "p", image_embeddings="b", points="bp", labels="bp", masks="bp")
    def _predict(
        self,
        image_embeddings: list[torch.Tensor],
        points: torch.Tensor,
        labels: torch.Tensor,
        masks: torch.Tensor | None,
        multimask: bool,
    ) -> MaskPrediction:
        """Masks and scores of points (B, P, N, 2) and masks (B, P or 1, h, w)."""
        decoder, decoded = self.mask_decoder, self._decode(image_embeddings[-1], points, labels, masks)
        logits, scores = (decoder.multimasks if multimask else decoder.single_mask)(decoded, image_embeddings)
        return MaskPrediction(logits, scores, decoded.object_score_logits, attentions=())


def _loss(masks: torch.Tensor, scores: torch.Tensor, presence: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    if labels.ndim != 4 or labels.shape[:2] != masks.shape[:2]:
        batch, prompts = masks.shape[:2]
        raise ValueError(
            "labels must hold a mask for each prompt, (batch, prompts, height, width) = "
            f"({batch}, {prompts}, height, width), got {tuple(labels.shape)}"
        )
    return segmentation_loss(masks, scores, presence, labels.to(masks.device)).total
