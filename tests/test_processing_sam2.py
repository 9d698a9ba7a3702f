"""`Sam2Processor`: what the model gets, and the files it is loaded from."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import numpy as np
import pytest
import torch
from fresh_python import WITHOUT_PACKAGE, run_fresh
from PIL import Image
from processor_cases import GOLDENS, OLDER_LAYOUT, draw, label_map, prompt_cases, prompt_images
from safetensors.torch import load_file
from tiny import tiny_image_model
from torch.nn import functional as F

from sam2_hf.image_processing_sam2 import Sam2ImageProcessor
from sam2_hf.processing_sam2 import Sam2Processor
from sam2_hf.processing_sam2_video import Sam2VideoProcessor

PROMPTS = prompt_cases()
POINT, LABEL, BOX = [[[[10, 20]]]], [[[1]]], [[[1, 2, 60, 40]]]
MASK = np.zeros((45, 70), bool)
MASK[10:30, 20:50] = True
LAYOUTS = ["older", "image", "video"]


def processor(**settings: Any) -> Sam2Processor:
    return Sam2Processor(Sam2ImageProcessor(**{"size": 128, **settings}))


@pytest.fixture
def folders(tmp_path):
    """A folder for each layout of files that checkpoints have."""
    layouts = {"older": OLDER_LAYOUT, **json.loads((GOLDENS / "processor_layouts.json").read_text())}
    for layout, files in layouts.items():
        (tmp_path / layout).mkdir()
        for name, fields in files.items():
            (tmp_path / layout / name).write_text(json.dumps(fields))
    return tmp_path


def refused(message: str, error: type[Exception] = ValueError) -> Any:
    return pytest.raises(error, match="^" + re.escape(message))


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts_are_those_of_transformers(name):
    goldens = load_file(GOLDENS / "processor.safetensors")
    inputs = processor(size=1024)(prompt_images(), **PROMPTS[name], return_tensors="pt")
    keys = {key.split("/")[2]: key for key in goldens if key.startswith(f"prompt/{name}/")}
    assert keys
    for key, golden in keys.items():
        assert inputs[key].dtype == goldens[golden].dtype
        torch.testing.assert_close(inputs[key], goldens[golden], rtol=1e-6, atol=0)


@pytest.mark.peers
@pytest.mark.parametrize("name", PROMPTS)
def test_prompts_are_those_of_transformers_now(name):
    pytest.importorskip("torchvision")
    from transformers import Sam2ImageProcessor as TheirImageProcessor
    from transformers import Sam2Processor as Theirs

    ours = processor(size=1024)(prompt_images(), **PROMPTS[name], return_tensors="pt")
    theirs = Theirs(TheirImageProcessor())(prompt_images(), **copy.deepcopy(PROMPTS[name]), return_tensors="pt")
    for key in theirs:
        torch.testing.assert_close(ours[key], theirs[key], rtol=1e-6, atol=1e-5)
    assert set(ours) - set(theirs) <= {"input_labels"}  # points without labels get them here


def test_a_call_gives_everything_the_model_takes():
    inputs = processor()(draw(), None, POINT, LABEL, BOX, return_tensors="pt", input_masks=MASK)
    assert {name: (tuple(value.shape), value.dtype) for name, value in inputs.items()} == {
        "pixel_values": ((1, 3, 128, 128), torch.float32),
        "original_sizes": ((1, 2), torch.int64),
        "input_points": ((1, 1, 1, 2), torch.float32),
        "input_labels": ((1, 1, 1), torch.int64),
        "input_boxes": ((1, 1, 4), torch.float32),
        "input_masks": ((1, 1, 32, 32), torch.float32),
    }
    assert set(inputs) == set(processor().model_input_names)
    assert inputs.original_sizes is inputs["original_sizes"]
    assert inputs.original_sizes.tolist() == [[45, 70]]


def test_the_model_takes_what_a_call_gives():
    model, prepare = tiny_image_model(), processor()
    images = prompt_images()
    inputs = prepare(images, input_points=[[[[9, 9]], [[5, 5], [7, 7]]], [[[3, 4]]]], return_tensors="pt").to("cpu")
    with torch.no_grad():
        outputs = model(**inputs, multimask_output=False)
    masks = prepare.post_process_masks(outputs.pred_masks, inputs["original_sizes"])
    assert [tuple(mask.shape) for mask in masks] == [(2, 1, 45, 70), (2, 1, 30, 20)]
    assert masks[0].any() and not masks[1][1].any()  # the padding that makes two objects of one is no object


def test_prompts_without_an_image():
    first = processor()(draw(), input_points=POINT, return_tensors="pt")
    points, labels = [[[[10, 20], [30, 5]]]], [[[1, 0]]]
    second = processor()(
        input_points=points, input_labels=labels, original_sizes=first["original_sizes"], return_tensors="pt"
    )
    assert set(second) == {"original_sizes", "input_points", "input_labels"}
    assert torch.equal(second.original_sizes, first.original_sizes)
    assert torch.equal(second.input_points[:, :, :1], first.input_points)
    torch.testing.assert_close(second.input_points[0, 0, 1], torch.tensor([30 * 128 / 70, 5 * 128 / 45]))
    assert processor()(original_sizes=[(3, 4)]).data == {"original_sizes": [(3, 4)]}


def test_each_direction_has_its_own_scale():
    inputs = processor(size=(64, 256))(draw(45, 70), input_boxes=[[[0, 0, 70, 45]]], return_tensors="pt")
    assert inputs.pixel_values.shape[-2:] == (64, 256)
    assert inputs.input_boxes.tolist() == [[[0, 0, 256, 64]]]


def test_the_frame_of_coordinates_follows_the_size_of_the_pixels():
    corner = {"input_points": [[[[70, 45]]]], "return_tensors": "pt"}
    prepare = processor()
    assert prepare.target_size == 128
    assert prepare(draw(), **corner).input_points.tolist() == [[[[128, 128]]]]
    assert prepare(draw(), size=64, **corner).input_points.tolist() == [[[[64, 64]]]]
    assert prepare(draw(), do_resize=False, **corner).input_points.tolist() == [[[[70, 45]]]]
    prepare.image_processor.size = (32, 96)
    assert prepare.target_size == (32, 96)
    assert prepare(draw(), **corner).input_points.tolist() == [[[[96, 32]]]]
    prepare.target_size = 512
    assert prepare(draw(), **corner).input_points.tolist() == [[[[512, 512]]]]
    assert prepare(original_sizes=[(45, 70)], **corner).input_points.tolist() == [[[[512, 512]]]]


def test_a_dtype_applies_to_pixels_and_spares_coordinates():
    inputs = processor()(draw(), input_points=[[[[33.3, 20]]]], input_boxes=BOX, return_tensors="pt")
    points = inputs.input_points.clone()
    moved = inputs.to("cpu", torch.bfloat16)
    assert moved is inputs and moved.pixel_values.dtype == torch.bfloat16
    assert torch.equal(moved.input_points, points) and moved.input_boxes.dtype == torch.float32
    assert inputs.to("meta").input_points.is_meta
    assert inputs.to(dtype=torch.float16).pixel_values.dtype == torch.float16


def test_a_device_applies_to_prompts_too():
    inputs = processor()(input_points=POINT, original_sizes=[(45, 70)], device="meta", return_tensors="pt")
    assert inputs.input_points.is_meta and inputs.input_labels.is_meta and not inputs.original_sizes.is_meta


def test_arrays_on_request():
    inputs = processor()(draw(), input_points=POINT, return_tensors="np")
    assert all(isinstance(value, np.ndarray) for value in inputs.values())
    plain = processor()(draw(), input_points=POINT)
    assert plain.original_sizes == [(45, 70)] and isinstance(plain.input_points, torch.Tensor)


def test_segmentation_maps_become_labels():
    inputs = processor(mask_size=(8, 12))(draw(), label_map(), POINT, return_tensors="pt")
    assert inputs.labels.shape == (1, 8, 12)


def test_the_callers_lists_are_not_changed():
    points, labels, boxes = [[[[1, 2]], [[3, 4], [5, 6]]]], [[[1], [0, 1]]], [[[1, 2, 3, 4], None]]
    before = copy.deepcopy((points, labels, boxes))
    processor()(draw(), None, points, labels, boxes, return_tensors="pt")
    assert (points, labels, boxes) == before


def test_masks_come_back_through_the_image_processor():
    logits, sizes = torch.randn(1, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), [(20, 30)]
    prepare = processor()
    for arguments in ({}, {"binarize": False}, {"max_hole_area": 9, "max_sprinkle_area": 9, "mask_threshold": 0.2}):
        (ours,) = prepare.post_process_masks(logits, sizes, **arguments)
        assert torch.equal(ours, prepare.image_processor.post_process_masks(logits, sizes, **arguments)[0])
    assert torch.equal(prepare.post_process_masks(logits, sizes, 0.5, True)[0], logits_cut(logits[0], 0.5))


def logits_cut(stack: torch.Tensor, threshold: float) -> torch.Tensor:
    return torch.nn.functional.interpolate(stack, (20, 30), mode="bilinear", align_corners=False) > threshold


def test_calls_that_make_no_sense_are_refused():
    prepare = processor()
    with refused("images or original_sizes must be given: coordinates are in pixels of an image"):
        prepare(input_points=POINT)
    with refused("images is empty: expected at least one image"):
        prepare([], input_points=POINT)
    with refused("input_points must hold prompts for as many images as there are: expected 2, got 1"):
        prepare([draw(), draw()], input_points=POINT)
    with refused("input_boxes must hold prompts for as many images as there are: expected 1, got 2"):
        prepare(original_sizes=[(45, 70)], input_boxes=BOX * 2)
    with refused("original_sizes must be those of images where both are given: expected [(45, 70)], got [(70, 45)]"):
        prepare(draw(), original_sizes=[(70, 45)])
    assert prepare(draw(), original_sizes=[(45, 70)]).original_sizes == [(45, 70)]
    with refused(
        "original_sizes must hold (height, width) of each image, for example [(1200, 1800)]; got a size alone"
    ):
        prepare(original_sizes=(45, 70), input_points=POINT)
    with refused("segmentation_maps need images beside them"):
        prepare(segmentation_maps=label_map(), original_sizes=[(45, 70)])
    with refused("unknown argument 'input_point'", TypeError):
        prepare(draw(), input_point=POINT)
    with refused("input_points[0][0][0] lies far outside its image"):
        prepare(draw(45, 70), input_points=[[[[500, 375]]]])
    with refused("input_points must be nested 4 deep"):
        prepare(draw(), input_points=[[500, 375]])


def test_only_the_padding_that_the_model_knows():
    with refused("point_pad_value must be -10, which the model masks out, got 0"):
        Sam2Processor(Sam2ImageProcessor(), point_pad_value=0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_loads_as_classes_of_ours(layout, folders):
    loaded = Sam2Processor.from_pretrained(folders / layout)
    assert type(loaded) is Sam2Processor and type(loaded.image_processor) is Sam2ImageProcessor
    assert loaded.target_size == 1024 and loaded.image_processor.options() == Sam2ImageProcessor().options()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_size_given_when_loading_moves_the_frame_too(layout, folders):
    loaded = Sam2Processor.from_pretrained(folders / layout, size=256)
    assert loaded.target_size == 256 and loaded.image_processor.size == {"height": 256, "width": 256}
    assert Sam2Processor.from_pretrained(folders / layout, target_size=512).target_size == 512


@pytest.mark.parametrize("layout", LAYOUTS)
def test_saved_files_are_those_of_transformers(layout, folders, tmp_path):
    Sam2Processor.from_pretrained(folders / layout).save_pretrained(tmp_path / "saved")
    assert [path.name for path in (tmp_path / "saved").iterdir()] == ["processor_config.json"]
    saved = json.loads((tmp_path / "saved" / "processor_config.json").read_text())
    assert saved == json.loads((folders / "image" / "processor_config.json").read_text())


@pytest.mark.parametrize("size, target", [(64, None), ((32, 64), None), (64, 96), (64, (32, 48)), ((32, 64), 32)])
def test_frames_survive_saving(size, target, tmp_path):
    before = Sam2Processor(Sam2ImageProcessor(size=size), target_size=target)
    before.save_pretrained(tmp_path)
    after = Sam2Processor.from_pretrained(tmp_path)
    assert after.target_size == before.target_size
    assert after.image_processor.options() == before.image_processor.options()


@pytest.mark.peers
def test_transformers_loads_what_is_saved(tmp_path):
    pytest.importorskip("torchvision")
    from transformers import Sam2Processor as Theirs

    processor().save_pretrained(tmp_path)
    theirs = Theirs.from_pretrained(tmp_path)
    arguments = {"input_points": [[[[10.0, 20.0]]]], "input_labels": LABEL, "return_tensors": "pt"}
    ours, other = processor()(draw(), **arguments), theirs(draw(), **arguments)
    assert theirs.target_size == 128 and set(ours) == set(other)
    for name in ours:
        torch.testing.assert_close(ours[name], other[name])


@pytest.mark.slow  # tests/hub/test_remote_code.py shows the same of whole checkpoints
def test_code_saved_with_it_needs_no_package(tmp_path, monkeypatch):
    folder = tmp_path / "carried"
    for cls in (Sam2ImageProcessor, Sam2Processor):
        monkeypatch.setattr(cls, "_auto_classes", ())  # registration ends with the test
        cls.register_for_auto_class()
    Sam2Processor(Sam2ImageProcessor(size=48)).save_pretrained(folder)
    load = f"""
        {WITHOUT_PACKAGE}
        import json
        import numpy as np
        from transformers import AutoProcessor
        processor = AutoProcessor.from_pretrained(FOLDER, trust_remote_code=True)
        inputs = processor(np.zeros((5, 6, 3), dtype=np.uint8), input_points=[[[[6, 5]]]], return_tensors="pt")
        kinds = [type(part).__module__.split(".")[0] for part in (processor, processor.image_processor)]
        print(json.dumps([kinds, inputs.input_points.tolist()]))
        """
    found = run_fresh(load.replace("FOLDER", repr(str(folder))), HF_MODULES_CACHE=str(tmp_path / "modules"))
    assert found == [["transformers_modules"] * 2, [[[[48, 48]]]]]


def test_masks_become_logits_of_the_models_prompt_size():
    inputs = processor(size=(64, 128))(draw(45, 70), input_masks=[[MASK, ~MASK]], return_tensors="pt")
    assert inputs.input_masks.shape == (1, 2, 16, 32) and inputs.input_masks.dtype == torch.float32
    assert inputs.input_masks.amax() == 10 and inputs.input_masks.amin() == -10
    low = F.interpolate(torch.from_numpy(MASK)[None, None].float(), (16, 32), mode="bilinear", antialias=True)[0, 0]
    inside, outside = low > 0.99, low < 0.01
    assert (inputs.input_masks[0, 0][inside] > 9).all() and (inputs.input_masks[0, 0][outside] < -9).all()
    torch.testing.assert_close(inputs.input_masks[0, 1], -inputs.input_masks[0, 0])


@pytest.mark.parametrize(
    "mask", [MASK.astype(np.uint8) * 255, MASK.astype(float), Image.fromarray(MASK), MASK[::2, ::2]]
)
def test_masks_of_any_kind_may_go_with_points(mask):
    prepare = processor(size=64)
    inputs = prepare(draw(45, 70), input_points=POINT, input_masks=mask, return_tensors="pt")
    expected = prepare(draw(45, 70), input_points=POINT, input_masks=MASK, return_tensors="pt")
    if np.shape(mask) == MASK.shape or isinstance(mask, Image.Image):
        assert torch.equal(inputs.input_masks, expected.input_masks)
    else:
        assert ((inputs.input_masks > 0) == (expected.input_masks > 0)).float().mean() > 0.9
    assert "input_masks" in prepare.model_input_names


def test_masks_that_do_not_go_with_the_other_prompts_are_refused():
    with refused("input_masks must hold a mask for each of the 1 objects of input_points, got 2"):
        processor(size=64)(draw(45, 70), input_points=POINT, input_masks=[[MASK, MASK]])
    with refused("input_masks must hold masks for as many images as there are: expected 1, got 2"):
        processor(size=64)(draw(45, 70), input_masks=[[MASK], [MASK]])


def test_corners_of_a_box_are_scaled_as_points():
    inputs = processor(size=64)(
        draw(32, 32), input_points=[[[[4, 8], [16, 24], [9, 9]]]], input_labels=[[[2, 3, 1]]], return_tensors="pt"
    )
    assert inputs.input_points.tolist() == [[[[8, 16], [32, 48], [18, 18]]]]
    assert inputs.input_labels.tolist() == [[[2, 3, 1]]]


def test_a_misspelt_argument_is_told():
    with refused("unknown argument 'input_point'; did you mean 'input_points'?", TypeError):
        processor()(draw(), input_point=POINT)
    with refused("unknown argument 'mask'", TypeError):
        processor()(draw(), mask=MASK)


@pytest.mark.parametrize("cls", [Sam2Processor, Sam2VideoProcessor])
def test_a_preset_has_its_processor(cls):
    made = cls.from_preset("sam2.1-hiera-tiny")
    assert type(made) is cls and made.target_size == 1024
    made = cls.from_preset("sam2.1-hiera-tiny", image_size=(256, 512), do_normalize=False)
    assert (
        made.image_processor.options()._replace(do_normalize=True)
        == Sam2ImageProcessor(size=(256, 512), mask_size=(64, 128)).options()
    )
    with pytest.raises((KeyError, ValueError), match="sam9"):
        cls.from_preset("sam9")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "prompts",
    [
        {"input_boxes": [[[0, 0, 1e300, 5]]]},
        {"input_points": [[[[1e300, 5]]]], "input_labels": [[[1]]]},
    ],
)
def test_coordinates_that_no_float_holds_are_refused_without_a_warning(prompts):
    with pytest.raises(ValueError, match="lies far outside its image"):
        Sam2Processor(Sam2ImageProcessor())(original_sizes=[[64, 64]], return_tensors="pt", **prompts)
