"""After `import sam2_hf`, transformers' Auto classes and pipeline give our classes for SAM 2, and only for SAM 2."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager

import pytest
import torch
import transformers
from fresh_python import run_fresh
from PIL import Image
from tiny import tiny_config
from tiny_checkpoint import save_tiny_checkpoint
from transformers import AutoConfig, AutoModel, AutoModelForMaskGeneration, AutoProcessor, pipeline
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.image_processing_auto import (
    AutoImageProcessor,
)  # at the top only with torchvision in 5.17
from transformers.models.auto.modeling_auto import MODEL_FOR_MASK_GENERATION_MAPPING, MODEL_MAPPING
from transformers.pipelines import PIPELINE_REGISTRY

import sam2_hf
from sam2_hf.hub.auto_classes import CLASSES, PIPELINE

MAPPINGS = (CONFIG_MAPPING, MODEL_MAPPING, MODEL_FOR_MASK_GENERATION_MAPPING)
TRANSFORMERS_IMPORTS = "from transformers import AutoModel, AutoProcessor, pipeline"
SIZE = 64


@contextmanager
def unregistered():
    """A stretch of a test without our classes registered."""
    sam2_hf.unregister()
    try:
        yield
    finally:
        sam2_hf.register()


def _state() -> list[object]:
    """All that registering changes, in a form that can be compared."""
    return [
        *(dict(getattr(mapping._extra_content, "data", mapping._extra_content)) for mapping in MAPPINGS),
        *(type(mapping._extra_content) for mapping in MAPPINGS),
        *(owner.__dict__["from_pretrained"] for owner in (AutoProcessor, AutoImageProcessor)),
        PIPELINE_REGISTRY.supported_tasks["mask-generation"],
    ]


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory):
    """A checkpoint of the model type `sam2`, as our classes save it."""
    return save_tiny_checkpoint(tmp_path_factory.mktemp("image"), SIZE)


@pytest.fixture(scope="module")
def video_folder(tmp_path_factory):
    """A checkpoint of the model type `sam2_video`."""
    return save_tiny_checkpoint(tmp_path_factory.mktemp("video"), SIZE, video=True)


@pytest.fixture(scope="module")
def older_folder(video_folder, tmp_path_factory):
    """The same with the processor's files in the older layout, and the names that transformers wrote into them."""
    folder = tmp_path_factory.mktemp("older") / "copy"
    shutil.copytree(video_folder, folder)
    nested = json.loads((video_folder / "processor_config.json").read_text())["image_processor"]
    nested.update(image_processor_type="Sam2ImageProcessorFast", processor_class="Sam2VideoProcessor")
    (folder / "preprocessor_config.json").write_text(json.dumps(nested))
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": "Sam2VideoProcessor"}))
    return folder


@pytest.fixture(scope="module")
def sam1_folder(tmp_path_factory):
    """A tiny random checkpoint of SAM 1, which is transformers' own."""
    vision = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIZE,
        "output_channels": 16,
        "window_size": 2,
        "global_attn_indexes": [1],
        "mlp_dim": 32,
        "num_pos_feats": 8,
    }
    prompts = {"hidden_size": 16, "image_size": SIZE, "image_embedding_size": SIZE // 16, "mask_input_channels": 4}
    decoder = {"hidden_size": 16, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
    torch.manual_seed(0)
    config = transformers.SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    folder = tmp_path_factory.mktemp("sam1")
    transformers.SamModel(config).save_pretrained(folder)
    pad_size = {"height": SIZE, "width": SIZE}
    image_processor = transformers.SamImageProcessor(size={"longest_edge": SIZE}, pad_size=pad_size)
    transformers.SamProcessor(image_processor).save_pretrained(folder)
    return folder


def test_image_checkpoint_gives_our_classes(image_folder):
    assert type(AutoConfig.from_pretrained(image_folder)) is sam2_hf.Sam2Config
    assert type(AutoModel.from_pretrained(image_folder)) is sam2_hf.Sam2Model
    assert type(AutoModelForMaskGeneration.from_pretrained(image_folder)) is sam2_hf.Sam2Model
    assert type(AutoProcessor.from_pretrained(image_folder)) is sam2_hf.Sam2Processor
    assert type(AutoImageProcessor.from_pretrained(image_folder)) is sam2_hf.Sam2ImageProcessor


@pytest.mark.parametrize("kind", ["video_folder", "older_folder"])
def test_video_checkpoint_gives_our_classes(kind, request):
    folder = request.getfixturevalue(kind)
    assert type(AutoConfig.from_pretrained(folder)) is sam2_hf.Sam2VideoConfig
    assert type(AutoModel.from_pretrained(folder)) is sam2_hf.Sam2VideoModel
    assert type(AutoModelForMaskGeneration.from_pretrained(folder)) is sam2_hf.Sam2Model
    assert type(AutoProcessor.from_pretrained(folder)) is sam2_hf.Sam2VideoProcessor
    assert type(AutoImageProcessor.from_pretrained(folder)) is sam2_hf.Sam2ImageProcessor


@pytest.mark.parametrize("kind", ["image_folder", "video_folder", "older_folder"])
def test_processor_carries_the_checkpoints_settings(kind, request):
    folder = request.getfixturevalue(kind)
    for processor in (
        AutoProcessor.from_pretrained(folder).image_processor,
        AutoImageProcessor.from_pretrained(folder, use_fast=True),
    ):
        assert dict(processor.size) == {"height": SIZE, "width": SIZE}


def test_the_processor_of_clips_is_ours(video_folder, tmp_path):
    from transformers.models.auto.video_processing_auto import AutoVideoProcessor

    found = AutoVideoProcessor.from_pretrained(video_folder)
    assert type(found) is sam2_hf.Sam2VideoVideoProcessor and found.size["height"] == SIZE
    AutoProcessor.from_pretrained(video_folder).save_pretrained(tmp_path)
    assert type(AutoVideoProcessor.from_pretrained(tmp_path)) is sam2_hf.Sam2VideoVideoProcessor


def test_processor_saved_alone_is_known_by_its_name(image_folder, tmp_path):
    AutoProcessor.from_pretrained(image_folder).save_pretrained(tmp_path)
    assert type(AutoProcessor.from_pretrained(tmp_path)) is sam2_hf.Sam2Processor
    assert type(AutoImageProcessor.from_pretrained(tmp_path)) is sam2_hf.Sam2ImageProcessor


@pytest.mark.parametrize("kind", ["image_folder", "video_folder", "older_folder"])
def test_pipeline_gives_our_pipeline_and_model(kind, request):
    generator = pipeline("mask-generation", model=str(request.getfixturevalue(kind)))
    assert type(generator) is sam2_hf.Sam2MaskGenerationPipeline
    assert type(generator.model) is sam2_hf.Sam2Model
    found = generator(Image.new("RGB", (40, 30), (200, 30, 30)), points_per_crop=2)
    assert set(found) >= {"masks", "scores"}


def test_config_builds_our_model():
    config = AutoConfig.for_model("sam2")
    assert type(config) is sam2_hf.Sam2Config
    assert type(AutoModel.from_config(tiny_config())) is sam2_hf.Sam2Model


def test_registered_names_are_exported():
    names = {name for classes in CLASSES.values() for name in classes.values()} | {PIPELINE[1]}
    assert names <= set(sam2_hf.__all__)


def test_unregister_gives_transformers_classes_back(image_folder, video_folder):
    with unregistered():
        assert type(AutoConfig.from_pretrained(image_folder)) is transformers.Sam2Config
        assert type(AutoConfig.from_pretrained(video_folder)) is transformers.Sam2VideoConfig
        assert type(AutoModel.from_pretrained(image_folder)) is transformers.Sam2Model
        task = PIPELINE_REGISTRY.check_task("mask-generation")[1]
        assert "Sam2" not in str(task["impl"])
    assert type(AutoModel.from_pretrained(image_folder)) is sam2_hf.Sam2Model


def test_unregister_leaves_no_trace_and_register_can_be_repeated():
    with unregistered():
        before = _state()
        sam2_hf.register()
        assert _state() != before
        sam2_hf.register()
        sam2_hf.unregister()
        assert _state() == before
        sam2_hf.unregister()
        assert _state() == before


def test_registrations_of_others_are_kept():
    class OtherConfig(transformers.PreTrainedConfig):
        model_type = "sam2"

    class LateConfig(transformers.PreTrainedConfig):
        model_type = "registered_while_ours_are"

    with unregistered():
        AutoConfig.register("sam2", OtherConfig, exist_ok=True)
        try:
            sam2_hf.register()
            AutoConfig.register(LateConfig.model_type, LateConfig)
            assert CONFIG_MAPPING["sam2"] is sam2_hf.Sam2Config
            sam2_hf.unregister()
            assert CONFIG_MAPPING["sam2"] is OtherConfig
            assert CONFIG_MAPPING[LateConfig.model_type] is LateConfig
        finally:
            CONFIG_MAPPING._extra_content.pop("sam2")
            CONFIG_MAPPING._extra_content.pop(LateConfig.model_type)


def test_transformers_own_model_stays_what_it_is(image_folder):
    config = transformers.Sam2Config(
        **{name: part for name, part in tiny_config(image_size=SIZE).to_dict().items() if name.endswith("_config")}
    )
    for model in (
        transformers.Sam2Model(config),
        AutoModel.from_config(config),
        transformers.Sam2Model.from_pretrained(image_folder),
    ):
        assert type(model) is transformers.Sam2Model
        assert not [name for name, part in model.named_modules() if type(part).__module__.startswith("sam2_hf")]


def test_sam1_stays_what_it_is(sam1_folder):
    model = AutoModel.from_pretrained(sam1_folder)
    assert type(model) is transformers.SamModel
    assert type(AutoModelForMaskGeneration.from_pretrained(sam1_folder)) is transformers.SamModel
    assert type(AutoProcessor.from_pretrained(sam1_folder)) is transformers.SamProcessor
    with unregistered():
        expected = type(AutoImageProcessor.from_pretrained(sam1_folder))
    assert type(AutoImageProcessor.from_pretrained(sam1_folder)) is expected
    inputs = AutoProcessor.from_pretrained(sam1_folder)(
        Image.new("RGB", (50, 40), (200, 30, 30)), input_points=[[[20, 20]]], return_tensors="pt"
    )
    with torch.no_grad():
        assert model(**inputs).pred_masks.shape == (1, 1, 3, SIZE // 4, SIZE // 4)


def test_sam1_gets_transformers_pipeline(sam1_folder):
    generator = pipeline("mask-generation", model=str(sam1_folder))
    assert type(generator) is transformers.MaskGenerationPipeline
    assert type(generator.model) is transformers.SamModel


@pytest.mark.peers
def test_sam1_pipeline_finds_the_same_masks_as_without_us(sam1_folder):
    image = Image.effect_noise((50, 40), 90).convert("RGB")
    everything = {"points_per_crop": 4, "pred_iou_thresh": -1e3, "stability_score_thresh": -1.0}
    found = pipeline("mask-generation", model=str(sam1_folder))(image, **everything)
    with unregistered():
        expected = pipeline("mask-generation", model=str(sam1_folder))(image, **everything)
    assert len(found["masks"]) > 0
    torch.testing.assert_close(found["scores"], expected["scores"], rtol=0, atol=0)
    assert all((a == b).all() for a, b in zip(found["masks"], expected["masks"], strict=True))


@pytest.mark.parametrize("model_type", ["edgetam", "edgetam_video"])
@pytest.mark.parametrize("auto_class", [AutoProcessor, AutoImageProcessor])
def test_other_models_that_name_the_same_processors_keep_transformers_ones(
    auto_class, model_type, image_folder, tmp_path
):
    for name in ("processor_config.json", "config.json"):
        saved = json.loads((image_folder / name).read_text())
        (tmp_path / name).write_text(
            json.dumps({**saved, "model_type": model_type} if name == "config.json" else saved)
        )

    def outcome():
        try:
            return type(auto_class.from_pretrained(tmp_path))
        except Exception as error:  # without torchvision there is none
            return type(error), str(error)

    with unregistered():
        expected = outcome()
    assert outcome() == expected


def test_missing_checkpoint_fails_as_without_us(tmp_path):
    missing = str(tmp_path / "nowhere")
    for auto_class in (AutoProcessor, AutoImageProcessor, AutoModel):
        with pytest.raises(OSError, match="nowhere"):
            auto_class.from_pretrained(missing)


@pytest.mark.parametrize(
    "imports",
    [
        f"import sam2_hf\n{TRANSFORMERS_IMPORTS}",
        f"{TRANSFORMERS_IMPORTS}\nimport sam2_hf",
        pytest.param(f"from sam2_hf import Sam2Model\n{TRANSFORMERS_IMPORTS}", marks=pytest.mark.slow),
    ],
    ids=["ours first", "transformers first", "a name of ours first"],
)
def test_order_of_imports_does_not_matter(imports, image_folder):
    found = run_fresh(
        f"""
import json
{imports}
folder = {str(image_folder)!r}
processor, generator = AutoProcessor.from_pretrained(folder), pipeline("mask-generation", model=folder)
loaded = [AutoModel.from_pretrained(folder), processor, processor.image_processor, generator]
print(json.dumps([type(part).__module__ for part in loaded]))
"""
    )
    assert found == [
        "sam2_hf.modeling_sam2",
        "sam2_hf.processing_sam2",
        "sam2_hf.image_processing_sam2",
        "sam2_hf.mask_generation.pipeline",
    ]


def test_unregister_before_transformers_is_imported(image_folder):
    found = run_fresh(
        f"""
import json
import sam2_hf
sam2_hf.unregister()
from transformers import AutoModel
print(json.dumps(type(AutoModel.from_pretrained({str(image_folder)!r})).__module__))
"""
    )
    assert found == "transformers.models.sam2.modeling_sam2"


def test_mappings_can_be_pickled_and_copied():
    import copy
    import pickle

    assert pickle.loads(pickle.dumps(CONFIG_MAPPING))["sam2"] is sam2_hf.Sam2Config
    assert copy.copy(MODEL_MAPPING)[sam2_hf.Sam2Config] is sam2_hf.Sam2Model
