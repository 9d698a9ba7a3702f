"""A clip of 100 000 frames: state, memory and time a frame after 1 000, 10 000 and 100 000 frames.

`python -m benchmarks.long_clip` tracks four objects with a small untrained model, once for each way of keeping results,
each in a process of its own. Frames are drawn when they are asked for. The time is processor time, that of the 500
frames before, so that it is the same on a machine with other work. With `--without-network`, the network's results are
given: what is left is the time of the session, in which any growth shows.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

MILESTONES = (1_000, 10_000, 100_000)
RETENTIONS = ("checkpointed", "readable")
TIMED_FRAMES = 500
_SIZE = 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table."""
    given = _parser().parse_args(arguments)
    if given.worker:
        for row in measure(given):
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()
        return 0
    sys.stdout.write(
        "| kept | frames | state, MiB | a frame and object, KiB | resident, MiB | device, MiB | time a frame, ms |\n"
        "|---|---|---|---|---|---|---|\n"
    )
    for retention in given.retention:
        command = [sys.executable, "-m", "benchmarks.long_clip", "--worker", retention, "--frames", str(given.frames)]
        command += ["--objects", str(given.objects), "--device", given.device]
        command += ["--without-network"] if given.without_network else []
        command += ["--directory", given.directory] if given.directory and retention == "checkpointed" else []
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                sys.stdout.write(_row(json.loads(line)) + "\n")
                sys.stdout.flush()
        if process.returncode:
            return process.returncode
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long_clip", description=main.__doc__)
    parser.add_argument("--frames", type=int, default=MILESTONES[-1], help="length of the clip")
    parser.add_argument("--objects", type=int, default=4)
    parser.add_argument("--retention", nargs="+", choices=("everything", *RETENTIONS), default=RETENTIONS)
    parser.add_argument("--device", default="cpu", help='such as "cuda"')
    parser.add_argument("--directory", help="where the state of a session with checkpoints is kept in files")
    parser.add_argument("--without-network", action="store_true", help="measure the session alone")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser


def _row(row: dict[str, Any]) -> str:
    device = "" if row["device"] is None else f"{row['device'] / 2**20:.1f}"
    each = row["state"] / row["frames"] / row["objects"] / 1024
    return (
        f"| {row['retention']} | {row['frames']:,} | {row['state'] / 2**20:.1f} | {each:.2f} | "
        f"{row['resident'] / 2**20:.0f} | {device} | {row['ms']:.2f} |"
    )


def measure(given: argparse.Namespace) -> Generator[dict[str, Any], None, None]:
    """Track objects through a clip, with the arguments of the command.

    Yields:
        What is measured at each milestone that the clip reaches: bytes of "state", "resident" and on the "device",
        and "ms" a frame.
    """
    import torch

    from sam2_hf.tracking.retention import Checkpointed

    torch.set_num_threads(1)
    model = _model().to(given.device)
    if given.without_network:
        _give_results(model)
    rule: Any = Checkpointed(directory=given.directory) if given.directory else given.worker
    session = _session(given.frames, given.objects, rule)
    started, newest = time.process_time(), 0
    for output in model.propagate_in_video_iterator(session):
        frames = output.frame_idx + 1
        if any(frames == milestone - TIMED_FRAMES for milestone in MILESTONES):
            started, newest = time.process_time(), frames
        if frames in MILESTONES or frames == given.frames:
            elapsed = time.process_time() - started
            gc.collect()
            yield {
                "retention": given.worker,
                "frames": frames,
                "objects": given.objects,
                "state": session.state_nbytes,
                "resident": _resident_bytes(),
                "device": torch.cuda.memory_allocated() if given.device.startswith("cuda") else None,
                "ms": 1e3 * elapsed / (frames - newest),
            }
            started, newest = time.process_time(), frames


def _resident_bytes() -> int:
    """Resident memory of this process now, on Linux."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(fields["VmRSS"].split()[0]) * 1024


def _model() -> Any:
    """A video model of the layout of SAM 2, with few channels and a small input."""
    from sam2_hf import Sam2VideoConfig, Sam2VideoModel

    from .random_model import random_model

    trunk = {
        "hidden_size": 8,
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "blocks_per_stage": [1, 1, 1, 1],
        "window_size_per_stage": [8, 4, 4, 2],
        "global_attention_blocks": [2],
        "window_positional_embedding_background_size": [4, 4],
        "image_size": [_SIZE, _SIZE],
    }
    width = 16
    config = Sam2VideoConfig(
        vision_config={"backbone_config": trunk, "fpn_hidden_size": width},
        prompt_encoder_config={"hidden_size": width, "image_size": _SIZE},
        mask_decoder_config={"hidden_size": width, "num_attention_heads": 2, "mlp_dim": 32, "iou_head_hidden_dim": 16},
        memory_attention_num_layers=1,
        memory_attention_hidden_size=width,
        memory_attention_feed_forward_hidden_size=32,
        memory_encoder_hidden_size=width,
        memory_encoder_output_channels=8,
        mask_downsampler_embed_dim=width,
        memory_fuser_embed_dim=width,
        memory_fuser_intermediate_dim=32,
    )
    return random_model(config, model_class=Sam2VideoModel)


def _give_results(model: Any) -> None:
    """Let the parts of the network give results of their shapes without computing them."""
    import torch

    from sam2_hf.network.features import ObjectMasks

    features = model.encode_frames(torch.zeros(1, 3, _SIZE, _SIZE, device=model.device))
    size = model.stored_shapes().masks
    rows, columns = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    discs = torch.stack([4.0 - ((columns - x) ** 2 + (rows - 8) ** 2) ** 0.5 for x in range(size[1])])
    discs = discs.to(model.device)
    drawn = 0

    def segment(features: Any, embedding: Any, *prompts: Any) -> ObjectMasks:
        nonlocal drawn
        drawn += 1
        points = prompts[0] if prompts else None
        count = len(embedding) if points is None else points.shape[0] * points.shape[1]
        logits = discs[[(drawn + 4 * index) % len(discs) for index in range(count)]][:, None]
        score = torch.ones(count, 1, device=model.device)
        return ObjectMasks(logits, score, score, model.no_object_pointer.expand(count, -1))

    def encode_memory(features: Any, logits: Any, *others: Any) -> Any:
        return torch.zeros(len(logits), *model.stored_shapes().memories, device=model.device)

    model.encode_frames = lambda pixels: features * len(pixels)
    model.read_memories = lambda features, stored, key_scale: features.coarsest.expand(len(stored.features), -1, -1, -1)
    model.segment, model.encode_memory = segment, encode_memory


def _session(num_frames: int, num_objects: int, retention: Any) -> Any:
    """A session over discs that move, each clicked on the first frame."""
    from sam2_hf import Sam2ImageProcessor, Sam2VideoProcessor

    processor = Sam2VideoProcessor(Sam2ImageProcessor(size={"height": _SIZE, "width": _SIZE}))
    session = processor.init_video_session(_discs(num_frames, num_objects), retention=retention)
    for obj_id, (x, y) in enumerate(_centres(0, num_objects)):
        processor.add_inputs_to_inference_session(session, 0, [obj_id], input_points=[[[[x, y]]]], input_labels=[[[1]]])
    return session


def _centres(frame: int, num_objects: int) -> list[tuple[float, float]]:
    import math

    angles = [2 * math.pi * (index / num_objects + frame / 500) for index in range(num_objects)]
    return [(_SIZE / 2 + 20 * math.cos(angle), _SIZE / 2 + 20 * math.sin(angle)) for angle in angles]


def _discs(num_frames: int, num_objects: int) -> Any:
    """A source of frames that are drawn when they are asked for."""
    import torch

    from sam2_hf.video_io.source import VideoSource

    rows, columns = torch.meshgrid(torch.arange(_SIZE), torch.arange(_SIZE), indexing="ij")

    class Discs(VideoSource):
        @property
        def num_frames(self) -> int:
            return num_frames

        @property
        def size(self) -> tuple[int, int]:
            return _SIZE, _SIZE

        def _load(self, index: int) -> torch.Tensor:
            frame = torch.full((3, _SIZE, _SIZE), 60, dtype=torch.uint8)
            for number, (x, y) in enumerate(_centres(index, num_objects)):
                frame[:, (columns - x) ** 2 + (rows - y) ** 2 < 64] = 120 + 30 * number
            return frame

        def _read(self, indices: range) -> Generator[torch.Tensor, None, None]:
            return (self._load(index) for index in indices)

    return Discs("discs", cache_size=1, prefetch=0)


if __name__ == "__main__":
    sys.exit(main())
