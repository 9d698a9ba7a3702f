"""Embeddings in a folder: what comes back is what was put in, or nothing."""

import os

import numpy as np
import pytest
import torch

from sam2_hf.predictors.embedding_cache import EmbeddingCache


def embeddings(value=1.0, dtype=torch.float32):
    return [torch.full((1, 4, 8, 8), value, dtype=dtype), torch.arange(16, dtype=dtype).view(4, 4).t()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gives_back_what_was_put_in(tmp_path, dtype):
    cache = EmbeddingCache(tmp_path / "made" / "if needed")
    assert cache.get(("image", 1), as_tensors=True) is None
    cache.put(("image", 1), embeddings(dtype=dtype))
    for given, wanted in zip(
        EmbeddingCache(cache.folder).get(("image", 1), True), embeddings(dtype=dtype), strict=True
    ):
        assert given.dtype == dtype and given.equal(wanted)
    assert cache.get(("image", 2), as_tensors=True) is None


def test_keeps_arrays_without_torch(tmp_path):
    cache = EmbeddingCache(tmp_path)
    cache.put("key", [np.arange(6.0).reshape(2, 3)])
    (given,) = cache.get("key", as_tensors=False)
    assert isinstance(given, np.ndarray) and np.array_equal(given, np.arange(6.0).reshape(2, 3))


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    cache = EmbeddingCache(tmp_path)
    cache.put(["a"], embeddings())
    cache.max_bytes = int(2.5 * cache.nbytes())
    for age, key in enumerate("ab", start=1):
        cache.put([key], embeddings())
        os.utime(cache._path([key]), (1e9 + age, 1e9 + age))
    assert cache.get(["a"], True) is not None  # used now
    cache.put(["c"], embeddings())
    assert [cache.get([key], True) is not None for key in "abc"] == [True, False, True]
    assert cache.nbytes() <= cache.max_bytes


def test_a_damaged_file_counts_as_missing_and_is_replaced(tmp_path):
    cache = EmbeddingCache(tmp_path)
    cache.put(["a"], embeddings())
    path = cache._path(["a"])
    for content in (b"", b"rubbish" * 100, path.read_bytes()[:-7]):
        path.write_bytes(content)
        assert cache.get(["a"], True) is None and not path.exists()
        cache.put(["a"], embeddings())
        assert cache.get(["a"], True) is not None


def test_files_of_others_stay(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    cache = EmbeddingCache(tmp_path, max_bytes=1)
    cache.put(["a"], embeddings())
    cache.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path):
    (tmp_path / "file").write_text("no folder")
    cache = EmbeddingCache(tmp_path / "file")
    with pytest.warns(UserWarning, match="embeddings cannot be kept"):
        cache.put(["a"], embeddings())
    assert cache.get(["a"], True) is None


def test_refuses_a_size_that_holds_nothing(tmp_path):
    with pytest.raises(ValueError, match="max_bytes must be positive, got 0"):
        EmbeddingCache(tmp_path, 0)
