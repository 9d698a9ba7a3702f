from __future__ import annotations

import pytest
import torch
from tiny import tiny_config

from sam2_hf.network.losses import IGNORED_LABEL, LossWeights
from sam2_hf.training.models.clip_model import Sam2VideoForTraining
from sam2_hf.training.models.initialisation import initialise
from sam2_hf.training.models.pixel_affinity import (
    PixelAffinityForTraining,
    draw_objects,
    draw_seeds,
    shrink_labels,
)

SIZE = 64


def two_objects(count=2):
    """Images of one frame with a bright object on the left and a dark one on the right, and their labels."""
    pixels = torch.zeros(count, 1, 3, SIZE, SIZE)
    labels = torch.zeros(count, 1, 2, SIZE, SIZE, dtype=torch.int8)
    for row in range(count):
        top = 4 + 8 * row
        pixels[row, ..., top : top + 24, 4:24], labels[row, :, 0, top : top + 24, 4:24] = 1.0, 1
        pixels[row, ..., top : top + 24, 36:60], labels[row, :, 1, top : top + 24, 36:60] = -1.0, 1
    return pixels, labels


@pytest.fixture
def learner():
    torch.manual_seed(0)
    model = Sam2VideoForTraining(tiny_config(video=True, image_size=SIZE))
    initialise(model)
    return PixelAffinityForTraining(model, num_seeds=16).train()


class TestSeeds:
    def test_lie_on_the_objects_whose_rows_they_give(self):
        labels = (torch.rand(3, 4, 6, 8, generator=torch.Generator().manual_seed(0)) > 0.7).to(torch.int8)
        labels[1, 2] = IGNORED_LABEL
        objects, positions = draw_seeds(labels, 200)
        assert objects.shape == positions.shape == (3, 200)
        for row in range(3):
            assert (labels[row].flatten(1)[objects[row], positions[row]] == 1).all()
        assert 2 not in objects[1]

    def test_take_small_objects_as_often_as_large_ones(self):
        labels = torch.zeros(1, 2, 16, 16, dtype=torch.int8)
        labels[0, 0, :15], labels[0, 1, 15, :2] = 1, 1
        torch.manual_seed(0)
        objects, _ = draw_seeds(labels, 2000)
        assert abs(objects.float().mean() - 0.5) < 0.05

    def test_come_where_no_object_is_left_at_this_size(self):
        objects, positions = draw_seeds(torch.zeros(2, 3, 4, 4, dtype=torch.int8), 5)
        assert objects.max() < 3 and positions.max() < 16


class TestShrunkLabels:
    def test_a_position_belongs_to_what_covers_half_of_it(self):
        labels = torch.zeros(1, 3, 8, 8, dtype=torch.int8)
        labels[0, 0, :4, :2] = 1  # half of a position
        labels[0, 1, :4, :5] = 1  # one position, and a quarter of the next
        labels[0, 2, 5:7, 5:7] = 1  # the centre of a position
        small = shrink_labels(labels, (2, 2))
        assert small.tolist() == [[[[1, 0], [0, 0]], [[1, 0], [0, 0]], [[0, 0], [0, 0]]]]

    def test_do_not_move(self):
        """A mirrored object shrinks to the mirror image, wherever it lies."""
        for left in range(16):
            labels = torch.zeros(1, 1, 32, 32, dtype=torch.int8)
            labels[..., 7:22, left : left + 15] = 1
            small, mirrored = (shrink_labels(x, (8, 8)) for x in (labels, labels.flip(-1)))
            assert torch.equal(small, mirrored.flip(-1))

    def test_stay_unknown(self):
        labels = torch.full((1, 2, 8, 8), IGNORED_LABEL, dtype=torch.int8)
        labels[0, 1, :, :4] = 1
        small = shrink_labels(labels, (2, 2))
        assert (small[0, 0] == IGNORED_LABEL).all()
        assert small[0, 1].tolist() == [[1, IGNORED_LABEL]] * 2


def test_recomputing_changes_no_gradient(learner):
    pixels, labels = two_objects()
    learner.clicked_objects, gradients = 2, []
    torch.nn.init.normal_(learner.head[-1].weight)
    names = ("activation_checkpointing_enable", "gradient_checkpointing_enable")
    assert [hasattr(learner, name) for name in names] == [hasattr(learner.model, name) for name in names]
    for _ in range(2):
        learner.zero_grad()
        torch.manual_seed(0)
        learner(pixels, labels).loss.backward()
        gradients.append({name: p.grad.clone() for name, p in learner.named_parameters() if p.grad is not None})
        getattr(learner, names[0], learner.gradient_checkpointing_enable)()  # as `Trainer` does
    assert learner.model.gradient_checkpointing
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6)


def test_learns_which_places_belong_together(learner):
    pixels, labels = two_objects()
    optimizer = torch.optim.AdamW(learner.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = learner(pixels, labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.4 * losses[0]


def test_leaves_an_encoder_in_peace_until_its_questions_mean_something(learner):
    pixels, labels = two_objects()
    learner(pixels, labels).loss.backward()
    assert all(p.grad is None or not p.grad.any() for p in learner.model.parameters())
    assert learner.head[-1].weight.grad.any()


def test_teaches_the_image_encoder_and_the_upsampling_layers_alone(learner):
    pixels, labels = two_objects()
    torch.nn.init.normal_(learner.head[-1].weight)
    learner(pixels, labels).loss.backward()
    trained = {name for name, p in learner.model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    parts = {
        ".".join(name.split(".")[:2]) if name.startswith("mask_decoder") else name.split(".")[0] for name in trained
    }
    upsampling = ("conv_s0", "conv_s1", "upscale_conv1", "upscale_conv2", "upscale_layer_norm")
    assert parts == {"vision_encoder", "no_memory_embedding", *(f"mask_decoder.{name}" for name in upsampling)}


def test_says_what_the_loss_is_made_of(learner):
    pixels, labels = two_objects()
    learner.model.loss_weights = LossWeights(focal=3.0, dice=2.0)
    result = learner(pixels, labels)
    assert set(result.loss_terms) == {"focal", "dice"}
    torch.testing.assert_close(result.loss, 3 * result.loss_terms["focal"] + 2 * result.loss_terms["dice"])


class TestClicksBesideIt:
    def test_add_their_loss_and_teach_the_whole_model(self, learner):
        pixels, labels = two_objects()
        learner.clicked_objects = 2
        torch.manual_seed(0)
        both = learner(pixels, labels)
        assert set(both.loss_terms) == {"focal", "dice", "iou", "object_score", "pixel_affinity"}
        learner.clicked_objects = 0
        torch.manual_seed(0)
        alone = learner(pixels, labels).loss
        torch.testing.assert_close(both.loss_terms["pixel_affinity"], alone.detach())
        names = set(both.loss_terms) - {"pixel_affinity"}
        clicks = sum(getattr(learner.model.loss_weights, name) * both.loss_terms[name] for name in names)
        torch.testing.assert_close(both.loss.detach(), alone.detach() + clicks)
        both.loss.backward()
        assert learner.model.mask_decoder.iou_prediction_head.proj_in.weight.grad.abs().sum() > 0

    def test_are_the_same_as_without_it(self, learner):
        pixels, labels = two_objects()
        model = learner.model.eval()
        with torch.no_grad():
            encoded = model.encode_frame(pixels.flatten(0, 1))
            torch.testing.assert_close(model(pixels, labels, encoded=encoded).loss, model(pixels, labels).loss)

    def test_go_to_different_objects_every_time(self):
        labels = torch.zeros(2, 3, 4, 2, 2, dtype=torch.int8)
        labels[0] += torch.arange(1, 5, dtype=torch.int8)[:, None, None]
        labels[1, :, 2:] = IGNORED_LABEL
        drawn = [draw_objects(labels, 2) for _ in range(30)]
        assert all(objects.shape == (2, 3, 2, 2, 2) for objects in drawn)
        pairs = {tuple(objects[0, 0, :, 0, 0].tolist()) for objects in drawn}
        assert len(pairs) == 6  # all there are, each in order
        assert all((objects[1] == 0).all() for objects in drawn)  # never a padding object
        assert torch.equal(draw_objects(labels, 9), labels)


def test_unknown_pixels_do_not_count(learner):
    pixels, labels = two_objects(1)
    labels = labels[:, :, :1]
    learner(pixels, labels.masked_fill(labels == 0, IGNORED_LABEL)).loss.backward()
    assert learner.head[-1].bias.grad[-1] < 0  # all that is known belongs to the object: more is better
    learner.zero_grad()
    learner(pixels, labels).loss.backward()
    assert learner.head[-1].bias.grad[-1] > 0  # and less is better where most of the image is known not to
