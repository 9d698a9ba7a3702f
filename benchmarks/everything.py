"""Everything mode on clips of the synthetic world, beside a loop that prompts anew every so many frames.

    python -m benchmarks.everything --clips 20 --every 10

Both search the same frames with the same checkpoint and the same mask generation. The loop is that of public scripts:
on every k-th frame, masks are generated and prompt a new session; each gets the name of the tracked object with which
it has an IoU above 0.8, or a new one; the session is tracked up to the next search.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import numpy as np
import yaml

from sam2_hf.everything.everything_tracker import EverythingTracker
from sam2_hf.mask_generation.pipeline import Sam2MaskGenerationPipeline
from sam2_hf.training.evaluation.metrics import region_similarity
from sam2_hf.training.evaluation.track_matching import TrackScores, tracks_of
from sam2_hf.training.synthetic.world import SyntheticVideo, SyntheticVideos

SAME_IN_THE_LOOP = 0.8
Found = Iterator[tuple[int, list[tuple[Hashable, np.ndarray]]]]


def main(arguments: list[str] | None = None) -> int:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", help="a folder or a name on the Hub; the bundled one by default")
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--split", default="validation")
    parser.add_argument("--objects", type=int, nargs=2, default=(3, 6), help="least and most in a clip")
    parser.add_argument("--every", type=int, default=10, help="frames between two searches")
    parser.add_argument("--only", nargs="+", choices=("loop", "everything", "backward"), default=[])
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE", help="of everything mode, values in YAML")
    options = parser.parse_args(arguments)
    settings = {name: yaml.safe_load(value) for name, _, value in (text.partition("=") for text in options.settings)}
    tracker = EverythingTracker(options.checkpoint, every=options.every, **settings)
    ways: dict[str, tuple[str, Callable[[SyntheticVideo], Found]]] = {
        "loop": ("prompted anew", lambda video: _loop(tracker, video)),
        "everything": ("everything mode", lambda video: _everything(tracker, video, False)),
        "backward": ("and backwards", lambda video: _everything(tracker, video, True)),
    }
    videos = SyntheticVideos(options.clips, split=options.split, objects=tuple(options.objects))
    for number, (name, (title, way)) in enumerate(ways.items()):
        if options.only and name not in options.only:
            continue
        scores, start = TrackScores(), time.process_time()
        for video in videos:
            assert isinstance(video, SyntheticVideo)
            scores.add(video.render(range(video.num_frames)).masks, tracks_of(way(video)))
        summary = scores.summary()
        if number == 0 or options.only:
            _write(["", *summary, "tracks", "CPU time"], ["---"] * (len(summary) + 3))
        per_clip = f"{(time.process_time() - start) / len(videos):.1f} s a clip"
        _write([title, *(f"{value:.3f}" for value in summary.values()), str(scores.tracks), per_clip])
    return 0


def _write(*rows: list[str]) -> None:
    for row in rows:
        sys.stdout.write("| " + " | ".join(row) + " |\n")
    sys.stdout.flush()


def _frames(video: SyntheticVideo) -> np.ndarray:
    return video.render(range(video.num_frames)).frames


def _everything(tracker: EverythingTracker, video: SyntheticVideo, backward: bool) -> Found:
    result = tracker.track(_frames(video), backward=backward)
    for frame in result:
        yield frame.frame or 0, [(item.name, item.mask) for item in frame]


def _loop(tracker: EverythingTracker, video: SyntheticVideo) -> Found:
    frames, model, processor = _frames(video), tracker.tracker.model, tracker.tracker.processor
    generator = Sam2MaskGenerationPipeline(model=model, image_processor=processor.image_processor)
    options = {**tracker.tracker.loaded.thresholds, **tracker.generation}
    tracked: list[tuple[Hashable, np.ndarray]] = []
    count = 0
    for start in range(0, len(frames), tracker.settings.every):
        masks = [mask.numpy() for mask in generator(frames[start], **options)["masks"]]
        prompts: dict[Hashable, np.ndarray] = {}
        for mask in masks:
            same = [name for name, old in tracked if region_similarity(mask, old) > SAME_IN_THE_LOOP]
            if same and same[0] not in prompts:
                prompts[same[0]] = mask
            else:
                count += 1
                prompts[count] = mask
        if not prompts:
            yield from ((index, []) for index in range(start, min(start + tracker.settings.every, len(frames))))
            continue
        for index, found in _tracked(model, processor, frames, start, tracker.settings.every, prompts):
            tracked = found
            yield index, found


def _tracked(
    model: Any, processor: Any, frames: np.ndarray, start: int, every: int, prompts: dict[Hashable, np.ndarray]
) -> Found:
    """Track from a search up to the next, whose frame is not handed out."""
    session = processor.init_video_session(frames)
    processor.add_inputs_to_inference_session(session, start, list(prompts), input_masks=list(prompts.values()))
    for output in model.propagate_in_video_iterator(session, start, every - 1):
        (masks,) = processor.post_process_masks([output.pred_masks], [list(frames.shape[1:3])])
        yield output.frame_idx, list(zip(output.object_ids, masks[:, 0].numpy(), strict=True))


if __name__ == "__main__":
    sys.exit(main())
