"""What a recipe's numbers mean: the optimiser, and its rate by epoch."""

import keras
import numpy as np

from mammolib.parameters import CHOICES, require_choice

OPTIMIZERS = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}
CLIPS = {"global": "global_clipnorm", "variable": "clipnorm", "none": None}


def make_optimizer(
    optimizer: str, learning_rate: float, clip: str = "none", clip_norm: float = 0.001
) -> keras.optimizers.Optimizer:
    """Return the optimiser; `clip` is by the norm of all gradients (``global``), of each (``variable``), or ``none``.

    Stand-alone Keras of 2018 clipped by the global norm under the name that clips each variable in Keras 3.
    """
    require_choice("optimizer", optimizer, OPTIMIZERS)
    require_choice("clip", clip, CLIPS)
    if not learning_rate > 0:
        raise ValueError(f"learning_rate: {learning_rate}; allowed is above 0")
    if clip != "none" and not clip_norm > 0:
        raise ValueError(f"clip_norm: {clip_norm}; allowed is above 0 where clip is {clip}")
    settings = {CLIPS[clip]: clip_norm} if clip != "none" else {}
    return OPTIMIZERS[optimizer](learning_rate=learning_rate, **settings)


def rate_at(epoch: int, epochs: int, learning_rate: float, schedule: str) -> float:
    """Return the learning rate of `epoch` (from 1): constant, or half a cosine that would reach 0 after the last."""
    require_choice("schedule", schedule, CHOICES["schedule"])
    if schedule == "constant":
        return learning_rate
    return learning_rate * 0.5 * (1 + float(np.cos(np.pi * (epoch - 1) / epochs)))
