"""Memory encoder: against transformers and the official code, and what it promises about batches."""

from __future__ import annotations

import pytest
import torch
from closeness import assert_close_in_scale
from tiny import randomize_parameters, tiny_config
from transformers.models.sam2_video.modeling_sam2_video import (
    Sam2VideoMemoryEncoder,
    Sam2VideoPositionEmbeddingSine,
)

from sam2_hf.network.memory_encoder import MaskDownsampler, MemoryEncoder

SIZE = (64, 96)
MAP = (4, 6)
OFFICIAL_WIDTHS = {
    "memory_attention_hidden_size": 256,
    "memory_encoder_hidden_size": 256,
    "memory_encoder_output_channels": 64,
    "memory_fuser_embed_dim": 256,
    "memory_fuser_intermediate_dim": 1024,
    "mask_downsampler_embed_dim": 256,
    "vision_config": {"backbone_config": {"image_size": list(SIZE)}},
    "prompt_encoder_config": {"image_size": list(SIZE)},
    "mask_decoder_config": {},
}


def config_of(**overrides):
    return tiny_config(video=True, **{"image_size": SIZE, **overrides})


def encoder_of(config, seed=0):
    return randomize_parameters(MemoryEncoder(config), torch.Generator().manual_seed(seed)).eval()


def inputs_of(config, frames=1, objects=3, size=SIZE, seed=1):
    """features (frames, C, h, w) and masks (objects, 1, H, W) between -10 and 10."""
    generator = torch.Generator().manual_seed(seed)
    height, width = (side // 16 for side in size)
    features = torch.randn(frames, config.memory_encoder_hidden_size, height, width, generator=generator)
    return features, torch.randn(objects, 1, *size, generator=generator).sigmoid() * 20 - 10


@pytest.mark.parametrize("overrides", [{}, OFFICIAL_WIDTHS, {"memory_encoder_output_channels": 8}])
@torch.no_grad()
def test_equals_transformers(overrides):
    config = config_of(**overrides)
    ours, (features, masks) = encoder_of(config), inputs_of(config)
    theirs = Sam2VideoMemoryEncoder(config).eval()
    theirs.load_state_dict(ours.state_dict())
    memory, position = theirs(features.expand(3, -1, -1, -1), masks)
    assert_close_in_scale(ours.encode(features, masks), memory)
    assert_close_in_scale(ours.position_encoding(MAP), position[:1])


def test_has_the_parameters_of_the_checkpoints():
    config = config_of(**OFFICIAL_WIDTHS)
    expected = {name: value.shape for name, value in Sam2VideoMemoryEncoder(config).state_dict().items()}
    assert {name: value.shape for name, value in MemoryEncoder(config).state_dict().items()} == expected


@pytest.mark.parametrize("size", [(64, 64), (96, 32), (32, 160)])
@torch.no_grad()
def test_takes_maps_of_any_size(size):
    config = config_of()
    memory = encoder_of(config).encode(*inputs_of(config, size=size))
    assert memory.shape == (3, 16, size[0] // 16, size[1] // 16)


class TestBatches:
    def setup_method(self):
        self.config = config_of()
        self.encoder = encoder_of(self.config)

    @torch.no_grad()
    def test_objects_together_equal_objects_alone(self):
        features, masks = inputs_of(self.config, objects=5)
        together = self.encoder.encode(features, masks)
        for index in range(5):
            assert_close_in_scale(together[index : index + 1], self.encoder.encode(features, masks[index : index + 1]))

    @torch.no_grad()
    def test_objects_of_several_frames_come_frame_by_frame(self):
        features, masks = inputs_of(self.config, frames=2, objects=6)
        together = self.encoder.encode(features, masks)
        assert_close_in_scale(together[:3], self.encoder.encode(features[:1], masks[:3]))
        assert_close_in_scale(together[3:], self.encoder.encode(features[1:], masks[3:]))

    @torch.no_grad()
    def test_the_image_is_projected_once_for_all_objects(self):
        batches = []
        self.encoder.feature_projection.register_forward_hook(lambda _, inputs, __: batches.append(len(inputs[0])))
        self.encoder.encode(*inputs_of(self.config, objects=4))
        assert batches == [1]

    @torch.no_grad()
    def test_projected_features_serve_several_groups_of_objects(self):
        features, masks = inputs_of(self.config, objects=4)
        projected = self.encoder.project_features(features)
        groups = [self.encoder.encode_masks(projected, group) for group in (masks[:1], masks[1:])]
        assert_close_in_scale(torch.cat(groups), self.encoder.encode(features, masks))

    @torch.no_grad()
    def test_the_memory_format_of_the_inputs_does_not_matter(self):
        features, masks = inputs_of(self.config)
        last = [x.contiguous(memory_format=torch.channels_last) for x in (features, masks)]
        assert_close_in_scale(self.encoder.encode(*last), self.encoder.encode(features, masks))
        assert_close_in_scale(
            self.encoder.encode(features.mT.contiguous().mT, masks), self.encoder.encode(features, masks)
        )


class TestPositionEncoding:
    def test_is_computed_in_float32_whatever_the_model_is(self):
        config = config_of()
        sine = Sam2VideoPositionEmbeddingSine(config.memory_encoder_output_channels // 2, normalize=True)
        expected = sine((1, 1, *MAP), "cpu", torch.float32)
        position = encoder_of(config).bfloat16().position_encoding(MAP)
        assert torch.equal(position, expected.bfloat16())

    def test_tells_rows_in_the_first_half_and_columns_in_the_second(self):
        position = encoder_of(config_of()).position_encoding(MAP)
        assert not torch.equal(position[..., 0], position[..., 5])
        assert torch.equal(position[:, :8, :, 0], position[:, :8, :, 5])
        assert torch.equal(position[:, 8:, 0], position[:, 8:, 3])


class TestTraining:
    def setup_method(self):
        self.config = config_of()
        self.encoder = encoder_of(self.config).train()
        self.inputs = inputs_of(self.config)

    def test_gradients_reach_every_parameter_and_input(self):
        inputs = [x.requires_grad_() for x in self.inputs]
        self.encoder.encode(*inputs).square().sum().backward()
        for name, parameter in self.encoder.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
        assert all(x.grad.abs().max() > 0 for x in inputs)

    def test_gradient_checkpointing_changes_no_gradient(self):
        gradients = []
        for checkpointing in (False, True):
            self.encoder.zero_grad()
            for layer in self.encoder.memory_fuser.layers:
                layer.gradient_checkpointing = checkpointing
                layer._gradient_checkpointing_func = lambda function, *args: torch.utils.checkpoint.checkpoint(
                    function, *args, use_reentrant=False
                )
            self.encoder.encode(*self.inputs).square().sum().backward()
            gradients.append([parameter.grad.clone() for parameter in self.encoder.parameters()])
        for plain, checkpointed in zip(*gradients, strict=True):
            torch.testing.assert_close(checkpointed, plain)

    def test_the_scale_of_a_fresh_block_is_the_configs(self):
        block = MemoryEncoder(config_of(memory_fuser_layer_scale_init_value=1e-6)).memory_fuser.layers[0]
        assert torch.equal(block.scale, torch.full((32,), 1e-6))


@torch.no_grad()
def test_bfloat16_is_close_to_float32():
    config = config_of()
    encoder, inputs = encoder_of(config), inputs_of(config)
    expected = encoder.encode(*inputs)
    half = encoder.bfloat16().encode(*(x.bfloat16() for x in inputs))
    assert half.dtype == torch.bfloat16
    # bfloat16 has 8 bits of mantissa: 4e-3 a rounding, with some twenty roundings in a row.
    assert_close_in_scale(half.float(), expected, tolerance=5e-2)


@torch.no_grad()
def test_compiles_as_one_graph():
    config = config_of()
    encoder, inputs = encoder_of(config), inputs_of(config)
    compiled = torch.compile(encoder.encode, fullgraph=True, backend="aot_eager")
    assert_close_in_scale(compiled(*inputs), encoder.encode(*inputs))


@pytest.mark.slow
@torch.no_grad()
def test_compiled_to_kernels_gives_the_same():
    config = config_of()
    encoder, inputs = encoder_of(config), inputs_of(config)
    compiled = torch.compile(encoder.encode, fullgraph=True)
    assert_close_in_scale(compiled(*inputs), encoder.encode(*inputs))


class TestRefusals:
    @torch.no_grad()
    def test_of_masks_of_another_size(self):
        config = config_of()
        features, masks = inputs_of(config)
        with pytest.raises(ValueError, match=r"\(3, 1, 32, 96\) shrink to \(2, 6\); they must fit .* each \(4, 6\)"):
            encoder_of(config)(features, masks[:, :, :32])

    @torch.no_grad()
    def test_of_masks_that_cannot_be_shared_out_to_frames(self):
        config = config_of()
        with pytest.raises(ValueError, match=r"they must fit features of 2 frame\(s\)"):
            encoder_of(config).encode(*inputs_of(config, frames=2, objects=3))

    def test_of_a_stride_that_does_not_reach_the_total(self):
        config = config_of()
        config.mask_downsampler_stride = 3
        with pytest.raises(ValueError, match="must be a power of mask_downsampler_stride, got 16 and 3"):
            MaskDownsampler(config)


@pytest.mark.peers
@pytest.mark.parametrize("stride", [2, 4])
@torch.no_grad()
def test_equals_the_official_code(stride):
    config = config_of(mask_downsampler_stride=stride)
    ours, (features, masks) = encoder_of(config), inputs_of(config)
    theirs = official_encoder(config)
    theirs.load_state_dict(official_weights(ours))
    expected = theirs(features.expand(3, -1, -1, -1), masks, skip_mask_sigmoid=True)
    assert_close_in_scale(ours.encode(features, masks), expected["vision_features"])
    assert_close_in_scale(ours.position_encoding(MAP), expected["vision_pos_enc"][0][:1])


def official_encoder(config):
    from sam2.modeling.memory_encoder import CXBlock, Fuser, MaskDownSampler
    from sam2.modeling.memory_encoder import MemoryEncoder as Official
    from sam2.modeling.position_encoding import PositionEmbeddingSine

    hidden, width = config.memory_encoder_hidden_size, config.memory_encoder_output_channels
    block = CXBlock(hidden)
    block.pwconv1 = torch.nn.Linear(hidden, config.memory_fuser_intermediate_dim)  # the official factor is fixed
    block.pwconv2 = torch.nn.Linear(config.memory_fuser_intermediate_dim, hidden)
    return Official(
        out_dim=width,
        mask_downsampler=MaskDownSampler(hidden, kernel_size=3, stride=config.mask_downsampler_stride, padding=1),
        fuser=Fuser(block, num_layers=config.memory_fuser_num_layers),
        position_encoding=PositionEmbeddingSine(width),
        in_dim=hidden,
    ).eval()


def official_weights(encoder):
    """Our weights under the official names."""
    renamed = {
        "feature_projection": "pix_feat_proj",
        "projection.": "out_proj.",
        "memory_fuser": "fuser",
        "depthwise_conv": "dwconv",
        "pointwise_conv": "pwconv",
        "scale": "gamma",
    }
    steps = len(encoder.mask_downsampler.layers)
    for step in range(steps):  # the official downsampler is one sequence: convolution, norm, activation, and again
        renamed[f"mask_downsampler.layers.{step}.conv"] = f"mask_downsampler.encoder.{3 * step}"
        renamed[f"mask_downsampler.layers.{step}.layer_norm"] = f"mask_downsampler.encoder.{3 * step + 1}"
    renamed["mask_downsampler.final_conv"] = f"mask_downsampler.encoder.{3 * steps}"
    renamed["layer_norm"] = "norm"

    weights = {}
    for name, value in encoder.state_dict().items():
        for ours, theirs in renamed.items():
            name = name.replace(ours, theirs)
        weights[name] = value
    return weights
