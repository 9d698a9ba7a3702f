"""`Sam2ImageProcessor`: the pixels of transformers' processor, its files, its labels, and its masks."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
import torch
from fresh_python import WITHOUT_PACKAGE, run_fresh
from PIL import Image
from processor_cases import GOLDENS, OLDER_LAYOUT, SIZE, ImageCase, draw, image_cases, label_map, mask_cases
from safetensors.torch import load_file

from sam2_hf.image_processing_sam2 import Sam2ImageProcessor

IMAGES = image_cases()
MASKS = mask_cases()


@pytest.fixture(scope="module")
def goldens() -> dict[str, torch.Tensor]:
    return load_file(GOLDENS / "processor.safetensors")


@pytest.fixture(scope="module")
def layouts() -> dict[str, Any]:
    return json.loads((GOLDENS / "processor_layouts.json").read_text())


def refused(message: str, error: type[Exception] = ValueError) -> Any:
    return pytest.raises(error, match="^" + re.escape(message))


def assert_within_a_grey_level(actual: torch.Tensor, expected: torch.Tensor, case: ImageCase) -> None:
    """Kernels for bytes differ by processor, and round otherwise: a level here and there, no shift of all.

    But torchvision cuts fractions off where it blends an alpha channel of tensors, which shifts all by half a level.
    """
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    level = 1.0
    if case.settings.get("do_rescale", True):
        level /= 255
    if case.settings.get("do_normalize", True):
        level /= min(case.settings.get("image_std", (0.229, 0.224, 0.225)))
    error = (actual.double() - expected.double()).abs() / level
    has_alpha = isinstance(case.images, torch.Tensor) and len(case.images) == 4
    assert error.max() < 1.01 and error.mean() < (0.6 if has_alpha else 0.1)


@pytest.mark.parametrize("name", IMAGES)
def test_pixels_are_those_of_transformers(name, goldens):
    case = IMAGES[name]
    actual = Sam2ImageProcessor()(case.images, return_tensors="pt", **case.settings).pixel_values
    assert_within_a_grey_level(actual, goldens[f"image/{name}"], case)


@pytest.mark.peers
@pytest.mark.parametrize("name", IMAGES)
def test_pixels_are_those_of_transformers_now(name):
    pytest.importorskip("torchvision")
    from transformers import Sam2ImageProcessor as Theirs

    case = IMAGES[name]
    ours, theirs = (kind()(case.images, return_tensors="pt", **case.settings) for kind in (Sam2ImageProcessor, Theirs))
    assert_within_a_grey_level(ours.pixel_values, theirs.pixel_values, case)
    assert torch.equal(ours.original_sizes, theirs.original_sizes)


@pytest.mark.peers
@pytest.mark.parametrize("size", [(640, 480), (333, 1001), (1024, 1024)])
def test_a_photo_sized_image_differs_by_rounding_alone(size):
    pytest.importorskip("torchvision")
    from transformers import Sam2ImageProcessor as Theirs

    case = ImageCase(Image.fromarray(draw(*size)), {})
    ours, theirs = (kind()(case.images, return_tensors="pt").pixel_values for kind in (Sam2ImageProcessor, Theirs))
    assert_within_a_grey_level(ours, theirs, case)


@pytest.mark.parametrize("name", MASKS)
def test_masks_are_those_of_transformers(name, goldens):
    restored = Sam2ImageProcessor().post_process_masks(**MASKS[name])
    for index, masks in enumerate(restored):
        expected = goldens[f"mask/{name}/{index}"]
        if masks.dtype == torch.bool:
            assert torch.equal(masks, expected)
        else:
            torch.testing.assert_close(masks, expected)


def test_labels_are_those_of_transformers(goldens):
    maps = label_map()
    for given in (maps, maps.astype(np.int64), torch.from_numpy(maps), Image.fromarray(maps), [maps], maps[None]):
        labels = Sam2ImageProcessor()(draw(), segmentation_maps=given, mask_size=SIZE, return_tensors="pt").labels
        assert labels.dtype == torch.int64 and torch.equal(labels, goldens["labels"])


def test_every_image_needs_its_map():
    with refused("segmentation_maps must hold a map for each image: expected 2, got 1"):
        Sam2ImageProcessor()([draw(), draw()], segmentation_maps=label_map())


def test_what_comes_back():
    processor = Sam2ImageProcessor(size=(16, 24))
    images = [draw(45, 70), draw(30, 20)]
    features = processor(images, return_tensors="pt")
    assert features.pixel_values.shape == (2, 3, 16, 24) and features.pixel_values.dtype == torch.float32
    assert features["original_sizes"].tolist() == [[45, 70], [30, 20]]
    plain = processor(images)
    assert plain.original_sizes == [(45, 70), (30, 20)] and torch.equal(plain.pixel_values, features.pixel_values)
    arrays = processor(images, return_tensors="np")
    assert isinstance(arrays.pixel_values, np.ndarray) and np.array_equal(arrays.pixel_values, features.pixel_values)
    for image, pixels in zip(images, features.pixel_values, strict=True):
        assert torch.equal(processor(image, return_tensors="pt").pixel_values[0], pixels)


def test_images_that_are_not_resized_keep_their_sizes():
    processor = Sam2ImageProcessor(do_resize=False)
    images = [draw(5, 7), draw(6, 4)]
    assert [tuple(pixels.shape) for pixels in processor(images).pixel_values] == [(3, 5, 7), (3, 6, 4)]
    with refused("images of different sizes make no tensor with do_resize=False: got [(5, 7), (6, 4)]"):
        processor(images, return_tensors="pt")


def test_channels_are_kept_without_conversion():
    processor = Sam2ImageProcessor(do_convert_rgb=False, do_resize=False, do_normalize=False)
    assert processor(draw(5, 6, 4)).pixel_values.shape == (1, 4, 5, 6)
    assert processor(draw()[..., 0]).pixel_values.shape == (1, 1, 45, 70)
    with refused("image_mean must be one number or one for each of 4 channels, got 3"):
        processor(draw(5, 6, 4), do_normalize=True)
    assert processor(draw(5, 6, 4), do_normalize=True, image_mean=0.5, image_std=0.5).pixel_values.shape == (1, 4, 5, 6)


@pytest.mark.gpu
def test_images_can_be_prepared_on_a_gpu():
    image = Image.fromarray(draw(300, 400))
    here, there = (Sam2ImageProcessor()(image, device=device, return_tensors="pt") for device in ("cpu", "cuda"))
    assert there.pixel_values.is_cuda
    assert_within_a_grey_level(there.pixel_values.cpu(), here.pixel_values, ImageCase(image, {}))


def test_settings_are_refused_by_name():
    with refused("unknown argument 'sise'; known are do_resize, size", TypeError):
        Sam2ImageProcessor(sise=3)
    with refused("unknown argument 'sise'", TypeError):
        Sam2ImageProcessor()(draw(), sise=3)
    with refused("do_pad=True is not supported by Sam2ImageProcessor"):
        Sam2ImageProcessor(do_pad=True)
    with refused("size must be a positive int or a pair (height, width) of them"):
        Sam2ImageProcessor(size={"longest_edge": 3})
    with refused("mask_size must be a positive int or a pair (height, width) of them"):
        Sam2ImageProcessor(mask_size=(3, 0))
    with refused("image_std must not be zero, got (0.0, 1.0, 1.0)"):
        Sam2ImageProcessor()(draw(), image_std=[0, 1, 1])
    with refused("unknown argument 'max_hole_aera'", TypeError):
        Sam2ImageProcessor().post_process_masks([torch.zeros(1, 1, 2, 2)], [(3, 3)], max_hole_aera=3)
    Sam2ImageProcessor()(draw(5, 6), disable_grouping=True, data_format="channels_first", do_pad=False)


@pytest.mark.parametrize("size", [64, (64, 64), [64, 64], {"height": 64, "width": 64}])
def test_a_size_may_be_written_in_many_ways(size):
    processor = Sam2ImageProcessor(size=size, mask_size=size)
    assert processor.size == {"height": 64, "width": 64} == processor.mask_size
    assert processor.size["height"] == processor.size.width == 64
    processor.size = size  # may also be set later
    assert processor(draw(), return_tensors="pt").pixel_values.shape == (1, 3, 64, 64)


def test_saved_files_have_transformers_fields(layouts, tmp_path):
    processor = Sam2ImageProcessor(device="cpu")
    assert json.loads(processor.to_json_string()) == layouts["image"]["processor_config.json"]["image_processor"]
    processor.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["preprocessor_config.json"]


def test_settings_survive_saving(tmp_path):
    settings = {"size": (32, 48), "mask_size": 8, "resample": 3, "image_mean": [0.1, 0.2, 0.3], "do_rescale": False}
    before = Sam2ImageProcessor(**settings)
    before.save_pretrained(tmp_path)
    after = Sam2ImageProcessor.from_pretrained(tmp_path)
    assert after.options() == before.options() and after.options().resample == 3
    assert Sam2ImageProcessor.from_json_file(tmp_path / "preprocessor_config.json").options() == before.options()
    assert Sam2ImageProcessor.from_pretrained(tmp_path, size=64).options().size == (64, 64)


@pytest.mark.parametrize("layout", ["older", "image", "video"])
def test_every_layout_of_files_is_read(layout, layouts, tmp_path):
    files = OLDER_LAYOUT if layout == "older" else layouts[layout]
    for name, fields in files.items():
        (tmp_path / name).write_text(json.dumps({**fields, "unheard_of": 1}))
    processor = Sam2ImageProcessor.from_pretrained(tmp_path)
    assert type(processor) is Sam2ImageProcessor and processor.options() == Sam2ImageProcessor().options()
    for name in files:
        if not name.startswith("video"):
            continue
        assert not hasattr(processor, "unheard_of")


@pytest.mark.peers
def test_transformers_reads_what_is_saved(tmp_path):
    pytest.importorskip("torchvision")
    from transformers import Sam2ImageProcessor as Theirs

    Sam2ImageProcessor(size=64, do_normalize=False).save_pretrained(tmp_path)
    theirs = Theirs.from_pretrained(tmp_path)
    assert theirs.size == {"height": 64, "width": 64} and not theirs.do_normalize
    assert json.loads(theirs.to_json_string()) == json.loads(
        Sam2ImageProcessor(size=64, do_normalize=False).to_json_string()
    )


def test_code_saved_with_it_needs_no_package(tmp_path):
    class Carried(Sam2ImageProcessor):
        """Registered apart, so that the class itself stays unregistered."""

    Carried.__module__, Carried.__name__ = Sam2ImageProcessor.__module__, Sam2ImageProcessor.__name__
    Carried.register_for_auto_class()
    Carried(size=48).save_pretrained(tmp_path / "carried")
    found = run_fresh(
        f"""
        {WITHOUT_PACKAGE}
        import json
        import numpy as np
        from transformers.models.auto.image_processing_auto import AutoImageProcessor  # hidden by some, for torchvision
        processor = AutoImageProcessor.from_pretrained({str(tmp_path / "carried")!r}, trust_remote_code=True)
        pixels = processor(np.zeros((5, 6, 3), dtype=np.uint8), return_tensors="pt").pixel_values
        print(json.dumps([type(processor).__module__.split(".")[0], list(pixels.shape)]))
        """,
        HF_MODULES_CACHE=str(tmp_path / "modules"),
    )
    assert found == ["transformers_modules", [1, 3, 48, 48]]
