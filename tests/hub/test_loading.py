"""Loading: whole checkpoints or an error, original files, little noise; and the model card beside what is saved."""

from __future__ import annotations

import json
import logging
import shutil

import pytest
import torch
import transformers
from fresh_python import run_fresh
from huggingface_hub.repocard import metadata_load
from official_goldens import small_config
from original_layout import small_checkpoint, to_original
from safetensors.torch import load_file, save_file
from tiny import tiny_config, tiny_image_model, tiny_video_model

from sam2_hf import (
    PRESETS,
    Sam2Config,
    Sam2Model,
    Sam2Processor,
    Sam2VideoConfig,
    Sam2VideoModel,
    Sam2VideoProcessor,
    bundled_checkpoint,
)
from sam2_hf.hub import loading

OTHER_TYPES = ["sam", "sam3", "sam3_video", "sam_hq", "edgetam", "edgetam_video", "bert"]


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("image")
    tiny_image_model(image_size=64).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def video_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("video")
    tiny_video_model(image_size=64).save_pretrained(folder)
    return folder


@pytest.fixture
def transformers_records(caplog):
    """What transformers logs, which keeps its messages from pytest otherwise."""
    transformers.utils.logging.enable_propagation()
    with caplog.at_level(logging.INFO):
        yield caplog
    transformers.utils.logging.disable_propagation()


class TestWholeCheckpoints:
    @pytest.mark.parametrize("model_class", [Sam2Model, Sam2VideoModel])
    @pytest.mark.parametrize("model_type", OTHER_TYPES)
    def test_other_models_are_refused_naming_both_types(self, model_class, model_type, image_folder, tmp_path):
        folder = shutil.copytree(image_folder, tmp_path / "other")
        saved = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**saved, "model_type": model_type}))
        expected = "'sam2_video'" if model_class is Sam2VideoModel else "'sam2' or 'sam2_video'"
        with pytest.raises(ValueError, match=f"holds a model of type '{model_type}', but .* reads {expected}"):
            model_class.from_pretrained(folder)

    def test_an_image_checkpoint_is_no_video_model(self, image_folder):
        with pytest.raises(ValueError, match="holds a model of type 'sam2', but Sam2VideoConfig reads 'sam2_video'"):
            Sam2VideoModel.from_pretrained(image_folder)

    def test_missing_memory_parts_are_an_error_and_no_table(self, video_folder, tmp_path, transformers_records):
        folder = shutil.copytree(video_folder, tmp_path / "damaged")
        tensors = load_file(folder / "model.safetensors")
        kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("memory_encoder")}
        save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
        lost = len(tensors) - len(kept)
        with pytest.raises(ValueError, match=f"lacks {lost} weights of Sam2VideoModel: memory_encoder.* and .* more"):
            Sam2VideoModel.from_pretrained(folder)
        assert "LOAD REPORT" not in transformers_records.text
        assert type(Sam2Model.from_pretrained(folder)) is Sam2Model

    def test_whoever_wants_new_weights_gets_them_with_the_table(self, video_folder, transformers_records):
        model, info = Sam2VideoModel.from_pretrained(
            video_folder, num_maskmem=3, ignore_mismatched_sizes=True, output_loading_info=True
        )
        assert [key for key, *_ in info["mismatched_keys"]] == ["memory_temporal_positional_encoding"]
        assert model.memory_temporal_positional_encoding.shape[0] == 3
        assert "LOAD REPORT" in transformers_records.text

    @pytest.mark.parametrize("model_class", [Sam2Model, Sam2VideoModel])
    def test_whole_ones_load_as_before(self, model_class, video_folder):
        model, info = model_class.from_pretrained(video_folder, output_loading_info=True)
        assert not any(info[kind] for kind in ("missing_keys", "mismatched_keys", "unexpected_keys"))
        expected = tiny_video_model(image_size=64).state_dict()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


class TestOriginalFiles:
    @pytest.mark.parametrize("loading_class", [Sam2Model, Sam2VideoModel, Sam2Processor, Sam2VideoProcessor])
    def test_a_file_that_does_not_exist_is_not_looked_for_on_the_hub(self, loading_class, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"there is no checkpoint at .*sam2.1_hiera_tiny.pt"):
            loading_class.from_pretrained(tmp_path / "sam2.1_hiera_tiny.pt")

    @pytest.mark.parametrize("name", ["model.safetensors", "model.onnx", "config.json"])
    def test_other_files_are_not_looked_for_on_the_hub(self, name, tmp_path):
        (tmp_path / name).write_bytes(b"{}")
        with pytest.raises(ValueError, match=rf"{name} is a file: expected the folder that it lies in"):
            Sam2Model.from_pretrained(tmp_path / name)

    def test_the_case_of_the_suffix_does_not_count(self, tmp_path):
        (tmp_path / "model.PT").write_bytes(b"hello")
        with pytest.raises(ValueError, match=r"model.PT is no PyTorch checkpoint"):
            Sam2VideoModel.from_pretrained(tmp_path / "model.PT")

    @pytest.fixture
    def original(self, tmp_path):
        path = tmp_path / "sam2.1_hiera_small.pt"
        torch.save({"model": small_checkpoint()}, path)
        return path

    @pytest.mark.parametrize("model_class, config_class", [(Sam2Model, Sam2Config), (Sam2VideoModel, Sam2VideoConfig)])
    def test_they_are_converted_on_the_way(self, model_class, config_class, original):
        config = small_config("sam2.1")
        if config_class is Sam2Config:
            config = Sam2Config(
                vision_config=config.vision_config,
                prompt_encoder_config=config.prompt_encoder_config.to_dict(),
                mask_decoder_config=config.mask_decoder_config.to_dict(),
            )
        model = model_class.from_pretrained(original, config=config)
        given = small_checkpoint()
        assert not model.training
        for name, tensor in to_original(model.state_dict()).items():
            assert torch.equal(tensor, given[name]), name

    def test_the_preset_is_recognised_and_fields_are_taken(self, original, monkeypatch):
        config = small_config("sam2.1").to_dict()
        monkeypatch.setattr(loading, "recognise_variant", lambda _: "small")
        asked = []

        def from_preset(cls, name, **fields):
            asked.append((name, fields))
            return cls(**{**config, **fields})

        monkeypatch.setattr(Sam2VideoConfig, "from_preset", classmethod(from_preset))
        model = Sam2VideoModel.from_pretrained(str(original), memory_policy="visible", dtype=torch.bfloat16)
        assert asked == [("small", {"memory_policy": "visible"})]
        assert model.config.memory_policy == "visible"
        assert model.dtype == torch.bfloat16

    def test_what_is_no_checkpoint_is_named(self, tmp_path):
        path = tmp_path / "notes.pt"
        path.write_text("not a checkpoint")
        with pytest.raises(ValueError, match=r"notes\.pt is no PyTorch checkpoint"):
            Sam2Model.from_pretrained(path)

    def test_a_checkpoint_without_memory_is_no_video_model(self, tmp_path):
        path = tmp_path / "image.pt"
        torch.save({n: t for n, t in small_checkpoint().items() if not n.startswith("memory_")}, path)
        with pytest.raises(ValueError, match=r"image\.pt lacks .* weights of Sam2VideoModel: memory_attention"):
            Sam2VideoModel.from_pretrained(path, config=small_config("sam2.1"))


class TestProcessors:
    @pytest.mark.parametrize("processor_class", [Sam2Processor, Sam2VideoProcessor])
    def test_presets_make_one_for_a_model_from_scratch(self, processor_class):
        processor = processor_class.from_preset("sam2.1-hiera-tiny", image_size=(256, 512))
        assert type(processor) is processor_class
        assert dict(processor.image_processor.size) == {"height": 256, "width": 512}
        assert dict(processor.image_processor.mask_size) == {"height": 64, "width": 128}
        inputs = processor(torch.zeros(3, 50, 40, dtype=torch.uint8), input_points=[[[[20, 25]]]], return_tensors="pt")
        assert inputs.pixel_values.shape == (1, 3, 256, 512)
        assert inputs.input_points.tolist() == [[[[256, 128]]]]

    def test_every_preset_has_its_published_size(self):
        for name in PRESETS:
            processor = Sam2Processor.from_preset(name)
            assert processor.target_size == 1024
            assert dict(processor.image_processor.mask_size) == {"height": 256, "width": 256}

    def test_unknown_presets_are_refused_with_the_known_ones(self):
        with pytest.raises(ValueError, match=r"unknown preset 'sam3'.*sam2\.1-hiera-tiny"):
            Sam2Processor.from_preset("sam3")

    def test_a_configuration_makes_one(self):
        processor = Sam2Processor.from_config(tiny_config(image_size=128))
        assert processor.target_size == 128
        assert dict(processor.image_processor.mask_size) == {"height": 32, "width": 32}

    @pytest.mark.parametrize("processor_class", [Sam2Processor, Sam2VideoProcessor])
    def test_an_original_file_has_that_of_the_presets(self, processor_class, tmp_path):
        path = tmp_path / "sam2.1_hiera_small.pt"
        torch.save({"model": small_checkpoint()}, path)
        processor = processor_class.from_pretrained(path)
        assert type(processor) is processor_class
        assert (
            processor.image_processor.to_dict()
            == processor_class.from_preset("sam2.1-hiera-small").image_processor.to_dict()
        )


class TestNoise:
    def test_a_quick_load_is_one_line_of_log_and_no_bar(self, video_folder):
        code = f"""
            import contextlib, io, json, logging
            from sam2_hf import Sam2VideoModel
            text = io.StringIO()
            logging.basicConfig(level=logging.INFO, stream=text)
            errors = io.StringIO()
            with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(errors):
                Sam2VideoModel.from_pretrained({str(video_folder)!r})
            print(json.dumps([text.getvalue().splitlines(), errors.getvalue()]))
        """
        lines, printed = run_fresh(code)
        assert printed == ""
        assert len([line for line in lines if "sam2_hf" in line]) == 1
        assert "Sam2VideoModel with 0." in lines[-1] and str(video_folder) in lines[-1]

    def test_a_slow_load_shows_its_bar(self, monkeypatch):
        monkeypatch.setattr(transformers.utils.logging, "_tqdm_active", True)  # whatever tests before this one set
        made = []
        with loading._late_bars():
            bar = transformers.utils.logging.tqdm([1, 2])
            made.append(bar.delay)
            bar.close()
        with transformers.utils.logging.tqdm(total=1, disable=True) as bar:
            made.append(getattr(bar, "delay", 0))
        assert made == [loading.SECONDS_WITHOUT_BARS, 0]

    def test_hooks_of_others_stay(self):
        calls = []

        def hook(factory, args, kwargs):
            calls.append(kwargs)
            return factory(*args, **kwargs)

        before = transformers.utils.logging.set_tqdm_hook(hook)
        try:
            with loading._late_bars(), loading._late_bars():
                transformers.utils.logging.tqdm([1], disable=True).close()
            assert transformers.utils.logging.set_tqdm_hook(hook) is hook
        finally:
            transformers.utils.logging.set_tqdm_hook(before)
        assert calls == [{"delay": loading.SECONDS_WITHOUT_BARS, "disable": True}]


class TestModelCard:
    @pytest.mark.parametrize("kind", ["image_folder", "video_folder"])
    def test_saving_writes_one(self, kind, request):
        folder = request.getfixturevalue(kind)
        metadata = metadata_load(folder / "README.md")
        text = (folder / "README.md").read_text()
        assert metadata["library_name"] == "transformers" and metadata["pipeline_tag"] == "mask-generation"
        assert f"# {folder.name}" in text and "$" not in text and "converted" not in text
        assert ("init_video_session" in text) == (kind == "video_folder")

    def test_one_that_is_there_stays(self, tmp_path):
        (tmp_path / "README.md").write_text("mine")
        tiny_image_model(image_size=64).save_pretrained(tmp_path)
        assert (tmp_path / "README.md").read_text() == "mine"

    def test_the_bundled_checkpoint_loads_whole(self):
        _, info = Sam2VideoModel.from_pretrained(bundled_checkpoint(), output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"]
