"""Table and panels of the training notebook."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mammolib.plots import show_mammogram

UNKNOWN = "not stated"


def recipe_table(parameters: dict, image_shape: tuple[int, int], recipes: Path) -> pd.DataFrame:
    """Set this run's recipe beside the report's and the authors' public code.

    Parameters
    ----------
    parameters
        Of notebook 02, by their names there.
    image_shape
        (height, width) of the network's input.
    recipes
        CSV of facts: ``parameter, label, report, authors``; of the report doi 10.1007/s11604-020-01070-9 and its
        grant's final report.

    Returns
    -------
    DataFrame
        Index ``parameter``, the facts' labels; columns ``report``, ``authors' code``, ``this run``, and
        ``as reported`` (yes, no, or not stated).
    """
    facts = pd.read_csv(recipes, dtype=str, keep_default_na=False)
    run = facts["parameter"].map(recipe_texts(parameters, image_shape))
    unknown = facts["report"].str.endswith(UNKNOWN)
    same = np.where(unknown, UNKNOWN, np.where(facts["report"] == run, "yes", "no"))
    table = facts.assign(**{"this run": run, "as reported": same}).rename(columns={"authors": "authors' code"})
    return table.drop(columns="parameter").set_index("label").rename_axis("parameter")


def recipe_texts(p: dict, image_shape: tuple[int, int]) -> dict[str, str]:
    """Write this run's parameters as the facts are written, by the names of the facts; of a weights file its name."""
    flips = {(True, True): "both", (True, False): "vertical", (False, True): "horizontal", (False, False): "none"}
    scalings = {"unit": "0 to 1", "imagenet": "0 to 255, less the mean", "standardise": "mean 0, SD 1"}
    texts = {name: str(p[name]) for name in ("head", "optimizer", "epochs", "batch_size", "fill", "dtype_policy")}
    texts |= {name: f"{p[name]:g}" for name in ("width", "dropout", "rotation")}
    texts |= {name: f"{p[name]:.0%}" for name in ("shift", "brightness")}
    # what is held out is one of round(1 / share) parts: 0.4 is one in two
    share = f"1 in {round(1 / p['validation_share'])} by patient" if p["validation_share"] else "nobody"
    normalised = {"dense256": "head"}.get(p["head"], "none")
    return texts | {
        "convolutions": "13",
        "batch_normalization": "each block" if p["batch_normalization"] else normalised,
        "weights": Path(p["weights"]).name if p["weights"] else f"random, {p['initializer']}",
        "image": f"{image_shape[0]} x {image_shape[1]}, grey",
        "input_scaling": scalings[p["input_scaling"]],
        "learning_rate": f"{p['learning_rate']:g}" + ("" if p["schedule"] == "constant" else f", {p['schedule']}"),
        "clip": "none" if p["clip"] == "none" else f"{p['clip_norm']:g}, {p['clip']} norm",
        "flips": flips[p["flip_vertical"], p["flip_horizontal"]],
        "held_out": f"{p['folds']} folds by patient" if p["folds"] > 1 else share,
        "shuffle_labels": "shuffled" if p["shuffle_labels"] else "as diagnosed",
    }


def plot_curves(history: pd.DataFrame, value: str, ax: Axes, chance: float | None = None) -> Axes:
    """Draw training (dashed) and validation (solid) against epochs, one colour a fold.

    Parameters
    ----------
    history
        Rows of `mammolib.training.HISTORY`.
    value
        ``loss`` (cross-entropy, nats) or ``accuracy``.
    chance
        Drawn as a dotted line: ln(classes) for the loss, 1 / classes for the accuracy.
    """
    for number, (fold, rows) in enumerate(history.groupby("fold")):
        name = f"fold {fold}, " if history["fold"].nunique() > 1 else ""
        ax.plot(rows["epoch"], rows[value], "--", color=f"C{number}", alpha=0.7, label=f"{name}training")
        if rows[f"validation_{value}"].notna().any():
            ax.plot(rows["epoch"], rows[f"validation_{value}"], color=f"C{number}", label=f"{name}validation")
    if chance is not None:
        ax.axhline(chance, color="0.5", linestyle=":", label="chance")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))  # there is no epoch 1.5
    ax.set_xlabel("epoch")
    ax.set_ylabel("cross-entropy (nats)" if value == "loss" else "accuracy (share of images)")
    if value == "accuracy":
        ax.set_ylim(0, 1)
    return ax


def plot_augmented(augmentation: keras.layers.Layer, image: np.ndarray, axes: Sequence[Axes]) -> Sequence[Axes]:
    """Draw one (height, width) uint16 image as it is and, in the other axes, as epochs would see it."""
    grey = np.repeat((image / np.float32(65535))[None, ..., None], len(axes) - 1, axis=0)
    augmented = np.asarray(augmentation(grey, training=True))[..., 0]
    show_mammogram(image, axes[0], title="as curated")
    for number, (ax, shown) in enumerate(zip(axes[1:], augmented, strict=True), start=1):
        show_mammogram((shown * 65535).astype(np.uint16), ax, title=f"draw {number}")
    return axes
