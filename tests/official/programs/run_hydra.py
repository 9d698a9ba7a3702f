# ruff: noqa: T201
"""A program that builds Meta's model with hydra, as those do that load weights themselves; prints what came out."""

from __future__ import annotations

import numpy as np
from hydra import compose
from hydra.utils import instantiate
from omegaconf import OmegaConf
from sam2.sam2_image_predictor import SAM2ImagePredictor

for name in ("configs/sam2.1/sam2.1_hiera_t.yaml", "sam2_hiera_t.yaml"):
    configuration = compose(config_name=name, overrides=["++model.image_size=128"])
    OmegaConf.resolve(configuration)
    model = instantiate(configuration.model, _recursive_=True)
    other = instantiate(compose(config_name=name, overrides=["++model.image_size=128"]).model)
    model.load_state_dict(other.state_dict(), strict=True)
    predictor = SAM2ImagePredictor(model.to("cpu").eval())
    predictor.set_image(np.zeros((96, 128, 3), np.uint8))
    print("hydra", predictor.predict(box=np.array([16, 20, 58, 60]), multimask_output=False)[0].shape)
