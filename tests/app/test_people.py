import threading

import pytest

from sam2_hf.app.people import PersonStore


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_people_are_found_by_their_id_alone():
    store = PersonStore()
    a, b = store.new(), store.new()
    assert len(a) >= 32 and a != b and store.get(a) is store.get(a) is not store.get(b)
    for token in (None, "", "nobody", a[:-1]):
        with pytest.raises(KeyError, match="reload"):
            store.get(token)


def test_those_who_are_too_old_go_with_their_files():
    clock = Clock()
    store = PersonStore(max_age=10, clock=clock)
    early, late = store.new(), store.new()
    folder = store.get(early).folder
    (folder / "clip.mp4").write_bytes(b"x")
    clock.now = 8
    store.get(late)
    clock.now = 12
    store.get(late)
    with pytest.raises(KeyError):
        store.get(early)
    assert not folder.exists() and len(store) == 1
    clock.now = 30
    store.remove_old()
    assert len(store) == 0


def test_those_not_seen_for_longest_go_when_there_are_too_many():
    store = PersonStore(most=2)
    a, b = store.new(), store.new()
    store.get(a)
    c = store.new()
    assert store.get(a) and store.get(c)
    with pytest.raises(KeyError):
        store.get(b)
    store.forget(a)
    store.forget(a)
    assert len(store) == 1
    folder = store.get(c).folder
    store.close()
    assert len(store) == 0 and not folder.exists()


def test_many_may_come_at_once():
    store = PersonStore(most=8)
    tokens = []
    threads = [threading.Thread(target=lambda: tokens.extend(store.new() for _ in range(50))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(tokens)) == 200 and len(store) == 8


@pytest.mark.parametrize("wrong", [{"most": 0}, {"max_age": 0}])
def test_a_store_that_keeps_nobody_is_refused(wrong):
    with pytest.raises(ValueError, match="must be at least 1"):
        PersonStore(**wrong)
