"""Features of a frame, as everything after the vision encoder reads them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class FrameFeatures(NamedTuple):
    """A frame as the model sees it: the two finer maps for the mask decoder, (1, C/8, 4h, 4w) and (1, C/4, 2h, 2w),
    and the coarsest (1, C, h, w), free of any memory."""

    fine: tuple[Tensor, Tensor]
    coarsest: Tensor
