"""A Space of the Hub that shows the browser app. The variable `SAM2_CHECKPOINT` names another checkpoint."""

import os

from sam2_hf.app.context import AppContext
from sam2_hf.app.main import launch_app

checkpoint = os.environ.get("SAM2_CHECKPOINT", "facebook/sam2.1-hiera-tiny")
launch_app(AppContext(checkpoint=checkpoint), host="0.0.0.0", port=7860)
