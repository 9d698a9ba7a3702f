"""Threads that share a model, children that inherit it, and programs that change torch's defaults."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from processes import in_child
from tiny import tiny_image_model
from video_scenes import assert_same, clip, give, open_session, tiny_model, track

from sam2_hf import Sam2ImageProcessor, Sam2Processor

pytestmark = pytest.mark.slow

THREADS = 8
PROCESSOR = Sam2Processor(Sam2ImageProcessor(size={"height": 128, "width": 128}))


@pytest.fixture(scope="module", autouse=True)
def one_thread_an_operation() -> Iterator[None]:
    """Sums in one order, whoever computes them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_image_model()


def click(model: Any, rng: np.random.Generator) -> np.ndarray:
    """The masks of a click on a frame of the clip; both are drawn by `rng`."""
    x, y = rng.uniform(10, 118, 2).tolist()
    image = clip(4)[int(rng.integers(4))]
    inputs = PROCESSOR(image, input_points=[[[[x, y]]]], input_labels=[[[1]]], return_tensors="pt")
    with torch.inference_mode():
        outputs = model(**inputs)
    return outputs.pred_masks.numpy()


def follow(seed: int) -> Any:
    """A click tracked through the clip, corrected, and tracked again."""
    session = open_session(5)
    give(session, seed % 3, "a")
    give(session, 1, "b", "box")
    track(tiny_model(), session, direction="both")
    give(session, 2 + seed % 2, "a", "background")
    return track(tiny_model(), session)


def test_threads_that_share_a_model(campaign, model) -> None:
    rounds = campaign.count(400)
    expected = {index: click(model, campaign.rng(index)) for index in range(rounds)}
    clips = [follow(seed) for seed in range(6)]
    failures: list[BaseException] = []
    counts = {"clicks": 0, "clips": 0}
    lock = threading.Lock()

    def work(number: int) -> None:
        try:
            for index in range(number, rounds, THREADS):
                assert np.array_equal(click(model, campaign.rng(index)), expected[index]), f"click {index}"
                if index % 40 < THREADS:
                    assert_same(follow(index % 6), clips[index % 6])
                with lock:
                    counts["clicks"] += 1
                    counts["clips"] += index % 40 < THREADS
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
        assert not thread.is_alive(), "a thread hangs"
    assert not failures, failures
    campaign.record(threads=THREADS, **counts)


def test_children_that_inherit_a_model(campaign, model) -> None:
    """What the parent has used works in a child, and in the child of a child, and then again in the parent."""
    children = campaign.count(100)
    session = open_session(5)
    give(session, 0, "a")
    model_of_clips = tiny_model()
    model_of_clips(session, frame_idx=0)
    expected = track(model_of_clips, session.fork())

    def work(index: int) -> bool:
        torch.set_num_threads(1)
        same = np.array_equal(click(model, campaign.rng(index)), clicks[index])
        assert_same(track(model_of_clips, session), expected)
        return same and (index % 10 != 0 or in_child(lambda: work(index + 1)))

    clicks = {index: click(model, campaign.rng(index)) for index in range(children + 1)}
    for index in range(children):
        assert in_child(lambda index=index: work(index)), f"child {index}"  # type: ignore[misc]
    assert_same(track(model_of_clips, session), expected)
    campaign.record(children=children, grandchildren=len(range(0, children, 10)))


@contextmanager
def set_default(setter: Any, value: Any, before: Any) -> Iterator[None]:
    setter(value)
    try:
        yield
    finally:
        setter(before)


def test_global_defaults_of_torch(campaign, model) -> None:
    trials = campaign.count(100)
    expected = {index: click(model, campaign.rng(index)) for index in range(trials)}
    clips = [follow(seed) for seed in range(2)]
    for index in range(trials):
        choose = np.random.default_rng([campaign.seed, index])
        with ExitStack() as stack:
            dtype = [torch.float32, torch.float64, torch.bfloat16, torch.float16][choose.integers(4)]
            stack.enter_context(set_default(torch.set_default_dtype, dtype, torch.float32))
            device = [None, "meta", "cpu"][choose.integers(3)]
            stack.enter_context(set_default(torch.set_default_device, device, None))
            grad = bool(choose.integers(2))
            stack.enter_context(torch.set_grad_enabled(grad))
            strict = bool(choose.integers(2))
            stack.enter_context(set_default(torch.use_deterministic_algorithms, strict, False))
            torch.manual_seed(int(choose.integers(2**31)))
            said = [dtype, device, grad, strict]
            assert np.array_equal(click(model, campaign.rng(index)), expected[index]), f"trial {index}: {said}"
            if index % 4 == 0:
                assert_same(follow(index // 4 % 2), clips[index // 4 % 2])
    campaign.record(combinations=trials)
