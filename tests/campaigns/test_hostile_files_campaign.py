"""Checkpoints and configurations that are damaged or made to do harm: refused in words, and nothing of them is run."""

from __future__ import annotations

import contextlib
import json
import pickle
import shutil
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from damage import damaged
from processes import in_child
from safetensors.torch import load_file, save_file
from tiny_checkpoint import save_tiny_checkpoint

from sam2_hf import Sam2Config, Sam2Model, Sam2Processor, Sam2VideoConfig, Sam2VideoModel
from sam2_hf.convert.checkpoint_folder import convert_checkpoint

pytestmark = pytest.mark.slow

ODD_VALUES: tuple[Any, ...] = (
    None, -1, 0, 1, 3, 7, 2**40, 1.5, float("nan"), "64", "", True, [], {}, [0], [1, 2, 3], "../../etc/passwd", {"a": 1}
)  # fmt: skip
MOST_BYTES = 6 * 2**30  # of address space that a load may take beyond the parent's


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"), video=True)


def changed_configuration(config: Any, rng: np.random.Generator) -> Any:
    """A copy with one value replaced, removed or added, at any depth."""
    copied = json.loads(json.dumps(config))
    node = copied
    while True:
        keys = list(node)
        key = keys[int(rng.integers(len(keys)))]
        if isinstance(node[key], dict) and node[key] and rng.random() < 0.9:
            node = node[key]
            continue
        kind = rng.integers(6)
        if kind == 0:
            del node[key]
        elif kind == 1:
            node["unknown_" + key] = node.get(key)
        else:
            node[key] = ODD_VALUES[int(rng.integers(len(ODD_VALUES)))]
        return copied


def limit_memory() -> None:
    import resource

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_BYTES, used + MOST_BYTES))


def outcome_of(load: Any) -> str:
    """What became of loading: "loaded", "refused" with a few lines, or the error that should not have come."""
    try:
        load()
    except (ValueError, TypeError, OSError) as error:
        return "refused" if str(error) and len(str(error)) < 20_000 else f"no words: {error!r}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    return "loaded"


def test_changed_configurations(campaign, folder) -> None:
    """Each is made into a model, in a child whose memory is limited; a size that no machine has is no reason to die."""
    outcomes: Counter[str] = Counter()
    known = json.loads((folder / "config.json").read_text())
    kinds = ((Sam2VideoConfig, Sam2VideoModel), (Sam2Config, Sam2Model))

    def try_some(begin: int, end: int) -> list[tuple[int, str]]:
        limit_memory()
        found = []
        for index in range(begin, end):
            rng = campaign.rng(index)
            config_class, model_class = kinds[index % 2]
            content = changed_configuration(known, rng)

            def load(config_class: Any = config_class, model_class: Any = model_class, content: Any = content) -> None:
                config = config_class.from_dict(content)
                with torch.device("meta"):
                    model_class(config)

            found.append((index, outcome_of(load)))
        return found

    count, at_once = campaign.count(1_000), 50
    unexpected = []
    for begin in range(0, count, at_once):
        for index, outcome in in_child(lambda begin=begin: try_some(begin, min(begin + at_once, count)), 300):  # type: ignore[misc]
            is_expected = outcome in ("loaded", "refused")
            outcomes[outcome if is_expected else "in no words of ours"] += 1
            if not is_expected:
                changed = changed_configuration(known, campaign.rng(index))
                unexpected.append((index, outcome, differences(known, changed)))
    assert not unexpected, unexpected[:5]
    campaign.record(configurations=count, **outcomes)


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two nestings of dictionaries differ."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return [] if repr(one) == repr(other) else [f"{path}: {one!r} -> {other!r}"]
    keys = dict.fromkeys([*one, *other])
    return [line for key in keys for line in differences(one.get(key), other.get(key), f"{path}.{key}")]


def test_damaged_checkpoints(campaign, folder, tmp_path) -> None:
    """Files of a checkpoint with damage: what is loaded is a model, and what is not is refused."""
    outcomes: Counter[str] = Counter()
    names = [path.name for path in sorted(folder.iterdir()) if path.suffix in (".json", ".safetensors")]
    count, at_once = campaign.count(300), 30

    def try_some(begin: int, end: int) -> list[tuple[int, str]]:
        limit_memory()
        found = []
        for index in range(begin, end):
            rng = campaign.rng(index)
            copied = tmp_path / f"damaged-{index}"
            shutil.copytree(folder, copied)
            broken = copied / names[index % len(names)]
            broken.write_bytes(damaged(broken.read_bytes(), rng))

            def load(copied: Path = copied) -> None:
                Sam2VideoModel.from_pretrained(copied)
                Sam2Processor.from_pretrained(copied)

            found.append((index, outcome_of(load)))
            shutil.rmtree(copied)
        return found

    unexpected = []
    for begin in range(0, count, at_once):
        for index, outcome in in_child(lambda begin=begin: try_some(begin, min(begin + at_once, count)), 300):  # type: ignore[misc]
            is_expected = outcome in ("loaded", "refused") or outcome.startswith(("SafetensorError", "RuntimeError"))
            outcomes[outcome.split(":")[0] if is_expected else "unexpected"] += 1
            if not is_expected:
                unexpected.append((index, names[index % len(names)], outcome))
    assert not unexpected, unexpected[:5]
    campaign.record(checkpoints=count, **outcomes)


class Harm:
    """What a pickle runs when it is read by somebody who trusts it."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (str(self.path), "w"))


def test_files_that_would_run_code(campaign, folder, tmp_path) -> None:
    """Pickles in every place where a checkpoint may have one, and names that lead out of its folder."""
    done = tmp_path / "done"
    tried = 0
    for name in ("pytorch_model.bin", "model.safetensors", "checkpoint.pt"):
        for content in (pickle.dumps(Harm(done)), torch_pickle(Harm(done), tmp_path)):
            hostile = tmp_path / f"hostile-{tried}"
            shutil.copytree(folder, hostile)
            (hostile / "model.safetensors").unlink()
            (hostile / name).write_bytes(content)
            with contextlib.suppress(Exception):
                Sam2VideoModel.from_pretrained(hostile)
            with contextlib.suppress(Exception):
                convert_checkpoint(hostile / name, tmp_path / f"converted-{tried}")
            tried += 1
            assert not done.exists(), f"{name} was run"
    for name in ("../../outside.safetensors", "/etc/passwd"):
        hostile = tmp_path / f"hostile-{tried}"
        shutil.copytree(folder, hostile)
        (hostile / "model.safetensors").unlink()
        index = {"metadata": {}, "weight_map": {"no_memory_embedding": name}}
        (hostile / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(Exception):  # noqa: B017 - of transformers, of several kinds
            Sam2VideoModel.from_pretrained(hostile)
        tried += 1
    for auto_map in ({"AutoModel": "harm.Harm"}, {"AutoConfig": "other/repository--harm.Harm"}):
        hostile = tmp_path / f"hostile-{tried}"
        shutil.copytree(folder, hostile)
        config = json.loads((hostile / "config.json").read_text())
        (hostile / "config.json").write_text(json.dumps({**config, "auto_map": auto_map}))
        (hostile / "harm.py").write_text(f"open({str(done)!r}, 'w')\n")
        Sam2VideoModel.from_pretrained(hostile)
        tried += 1
        assert not done.exists(), "code of the folder was run"
    campaign.record(files=tried, code_run=0)


def torch_pickle(value: Any, folder: Path) -> bytes:
    torch.save({"model": value}, folder / "harm.pt")
    return (folder / "harm.pt").read_bytes()


def test_weights_of_other_shapes_and_kinds(campaign, folder, tmp_path) -> None:
    """Weights with a changed shape, dtype or name, or with a head that promises more than the file has."""
    weights = load_file(folder / "model.safetensors")
    outcomes: Counter[str] = Counter()
    for index in range(campaign.count(100)):
        rng = campaign.rng(index)
        hostile = tmp_path / "hostile"
        shutil.copytree(folder, hostile)
        name = list(weights)[int(rng.integers(len(weights)))]
        changed = dict(weights)
        kind = index % 5
        if kind == 0:
            changed[name] = torch.zeros(*weights[name].shape, 2)
        elif kind == 1:
            changed[name] = torch.zeros(weights[name].shape, dtype=torch.int32)
        elif kind == 2:
            changed["other_" + name] = changed.pop(name)
        elif kind == 3:
            changed[name] = torch.full_like(weights[name], float("nan"))
        save_file(changed, hostile / "model.safetensors", metadata={"format": "pt"})
        if kind == 4:
            content = (hostile / "model.safetensors").read_bytes()
            (hostile / "model.safetensors").write_bytes(struct.pack("<Q", 2 ** int(rng.integers(20, 63))) + content[8:])

        def load(hostile: Path = hostile) -> None:
            Sam2VideoModel.from_pretrained(hostile)

        outcome = outcome_of(load)
        accepted = ("loaded", "refused", "RuntimeError", "SafetensorError")
        assert outcome.startswith(accepted), f"weights {index}, {name}: {outcome}"
        outcomes[outcome.split(":")[0]] += 1
        shutil.rmtree(hostile)
    campaign.record(checkpoints=sum(outcomes.values()), **outcomes)
