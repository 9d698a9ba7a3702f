"""The mask-generation pipeline: what goes in, what comes out, what is refused."""

import base64
import copy
import io
import types

import numpy as np
import pytest
import torch
from disc_model import SIZE, DiscModel
from PIL import Image
from tiny import tiny_image_model, tiny_video_model
from tiny_checkpoint import save_tiny_checkpoint
from transformers import MaskGenerationPipeline, SamConfig, SamModel, pipeline

from sam2_hf import Sam2ImageProcessor, Sam2MaskGenerationPipeline, Sam2Model, Sam2Processor
from sam2_hf.masks.boxes import mask_to_box
from sam2_hf.masks.rle import rle_to_mask

KEEP = {"points_per_crop": 4, "pred_iou_thresh": 0.4, "stability_score_thresh": 0.5, "crops_nms_thresh": 1.0}


def draw(height=60, width=90, seed=0):
    colours = np.random.default_rng(seed).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def model():
    return tiny_image_model(image_size=64)


@pytest.fixture(scope="module")
def generator(model):
    return Sam2MaskGenerationPipeline(model=model, image_processor=Sam2ImageProcessor(size=64), device="cpu", **KEEP)


def discs(**options):
    return Sam2MaskGenerationPipeline(
        model=DiscModel(),
        image_processor=Sam2ImageProcessor(size=SIZE),
        device="cpu",
        stability_score_thresh=0.3,
        **options,
    )


def same(one, other):
    return (
        len(one["masks"]) == len(other["masks"])
        and torch.equal(one["scores"], other["scores"])
        and all(map(torch.equal, one["masks"], other["masks"]))
    )


def test_masks_come_as_a_list_best_first(generator):
    outputs = generator(draw())
    assert set(outputs) == {"masks", "scores"}
    assert 1 < len(outputs["masks"]) == len(outputs["scores"])
    assert all(mask.dtype == torch.bool and mask.shape == (60, 90) for mask in outputs["masks"])
    assert outputs["scores"].dtype == torch.float32
    assert (outputs["scores"].diff() <= 0).all()


@pytest.mark.parametrize("spelling", ["output_rle_mask", "output_rle_masks"])
def test_rle_and_boxes_on_request(generator, spelling):
    outputs = generator(draw(), output_bboxes_mask=True, **{spelling: True})
    assert set(outputs) == {"masks", "scores", "rle_mask", "bounding_boxes"}
    assert torch.equal(outputs["bounding_boxes"], mask_to_box(torch.stack(outputs["masks"])))
    for rle, mask in zip(outputs["rle_mask"], outputs["masks"], strict=True):
        assert isinstance(rle["counts"], list)
        assert torch.equal(rle_to_mask(rle), mask)


@pytest.mark.parametrize("mode", ["binary_mask", "uncompressed_rle", "coco_rle"])
def test_records_on_request(generator, mode):
    outputs, records = generator(draw()), generator(draw(), output_mode=mode)
    assert len(records) == len(outputs["masks"])
    for record, mask, score in zip(records, outputs["masks"], outputs["scores"], strict=True):
        segmentation = record["segmentation"]
        found = torch.from_numpy(segmentation) if mode == "binary_mask" else rle_to_mask(segmentation)
        assert torch.equal(found, mask)
        assert record["area"] == mask.sum()
        assert record["predicted_iou"] == score
        assert record["crop_box"] == [0, 0, 90, 60]
        assert record["stability_score"] > 0.5


def test_arguments_of_the_call_go_before_those_of_the_pipeline(generator):
    usual = generator(draw())
    assert len(generator(draw(), pred_iou_thresh=0.9)["masks"]) < len(usual["masks"])
    assert same(generator(draw()), usual)


def test_a_mask_lies_where_its_point_is_in_images_of_any_shape():
    for size in [(60, 150), (150, 60)]:
        records = discs(points_per_crop=4, crops_n_layers=1)(draw(*size), output_mode="binary_mask")
        assert len(records) > 16
        for record in records:
            x, y = record["point_coords"][0]
            assert record["segmentation"][int(y), int(x)]
            left, top, width, height = record["crop_box"]
            assert left <= x <= left + width
            assert top <= y <= top + height


def test_several_images_of_several_sizes(generator):
    images = [draw(seed=1), draw(40, 40, seed=2), draw(70, 30, seed=3)]
    alone = [generator(image) for image in images]
    assert all(map(same, generator(images), alone))
    assert all(map(same, generator(tuple(images)), alone))
    assert generator([]) == []


@pytest.mark.parametrize("crops_n_layers", [0, 1])
def test_images_can_be_encoded_in_batches(model, generator, crops_n_layers):
    images = [draw(seed=1), draw(40, 40, seed=2), draw(1, 30, seed=3), draw(70, 30, seed=4), draw(seed=5)]
    alone = generator(images, crops_n_layers=crops_n_layers)
    batched = generator(images, crops_n_layers=crops_n_layers, batch_size=2)
    assert [len(found["masks"]) for found in batched] == [len(found["masks"]) for found in alone]
    for one, other in zip(batched, alone, strict=True):
        torch.testing.assert_close(one["scores"], other["scores"], atol=1e-4, rtol=0)
        differing = [(a != b).float().mean() for a, b in zip(one["masks"], other["masks"], strict=True)]
        assert max(differing, default=0) < 0.01


def test_a_batch_is_one_encoding():
    generator = discs(batch_size=2)
    generator([draw(seed=seed) for seed in range(3)], points_per_crop=1)
    assert [shape[0] for shape in generator.model.encoded] == [2, 1]


@pytest.mark.parametrize(
    ("images", "batch_size", "expected"),
    [(1, None, [1] * 5), (1, 2, [2, 2, 1]), (1, 8, [5]), (3, 2, [2, 2, 2, 2, 2, 2, 2, 1]), (2, 3, [3, 3, 3, 1])],
)
def test_crops_are_encoded_together_as_well(images, batch_size, expected):
    generator = discs()
    given = [draw(seed=seed) for seed in range(images)]
    options = {} if batch_size is None else {"batch_size": batch_size}
    batched = generator(given if images > 1 else given[0], points_per_crop=2, crops_n_layers=1, **options)
    assert [shape[0] for shape in generator.model.encoded] == expected
    alone = discs()(given if images > 1 else given[0], points_per_crop=2, crops_n_layers=1)
    assert all(map(same, batched, alone)) if images > 1 else same(batched, alone)


def test_generators_are_read_as_they_are_needed(generator):
    taken = []

    def images():
        for seed in range(3):
            taken.append(seed)
            yield draw(seed=seed)

    results = generator(images())
    assert not isinstance(results, list)
    first = next(iter(results))
    assert len(taken) < 3
    assert same(first, generator(draw(seed=0)))


def test_datasets_and_workers(generator):
    class Images(torch.utils.data.Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return draw(seed=index)

    expected = [generator(draw(seed=index)) for index in range(2)]
    assert all(map(same, generator(Images()), expected))
    assert all(map(same, generator([draw(seed=0), draw(seed=1)], num_workers=1), expected))


def test_every_way_to_give_an_image_is_the_same(generator, tmp_path):
    image = draw()
    expected = generator(image)
    image.save(tmp_path / "image.png")
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    array = np.asarray(image).copy()
    for given in (
        str(tmp_path / "image.png"),
        tmp_path / "image.png",
        base64.b64encode(buffer.getvalue()).decode(),
        array,
        torch.from_numpy(array).permute(2, 0, 1),
        torch.from_numpy(array).permute(2, 0, 1) / 255,
        image.convert("RGBA"),
    ):
        assert same(generator(given), expected)
    grey = image.convert("L")
    assert same(generator(grey), generator(grey.convert("RGB")))
    assert same(generator([array, array])[1], expected)


def test_a_url_is_fetched_with_the_timeout(generator, monkeypatch):
    asked = []

    def load(url, timeout):
        asked.append((url, timeout))
        return draw()

    monkeypatch.setattr("sam2_hf.mask_generation.pipeline.fetch_image", load)
    assert same(generator("https://example.org/image.png", timeout=3.0), generator(draw()))
    assert asked == [("https://example.org/image.png", 3.0)]


def test_a_photo_taken_sideways_is_turned_where_its_file_is_opened_here(generator, tmp_path):
    """Masks lie on what the caller sees: an image object as it stands, a file as viewers show it."""
    image = draw()
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees
    image.save(tmp_path / "turned.png", exif=exif)
    for source in (str(tmp_path / "turned.png"), tmp_path / "turned.png"):
        assert generator(source)["masks"][0].shape == (90, 60)
    assert generator(Image.open(tmp_path / "turned.png"))["masks"][0].shape == (60, 90)


def test_an_address_that_does_not_answer_is_named(generator):
    with pytest.raises(ValueError, match=r"image cannot be fetched from .http://127\.0\.0\.1:9/none\.png.: "):
        generator("http://127.0.0.1:9/none.png")


def test_the_window_of_an_image_is_applied_once(model, generator):
    bytes_ = np.asarray(draw())
    windowed = Sam2MaskGenerationPipeline(
        model=model, image_processor=Sam2ImageProcessor(size=64, input_range=(1000, 2020)), device="cpu", **KEEP
    )
    assert same(windowed(1000 + bytes_.astype(np.uint16) * 4), generator(draw()))


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ("no such file.png", ValueError),
        (7, TypeError),
        (np.zeros((2, 8, 8, 3), np.uint8), ValueError),
        (np.zeros((0, 8, 3), np.uint8), ValueError),
    ],
)
def test_what_is_no_image_is_refused(generator, given, error):
    with pytest.raises(error):
        generator(given)


@pytest.mark.parametrize("output_mode", [None, "coco_rle"])
def test_an_image_without_masks_gives_none(generator, output_mode):
    options = {"pred_iou_thresh": 1.0, "min_mask_region_area": 5, "box_nms_thresh": 0.7, "crops_n_layers": 1}
    outputs = generator(draw(), output_mode=output_mode, output_rle_mask=True, output_bboxes_mask=True, **options)
    if output_mode is None:
        assert outputs["masks"] == outputs["rle_mask"] == []
        assert outputs["scores"].shape == (0,)
        assert outputs["bounding_boxes"].shape == (0, 4)
    else:
        assert outputs == []


@pytest.mark.parametrize("size", [(1, 40), (40, 1), (1, 1), (2, 3)])
@pytest.mark.parametrize("crops_n_layers", [0, 2])
def test_images_of_a_pixels_width(generator, size, crops_n_layers):
    outputs = generator(draw(*size), crops_n_layers=crops_n_layers, crops_nms_thresh=0.7, output_bboxes_mask=True)
    assert len(outputs["masks"]) > 0
    assert all(mask.shape == size and mask.any() for mask in outputs["masks"])
    assert len(set(map(tuple, outputs["bounding_boxes"].tolist()))) == len(outputs["masks"])


def test_all_points_at_once(generator):
    at_once, in_threes = (generator(draw(), points_per_batch=batch) for batch in (None, 3))
    torch.testing.assert_close(at_once["scores"], in_threes["scores"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("arguments", [{"points_per_batch": 0}, {"crops_nms_thresh": 7}, {"output_mode": "png"}])
def test_impossible_values_are_refused_before_anything_is_done(arguments):
    generator = discs()
    (name,) = arguments
    for images in (draw(), [draw()], []):
        with pytest.raises(ValueError, match=f"^{name} must be"):
            generator(images, **arguments)
    assert generator.model.encoded == []
    with pytest.raises(ValueError, match=f"^{name} must be"):
        discs(**arguments)


def test_values_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match="leaves no points"):
        discs(crop_n_points_downscale_factor=8, points_per_crop=4)(draw(), crops_n_layers=1)


def test_unknown_arguments_are_refused_by_name(model):
    with pytest.raises(TypeError, match=r"'points_per_batches'; did you mean 'points_per_batch'\?"):
        discs()(draw(), points_per_batches=3)
    with pytest.raises(TypeError, match="'colour'"):
        discs(colour="red")


def test_the_names_of_the_official_generator_work(generator):
    theirs = generator(draw(), points_per_side=3, crop_n_layers=1, crop_nms_thresh=0.9)
    assert same(theirs, generator(draw(), points_per_crop=3, crops_n_layers=1, crops_nms_thresh=0.9))


def test_nothing_of_autograd_gets_out_or_changes(model, generator):
    outputs = generator(draw(), output_bboxes_mask=True)
    for tensor in (outputs["scores"], outputs["bounding_boxes"], *outputs["masks"]):
        assert not tensor.requires_grad
        assert not tensor.is_inference()
    assert torch.is_grad_enabled()
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_models_in_half_precision(generator, dtype):
    half = Sam2MaskGenerationPipeline(
        model=tiny_image_model(image_size=64).to(dtype),
        image_processor=generator.image_processor,
        device="cpu",
        **KEEP,
    )
    outputs, expected = half(draw()), generator(draw())
    assert outputs["scores"].dtype == torch.float32
    torch.testing.assert_close(outputs["scores"][:1], expected["scores"][:1], atol=0.1, rtol=0)


def test_a_video_model_serves_as_well(generator):
    video = tiny_video_model(image_size=64)
    image = tiny_image_model(image_size=64)
    image.load_state_dict(video.state_dict(), strict=False)
    processor = generator.image_processor
    outputs = Sam2MaskGenerationPipeline(model=video, image_processor=processor, device="cpu", **KEEP)(draw())
    assert len(outputs["masks"]) > 0
    assert same(
        outputs, Sam2MaskGenerationPipeline(model=image, image_processor=processor, device="cpu", **KEEP)(draw())
    )


def test_made_by_the_pipeline_function_from_a_model(model, generator):
    made = pipeline("mask-generation", model=model, image_processor=generator.image_processor, device="cpu", **KEEP)
    assert type(made) is Sam2MaskGenerationPipeline
    assert same(made(draw()), generator(draw()))


def test_made_by_the_pipeline_function_from_a_folder(generator, tmp_path):
    folder = save_tiny_checkpoint(tmp_path)
    made = pipeline("mask-generation", model=str(folder), device="cpu", local_files_only=True, **KEEP)
    assert type(made) is Sam2MaskGenerationPipeline
    assert type(made.model) is Sam2Model
    assert same(made(draw()), generator(draw()))


def test_a_processor_serves_as_well(model, generator):
    processor = Sam2Processor(generator.image_processor)
    made = Sam2MaskGenerationPipeline(model=model, processor=processor, device="cpu", **KEEP)
    assert same(made(draw()), generator(draw()))
    made = pipeline("mask-generation", model=model, processor=processor, device="cpu", **KEEP)
    assert same(made(draw()), generator(draw()))
    with pytest.raises(ValueError, match="image_processor is missing"):
        pipeline("mask-generation", model=model)
    with pytest.raises(ValueError, match="image_processor is missing"):
        Sam2MaskGenerationPipeline(model=model, device="cpu")


def test_other_models_get_the_pipeline_of_transformers():
    tiny = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "global_attn_indexes": [0]}
    config = SamConfig(vision_config={**tiny, "mlp_dim": 8, "output_channels": 8, "image_size": 32})
    image_processor = types.SimpleNamespace(size={"longest_edge": 32})
    made = Sam2MaskGenerationPipeline(
        model=SamModel(config), image_processor=image_processor, device="cpu", points_per_batch=5
    )
    assert type(made) is MaskGenerationPipeline
    assert made._preprocess_params == {"points_per_batch": 5}
    made = pipeline("mask-generation", model=SamModel(config), image_processor=image_processor, device="cpu")
    assert type(made) is MaskGenerationPipeline


def test_loads_what_the_pipeline_of_transformers_loads():
    for name in ("processor", "feature_extractor", "tokenizer"):
        flag = f"_load_{name}"
        assert getattr(Sam2MaskGenerationPipeline, flag) == getattr(MaskGenerationPipeline, flag)
    # The image processor too, if it can be: a processor that was given brings its own.
    assert MaskGenerationPipeline._load_image_processor and Sam2MaskGenerationPipeline._load_image_processor is None


def test_a_pipeline_can_be_copied(generator):
    assert same(copy.copy(generator)(draw()), generator(draw()))


@pytest.mark.gpu
def test_on_a_gpu(generator):
    on_gpu = Sam2MaskGenerationPipeline(
        model=tiny_image_model(image_size=64), image_processor=generator.image_processor, device="cuda", **KEEP
    )
    outputs, expected = on_gpu(draw()), generator(draw())
    assert all(mask.device.type == "cpu" for mask in outputs["masks"])
    torch.testing.assert_close(outputs["scores"], expected["scores"], atol=1e-3, rtol=0)
