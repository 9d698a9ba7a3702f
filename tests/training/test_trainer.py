from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import tiny_config
from transformers import EvalPrediction, Trainer, TrainingArguments

from sam2_hf import Sam2ImageProcessor, Sam2Model, Sam2VideoModel
from sam2_hf.network.losses import IGNORED_LABEL
from sam2_hf.training.data.collation import ClipCollator, ImageCollator
from sam2_hf.training.data.sampling import ClipDataset, ClipSampling
from sam2_hf.training.loop.trainer import Sam2Trainer, clip_metrics
from sam2_hf.training.models.clip_model import Sam2VideoForTraining
from sam2_hf.training.models.initialisation import initialise
from sam2_hf.training.prompting.interaction import Interaction, evaluation_plan
from sam2_hf.training.synthetic.world import SyntheticVideos

pytest.importorskip("accelerate")

SIZE = 64
PROCESSOR = Sam2ImageProcessor(size=SIZE)


def world(count=64, split="train", **settings):
    return SyntheticVideos(count, split=split, size=(SIZE, SIZE), objects=(1, 3), **settings)


def video_model(seed=0, **interaction):
    torch.manual_seed(seed)
    model = Sam2VideoForTraining(tiny_config(video=True, image_size=SIZE), Interaction(**interaction))
    initialise(model)
    return model


def arguments(folder, **settings):
    defaults = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 2,
        "max_steps": 4,
        "logging_steps": 1,
        "learning_rate": 1e-3,
        "remove_unused_columns": False,
        "label_names": ["labels"],
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "save_strategy": "no",
    }
    return TrainingArguments(**{**defaults, **settings})


def clip_trainer(folder, model=None, kind=Sam2Trainer, sampling=None, **settings):
    own = {
        name: settings.pop(name) for name in ("learning_rates", "eval_dataset", "compute_metrics") if name in settings
    }
    return kind(
        model=model or video_model(corrections=1),
        args=arguments(folder, **settings),
        data_collator=ClipCollator(PROCESSOR, num_objects=2),
        train_dataset=ClipDataset(world(), sampling or ClipSampling(3, 2)),
        **own,
    )


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def assert_same_weights(one, other):
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=0, atol=0)


def losses(trainer):
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_a_short_training_teaches_something(tmp_path):
    """Two dozen seconds of the real thing: the loss falls, masks get better, and the checkpoint is a model."""
    model = video_model(corrections=0, max_first_frames=1)
    data = ClipDataset(world(400, moving=False), ClipSampling(1, 2))
    trainer = Sam2Trainer(
        model=model,
        args=arguments(tmp_path, max_steps=60, per_device_train_batch_size=6, learning_rate=3e-3),
        data_collator=ClipCollator(PROCESSOR),
        train_dataset=data,
    )
    trainer.train()
    history = losses(trainer)
    assert np.mean(history[-10:]) < 0.6 * np.mean(history[:5])
    trainer.save_model(tmp_path / "done")
    loaded = Sam2VideoModel.from_pretrained(tmp_path / "done")
    assert_same_weights(weights(model), weights(loaded))


@pytest.mark.parametrize("kind", [Trainer, Sam2Trainer])
def test_the_plain_trainer_trains_clips_too(tmp_path, kind):
    trainer = clip_trainer(tmp_path, kind=kind, max_steps=2)
    before = weights(trainer.model)
    trainer.train()
    changed = {name for name, tensor in weights(trainer.model).items() if not torch.equal(tensor, before[name])}
    assert {"vision_encoder", "mask_decoder"} <= {name.split(".")[0] for name in changed}
    assert len(losses(trainer)) == 2


def test_the_log_holds_the_terms_of_the_loss(tmp_path):
    trainer = clip_trainer(tmp_path, max_steps=4, logging_steps=2)
    trainer.train()
    entries = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(entries) == 2
    for entry in entries:
        weighted = 20 * entry["loss_focal"] + entry["loss_dice"] + entry["loss_iou"] + entry["loss_object_score"]
        assert entry["loss"] == pytest.approx(weighted, rel=0.01)


def test_parts_can_learn_at_a_rate_of_their_own(tmp_path):
    trainer = clip_trainer(tmp_path, learning_rates={"vision_encoder": 0.0, "mask_decoder.transformer": 1e-4})
    before = weights(trainer.model)
    trainer.train()
    after = weights(trainer.model)
    for name, tensor in before.items():
        if name.startswith("vision_encoder"):
            assert torch.equal(after[name], tensor)
    assert any(not torch.equal(after[name], tensor) for name, tensor in before.items() if "mask_decoder" in name)
    with pytest.raises(ValueError, match="learning_rates names 'trunk'"):
        clip_trainer(tmp_path, learning_rates={"trunk": 1.0}).create_optimizer()


def test_an_interrupted_training_continues_as_if_it_had_not_been(tmp_path):
    whole = clip_trainer(tmp_path / "whole", max_steps=4)
    whole.train()
    first = clip_trainer(tmp_path / "parts", max_steps=4, save_strategy="steps", save_steps=2)
    first.train()
    second = clip_trainer(tmp_path / "parts", video_model(seed=7, corrections=1), max_steps=4)
    second.train(resume_from_checkpoint=str(tmp_path / "parts" / "checkpoint-2"))
    # Not bit for bit: rounding depends on where tensors lie in memory.
    assert losses(second) == pytest.approx(losses(whole), rel=1e-4)
    batch = second.data_collator([second.train_dataset[60]])
    with torch.no_grad():
        expected, got = (trainer.model.eval()(**batch).loss for trainer in (whole, second))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=0)


def test_accumulated_steps_are_one_step_of_a_larger_batch(tmp_path):
    """Clips of one kind, so that the mean over a batch is the mean of the means of its halves."""
    settings = {"max_steps": 1, "learning_rate": 1e-2, "optim": "sgd", "lr_scheduler_type": "constant", "seed": 3}
    plan = evaluation_plan("click")

    def trained(**more):
        model = video_model()
        for part in model.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
        for layer in model.memory_attention.layers:
            layer.self_attn.dropout = layer.cross_attn_image.dropout = 0.0
        model._plan = lambda num_frames: plan
        trainer = clip_trainer(tmp_path, model, max_grad_norm=0.0, **settings, **more)
        trainer.train_dataset = ClipDataset(
            SyntheticVideos(4, size=(SIZE, SIZE), objects=(1, 1)), ClipSampling(2, 1), seed=1
        )
        trainer.train()
        return weights(model)

    together = trained(per_device_train_batch_size=4)
    in_two = trained(per_device_train_batch_size=2, gradient_accumulation_steps=2)
    for name, tensor in together.items():
        torch.testing.assert_close(in_two[name], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings", [{"bf16": True}, {"gradient_checkpointing": True}])
def test_trains_in_half_precision_and_with_recomputed_frames(tmp_path, settings):
    trainer = clip_trainer(tmp_path, max_steps=2, **settings)
    trainer.train()
    assert all(np.isfinite(loss) for loss in losses(trainer))
    assert trainer.model.gradient_checkpointing == settings.get("gradient_checkpointing", False)


def test_evaluation_measures_what_tracking_would_do(tmp_path):
    model = video_model(corrections=0)
    data = ClipDataset(world(3, split="test"), ClipSampling(3, 2), seed=0)
    trainer = clip_trainer(
        tmp_path, model, eval_dataset=data, compute_metrics=clip_metrics, per_device_eval_batch_size=2
    )
    first, second = trainer.evaluate(), trainer.evaluate()
    for name in ("eval_loss", "eval_mean_iou", "eval_visibility"):
        assert first[name] == second[name]
    with torch.no_grad():
        batches = [ClipCollator(PROCESSOR, 2)([data[i] for i in rows]) for rows in ((0, 1), (2,))]
        outputs = [model(**batch) for batch in batches]
    ious = torch.cat([output.mask_ious for output in outputs])
    assert first["eval_mean_iou"] == pytest.approx(float(ious[ious != IGNORED_LABEL].mean()), rel=1e-5)


def test_metrics_leave_out_padding_objects():
    ious = np.array([[[1.0, 0.5], [IGNORED_LABEL, IGNORED_LABEL]]])
    right = np.array([[[1.0, 0.0], [IGNORED_LABEL, IGNORED_LABEL]]])
    assert clip_metrics(EvalPrediction(({}, ious, right), None)) == {"mean_iou": 0.75, "visibility": 0.5}


def test_a_model_that_tracks_names_the_one_that_trains(tmp_path):
    """Clips and labels given to `Sam2VideoModel`, as a plain `Trainer` does."""
    model = Sam2VideoModel(tiny_config(video=True, image_size=SIZE))
    trainer = clip_trainer(tmp_path, model, Trainer)
    with pytest.raises(TypeError, match=r"'pixel_values', 'labels', .*sam2_hf\.training\.Sam2VideoForTraining"):
        trainer.train()


class TestImageModel:
    def trainer(self, folder, **settings):
        torch.manual_seed(0)
        model = Sam2Model(tiny_config(image_size=SIZE))
        initialise(model)
        data = ClipDataset(world(40, moving=False), ClipSampling(1, 2))
        return Trainer(
            model=model,
            args=arguments(folder, **settings),
            data_collator=ImageCollator(PROCESSOR),
            train_dataset=data,
            eval_dataset=ClipDataset(world(3, split="test", moving=False), ClipSampling(1, 2), seed=0),
        )

    def test_the_plain_trainer_trains_and_evaluates_it(self, tmp_path):
        trainer = self.trainer(tmp_path, max_steps=3)
        before = weights(trainer.model)
        trainer.train()
        changed = {
            name.split(".")[0] for name, new in weights(trainer.model).items() if not torch.equal(new, before[name])
        }
        assert {"vision_encoder", "mask_decoder", "prompt_encoder"} <= changed
        assert np.isfinite(trainer.evaluate()["eval_loss"])

    def test_features_are_not_collected_in_evaluation(self, tmp_path):
        trainer = self.trainer(tmp_path)
        batch = ImageCollator(PROCESSOR)([trainer.eval_dataset[0]])
        _, collected, _ = trainer.prediction_step(trainer.model.eval(), batch, prediction_loss_only=False)
        assert [tensor.ndim for tensor in collected] == [3, 5, 3]

    def test_labels_give_the_loss_of_the_papers(self):
        from sam2_hf.network.losses import segmentation_loss

        torch.manual_seed(0)
        model = Sam2Model(tiny_config(image_size=SIZE)).eval()
        batch = ImageCollator(PROCESSOR)([ClipDataset(world(9, moving=False), ClipSampling(1, 2))[2]])
        output = model(**batch)
        expected = segmentation_loss(
            output.pred_masks, output.iou_scores, output.object_score_logits, batch["labels"]
        ).total
        torch.testing.assert_close(output.loss, expected)
        assert output[0] is output.loss
        assert model(**{**batch, "labels": None}).loss is None
        with pytest.raises(ValueError, match=r"labels must hold a mask for each prompt, .* got \(1, 64, 64\)"):
            model(**{**batch, "labels": batch["labels"][:, 0]})
