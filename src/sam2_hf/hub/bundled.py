"""The bundled checkpoint: a small trained model that comes with the package, for trying, testing and teaching."""

from __future__ import annotations

import os
from pathlib import Path

BUNDLED_NAME = "sam2.1-hiera-micro"

DEFAULT_NOTICE = (
    "no checkpoint was named: using the bundled one, which knows a synthetic world and no photographs; "
    "name another with checkpoint='facebook/sam2.1-hiera-tiny'"
)
_BUNDLED_THRESHOLDS = {"pred_iou_thresh": 0.5, "stability_score_thresh": 0.7}


def bundled_checkpoint() -> str:
    """Return the folder of a SAM 2.1 checkpoint of 3.8 million parameters at 384 x 384 pixels.

    `from_pretrained` of every class here and in transformers loads it. It was trained on a synthetic world alone; what
    it can and cannot do, and how it was made, is in the folder's `README.md`.

    Returns:
        The path of the folder.
    """
    return str(Path(__file__).parents[1] / "checkpoints" / BUNDLED_NAME)


def search_thresholds(checkpoint: str | os.PathLike[str]) -> dict[str, float]:
    """Settings of mask generation that suit a checkpoint, where they are not the pipeline's defaults.

    Those are chosen for Meta's models. The bundled checkpoint predicts lower scores for its good masks.

    Args:
        checkpoint: a folder or a name on the Hub.
    """
    return dict(_BUNDLED_THRESHOLDS) if os.fspath(checkpoint) == bundled_checkpoint() else {}
