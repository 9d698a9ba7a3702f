"""Pushing to the Hub, up to the upload itself: the model card that arrives there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.errors import EntryNotFoundError
from tiny import tiny_image_model, tiny_video_model
from transformers.utils import hub

REPO = "somebody/scans"


@pytest.fixture
def pushed(monkeypatch):
    """Pushes a model to a Hub that has a card or none, and gives the card that would be uploaded."""

    def push(model, card_on_the_hub=None, **options) -> str:
        uploaded = []

        def load(repo_id, token=None):
            if card_on_the_hub is None:
                raise EntryNotFoundError("no README.md")
            return ModelCard(card_on_the_hub)

        def upload(self, working_dir, repo_id, *args, **kwargs):
            uploaded.append((repo_id, (Path(working_dir) / "README.md").read_text(encoding="utf-8")))

        api = SimpleNamespace(create_repo=lambda repo_id, **_: SimpleNamespace(repo_id=repo_id))
        for name in ("hf_api", "HfApi"):
            if hasattr(hub, name):
                monkeypatch.setattr(hub, name, lambda *args, **kwargs: api)
        monkeypatch.setattr(hub, "create_repo", lambda repo_id, **_: SimpleNamespace(repo_id=repo_id), raising=False)
        monkeypatch.setattr(hub.ModelCard, "load", staticmethod(load))
        monkeypatch.setattr(hub.PushToHubMixin, "_upload_modified_files", upload)
        model.push_to_hub(REPO, **options)
        ((repo_id, card),) = uploaded
        assert repo_id == REPO
        return card

    return push


@pytest.mark.parametrize("make", [tiny_image_model, tiny_video_model])
def test_a_new_repository_gets_our_card(make, pushed):
    card = pushed(make(image_size=64))
    assert "automatically generated" not in card
    assert "# scans\n" in card and f'from_pretrained("{REPO}")' in card
    assert ("Sam2VideoModel" in card) == (make is tiny_video_model)
    assert ModelCard(card).data.pipeline_tag == "mask-generation"


def test_tags_are_kept(pushed):
    data = ModelCard(pushed(tiny_image_model(image_size=64), tags=["x-ray", "yes: no"])).data
    assert {"sam2", "x-ray", "yes: no"} <= {*data.tags}


def test_a_card_that_somebody_wrote_stays(pushed):
    written = "---\nlicense: mit\n---\n\n# Our scans\n"
    assert "# Our scans" in pushed(tiny_image_model(image_size=64), written)
