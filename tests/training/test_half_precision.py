"""Training in half precision, by autocast and with half-precision weights, compared with float32 on trained weights."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from sam2_hf import Sam2Config, Sam2ImageProcessor, Sam2Model, Sam2VideoConfig, bundled_checkpoint
from sam2_hf.training import (
    ClipCollator,
    ClipDataset,
    ClipSampling,
    ImageCollator,
    Sam2VideoForTraining,
    SyntheticVideos,
)
from sam2_hf.training.models.pixel_affinity import PixelAffinityForTraining
from sam2_hf.training.prompting.interaction import InteractionPlan

# A box has one mask: of the several of a click, rounding may choose another one to learn from.
PLAN = InteractionPlan({0: "box"}, {}, where="centre")
IMAGES = Sam2ImageProcessor(size=128)


def load(kind, dtype=torch.float32):
    config = (Sam2Config if kind is Sam2Model else Sam2VideoConfig).from_pretrained(bundled_checkpoint())
    return kind.from_pretrained(bundled_checkpoint(), config=config.with_image_size(128), dtype=dtype).eval()


def example(num_frames):
    return ClipDataset(SyntheticVideos(1, split="test"), ClipSampling(num_frames, 1))[0]


def image_batch():
    torch.manual_seed(0)
    return ImageCollator(IMAGES, box=1.0)([example(1)])


def clip_batch():
    return {**ClipCollator(IMAGES)([example(2)]), "plan": PLAN}


CASES = {"images": (Sam2Model, image_batch), "clips": (Sam2VideoForTraining, clip_batch)}


@pytest.mark.parametrize(
    ("weights", "dtype"), [("float32", torch.bfloat16), ("float32", torch.float16), ("half", torch.bfloat16)]
)
@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_are_those_of_float32(case, weights, dtype):
    kind, batch_of = CASES[case]
    batch = batch_of()
    full = load(kind)
    expected = full(**batch).loss
    expected.backward()
    model = load(kind, dtype if weights == "half" else torch.float32)
    if weights == "half":
        batch["pixel_values"] = batch["pixel_values"].to(dtype)
    with torch.autocast("cpu", dtype=dtype, enabled=weights != "half"):
        loss = model(**batch).loss
    loss.backward()
    assert loss.dtype == torch.float32
    # bfloat16 has eight bits: the loss differs by up to 2 %, depending on the processor.
    torch.testing.assert_close(loss, expected, rtol=0.2, atol=0)
    wanted = {name: p.grad for name, p in full.named_parameters() if p.grad is not None}
    found = {name: p.grad.float() for name, p in model.named_parameters() if p.grad is not None}
    # The bias of keys has no effect, and so no gradient where the faster form of attention leaves it out.
    assert all(name.endswith("k_proj.bias") for name in found.keys() ^ wanted.keys())
    assert all(torch.isfinite(grad).all() for grad in found.values())
    names = sorted(wanted.keys() & found.keys())
    one, other = (torch.cat([grads[name].flatten().double() for name in names]) for grads in (found, wanted))
    assert float(torch.cosine_similarity(one, other, dim=0)) > 0.9


def test_pixel_affinity_pretraining_runs_under_autocast():
    torch.manual_seed(0)
    learner = PixelAffinityForTraining(load(Sam2VideoForTraining), num_seeds=8)
    torch.nn.init.normal_(learner.head[-1].weight, std=0.1)
    batch, losses = ClipCollator(IMAGES)([example(1)]), []
    for context in (nullcontext(), torch.autocast("cpu", dtype=torch.bfloat16)):
        torch.manual_seed(1)
        with context:
            losses.append(learner(**batch).loss)
    losses[1].backward()
    torch.testing.assert_close(losses[1], losses[0], rtol=0.2, atol=0)
    assert all(torch.isfinite(p.grad).all() for p in learner.parameters() if p.grad is not None)
