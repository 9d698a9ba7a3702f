"""The published checkpoints, from the Hub. Run with `-m hub`; downloads up to 900 MB a checkpoint."""

from __future__ import annotations

import io
from functools import cache

import pytest
import requests
import torch
from huggingface_hub import hf_hub_download
from PIL import Image
from safetensors.torch import load_file

from sam2_hf.configuration_sam2 import PRESETS, Sam2VideoConfig
from sam2_hf.hub.conversion import convert_state_dict, read_checkpoint, recognise_variant
from sam2_hf.modeling_sam2 import Sam2Model
from sam2_hf.modeling_sam2_video import Sam2VideoModel
from sam2_hf.processing_sam2 import Sam2Processor

pytestmark = pytest.mark.hub

CAR = "https://huggingface.co/ybelkada/segment-anything/resolve/main/assets/car.png"
CLICK = [[[[1000, 600]]]]

# The IoU scores that transformers' own tests expect of the three masks.
IOU_SCORES = {
    "sam2.1-hiera-tiny": (0.0316, 0.9647, 0.1029),
    "sam2.1-hiera-small": (0.9664, 0.1494, 0.0456),
    "sam2.1-hiera-base-plus": (0.0361, 0.9775, 0.1307),
    "sam2.1-hiera-large": (0.9648, 0.0371, 0.1898),
    "sam2-hiera-tiny": (0.0439, 0.9567, 0.1415),
    "sam2-hiera-small": (0.9593, 0.1633, 0.0392),
    "sam2-hiera-base-plus": (0.0423, 0.9815, 0.0897),
    "sam2-hiera-large": (0.9514, 0.0535, 0.1787),
}


@cache
def car() -> Image.Image:
    response = requests.get(CAR, timeout=60)
    response.raise_for_status()
    return Image.open(io.BytesIO(response.content)).convert("RGB")


def test_every_preset_has_its_scores() -> None:
    assert set(IOU_SCORES) == set(PRESETS)


@pytest.mark.parametrize("preset", sorted(IOU_SCORES))
def test_a_click_on_the_car_scores_as_it_does_in_transformers(preset: str) -> None:
    processor = Sam2Processor.from_pretrained(f"facebook/{preset}")
    model = Sam2Model.from_pretrained(f"facebook/{preset}").eval()
    inputs = processor(images=car(), input_points=CLICK, input_labels=[[[1]]], return_tensors="pt")
    with torch.inference_mode():
        scores = model(**inputs).iou_scores[0, 0]
    torch.testing.assert_close(scores, torch.tensor(IOU_SCORES[preset]), atol=1e-2, rtol=0)


@pytest.mark.parametrize("preset", sorted(IOU_SCORES))
def test_the_original_checkpoint_converts_to_the_published_one(preset: str) -> None:
    version, size = preset.split("-hiera-")
    original = hf_hub_download(f"facebook/{preset}", f"{version}_hiera_{size.replace('-', '_')}.pt")
    published = load_file(hf_hub_download(f"facebook/{preset}", "model.safetensors"))
    state = read_checkpoint(original)
    assert recognise_variant(state) == preset
    converted = convert_state_dict(state)
    assert converted.keys() == published.keys()
    assert [name for name, tensor in published.items() if not torch.equal(converted[name], tensor)] == []


@pytest.mark.parametrize("preset", sorted(IOU_SCORES))
def test_the_preset_is_the_published_configuration(preset: str) -> None:
    published = Sam2VideoConfig.from_pretrained(f"facebook/{preset}")
    ours = Sam2VideoConfig.from_preset(preset)
    with torch.device("meta"):
        expected, given = Sam2VideoModel(published).state_dict(), Sam2VideoModel(ours).state_dict()
    assert {name: tensor.shape for name, tensor in given.items()} == {
        name: tensor.shape for name, tensor in expected.items()
    }
    trunk, published_trunk = (config.vision_config.backbone_config for config in (ours, published))
    for field in ("global_attention_blocks", "window_size_per_stage", "num_attention_heads_per_stage"):
        assert getattr(trunk, field) == getattr(published_trunk, field)
