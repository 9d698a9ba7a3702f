from __future__ import annotations

from collections import Counter

import numpy as np

from sam2_hf.training.synthetic.draws import Draws
from sam2_hf.training.synthetic.noise import clouds


def test_the_stream_is_the_one_that_numpy_guarantees():
    raw = np.random.PCG64(np.random.SeedSequence([2, 3, 1])).random_raw(3)
    draws = Draws(3, 1)
    assert draws.uniform() == int(raw[0] >> np.uint64(11)) / 2**53
    assert draws.uniforms(-1, 1, 1)[0] == -1 + 2 * (int(raw[1] >> np.uint64(11)) / 2**53)
    assert draws.bytes(8).tobytes() == int(raw[2]).to_bytes(8, "little")


def test_another_key_is_another_stream():
    first = [Draws(*key).uniform() for key in [(0,), (1,), (0, 1), (1, 0), (0, 0, 0)]]
    assert len(set(first)) == 5


def test_numbers_are_even_within_their_bounds():
    draws = Draws(0)
    values = draws.uniforms(2, 5, (100, 100))
    assert 2 <= values.min() < 2.01
    assert 4.99 < values.max() < 5
    assert abs(values.mean() - 3.5) < 0.03
    counts = Counter(draws.integer(1, 3) for _ in range(3000))
    assert set(counts) == {1, 2, 3}
    assert max(counts.values()) - min(counts.values()) < 200


def test_choices_follow_their_weights():
    draws = Draws(1)
    counts = Counter(draws.weighted({"often": 3.0, "never": 0.0, "seldom": 1.0}) for _ in range(4000))
    assert counts["never"] == 0
    assert abs(counts["often"] / 4000 - 0.75) < 0.03
    assert abs(sum(draws.chance(0.2) for _ in range(4000)) / 4000 - 0.2) < 0.03


def test_bytes_fill_any_shape():
    image = Draws(2).bytes((5, 7, 3))
    assert image.shape == (5, 7, 3)
    assert image.dtype == np.uint8
    assert len(np.unique(image)) > 50


def test_clouds_are_smooth_and_stay_in_range():
    field = clouds(Draws(4), 128, cells=4, octaves=1)
    assert field.shape == (128, 128)
    assert field.dtype == np.float32
    assert 0 <= field.min() < 0.3
    assert 0.7 < field.max() <= 1
    assert np.abs(np.diff(field, axis=0)).max() < 1.5 * 1.5 * 4 / 128  # the steepest slope of the blending
