"""Figures of the evaluation: each takes `ax` and returns it; n stands in each."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from sklearn.metrics import confusion_matrix, roc_curve

from mammolib.intervals import wilson
from mammolib.metrics import confidence_bins, predicted_class
from mammolib.names import class_name
from mammolib.plots import class_palette
from mammolib.predictions import as_arrays


def _size(table: pd.DataFrame) -> str:
    return f"{len(table)} images, {table['patient'].nunique()} patients"


def plot_confusion(table: pd.DataFrame, classes: Sequence[str], ax: Axes) -> Axes:
    """Confusion matrix of a predictions table: counts, and below them the share of the row (of the true class)."""
    truth, probabilities, _ = as_arrays(table, list(classes))
    counts = confusion_matrix(truth, predicted_class(probabilities), labels=range(len(classes)))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    texts = [[f"{n}\n{share:.0%}" for n, share in zip(*row, strict=True)] for row in zip(counts, shares, strict=True)]
    names = [class_name(name) for name in classes]
    shown = {"annot": np.array(texts), "fmt": "", "cmap": "Blues", "vmin": 0, "vmax": 1, "cbar": False, "square": True}
    seaborn.heatmap(shares, xticklabels=names, yticklabels=names, ax=ax, **shown)
    ax.tick_params(length=0, rotation=0)
    ax.set(xlabel="predicted class (most probable)", ylabel="true class", title=_size(table))
    return ax


def plot_roc(table: pd.DataFrame, classes: Sequence[str], one_vs_rest: dict, ax: Axes) -> Axes:
    """ROC curve of each class against the rest, the area with its interval in the legend.

    `one_vs_rest` is that of 03's results: `{class: {"auc": estimate}}`. A class without a case has no curve.
    """
    truth, probabilities, _ = as_arrays(table, list(classes))
    for number, (name, colour) in enumerate(class_palette(classes).items()):
        area = one_vs_rest[name]["auc"]
        if area["value"] is None:
            ax.plot([], [], color=colour, label=f"{class_name(name)}: not estimable")
            continue
        false_positive, true_positive, _ = roc_curve(truth == number, probabilities[:, number])
        label = f"{class_name(name)} (n = {(truth == number).sum()}): AUC {area['value']:.2f} "
        ax.plot(false_positive, true_positive, color=colour, label=f"{label}[{area['low']:.2f}, {area['high']:.2f}]")
    ax.plot([0, 1], [0, 1], color="grey", linestyle=":", label="chance")
    ax.set(xlabel="1 - specificity", ylabel="sensitivity", title=_size(table), aspect="equal")
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1), fontsize="small")
    return ax


def plot_reliability(table: pd.DataFrame, classes: Sequence[str], ax: Axes) -> Axes:
    """Share right against mean confidence, in bins of equal counts; bars: Wilson on the patients of the bin.

    At most one bin for every ten patients.
    """
    truth, probabilities, patient = as_arrays(table, list(classes))
    confidence, right = probabilities.max(axis=1), predicted_class(probabilities) == truth
    bin_of = confidence_bins(probabilities, len(np.unique(patient)) // 10)
    for number in range(bin_of.max() + 1):
        inside = bin_of == number
        share = right[inside].mean()
        low, high = wilson(share, len(np.unique(patient[inside])))
        bars = [[max(0, share - low)], [max(0, high - share)]]  # at 0 and 1 the two differ by a rounding
        ax.errorbar(confidence[inside].mean(), share, yerr=bars, fmt="o", color="#0072B2", capsize=3)
    ax.plot([0, 1], [0, 1], color="grey", linestyle=":", label="perfectly calibrated")
    ax.set(xlabel="mean probability of the predicted class", ylabel="share right", title=_size(table), aspect="equal")
    ax.set(xlim=(0, 1.02), ylim=(-0.02, 1.02))
    ax.legend(loc="lower right", fontsize="small")
    return ax


def baseline_name(name: str) -> str:
    """A baseline as text for people; what is called header only in files knows the breast's size too."""
    return "headers and breast size" if name == "header_only" else class_name(name)


def plot_baselines(results: dict, ax: Axes) -> Axes:
    """The network's accuracy beside what scores without looking: points with 95 % intervals."""
    baselines = results["baselines"]
    entries = {"network": results["accuracy"]} | {name: entry.get("accuracy") for name, entry in baselines.items()}
    entries = {name: entry for name, entry in entries.items() if entry is not None}
    for row, (name, entry) in enumerate(entries.items()):
        colour = "#D55E00" if name == "network" else "#555555"
        known = entry if isinstance(entry, dict) else {"value": entry, "low": entry, "high": entry}
        bars = [[known["value"] - known["low"]], [known["high"] - known["value"]]]
        ax.errorbar(known["value"], row, xerr=bars, fmt="o", color=colour, capsize=3)
    ax.set_yticks(range(len(entries)), [baseline_name(name) for name in entries])
    ax.invert_yaxis()
    size = f"{results['n_images']} images, {results['n_patients']} patients"
    ax.set(xlabel="accuracy (95 % interval)", xlim=(0, 1), title=size)
    return ax
