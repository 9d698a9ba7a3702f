"""Damage to the bytes of a file, as disks, networks and killed programs do it."""

from __future__ import annotations

import numpy as np


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """A damaged copy, by one of the kinds below. Heads are hit more often than their length makes likely."""
    kind = KINDS[rng.integers(len(KINDS))]
    return kind(bytearray(content), rng)


def _position(content: bytearray, rng: np.random.Generator) -> int:
    reach = min(len(content), 512) if rng.random() < 0.4 else len(content)
    return int(rng.integers(reach))


def _flipped(content: bytearray, rng: np.random.Generator) -> bytes:
    for _ in range(int(rng.integers(1, 30))):
        content[_position(content, rng)] ^= 1 << int(rng.integers(8))
    return bytes(content)


def _cut(content: bytearray, rng: np.random.Generator) -> bytes:
    return bytes(content[: _position(content, rng)])


def _blanked(content: bytearray, rng: np.random.Generator) -> bytes:
    begin = _position(content, rng)
    length = int(rng.integers(1, max(2, len(content) // 4)))
    content[begin : begin + length] = bytes(len(content[begin : begin + length]))
    return bytes(content)


def _overwritten(content: bytearray, rng: np.random.Generator) -> bytes:
    begin = _position(content, rng)
    noise = rng.integers(0, 256, int(rng.integers(1, 64)), dtype=np.uint8).tobytes()
    content[begin : begin + len(noise)] = noise
    return bytes(content)


def _without_a_part(content: bytearray, rng: np.random.Generator) -> bytes:
    begin = _position(content, rng)
    del content[begin : begin + int(rng.integers(1, 400))]
    return bytes(content)


def _with_a_part_twice(content: bytearray, rng: np.random.Generator) -> bytes:
    begin = _position(content, rng)
    part = content[begin : begin + int(rng.integers(1, 400))]
    return bytes(content[:begin] + part + content[begin:])


KINDS = (_flipped, _cut, _blanked, _overwritten, _without_a_part, _with_a_part_twice)
