"""`Sam2Model`: promptable segmentation of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .configuration_sam2 import Sam2Config, Sam2HieraDetConfig
from .fast.chunking import how_many_fit
from .fast.compiled_parts import PresetCompilation
from .fast.dispatch import FORMS, FORMS_ARE_WANTED
from .hub.loading import LoadsWholeCheckpoints
from .hub.remote_code import SavesItsCode
from .inputs.plain_values import check_model_tensor, is_finite
from .inputs.prompt_tensors import PromptTensors, read_prompt_tensors
from .network.hiera import Hiera
from .network.layers import enter_forms, is_exported, is_traced
from .network.losses import segmentation_loss
from .network.mask_decoder import DecodedPrompts, MaskPrediction, join_predictions
from .network.pretrained import PreTrainedNetwork
from .network.promptable_network import Sam2PromptableNetwork
from .network.trunks import register_trunk
from .network.vision_encoder import VisionEncoder
from .outputs import Sam2ImageSegmentationOutput, Sam2VisionEncoderOutput

__all__ = ["Sam2HieraDetModel", "Sam2Model", "Sam2PreTrainedModel", "Sam2PromptableModel", "Sam2VisionModel"]

enter_forms(FORMS, FORMS_ARE_WANTED)


class Sam2PreTrainedModel(LoadsWholeCheckpoints, SavesItsCode, PreTrainedNetwork):
    """What all SAM 2 models share: configuration, initialisation, loading and saving."""


class Sam2HieraDetModel(Hiera, Sam2PreTrainedModel):
    """The trunk of the image encoder alone."""


register_trunk(Sam2HieraDetConfig, Sam2HieraDetModel)


class Sam2VisionModel(VisionEncoder, Sam2PreTrainedModel):
    """The image encoder alone."""


class Sam2PromptableModel(Sam2PreTrainedModel, PresetCompilation, Sam2PromptableNetwork):
    """What can be asked of image and video models: embeddings of images and prompts, and masks."""

    vision_encoder_class = Sam2VisionModel

    @torch.no_grad()
    def get_image_embeddings(
        self,
        pixel_values: torch.Tensor,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> list[torch.Tensor]:
        """Encodes images once, for any number of calls with prompts; without gradients.

        Args:
            pixel_values: normalised images (B, 3, H, W).
            output_attentions: not read, like the next two; accepted as in transformers, for the maps are all there is.
            output_hidden_states: not read.
            return_dict: not read.

        Returns:
            Three maps, from high to low resolution: (B, C/8, 4h, 4w), (B, C/4, 2h, 2w), (B, C, h, w).
        """
        check_pixels(pixel_values)
        return self.add_no_memory(self.encode_maps(pixel_values))

    def get_image_features(
        self, pixel_values: torch.Tensor, return_dict: bool | None = None, **options: Any
    ) -> Sam2VisionEncoderOutput | tuple:
        """Features of images as transformers lays them out: positions first, (h * w, B, C).

        The two finer maps are projected as the mask decoder reads them, and there is no `no_memory_embedding` in the
        coarsest.

        Args:
            pixel_values: normalised images (B, 3, H, W).
            return_dict: whether to return an output object and not a tuple, by default as the configuration says.
            options: those of `Sam2VisionModel.forward`.
        """
        check_pixels(pixel_values)
        vision = self.vision_encoder(pixel_values, **{**options, "return_dict": True})
        maps = self.mask_decoder.project_high_resolution(vision.fpn_hidden_states)
        vision.fpn_hidden_states = tuple(level.flatten(2).permute(2, 0, 1) for level in maps)
        if vision.fpn_position_encoding is not None:
            encodings = vision.fpn_position_encoding
            vision.fpn_position_encoding = tuple(level.flatten(2).permute(2, 0, 1) for level in encodings)
        return vision if (self.config.return_dict if return_dict is None else return_dict) else vision.to_tuple()

    @torch.no_grad()
    def get_prompt_embeddings(
        self,
        input_points: torch.Tensor | None = None,
        input_labels: torch.Tensor | None = None,
        input_boxes: torch.Tensor | None = None,
        input_masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Embeds prompts as `forward` does; without gradients.

        Returns:
            The tokens (B, P, N, C), None if there are neither points nor boxes, and the dense embedding (B, C, h, w);
            of P masks on an image, (B, P, C, h, w).

        Raises:
            ValueError: for prompts of a wrong shape.
        """
        return self.prompt_encoder(*self.read_prompts(input_points, input_labels, input_boxes, input_masks))

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

        Raises:
            ValueError: for embeddings or prompts of a wrong shape.
        """
        self.check_image_embeddings(image_embeddings)
        batch = len(image_embeddings[-1])
        prompts = self.read_prompts(input_points, input_labels, input_boxes, input_masks, batch)
        return self.decode(image_embeddings[-1], *prompts, attention_similarity, target_embedding, output_attentions)

    def upscale_masks(
        self, decoded: DecodedPrompts, image_embeddings: Sequence[torch.Tensor], selection: torch.Tensor
    ) -> torch.Tensor:
        """The masks for which `selection` (B, P, 4) is True, in row-major order: logits (K, 4h, 4w).

        Of the last axis, 0 is the single-mask output, 1 to 3 are the multimask outputs.
        """
        return self.mask_decoder.selected_masks(decoded, image_embeddings, selection, self.upscale)

    def read_prompts(
        self,
        points: torch.Tensor | None,
        labels: torch.Tensor | None,
        boxes: torch.Tensor | None,
        masks: torch.Tensor | None,
        batch: int | None = None,
    ) -> PromptTensors:
        """Checks prompts and brings them to the prompt encoder, unless the call is recorded for an export.

        Args:
            points: (B, P, N, 2).
            labels: (B, P, N).
            boxes: (B, P, 4).
            masks: (B, P or 1, h, w).
            batch: the number of images that they are for, if it is known.

        Raises:
            ValueError, TypeError: that names the argument and what was expected.
        """
        if is_exported():
            return PromptTensors(points, labels, boxes, masks)
        device = self.prompt_encoder.not_a_point_embed.weight.device
        return read_prompt_tensors(points, labels, boxes, masks, batch, device, look_at_values=not is_traced())

    def check_image_embeddings(self, image_embeddings: Sequence[torch.Tensor]) -> None:
        """Checks the shapes of encoded images, unless the call is recorded for an export.

        Raises:
            ValueError: that says what was expected and what came.
        """
        if is_exported():
            return
        for level in image_embeddings:
            check_model_tensor(level, "image_embeddings")
        height, width = self.prompt_encoder.image_embedding_size
        channels = self.config.mask_decoder_config.hidden_size
        expected = [
            (channels // 8, 4 * height, 4 * width),
            (channels // 4, 2 * height, 2 * width),
            (channels, height, width),
        ]
        if [level.shape[1:] for level in image_embeddings] != expected:
            raise ValueError(
                "image_embeddings must be three maps as get_image_embeddings gives them, with the shapes "
                f"{', '.join(f'(batch, {c}, {h}, {w})' for c, h, w in expected)}; "
                f"got {[tuple(level.shape) for level in image_embeddings]}"
            )


class Sam2Model(Sam2PromptableModel):
    """SAM 2 for images: masks for points, boxes and masks (arXiv 2408.00714)."""

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
            pixel_values: normalised images (B, 3, H, W) of the configured size.
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
            output_attentions: whether to return weights, by default as the configuration says.
            output_hidden_states: whether to return the trunk's maps, by default as the configuration says.
            return_dict: whether to return an output object and not a tuple, by default as the configuration says.
            labels: for training, the true mask of every prompt's object, (B, P, height, width) of any size: above 0
                is the object, 0 is not, -100 is unknown. Prompts that are padding have labels of -100 alone.

        Returns:
            Masks and scores; a prompt that is padding alone gets scores of 0 and logits of -1024.

        Raises:
            ValueError: that names the argument, for wrong shapes; for NaN and infinity in `pixel_values` on the CPU.
        """
        config = self.config
        output_attentions = config.output_attentions if output_attentions is None else output_attentions
        output_hidden_states = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        if (pixel_values is None) == (image_embeddings is None):
            given = "neither" if pixel_values is None else "both"
            raise ValueError(f"expected exactly one of pixel_values and image_embeddings, got {given}")

        vision = None
        if pixel_values is not None:
            check_pixels(pixel_values)
        if pixel_values is not None and (output_hidden_states or output_attentions):
            vision = self.encode(pixel_values, output_hidden_states, output_attentions)
            image_embeddings = self.add_no_memory(vision.fpn_hidden_states)
        elif pixel_values is not None:
            image_embeddings = self.add_no_memory(self.encode_maps(pixel_values))
        assert image_embeddings is not None
        self.check_image_embeddings(image_embeddings)
        batch = len(image_embeddings[-1])
        prompts = self.read_prompts(input_points, input_labels, input_boxes, input_masks, batch)
        guidance = (attention_similarity, target_embedding)
        is_guided = attention_similarity is not None or target_embedding is not None
        whole = output_attentions or is_guided or torch.is_grad_enabled() or is_traced()
        positions = self.get_image_wide_positional_embeddings()
        parts = []
        for chunk in [prompts] if whole else _in_chunks(prompts, image_embeddings[-1]):
            parts.append(
                self.predict(image_embeddings, *chunk, multimask_output, positions, *guidance, output_attentions)
            )
        predicted = join_predictions(parts)

        masks, scores, object_scores = predicted.logits, predicted.iou_scores, predicted.object_score_logits
        output = Sam2ImageSegmentationOutput(
            loss=None if labels is None else _loss(masks, scores, object_scores, labels),
            iou_scores=scores,
            pred_masks=masks,
            object_score_logits=object_scores,
            image_embeddings=image_embeddings,
            vision_hidden_states=None if vision is None else vision.hidden_states,
            vision_attentions=None if vision is None else vision.attentions,
            mask_decoder_attentions=predicted.attentions or None,
        )
        return output if (config.return_dict if return_dict is None else return_dict) else output.to_tuple()

    def predict(
        self,
        image_embeddings: list[torch.Tensor],
        points: torch.Tensor | None,
        labels: torch.Tensor | None,
        boxes: torch.Tensor | None,
        masks: torch.Tensor | None,
        multimask: bool,
        image_positions: torch.Tensor,
        attention_similarity: torch.Tensor | None = None,
        target_embedding: torch.Tensor | None = None,
        need_weights: bool = False,
    ) -> MaskPrediction:
        """Masks and scores of prompts on encoded images: three a prompt with `multimask`, else one.

        Shapes as in `forward`; they are not checked here. `image_positions` are those of
        `get_image_wide_positional_embeddings`, which all calls for an image share.
        """
        decoder, coarsest = self.mask_decoder, image_embeddings[-1]
        decoded = decoder.decode(
            coarsest,
            image_positions,
            self.prompt_encoder.encode(points, labels, boxes, masks, len(coarsest)),
            attention_similarity,
            target_embedding,
            need_weights,
        )
        logits, scores = (decoder.multimasks if multimask else decoder.single_mask)(decoded, image_embeddings)
        return MaskPrediction(logits, scores, decoded.object_score_logits, decoded.attentions)


def check_pixels(pixel_values: torch.Tensor) -> None:
    """Check the values of images. Their shape is checked by the vision encoder.

    On an accelerator nothing is looked at, since that would wait for it; nor in a compiled program, which it would cut.

    Raises:
        TypeError: for what is no dense tensor of real numbers.
        ValueError: for whole numbers, NaN and infinity.
    """
    if is_traced():
        return
    check_model_tensor(pixel_values, "pixel_values")
    is_floating = pixel_values.is_floating_point()
    if not is_floating or not is_finite(pixel_values):
        got = "NaN or infinite values" if is_floating else pixel_values.dtype
        raise ValueError(f"pixel_values must be normalised, finite numbers as the processor gives them, got {got}")


def _in_chunks(prompts: PromptTensors, embedding: torch.Tensor) -> list[PromptTensors]:
    """Prompts as many at a time as are fast together, for they do not see each other.

    `embedding` (B, C, h, w) is the map that each prompt changes.
    """
    at_once = how_many_fit(embedding.nbytes, embedding.device)
    count = max([tensor.shape[1] for tensor in prompts if tensor is not None], default=1)
    if count <= at_once:
        return [prompts]
    chunks: list[PromptTensors] = []
    for start in range(0, count, at_once):
        few = slice(start, start + at_once)
        # A single mask is that of all prompts.
        chunks.append(PromptTensors(*(one if one is None or one.shape[1] == 1 else one[:, few] for one in prompts)))
    return chunks


def _loss(masks: torch.Tensor, scores: torch.Tensor, object_scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    if labels.ndim != 4 or labels.shape[:2] != masks.shape[:2]:
        batch, prompts = masks.shape[:2]
        raise ValueError(
            "labels must hold a mask for each prompt, (batch, prompts, height, width) = "
            f"({batch}, {prompts}, height, width), got {tuple(labels.shape)}"
        )
    return segmentation_loss(masks, scores, object_scores, labels.to(masks.device)).total
