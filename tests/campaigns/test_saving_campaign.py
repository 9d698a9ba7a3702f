"""Saves that are killed, and savers that meet: what is on the disk is always one whole session."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from processes import ended, fork
from video_scenes import clip, give, open_session, snapshot, tiny_model, track

from sam2_hf.tracking.session import Sam2VideoInferenceSession

pytestmark = pytest.mark.slow


def remembered(session: Any) -> str:
    """What a session remembers, but for features, which are computed again, and numbers of saves."""
    return repr([entry for entry in snapshot(session) if entry[0] != "feature_cache"])


def load(folder: Path) -> Any:
    return Sam2VideoInferenceSession.load(folder, video=clip(8))


def tracked(kind: str) -> Any:
    session = open_session(8)
    give(session, 2, "a")
    if kind == "second":
        give(session, 3, "b", "box")
    track(tiny_model(), session)
    return session


@pytest.fixture(scope="module")
def sessions() -> list[Any]:
    return [tracked("first"), tracked("second")]


def known_states(sessions: list[Any], folder: Path) -> list[str]:
    """What each session remembers after it was saved and loaded."""
    states = []
    for session in sessions:
        session.save(folder)
        states.append(remembered(load(folder)))
    assert states[0] != states[1]
    return states


def test_kills_during_a_save(campaign, sessions, tmp_path) -> None:
    folder = tmp_path / "saved"
    states = known_states(sessions, folder)
    begun = time.perf_counter()
    for _ in range(20):
        sessions[1].save(folder)
    seconds = (time.perf_counter() - begun) / 20
    outcomes: Counter[str] = Counter()
    there = states[1]
    for index in range(campaign.count(1_000)):
        other = sessions[0] if there == states[1] else sessions[1]
        child = fork(lambda session=other: session.save(folder))  # type: ignore[misc]
        time.sleep(campaign.rng(index).uniform(0, 1.5 * seconds))
        os.kill(child, signal.SIGKILL)
        was_killed = ended(child) != 0
        partial = any(path.name.startswith(".saving-") for path in folder.iterdir())
        with campaign.at_most(60, f"loading after kill {index}"):
            found = remembered(load(folder))
        assert found in states, f"after kill {index} there is a session that nobody saved"
        assert was_killed or found != there, f"save {index} came to its end and is not there"
        outcome = "killed after it was in force" if found != there else "killed before it was in force"
        outcomes[outcome if was_killed else "came to its end"] += 1
        outcomes["left something behind"] += partial
        there = found
    sessions[0].save(folder)
    left = sorted(path.name for path in folder.iterdir() if path.name != ".session.lock")
    assert len(left) == 2, f"leftovers of killed saves stay: {left}"
    campaign.record(kills=campaign.count(1_000), save_milliseconds=round(1e3 * seconds, 1), **outcomes)


def test_two_savers_at_once(campaign, sessions, tmp_path) -> None:
    """Each saves its own session again and again, and the parent loads in between."""
    folder = tmp_path / "saved"
    states = known_states(sessions, folder)
    saves = campaign.count(200)

    def save_often(session: Any) -> None:
        for _ in range(saves):
            session.save(folder)

    children = [fork(lambda session=session: save_often(session)) for session in sessions]  # type: ignore[misc]
    outcomes: Counter[str] = Counter()
    waiting = set(children)
    while waiting:
        outcomes[f"loads of session {states.index(remembered(load(folder)))}"] += 1
        for child in list(waiting):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                assert status == 0
                waiting.discard(child)
    assert remembered(load(folder)) in states
    campaign.record(saves=2 * saves, loads=sum(outcomes.values()), **outcomes)
