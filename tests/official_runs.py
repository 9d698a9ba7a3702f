"""Runs the golden cases by the official code. Needs the official `sam2` package."""

from __future__ import annotations

from typing import Any

import sam2.sam2_video_predictor as official_video
import torch
from official_goldens import IMAGE_SIZE, SMALL_TRUNK, disc, draw_clip, draw_state_dict, mask_logits, to_pixels
from official_model import small_official_model
from sam2.sam2_image_predictor import SAM2ImagePredictor
from torch import Tensor

Case = dict[str, Any]


def small_model(case: Case, trunk: dict[str, Any] = SMALL_TRUNK) -> official_video.SAM2VideoPredictor:
    """The small official model of a case, with the weights that the case names."""
    model = small_official_model(case["version"], trunk, **case.get("official_settings", {}))
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    model.load_state_dict(draw_state_dict(shapes, case["seed"], case["weight_offsets"]))
    # Memories are kept in bfloat16 and meet float32 pointers, which promotes them; an object that has no pointer yet
    # misses that, and the official code stops. The promotion is made explicit, which changes no other case.
    model.memory_attention.register_forward_pre_hook(
        lambda _, args, kwargs: (args, {**kwargs, "memory": kwargs["memory"].float()}), with_kwargs=True
    )
    return model


def check_decisions(model: official_video.SAM2VideoPredictor) -> None:
    """Makes the decoder refuse a case in which rounding could tip a choice: of a mask, of visibility, of stability."""
    decoder = model.sam_mask_decoder
    predict_masks, fall_back = decoder.predict_masks, decoder._dynamic_multimask_via_stability

    def require(distance: float, least: float, what: str) -> None:
        if abs(distance) < least:
            raise ValueError(f"too close to tell: {what}, by {distance}")

    def checked_predict(**inputs: Any) -> tuple[Tensor, ...]:
        masks, ious, tokens, object_scores = predict_masks(**inputs)
        best, second = ious[0, 1:].topk(2).values.tolist()
        require(best - second, 0.005, "the two best IoU scores")
        require(object_scores.item(), 0.03, "the object score")
        return masks, ious, tokens, object_scores

    def checked_fall_back(masks: Tensor, ious: Tensor) -> tuple[Tensor, Tensor]:
        stability = decoder._get_stability_scores(masks[:, :1]).item()
        # More than one pixel of a mask.
        require(stability - decoder.dynamic_multimask_stability_thresh, 1.5 / masks[0, 0].numel(), "stability")
        return fall_back(masks, ious)

    decoder.predict_masks, decoder._dynamic_multimask_via_stability = checked_predict, checked_fall_back


@torch.inference_mode()
def run_image_case(model: official_video.SAM2VideoPredictor, case: Case) -> dict[str, Tensor]:
    """Masks (as the decoder gives them, before clamping), IoU and object scores, and the stability of a single mask."""
    predictor = SAM2ImagePredictor(model, disable_torch_jit=True)
    predictor._bb_feat_sizes = [(IMAGE_SIZE // stride,) * 2 for stride in (4, 8, 16)]
    decoder, seen = predictor.model.sam_mask_decoder, {}
    decoder.register_forward_hook(lambda module, args, output: seen.update(output=output))
    fall_back = decoder._dynamic_multimask_via_stability

    def watched_fall_back(masks: Tensor, ious: Tensor) -> tuple[Tensor, Tensor]:
        seen["stability"] = decoder._get_stability_scores(masks[:, :1])[0]
        return fall_back(masks, ious)

    decoder._dynamic_multimask_via_stability = watched_fall_back
    predictor.set_image(draw_clip(1)[0])
    given = case["mask"]
    logits = None if given is None else mask_logits(given).numpy()[None]
    predictor.predict(
        point_coords=case["points"] and torch.tensor(case["points"], dtype=torch.float32).numpy(),
        point_labels=case["labels"] and torch.tensor(case["labels"]).numpy(),
        box=case["box"] and torch.tensor(case["box"], dtype=torch.float32).numpy(),
        mask_input=logits,
        multimask_output=case["multimask"],
    )
    masks, ious, _, object_scores = seen["output"]
    stability = {"stability": seen["stability"]} if "stability" in seen else {}
    return {"masks": masks[0], "iou_scores": ious[0], "object_score_logits": object_scores[0], **stability}


def run_video_case(model: official_video.SAM2VideoPredictor, case: Case) -> dict[str, Tensor]:
    """Low-resolution logits, object score and pointer of every object after every step that gives them."""
    pixels = to_pixels(draw_clip(case["num_frames"]))
    official_video.load_video_frames = lambda **_: (pixels, IMAGE_SIZE, IMAGE_SIZE)
    state = model.init_state(video_path="")
    outputs: dict[str, Tensor] = {}
    for index, step in enumerate(case["steps"]):
        if step["do"] == "propagate":
            for frame, ids, _ in model.propagate_in_video(
                state, start_frame_idx=step["start"], max_frame_num_to_track=step["count"], reverse=step["reverse"]
            ):
                recorded = step["record"] is None or frame in step["record"]
                for obj in ids if recorded else ():
                    record(outputs, f"{index}/{frame}/{obj}", stored(state, frame, obj, "output_dict_per_obj"))
        else:
            prompt(model, state, step)
            frame, obj = step["frame"], step["object"]
            record(outputs, f"{index}/{frame}/{obj}", stored(state, frame, obj, "temp_output_dict_per_obj"))
    return outputs


def prompt(model: official_video.SAM2VideoPredictor, state: dict[str, Any], step: dict[str, Any]) -> None:
    if step["do"] == "mask":
        model.add_new_mask(state, step["frame"], step["object"], torch.from_numpy(disc(*step["disc"])))
        return
    model.add_new_points_or_box(
        state,
        step["frame"],
        step["object"],
        points=step["points"] or None,
        labels=step["labels"] or None,
        box=step["box"],
        clear_old_points=step["clear_old"],
    )


def stored(state: dict[str, Any], frame: int, obj: int, where: str) -> dict[str, Tensor]:
    outputs = state[where][state["obj_id_to_idx"][obj]]
    return outputs["cond_frame_outputs"].get(frame) or outputs["non_cond_frame_outputs"][frame]


def record(outputs: dict[str, Tensor], key: str, stored_output: dict[str, Tensor]) -> None:
    outputs[f"{key}/logits"] = stored_output["pred_masks"][0, 0]
    outputs[f"{key}/object_score"] = stored_output["object_score_logits"][0]
    outputs[f"{key}/pointer"] = stored_output["obj_ptr"][0]
