"""Holds conversations with a predictor of Meta's API, be it Meta's own or this package's, and records the answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from official_goldens import IMAGE_SIZE, disc, draw_clip, to_pixels
from PIL import Image

HEIGHT, WIDTH, NUM_FRAMES = 96, 128, 8
# Of masks and logits at the size of an image, every fourth pixel either way is recorded, and their number of pixels.
STEP = 4

Answers = dict[str, np.ndarray]
Case = dict[str, Any]


def sample_image(index: int = 0) -> np.ndarray:
    """uint8 (96, 128, 3), not of the model's shape; the second is smaller."""
    frame = draw_clip(NUM_FRAMES)[index]
    return np.ascontiguousarray(frame[:HEIGHT] if index == 0 else frame[8 : HEIGHT - 8, 4:WIDTH])


def write_frames(folder: Path) -> Path:
    """The clip as a folder of images that Meta's code reads: named as JPEGs, but without loss."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, frame in enumerate(draw_clip(NUM_FRAMES)):
        with open(folder / f"{index:05d}.jpg", "wb") as file:
            Image.fromarray(np.ascontiguousarray(frame[:HEIGHT])).save(file, format="png")
    return folder


def run_image_calls(predictor: Any, case: Case) -> Answers:
    """Masks, scores and logits of every call, by its number; of batches, also by the image's."""
    answers: Answers = {}
    logits: dict[int, np.ndarray] = {}

    def record(name: str, answer: tuple[Any, Any, Any]) -> None:
        masks, answers[f"{name}/scores"], answers[f"{name}/logits"] = answer
        answers[f"{name}/masks"], answers[f"{name}/areas"] = masks[..., ::STEP, ::STEP], (masks > 0).sum(axis=(-1, -2))

    for number, call in enumerate(case["calls"]):
        arguments = {name: as_array(value) for name, value in call.items() if name not in ("do", "mask_of")}
        if "mask_of" in call:
            # The best mask of an earlier answer, as the notebook takes it.
            arguments["mask_input"] = logits[call["mask_of"]]
        if call["do"] == "set_image":
            predictor.set_image(sample_image())
        elif call["do"] == "set_image_batch":
            predictor.set_image_batch([sample_image(), sample_image(1)])
        elif call["do"] == "predict":
            answer = predictor.predict(**arguments)
            record(str(number), answer)
            if answer[1].ndim == 1:
                logits[number] = answer[2][np.argmax(answer[1])][None]
        else:
            for image, answer in enumerate(zip(*predictor.predict_batch(**arguments), strict=True)):
                record(f"{number}/{image}", answer)
    return answers


def as_array(value: Any) -> Any:
    """Nested lists as the arrays that the notebooks make of them; batches stay lists of arrays."""
    if not isinstance(value, list):
        return value
    try:
        return np.array(value)
    except ValueError:
        return [np.array(entry) for entry in value]


def run_video_calls(predictor: Any, video: Path, case: Case) -> Answers:
    """Ids and logits of every answer, by the call's number and the frame."""
    answers: Answers = {}
    state = predictor.init_state(video_path=str(video))

    def record(name: str, obj_ids: Any, masks: torch.Tensor | None) -> None:
        # JSON, because ids may be texts.
        answers[f"{name}/ids"] = np.frombuffer(repr(list(obj_ids)).encode(), dtype=np.uint8)
        if masks is not None:
            answers[f"{name}/logits"] = masks[..., ::STEP, ::STEP].float().numpy().astype(np.float16)
            answers[f"{name}/areas"] = (masks > 0).sum(dim=(1, 2, 3)).numpy()

    for number, call in enumerate(case["calls"]):
        arguments = {name: as_array(value) for name, value in call.items() if name not in ("do", "disc", "scale")}
        method = getattr(predictor, call["do"])
        if call["do"] == "add_new_mask":
            arguments["mask"] = drawn_mask(call["disc"], call["scale"])
        answer = method(state, **arguments)
        if call["do"] == "propagate_in_video":
            for frame, obj_ids, masks in answer:
                record(f"{number}/{frame}", obj_ids, masks)
        elif call["do"] == "remove_object":
            record(str(number), answer[0], None)
            for frame, masks in sorted(answer[1], key=lambda entry: entry[0]):
                record(f"{number}/{frame}", answer[0], masks)
        elif answer is not None:
            frame, obj_ids, masks = answer
            record(f"{number}/{frame}", obj_ids, masks)
    return answers


def drawn_mask(circle: list[float], scale: int) -> np.ndarray:
    """A disc, bool (height, width) of the video, or that times `scale`."""
    mask = disc(*circle)[:HEIGHT]
    return mask.repeat(scale, axis=0).repeat(scale, axis=1)


def run_generator_calls(generator: Any, case: Case) -> Answers:
    """The records of an image, crop by crop and point by point, as arrays with a row for each."""
    records = sorted(
        generator.generate(sample_image()),
        key=lambda record: (record["crop_box"], record["point_coords"], -record["predicted_iou"]),
    )
    answers = {
        name: np.array([record[name] for record in records], dtype=np.float64)
        for name in ("area", "bbox", "predicted_iou", "point_coords", "stability_score", "crop_box")
    }
    masks = np.stack([as_mask(record["segmentation"]) for record in records])
    return {**answers, "segmentation": np.packbits(masks, axis=-1)}


def as_mask(segmentation: Any) -> np.ndarray:
    """A segmentation in either form as (height, width) bool."""
    if not isinstance(segmentation, dict):
        return segmentation
    height, width = segmentation["size"]
    is_set = np.arange(len(segmentation["counts"])) % 2 == 1
    return np.repeat(is_set, segmentation["counts"]).reshape(width, height).T


def as_input(index: int) -> torch.Tensor:
    """A frame of the clip as the model's input (1, 3, 128, 128), resized by Pillow."""
    frame = Image.fromarray(draw_clip(NUM_FRAMES)[index][:HEIGHT])
    return to_pixels(np.array(frame.resize((IMAGE_SIZE, IMAGE_SIZE))))[None]


@torch.inference_mode()
def run_lower_calls(predictor: Any, case: Case) -> Answers:
    """The calls of a program that keeps the memories itself, as CVAT's tracking function does, frame by frame.

    `case["start"]` is a mask or points; a correction by points follows on the fourth frame, and another direction.
    """
    answers: Answers = {}
    outputs: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}

    def step(frame: int, kind: str, **inputs: Any) -> None:
        encoded = predictor.forward_image(as_input(frame))
        features, encodings, sizes = predictor._prepare_backbone_features(encoded)[1:]
        given = {"point_inputs": None, "mask_inputs": None, "is_init_cond_frame": False, **inputs}
        out = predictor.track_step(
            frame_idx=frame,
            current_vision_feats=features,
            current_vision_pos_embeds=encodings,
            feat_sizes=sizes,
            output_dict=outputs,
            num_frames=NUM_FRAMES,
            **given,
        )
        outputs[kind][frame] = {name: out[name] for name in ("maskmem_features", "maskmem_pos_enc", "obj_ptr")}
        for name in ("pred_masks", "obj_ptr", "object_score_logits", "maskmem_features"):
            answers[f"{len(answers) // 4}/{frame}/{name}"] = out[name].float().numpy()

    if case["start"] == "mask":
        drawn = torch.from_numpy(disc(40, 52, 22))[None, None].float()
        step(0, "cond_frame_outputs", mask_inputs=drawn, is_init_cond_frame=True)
    else:
        step(0, "cond_frame_outputs", point_inputs=as_points([[36, 52], [60, 60]], [1, 0]), is_init_cond_frame=True)
    for frame in (1, 2, 3):
        step(frame, "non_cond_frame_outputs")
    previous = torch.from_numpy(answers["3/3/pred_masks"]).clamp(-32, 32)
    step(3, "non_cond_frame_outputs", point_inputs=as_points([[70, 60]], [0]), prev_sam_mask_logits=previous)
    step(4, "non_cond_frame_outputs")
    step(1, "non_cond_frame_outputs", track_in_reverse=True)
    return answers


def as_points(coordinates: list, labels: list) -> dict[str, torch.Tensor]:
    return {
        "point_coords": torch.tensor([coordinates], dtype=torch.float32),
        "point_labels": torch.tensor([labels], dtype=torch.int32),
    }


@torch.no_grad()
def run_head_calls(model: Any) -> Answers:
    """The calls of a program that trains the prompt encoder and the mask decoder."""
    answers: Answers = {}
    encoded = model._prepare_backbone_features(model.forward_image(as_input(0)))
    maps = [level.permute(1, 2, 0).reshape(1, -1, *size) for level, size in zip(encoded[1], encoded[3], strict=True)]
    points = torch.tensor([[[36.0, 52.0], [60.0, 60.0]], [[96.0, 90.0], [20.0, 20.0]]])
    prompts = {
        "points": {"points": (points, torch.tensor([[1, 0], [1, 1]], dtype=torch.int32))},
        "boxes": {"boxes": torch.tensor([[16.0, 24.0, 58.0, 66.0], [80.0, 70.0, 110.0, 120.0]])},
        "both": {
            "points": (points[:, :1], torch.tensor([[1], [0]], dtype=torch.int32)),
            "boxes": torch.tensor([[16.0, 24.0, 58.0, 66.0], [80.0, 70.0, 110.0, 120.0]]),
        },
        "masks": {"masks": torch.from_numpy(disc(40, 52, 22)[::4, ::4])[None, None].float() * 12 - 6},
        "nothing": {},
    }
    for name, given in prompts.items():
        sparse, dense = model.sam_prompt_encoder(**{"points": None, "boxes": None, "masks": None, **given})
        answers[f"{name}/sparse"], answers[f"{name}/dense"] = sparse.numpy(), dense.numpy()
        if name == "nothing":
            continue
        fields = model.sam_mask_decoder(
            image_embeddings=maps[-1],
            image_pe=model.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
            repeat_image=True,
            high_res_features=maps[:-1],
        )
        for part, field in zip(("masks", "scores", "tokens", "object_scores"), fields, strict=True):
            answers[f"{name}/{part}"] = field.numpy()
    return answers
