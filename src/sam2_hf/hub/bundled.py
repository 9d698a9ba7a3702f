"""The bundled checkpoint: a small trained model that comes with the package, for trying, testing and teaching."""

from __future__ import annotations

from pathlib import Path

BUNDLED_NAME = "sam2.1-hiera-micro"


def bundled_checkpoint() -> str:
    """Return the folder of a SAM 2.1 checkpoint of 3.8 million parameters at 384 x 384 pixels.

    `from_pretrained` of every class here and in transformers loads it. It was trained on a synthetic world alone; what
    it can and cannot do, and how it was made, is in the folder's `README.md`.

    Returns:
        The path of the folder.
    """
    return str(Path(__file__).parents[1] / "checkpoints" / BUNDLED_NAME)
