"""Table and panels of the training notebook."""

import json
from collections.abc import Sequence
from pathlib import Path

import keras
import matplotlib.pyplot as plt
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
        CSV of facts: ``parameter, label, report, authors, switch``; of the report doi 10.1007/s11604-020-01070-9 and
        its grant's final report, of the code its repository; the switch names the parameters that set it.

    Returns
    -------
    DataFrame
        Index ``recipe``, the facts' labels; columns ``report``, ``authors' code``, ``this run``, ``as reported`` and
        ``as their code`` (yes, no, or not stated), and ``switch``.
    """
    facts = pd.read_csv(recipes, dtype=str, keep_default_na=False)
    run = facts["parameter"].map(recipe_texts(parameters, image_shape))
    same = {
        # of a fact known in part, nobody held out is a deviation all the same
        f"as {name}": np.where(
            (facts[key] == UNKNOWN) | (facts[key].str.endswith(UNKNOWN) & (run != "nobody")),
            UNKNOWN,
            np.where(facts[key] == run, "yes", "no"),
        )
        for key, name in (("report", "reported"), ("authors", "their code"))
    }
    table = facts.assign(**{"this run": run}, **same).rename(columns={"authors": "authors' code"})
    order = ["report", "authors' code", "this run", *same, "switch"]
    return table.set_index("label").rename_axis("recipe")[order]


def ablation_table(record: Path, baseline: Path) -> pd.DataFrame:
    """Write what `benchmarks/recipes.py` found of each change of a recipe, and `benchmarks/texture_baseline.py` below.

    Returns
    -------
    DataFrame
        Index ``change``; of held-out phantoms the mean accuracy over seeds, the lowest and the highest; of real films
        that of the four folds beside each fold, averaged, and how many folds' choice the change was. In the last two
        rows stands what the chosen recipes make of their folds, and what texture without a network does.
    """
    found, texture = (json.loads(path.read_text(encoding="utf-8")) for path in (record, baseline))
    phantoms, films = found["phantoms"], found["films"]
    on_phantoms = f"phantoms, {len(found['seeds'])} seeds of {min(phantoms['held_out'])} or more"
    on_films = f"{films['films']} films ({films['patients']} patients)"
    rows = {
        name: {
            on_phantoms: f"{phantoms[name]['mean']:.3f}",
            "lowest to highest": "{:.3f} to {:.3f}".format(*np.sort(phantoms[name]["accuracies"])[[0, -1]]),
            f"{on_films}, three folds train": f"{inner['mean']:.3f}",
            "less control's [95 %]": "{value:+.3f} [{low:+.3f}, {high:+.3f}]".format(**inner["minus_control"]),
            "chosen by folds": str(films["chosen"].count(name)),
        }
        for name, inner in films["inner"].items()
    }
    rows["control's recipe"]["less control's [95 %]"] = ""
    same = {name: phantoms[name]["one_answer_for_all"] for name in films["inner"]}
    notes = {name: f"{name} (one answer for all in {count} seeds)" for name, count in same.items() if count}
    four = f"{on_films}, four folds train"
    rows["each fold's choice"] = {four: f"{films['outer']['mean']:.3f}"}
    rows["texture without a network"] = {four: f"{texture['texture']['mean']:.3f}"}
    return pd.DataFrame(rows).T.fillna("").rename(index=notes).rename_axis("change")


def recipe_texts(p: dict, image_shape: tuple[int, int]) -> dict[str, str]:
    """Write this run's parameters as the facts are written, by the names of the facts; of a weights file its name."""
    flips = {(True, True): "both", (True, False): "vertical", (False, True): "horizontal", (False, False): "none"}
    scalings = {"unit": "0 to 1", "imagenet": "0 to 255, less the mean", "standardise": "mean 0, SD 1"}
    texts = {name: str(p[name]) for name in ("head", "optimizer", "epochs", "batch_size", "fill", "dtype_policy")}
    texts |= {name: f"{p[name]:g}" for name in ("width", "dropout", "rotation")}
    # what is held out is one of round(1 / share) parts: 0.4 is one in two
    share = f"1 in {round(1 / p['validation_share'])} by {p['folds_by']}" if p["validation_share"] else "nobody"
    normalised = {"dense256": "head"}.get(p["head"], "none")
    draws = f"{p['downsampling_draws']} draws, the epochs each" if p["downsampling_draws"] else "none"
    frozen = f"all but blocks 1 to {p['frozen_blocks']}" if p["frozen_blocks"] else "all"
    return texts | {
        "convolutions": "13",
        "shift": f"{100 * p['shift']:g}%",
        "batch_normalization": "each block" if p["batch_normalization"] else normalised,
        "weights": Path(p["weights"]).name if p["weights"] else f"random, {p['initializer']}",
        "frozen": frozen + (f", {p['head_epochs']} epochs the head" if p["head_epochs"] else ""),
        "image": f"{image_shape[0]} x {image_shape[1]}, {'grey' if p['channels'] == 1 else 'RGB'}",
        "input_scaling": scalings[p["input_scaling"]],
        "learning_rate": f"{p['learning_rate']:g}" + ("" if p["schedule"] == "constant" else f", {p['schedule']}"),
        "clip": "none" if p["clip"] == "none" else f"{p['clip_norm']:g}, {p['clip']} norm",
        "downsampling_draws": draws,
        "keep": {"last": "last", "best": "lowest validation loss"}[p["keep"]],
        "brightness": f"{100 * p['brightness']:g}%" + (", stretched" if p["stretch"] else ""),
        "flips": flips[p["flip_vertical"], p["flip_horizontal"]],
        "networks": str(p["networks"]),
        "held_out": f"{p['folds']} folds by {p['folds_by']}" if p["folds"] > 1 else share,
        "augment_validation": "augmented" if p["augment_validation"] else "as curated",
        "shuffle_labels": "shuffled" if p["shuffle_labels"] else "as given",
    }


def plot_curves(history: pd.DataFrame, value: str, ax: Axes, chance: float | None = None) -> Axes:
    """Draw training (dashed) and validation (solid) against epochs, one colour a fold (named), a line a network.

    Parameters
    ----------
    history
        Rows of `mammolib.training.HISTORY`, with the number of the ``network`` within its fold, and whether the epoch
        was ``kept``: that is a dot, on validation where there is one.
    value
        ``loss`` (cross-entropy, nats) or ``accuracy``.
    chance
        Drawn as a dotted line: ln(classes) for the loss, 1 / classes for the accuracy.
    """
    folds, held_out = history["fold"].nunique(), f"validation_{value}"
    for (fold, network), rows in history.groupby(["fold", "network"]):
        named = {"validation": f"fold {fold}"} if folds > 1 else {"training": "training", "validation": "validation"}
        named = named if network == 0 else {}
        look = {"color": f"C{fold % 10}", "linewidth": 1.5 if network == 0 else 0.8}
        ax.plot(rows["epoch"], rows[value], "--", alpha=0.7, label=named.get("training"), **look)
        validated = rows[held_out].notna().any()
        if validated:
            ax.plot(rows["epoch"], rows[held_out], label=named.get("validation"), **look)
        kept = rows[rows["kept"]]
        ax.plot(kept["epoch"], kept[held_out if validated else value], "o", color=look["color"], markersize=4)
    if chance is not None:
        ax.axhline(chance, color="0.5", linestyle=":", label="chance")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))  # there is no epoch 1.5
    ax.set_xlabel("epoch")
    ax.set_ylabel("cross-entropy (nats)" if value == "loss" else "accuracy (share of images)")
    if value == "accuracy":
        ax.set_ylim(0, 1)
    return ax


def kernel_movement(first: dict[str, list[np.ndarray]], network: keras.Model) -> dict[str, float]:
    """Return by layer how far its kernel moved from its `first` weights: length of the change over the first length.

    Layers without a kernel, such as normalisations, are left out; so is one that began at 0.
    """
    kernels = {layer.name: layer.get_weights()[0] for layer in network.layers if hasattr(layer, "kernel")}
    lengths = {name: float(np.linalg.norm(first[name][0])) for name in kernels}
    changes = {name: float(np.linalg.norm(now - first[name][0])) for name, now in kernels.items()}
    return {name: changes[name] / length for name, length in lengths.items() if length > 0}


def plot_movement(moved: pd.DataFrame, ax: Axes) -> Axes:
    """Draw `kernel_movement`, a row a layer and a column a network, as bars of the mean and a dot a network."""
    moved.mean(axis=1).plot.bar(ax=ax, color="0.75", width=0.7)
    if len(moved.columns) > 1:
        ax.plot(range(len(moved)), moved, ".", color="0.2", markersize=4)
    ax.set_xlabel("")
    ax.set_ylabel("change / first length")
    ax.tick_params(axis="x", labelrotation=45, labelsize=8)
    plt.setp(ax.get_xticklabels(), ha="right", rotation_mode="anchor")
    return ax


def plot_augmented(augmentation: keras.layers.Layer, image: np.ndarray, axes: Sequence[Axes]) -> Sequence[Axes]:
    """Draw one (height, width) uint16 image as it is and, in the other axes, as epochs would see it."""
    grey = np.repeat((image / np.float32(65535))[None, ..., None], len(axes) - 1, axis=0)
    augmented = np.asarray(augmentation(grey, training=True))[..., 0]
    show_mammogram(image, axes[0], title="as curated")
    for number, (ax, shown) in enumerate(zip(axes[1:], augmented, strict=True), start=1):
        show_mammogram((shown * 65535).astype(np.uint16), ax, title=f"draw {number}")
    return axes
