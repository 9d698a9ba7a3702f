"""Values to which the prompt encoder gives a meaning, for the network and for what prepares its inputs."""

from __future__ import annotations

# Fills up ragged batches: the label of a point, and every coordinate of a point or a box.
PAD_VALUE = -10
NOT_A_POINT_LABEL = -1
BACKGROUND_LABEL, FOREGROUND_LABEL = 0, 1
# Labels of a box's upper left and lower right corner, which are points to the model.
BOX_CORNER_LABELS = (2, 3)
LABEL_MEANINGS = {
    FOREGROUND_LABEL: "object",
    BACKGROUND_LABEL: "background",
    BOX_CORNER_LABELS[0]: "upper left corner of a box",
    BOX_CORNER_LABELS[1]: "lower right corner of a box",
    NOT_A_POINT_LABEL: "not a point",
    PAD_VALUE: "padding",
}

# Logits that are given back to the model as a mask prompt stay within this range, as in the official predictor.
MASK_PROMPT_LIMIT = 32.0
# A mask drawn by a person, as logits: 10 inside of it, -10 outside.
GIVEN_MASK_SCALE, GIVEN_MASK_BIAS = 20.0, -10.0

# The logit of a mask, and of an object's score, where there is no object.
NO_OBJECT_LOGIT = -1024.0


def spell_labels() -> str:
    """List the labels of points with their meanings, for an error."""
    return ", ".join(f"{label} ({meaning})" for label, meaning in LABEL_MEANINGS.items())
