"""Phases of one network's training: the head before the rest, down-sampling draws, and which epoch is kept."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from mammolib import checkpoint
from mammolib.folds import downsampled
from mammolib.network import freeze
from mammolib.training import fit


class Phase(NamedTuple):
    """Epochs `after` + 1 to `after` + `epochs`, in which the first `frozen_blocks` blocks keep their weights.

    `draw` numbers the down-sampling of the images that train in it; None takes all images.
    """

    after: int
    epochs: int
    frozen_blocks: int
    learning_rate: float
    schedule: str
    draw: int | None = None


def phases(
    epochs: int, learning_rate: float, schedule: str, frozen_blocks: int = 0, head_epochs: int = 0,
    head_learning_rate: float = 0.001, downsampling_draws: int = 0,
) -> list[Phase]:  # fmt: skip
    """Return the phases, in order: one, or two for the head, or `epochs` for each draw.

    The head alone comes first, at a constant rate of its own: with random weights it sends large gradients through
    convolutions that have learned already, so they wait. With draws the network goes on from one to the next, each with
    a new optimiser and the schedule from its start, as in the authors' public code; the head's epochs open the first.

    Raises
    ------
    ValueError
        The head's epochs are all there are. What each number may be, `mammolib.parameters` has checked.
    """
    if not 0 <= head_epochs < epochs:
        raise ValueError(f"head_epochs: {head_epochs}; allowed is 0 to {epochs - 1}, less than epochs")
    first = 0 if downsampling_draws else None
    head = [Phase(0, head_epochs, 5, head_learning_rate, "constant", first)] if head_epochs else []
    rest = Phase(head_epochs, epochs - head_epochs, frozen_blocks, learning_rate, schedule, first)
    later = [rest._replace(after=draw * epochs, epochs=epochs, draw=draw) for draw in range(1, downsampling_draws)]
    return [*head, rest, *later]


def train(
    network: keras.Model, images: np.ndarray, labels: np.ndarray, training_rows: np.ndarray,
    validation_rows: np.ndarray, plan: list[Phase], optimizer: Callable[[float], keras.optimizers.Optimizer],
    *, keep: str = "last", seed: int, keep_in: Path | None = None, facts: dict[str, dict] | None = None, runs: int = 1,
    **settings: Any,
) -> list[dict]:  # fmt: skip
    """Train `network` in place through all phases of a plan; `images` to `validation_rows` are those of `training.fit`.

    Parameters
    ----------
    optimizer
        Makes a phase's optimiser from its learning rate.
    keep
        ``last``: the network ends as the last epoch left it. ``best``: as the epoch with the lowest validation loss did
        (the first of equals), so that its validation score is chosen, and too good.
    seed, keep_in, facts, settings
        Of `training.fit`: batch_size, augmentation, name and so on. Phases that a checkpoint has behind it are passed.
    runs
        How many networks there are: there has to be space for the checkpoints of all.

    Returns
    -------
    list of dict
        As of `training.fit`, of all phases.

    Raises
    ------
    ValueError
        ``best`` with nobody held out, and what `training.fit` raises.
    OSError
        No space for the checkpoints of all networks.
    """
    if keep == "best" and not len(validation_rows):
        raise ValueError(
            "keep: best, but nobody is held out; allowed with it are folds above 1, or validation_share above 0"
        )
    best = keras.models.clone_model(network) if keep == "best" else None
    history, done, total = [], 0, plan[-1].after + plan[-1].epochs
    if keep_in and settings.get("keep_every", 1):
        done = checkpoint.epochs_in(keep_in, facts or {})
        freeze(network, min(phase.frozen_blocks for phase in plan))
        largest = optimizer(plan[-1].learning_rate)
        largest.build(network.trainable_variables)
        checkpoint.require_space(keep_in, [*network.weights, *largest.variables, *(best.weights if best else [])], runs)
    for phase in plan:
        if done > phase.after + phase.epochs:
            continue
        rows = training_rows, validation_rows
        if phase.draw is not None:
            rows = [downsampled(part, labels, seed, phase.draw) for part in rows]
        freeze(network, phase.frozen_blocks)
        history = fit(
            network, images, labels, *rows, optimizer=optimizer(phase.learning_rate), schedule=phase.schedule,
            epochs=phase.epochs, after=phase.after, total=total, earlier=history, best=best, seed=seed, keep_in=keep_in,
            facts=facts, **settings,
        )  # fmt: skip
    freeze(network, 0)  # of the file nothing is frozen: who trains on from it decides anew
    if best is not None:
        network.set_weights(best.get_weights())
    return history


def kept_epoch(history: list[dict], keep: str) -> int:
    """Return the epoch whose weights a network has after `train`, from its rows of the history."""
    if keep == "last":
        return history[-1]["epoch"]
    return min(history, key=lambda row: row["validation_loss"])["epoch"]
