"""From embeddings to scores, and from scores to the masks that are wanted."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from closeness import assert_close_in_scale
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import randomize_parameters, tiny_config, tiny_image_model
from transformers.models.sam2.modeling_sam2 import Sam2MaskDecoder

from sam2_hf.fast import chunking
from sam2_hf.fast.dispatch import plain_paths
from sam2_hf.network.mask_decoder import NO_OBJECT_LOGIT, MaskDecoder
from sam2_hf.network.prompt_encoder import PromptEmbeddings

WIDTH, HEIGHT, BREADTH = 32, 4, 6  # channels and the image embedding's rows and columns
BATCH, PROMPTS, TOKENS = 2, 3, 4


def decoder_of(seed=0, **overrides):
    config = tiny_config().mask_decoder_config
    for name, value in overrides.items():
        setattr(config, name, value)
    config._attn_implementation = "sdpa"
    return randomize_parameters(MaskDecoder(config), torch.Generator().manual_seed(seed)).eval()


def random(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def maps_for(batch=BATCH, height=HEIGHT, breadth=BREADTH):
    """The pyramid's maps as `decode` and `masks` read them."""
    return [
        random(batch, WIDTH // 8, 4 * height, 4 * breadth, seed=2),
        random(batch, WIDTH // 4, 2 * height, 2 * breadth, seed=3),
        random(batch, WIDTH, height, breadth, seed=4),
    ]


def prompts_for(batch=BATCH, prompts=PROMPTS, tokens=TOKENS, is_token=None, is_object=None):
    return PromptEmbeddings(random(batch, prompts, tokens, WIDTH), random(1, 1, WIDTH, 1, 1), is_token, is_object)


def positions_for(height=HEIGHT, breadth=BREADTH):
    return random(1, WIDTH, height, breadth, seed=5)


def decode(decoder, prompts=None, maps=None, **options):
    maps = maps_for() if maps is None else maps
    positions = positions_for(*maps[-1].shape[-2:])
    return decoder.decode(maps[-1], positions, prompts_for() if prompts is None else prompts, **options)


class TestAgainstTransformers:
    """On square maps; transformers has no others."""

    def outputs(self, overrides, multimask, training=False, target=None, similarity=None):
        decoder = decoder_of(**overrides).train(training)
        theirs = Sam2MaskDecoder(decoder.config).train(training)
        theirs.load_state_dict(decoder.state_dict())
        maps, prompts, positions = maps_for(height=4, breadth=4), prompts_for(), positions_for(4, 4)
        # Both decoders start from maps that `conv_s0` and `conv_s1` have narrowed already.
        expected = theirs(
            image_embeddings=maps[-1],
            image_positional_embeddings=positions.expand(BATCH, -1, -1, -1).clone(),
            sparse_prompt_embeddings=prompts.tokens,
            dense_prompt_embeddings=prompts.dense[0].expand(BATCH, -1, 4, 4),
            multimask_output=multimask,
            high_resolution_features=maps[:2],
            attention_similarity=similarity,
            target_embedding=target,
        )
        decoded = decode(decoder, prompts, maps, attention_similarity=similarity, target_embedding=target)
        masks, scores = (decoder.multimasks if multimask else decoder.single_mask)(decoded, maps)
        return (masks, scores, decoded.object_score_logits), (expected[0], expected[1], expected[3])

    @pytest.mark.parametrize("multimask", [True, False])
    @pytest.mark.parametrize("threshold", [0.0, 0.98, 1.01], ids=["all stable", "as published", "none stable"])
    @pytest.mark.parametrize("paths", [nullcontext, plain_paths], ids=["fast", "plain"])
    @torch.no_grad()
    def test_masks_and_scores_are_equal(self, multimask, threshold, paths):
        with paths():
            ours, theirs = self.outputs({"dynamic_multimask_stability_thresh": threshold}, multimask)
        for value, reference in zip(ours, theirs, strict=True):
            assert_close_in_scale(value, reference, 1e-4)

    @pytest.mark.parametrize(
        ("overrides", "training"),
        [({"dynamic_multimask_via_stability": False}, False), ({"dynamic_multimask_stability_thresh": 1.01}, True)],
        ids=["switched off", "in training"],
    )
    @torch.no_grad()
    def test_single_mask_stays_where_stability_is_not_looked_at(self, overrides, training):
        ours, theirs = self.outputs(overrides, multimask=False, training=training)
        for value, reference in zip(ours, theirs, strict=True):
            assert_close_in_scale(value, reference, 1e-4)

    @torch.no_grad()
    def test_guidance_to_a_target_is_equal(self):
        guided = self.outputs({}, multimask=True, target=random(1, 1, WIDTH, seed=6), similarity=random(1, 1, 1, 16))
        plain = self.outputs({}, multimask=True)
        for value, reference, unguided in zip(*guided, plain[0], strict=True):
            assert_close_in_scale(value, reference, 1e-4)
            assert not torch.allclose(value, unguided, atol=1e-3)

    @pytest.mark.parametrize("overrides", [{"num_multimask_outputs": 5}, {"attention_downsample_rate": 1}])
    @torch.no_grad()
    def test_other_shapes_are_equal(self, overrides):
        ours, theirs = self.outputs(overrides, multimask=True)
        for value, reference in zip(ours, theirs, strict=True):
            assert_close_in_scale(value, reference, 1e-4)


class TestSingleMask:
    @torch.no_grad()
    def test_unstable_ones_give_way_to_the_best_of_the_others(self):
        decoder, maps = decoder_of(), maps_for()
        decoded = decode(decoder)
        masks, scores = decoder.masks(decoded, maps), decoded.iou_scores
        stability = (masks[:, :, 0] > 0.05).sum((-2, -1)) / (masks[:, :, 0] > -0.05).sum((-2, -1))
        threshold = stability.mean().item()  # so that some prompts are on either side
        decoder.config.dynamic_multimask_stability_thresh = threshold
        single, single_scores = decoder.single_mask(decoded, maps)
        used = torch.where(stability >= threshold, 0, scores[:, :, 1:].argmax(-1) + 1)
        assert (used == 0).any()
        assert (used > 0).any()
        for image in range(BATCH):
            for prompt in range(PROMPTS):
                index = used[image, prompt]
                assert torch.equal(single[image, prompt, 0], masks[image, prompt, index])
                assert single_scores[image, prompt, 0] == scores[image, prompt, index]

    @torch.no_grad()
    def test_an_empty_mask_is_stable(self):
        assert decoder_of()._is_stable(torch.full((2, 4, 4), -3.0)).all()


class TestSelection:
    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.booleans(), min_size=BATCH * PROMPTS * 4, max_size=BATCH * PROMPTS * 4))
    def test_gives_just_those_masks_in_order(self, chosen):
        decoder, maps = decoder_of(), maps_for()
        selection = torch.tensor(chosen).view(BATCH, PROMPTS, 4)
        with torch.no_grad():
            decoded = decode(decoder)
            selected = decoder.selected_masks(decoded, maps, selection)
            expected = decoder.masks(decoded, maps)[selection]
        assert selected.shape == (sum(chosen), 4 * HEIGHT, 4 * BREADTH)
        if len(selected):
            assert_close_in_scale(selected, expected)

    @torch.no_grad()
    def test_prompts_without_a_selected_mask_are_not_upscaled(self):
        decoder, maps = decoder_of(), maps_for()
        decoded = decode(decoder)
        upscaled, upscale = [], decoder.upscale
        decoder.upscale = lambda hidden, *rest: upscaled.append(len(hidden)) or upscale(hidden, *rest)
        selection = torch.zeros(BATCH, PROMPTS, 4, dtype=torch.bool)
        selection[1, 2, 1:] = True
        decoder.selected_masks(decoded, maps, selection)
        assert upscaled == [1]

    @torch.no_grad()
    def test_finer_maps_may_be_shared_by_all_images(self):
        """As in a video, where every object has its own embedding of one frame."""
        decoder = decoder_of()
        finest, middle, coarsest = maps_for()
        shared = [finest[:1], middle[:1], coarsest]
        decoded = decode(decoder, maps=shared)
        selection = torch.ones(BATCH, PROMPTS, 4, dtype=torch.bool)
        repeated = [level.expand(BATCH, -1, -1, -1) for level in shared[:2]]
        expected = decoder.masks(decoded, [*repeated, coarsest])
        assert_close_in_scale(decoder.masks(decoded, shared), expected)
        assert_close_in_scale(decoder.selected_masks(decoded, shared, selection), expected.flatten(0, 2))


class TestPadding:
    @torch.no_grad()
    def test_padded_tokens_change_nothing(self):
        decoder, maps = decoder_of(), maps_for()
        prompts = prompts_for()
        is_token = torch.tensor([True, True, False, True]).expand(BATCH, PROMPTS, -1)
        kept = prompts._replace(tokens=prompts.tokens[:, :, [0, 1, 3]])
        padded = decode(decoder, prompts._replace(is_token=is_token))
        expected = decode(decoder, kept)
        for name in ("iou_scores", "object_score_logits", "mask_tokens", "image_hidden"):
            assert_close_in_scale(getattr(padded, name), getattr(expected, name))
        assert_close_in_scale(decoder.masks(padded, maps), decoder.masks(expected, maps))

    @pytest.mark.parametrize("multimask", [True, False])
    @torch.no_grad()
    def test_objects_of_padding_alone_score_0_and_have_no_mask(self, multimask):
        decoder, maps = decoder_of(), maps_for()
        is_object = torch.tensor([[True, False, True], [False, True, True]])
        is_token = torch.ones(BATCH, PROMPTS, TOKENS, dtype=torch.bool)
        is_token[~is_object, :-1] = False
        decoded = decode(decoder, prompts_for(is_token=is_token, is_object=is_object))
        masks, scores = (decoder.multimasks if multimask else decoder.single_mask)(decoded, maps)
        assert (masks[~is_object] == NO_OBJECT_LOGIT).all()
        assert (scores[~is_object] == 0).all()
        assert (decoded.object_score_logits[~is_object] == NO_OBJECT_LOGIT).all()
        unpadded = decode(decoder)
        others, other_scores = (decoder.multimasks if multimask else decoder.single_mask)(unpadded, maps)
        assert_close_in_scale(masks[is_object], others[is_object])
        assert_close_in_scale(scores[is_object], other_scores[is_object])


class TestDecode:
    @torch.no_grad()
    def test_shapes(self):
        decoded = decode(decoder_of())
        assert decoded.iou_scores.shape == (BATCH, PROMPTS, 4)
        assert decoded.object_score_logits.shape == (BATCH, PROMPTS, 1)
        assert decoded.mask_tokens.shape == (BATCH, PROMPTS, 4, WIDTH)
        assert decoded.image_hidden.shape == (BATCH, PROMPTS, HEIGHT, BREADTH, WIDTH)
        assert decoded.attentions == ()

    @torch.no_grad()
    def test_scores_are_between_0_and_1(self):
        scores = decode(decoder_of()).iou_scores
        assert ((scores > 0) & (scores < 1)).all()

    @torch.no_grad()
    def test_attentions_are_the_tokens_weights_on_the_image(self):
        decoder = decoder_of()
        decoded = decode(decoder, need_weights=True)
        assert len(decoded.attentions) == 3  # two layers and the last look
        for weights in decoded.attentions:
            assert weights.shape == (BATCH, PROMPTS, 2, 6 + TOKENS, HEIGHT * BREADTH)
            torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
        assert_close_in_scale(decoded.iou_scores, decode(decoder).iou_scores)

    @torch.no_grad()
    def test_prompts_do_not_depend_on_each_other(self):
        decoder, prompts = decoder_of(), prompts_for()
        together = decode(decoder, prompts)
        for prompt in range(PROMPTS):
            one = slice(prompt, prompt + 1)
            alone = decode(decoder, prompts._replace(tokens=prompts.tokens[:, one]))
            assert_close_in_scale(together.mask_tokens[:, one], alone.mask_tokens)
            assert_close_in_scale(together.image_hidden[:, one], alone.image_hidden)

    @torch.no_grad()
    def test_dense_embeddings_may_be_shared_or_one_for_each_prompt(self):
        decoder = decoder_of()
        prompts = prompts_for()._replace(dense=random(BATCH, PROMPTS, WIDTH, HEIGHT, BREADTH, seed=7))
        together = decode(decoder, prompts)
        for prompt in range(PROMPTS):
            one = slice(prompt, prompt + 1)
            shared = decode(decoder, prompts._replace(dense=prompts.dense[:, one]))
            assert_close_in_scale(together.image_hidden[:, one], shared.image_hidden[:, one])

    @pytest.mark.parametrize(
        ("name", "shape"),
        [
            ("attention_similarity", (BATCH * PROMPTS, 1, 1, HEIGHT * BREADTH)),
            ("attention_similarity", (1, 1, 1, 7)),
            ("attention_similarity", (1, 1, 1, 1, 1)),
            ("target_embedding", (1, 1, 1, WIDTH + 1)),
            ("target_embedding", (PROMPTS + 1, 1, WIDTH)),
        ],
    )
    def test_guidance_of_a_wrong_shape_is_refused(self, name, shape):
        with pytest.raises(ValueError, match=rf"{name} must broadcast to \(2, 3, 10, \d+\), got the shape"):
            decode(decoder_of(), **{name: torch.zeros(shape)})

    @torch.no_grad()
    def test_guidance_may_differ_between_prompts(self):
        decoder = decoder_of()
        similarity = random(BATCH, PROMPTS, 1, HEIGHT * BREADTH, seed=8)
        together = decode(decoder, attention_similarity=similarity)
        for prompt in range(PROMPTS):
            shared = decode(decoder, attention_similarity=similarity[:, prompt : prompt + 1])
            assert_close_in_scale(together.mask_tokens[:, prompt], shared.mask_tokens[:, prompt])


class TestChunks:
    """Prompts are decoded a few at a time where nothing is learnt, which changes nothing."""

    def predict(self, monkeypatch, fitting, **options):
        model = tiny_image_model()
        generator = torch.Generator().manual_seed(0)
        points = torch.rand(2, 5, 2, 2, generator=generator) * 128
        labels = torch.tensor([1, -10]).expand(2, 5, 2).clone()
        labels[0, 4] = -10
        masks = torch.randn(2, 5, 32, 32, generator=generator)
        embeddings = model.get_image_embeddings(torch.randn(2, 3, 128, 128, generator=generator))
        monkeypatch.setattr(chunking, "BYTES_AT_ONCE", {"cpu": fitting * embeddings[-1].nbytes})
        groups, decode = [], model.mask_decoder.decode
        model.mask_decoder.decode = lambda image, positions, group, *rest: (
            groups.append(group.tokens.shape[1]) or decode(image, positions, group, *rest)
        )
        inputs = {"input_points": points, "input_labels": labels, "input_masks": masks, "image_embeddings": embeddings}
        return model(**inputs, **options), groups

    @pytest.mark.parametrize("multimask", [True, False])
    def test_chunks_change_nothing(self, monkeypatch, multimask):
        with torch.no_grad():
            whole, groups = self.predict(monkeypatch, fitting=5, multimask_output=multimask)
            parts, smaller_groups = self.predict(monkeypatch, fitting=2, multimask_output=multimask)
        assert (groups, smaller_groups) == ([5], [2, 2, 1])
        for name in ("pred_masks", "iou_scores", "object_score_logits"):
            assert_close_in_scale(parts[name], whole[name], 1e-5)

    def test_attentions_and_gradients_take_all_prompts_at_once(self, monkeypatch):
        with torch.no_grad():
            output, groups = self.predict(monkeypatch, fitting=2, output_attentions=True)
        assert groups == [5]
        assert output.mask_decoder_attentions[0].shape[1] == 5
        assert self.predict(monkeypatch, fitting=2)[1] == [5]
