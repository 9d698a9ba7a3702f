from __future__ import annotations

import json

import pytest
import torch
from tiny import randomize, tiny_config

from sam2_hf import Sam2ImageProcessor, Sam2VideoConfig, Sam2VideoModel, bundled_checkpoint
from sam2_hf.network.losses import IGNORED_LABEL, LossWeights
from sam2_hf.tracking.prompts import MaskPrompt, PointPrompt
from sam2_hf.tracking.session import Sam2VideoInferenceSession
from sam2_hf.training.data.collation import ClipCollator
from sam2_hf.training.data.sampling import ClipDataset, ClipSampling
from sam2_hf.training.models import rollout
from sam2_hf.training.models.candidates import decode
from sam2_hf.training.models.clip_model import Sam2VideoForTraining
from sam2_hf.training.prompting.interaction import Interaction, InteractionPlan, evaluation_plan
from sam2_hf.training.synthetic.world import SyntheticVideos

SIZE = 64
PLANS = {
    "masks": InteractionPlan({0: "mask", 2: "mask"}, {}),
    "clicks": InteractionPlan({0: "click"}, {0: (False, True), 3: (False,)}),
    "boxes": InteractionPlan({0: "box", 1: "click"}, {}),
}


def training_model(seed=0, **config):
    model = randomize(Sam2VideoForTraining(tiny_config(video=True, image_size=SIZE, **config)), seed)
    model.mask_decoder.pred_obj_score_head.proj_out.bias.data.fill_(5.0)
    return model.train()


def enable_checkpointing(model):
    """As `Trainer` does, under the name of the installed version of transformers."""
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()


def clips(batch=1, frames=4, objects=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(batch, frames, 3, SIZE, SIZE, generator=generator)
    labels = torch.zeros(batch, frames, objects, SIZE, SIZE, dtype=torch.int8)
    for index in range(objects):
        labels[:, :, index, 8 : 30 + 5 * index, 20 * index + 4 : 20 * index + 30] = 1
    return pixels, labels


def gradients(model, pixels, labels, plan):
    model.zero_grad()
    torch.manual_seed(0)
    loss = model(pixels, labels, plan).loss
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", PLANS)
def test_every_part_learns_from_every_kind_of_prompt(name):
    model = training_model()
    loss, grads = gradients(model, *clips(), PLANS[name])
    assert torch.isfinite(loss)
    assert all(torch.isfinite(grad).all() for grad in grads.values())
    without = {name.split(".")[0] for name, _ in model.named_parameters()} - {name.split(".")[0] for name in grads}
    expected = {"no_memory_positional_encoding"}  # which nothing reads
    if name == "masks":
        expected.add("no_memory_embedding")  # no frame is without memory but those whose masks are given
    else:
        expected.add("mask_downsample")
    assert without <= expected


def test_later_frames_teach_earlier_ones_through_memory():
    pixels, labels = clips(frames=3)
    pixels.requires_grad_(True)
    model = training_model().eval()  # without dropout
    labels[:, :2] = IGNORED_LABEL
    model(pixels, labels, InteractionPlan({0: "click"}, {})).loss.backward()
    assert all(float(pixels.grad[0, frame].abs().sum()) > 0 for frame in range(3))


@pytest.mark.parametrize("selection", ["sam2", "visible"])
@pytest.mark.parametrize("name", PLANS)
def test_recomputing_frames_changes_no_gradient(name, selection):
    # In double precision: frames encoded one by one are rounded otherwise than in one batch, differently on each CPU.
    model, (pixels, labels) = training_model(memory_policy=selection).double(), clips(batch=2)
    if selection == "visible":
        model.mask_decoder.pred_obj_score_head.proj_out.bias.data.fill_(2.1)
    batch = pixels.double(), labels
    plain_loss, plain = gradients(model, *batch, PLANS[name])
    enable_checkpointing(model)
    assert [part for part in model.modules() if getattr(part, "gradient_checkpointing", False)] == [model]
    loss, recomputed = gradients(model, *batch, PLANS[name])
    torch.testing.assert_close(loss, plain_loss)
    assert plain.keys() == recomputed.keys()
    for key in plain:
        torch.testing.assert_close(recomputed[key], plain[key], rtol=1e-5, atol=1e-7)


def test_recomputing_keeps_less_for_the_backward_pass():
    def kept(model):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
            model(*clips(), PLANS["clicks"])
        return sum(sizes)

    model = training_model()
    plain = kept(model)
    enable_checkpointing(model)
    assert kept(model) < plain / 3


@pytest.mark.parametrize("plan", [*PLANS.values(), evaluation_plan("click", corrections=2)])
@pytest.mark.parametrize("selection", ["sam2", "visible"])
@torch.no_grad()
def test_a_batch_of_clips_equals_its_clips_alone(plan, selection):
    # In double precision: a batch of another size is added up in another order, differently on each CPU.
    model = training_model(memory_policy=selection, num_maskmem=3).double().eval()
    if selection == "visible":
        model.mask_decoder.pred_obj_score_head.proj_out.bias.data.fill_(2.1)
    plan = InteractionPlan(plan.first_frames, plan.corrected, where="centre")
    pixels, labels = clips(batch=2, objects=3)
    pixels = pixels.double()
    pixels[1], labels[1] = pixels[1].flip(-1), labels[1].flip(-2)
    together = model(pixels, labels, plan)
    alone = [model(pixels[row : row + 1], labels[row : row + 1], plan) for row in range(2)]
    torch.testing.assert_close(together.mask_ious, torch.cat([output.mask_ious for output in alone]))
    torch.testing.assert_close(together.loss, torch.stack([output.loss for output in alone]).mean())


@torch.no_grad()
def test_padding_objects_change_nothing():
    model = training_model().double().eval()  # a batch of another size is added up in another order
    pixels, labels = clips()
    pixels = pixels.double()
    padded = torch.cat((labels, torch.full_like(labels[:, :, :1], IGNORED_LABEL)), dim=2)
    one, other = model(pixels, labels), model(pixels, padded)
    torch.testing.assert_close(other.loss, one.loss)
    torch.testing.assert_close(other.mask_ious[:, :2], one.mask_ious)
    assert (other.mask_ious[:, 2] == IGNORED_LABEL).all()
    assert (other.visibility_correct[:, 2] == IGNORED_LABEL).all()


@pytest.mark.parametrize("kind", ["mask", "click"])
@pytest.mark.parametrize("selection", ["sam2", "visible"])
@torch.no_grad()
def test_equals_tracking_with_a_session(kind, selection, monkeypatch):
    """What is trained is what is used: the same masks as from a session, frame by frame."""
    kept = rollout.ClipRollout._remember
    # A session keeps memories in bfloat16.
    monkeypatch.setattr(rollout.ClipRollout, "_remember", lambda self, *args: kept(self, *args).bfloat16().float())
    model = training_model(memory_policy=selection, num_maskmem=3).eval()
    if selection == "visible":  # the two objects are then seen in some frames each, and not in the same ones
        model.mask_decoder.pred_obj_score_head.proj_out.bias.data.fill_(2.1)
    pixels, labels = clips(frames=8)
    plan = evaluation_plan(kind)
    clip_rollout = rollout.ClipRollout(model, labels, plan)
    for frame in clip_rollout.frames_in_order():
        clip_rollout.step(frame, model.encode_frame(pixels[:, frame]))

    session = Sam2VideoInferenceSession(video_height=SIZE, video_width=SIZE, retention="readable")
    clicks = clip_rollout._first_prompt("click", labels[0, 0] > 0, labels[0, 0] >= 0)
    for row in range(2):
        points = PointPrompt(clicks.points[row], clicks.labels[row])
        session.add_prompts(0, {row: MaskPrompt(labels[0, 0, row] > 0) if kind == "mask" else points})
    monkeypatch.setattr(type(session), "num_frames_total", 8)  # the distances of pointers depend on the length
    for frame in range(8):
        output = Sam2VideoModel.forward(model, session, frame=pixels[0, frame])
        torch.testing.assert_close(output.pred_masks, clip_rollout.results[frame].logits, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(
            output.object_score_logits, clip_rollout.results[frame].object_score, rtol=1e-3, atol=1e-3
        )


@pytest.mark.parametrize("several", [True, False])
@torch.no_grad()
def test_choosing_a_candidate_is_what_segment_does(several):
    model = training_model().eval()
    features = model.encode_frame(clips()[0][:, 0])
    clicks = PointPrompt(torch.tensor([[[20.0, 30.0]], [[5.0, 8.0]]]), torch.tensor([[1], [0]]))
    previous = torch.randn(2, 1, SIZE // 4, SIZE // 4, generator=torch.Generator().manual_seed(3))
    embedding = model.without_memory(features)
    chosen = model.choose(decode(model, features, embedding, clicks, previous, several))
    expected = model.segment(
        features, embedding, clicks.points[None], clicks.labels[None], previous.transpose(0, 1), several
    )
    for got, wanted in zip(chosen, expected, strict=True):
        torch.testing.assert_close(got, wanted)


def test_scores_say_what_became_of_the_masks():
    model = training_model().eval()
    pixels, labels = clips(frames=3)
    labels[:, 2] = 0
    with torch.no_grad():
        output = model(pixels, labels, evaluation_plan("mask"))
        model.mask_decoder.pred_obj_score_head.proj_out.bias.data.fill_(-500.0)
        nothing = model(pixels, labels, evaluation_plan("mask"))
    assert (output.mask_ious[:, :, 0] > 0.9).all()  # as given
    assert output.visibility_correct.tolist() == [[[1, 1, 0], [1, 1, 0]]]
    assert nothing.visibility_correct.tolist() == [[[1, 0, 1], [1, 0, 1]]]
    assert nothing.mask_ious[0, :, 1:].tolist() == [[0, 1], [0, 1]]  # absent, and rightly without a mask


def test_every_plan_for_two_frames_teaches_something():
    model = training_model()
    model.interaction = Interaction(mask=1.0, click=0.0)
    pixels, labels = clips(frames=2)
    for seed in range(5):
        torch.manual_seed(seed)
        model(pixels, labels).loss.backward()


def test_a_plan_that_leaves_nothing_to_learn_is_refused():
    model, plan = training_model(), InteractionPlan({0: "mask", 1: "mask"}, {})
    with pytest.raises(ValueError, match="plan gives the masks of all 2 frames"):
        model(*clips(frames=2), plan)
    assert float(model.eval()(*clips(frames=2), plan).loss) == 0  # it can be measured, though


def test_loss_weights_are_those_given():
    model = training_model().eval()
    plan = InteractionPlan({0: "click"}, {}, where="centre")
    with torch.no_grad():
        terms = model(*clips(), plan).loss_terms
        model.loss_weights = LossWeights(focal=1, dice=2, iou=3, object_score=4)
        loss = model(*clips(), plan).loss
    expected = terms["focal"] + 2 * terms["dice"] + 3 * terms["iou"] + 4 * terms["object_score"]
    torch.testing.assert_close(loss, expected)


def test_training_draws_a_plan_and_evaluation_does_not():
    model = training_model()
    model.interaction = Interaction(mask=0.0, click=1.0, corrections=2)
    torch.manual_seed(1)
    first = model._plan(4)
    torch.manual_seed(1)
    assert model._plan(4) == first
    assert {frozenset(model._plan(4).first_frames.values()) for _ in range(10)} == {frozenset({"click"})}
    assert model.eval()._plan(4) == evaluation_plan()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_trains(dtype):
    """With trained weights: random ones put the next click elsewhere after the smallest rounding error."""
    name = bundled_checkpoint()
    config = Sam2VideoConfig.from_pretrained(name).with_image_size(128)
    model = Sam2VideoForTraining.from_pretrained(name, config=config, dtype=torch.float32).eval()  # without dropout
    plan = InteractionPlan({0: "click"}, {0: (False,)}, where="centre")
    video = ClipDataset(SyntheticVideos(1, split="test"), ClipSampling(num_frames=2, max_objects=1))
    batch = ClipCollator(Sam2ImageProcessor(size=128))([video[0]])
    with torch.no_grad():
        full = model(**batch, plan=plan)
    with torch.autocast("cpu", dtype=dtype):
        half = model(**batch, plan=plan)
    half.loss.backward()
    assert half.loss.dtype == torch.float32
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    # bfloat16 has eight bits. The difference is below 1 %, with the instruction sets of older processors as well.
    torch.testing.assert_close(half.loss, full.loss, rtol=0.1, atol=0)
    assert (half.mask_ious - full.mask_ious).abs().max() < 0.05


def test_what_is_saved_is_a_video_model(tmp_path):
    model = training_model()
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["Sam2VideoModel"]
    for kind in (Sam2VideoModel, Sam2VideoForTraining):
        loaded = kind.from_pretrained(tmp_path)
        for name, tensor in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], tensor)


@pytest.mark.parametrize(
    ("pixels", "labels", "message"),
    [
        ((4, 3, SIZE, SIZE), (4, 2, SIZE, SIZE), "pixel_values must be clips"),
        ((1, 4, 3, SIZE, SIZE), (1, 3, 2, SIZE, SIZE), r"labels must be .* here \(1, 4, objects, 64, 64\)"),
        ((1, 4, 3, SIZE, SIZE), (1, 4, 2, 32, 32), r"got \(1, 4, 2, 32, 32\)"),
        ((1, 4, 3, SIZE, SIZE), (1, 4, 0, SIZE, SIZE), "labels must be"),
    ],
)
def test_names_what_does_not_fit(pixels, labels, message):
    with pytest.raises(ValueError, match=message):
        training_model()(torch.zeros(pixels), torch.zeros(labels))
