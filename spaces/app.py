"""A Space of the Hub that shows the browser app. `SAM2_CHECKPOINT` names the checkpoint."""

import os

from sam2_hf.app.context import AppContext
from sam2_hf.app.main import launch_app

launch_app(AppContext(checkpoint=os.environ.get("SAM2_CHECKPOINT") or None), host="0.0.0.0", port=7860)
