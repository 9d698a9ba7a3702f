"""The lower calls of Meta's models: a frame at a time with memories of the program's own, and the heads alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from closeness import assert_close_in_scale
from official_api_ours import load_answers, load_cases, video_predictor
from official_api_runs import run_head_calls, run_lower_calls

LOWER, HEADS = load_cases("lower"), load_cases("head")


@pytest.mark.parametrize("name", LOWER)
def test_a_program_that_keeps_the_memories_itself(name: str, tmp_path: Path) -> None:
    answers, expected = (
        run_lower_calls(video_predictor(LOWER[name], tmp_path), LOWER[name]),
        load_answers("lower", name),
    )
    assert answers.keys() == expected.keys()
    for key, value in expected.items():
        assert_close_in_scale(torch.from_numpy(answers[key]), torch.from_numpy(value), 2e-3)


def test_the_prompt_encoder_and_the_mask_decoder(tmp_path: Path) -> None:
    answers, expected = run_head_calls(video_predictor(HEADS["heads"], tmp_path)), load_answers("head", "heads")
    assert answers.keys() == expected.keys()
    for key, value in expected.items():
        assert answers[key].shape == value.shape, key
        if value.size:
            assert_close_in_scale(torch.from_numpy(answers[key]), torch.from_numpy(value), 1e-4)
