"""Figures of the evaluation: each takes `ax` and returns it; n stands in each."""

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from sklearn.metrics import confusion_matrix, roc_curve

from mammolib.bootstrap import patient_strata, patient_weights
from mammolib.calibration import confidence_bins
from mammolib.intervals import wilson
from mammolib.map_plots import breast_box, case_titles
from mammolib.metrics import predicted_class
from mammolib.names import class_name
from mammolib.plots import class_palette, show_mammogram
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


def roc_band(
    is_class: np.ndarray, score: np.ndarray, patient: np.ndarray, strata: np.ndarray, draws: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """95 % band of the sensitivity at each specificity, by the bootstrap of patients; pointwise, not of whole curves.

    Parameters
    ----------
    is_class, score, patient
        `(n,)` bool, float and int of each image; equal scores are one threshold.
    strata
        `(patients,)` classes to draw within: `bootstrap.patient_strata`.

    Returns
    -------
    1 - specificity, low and high, `(201,)` each.
    """
    grid, curves = np.linspace(0, 1, 201), []
    order = np.argsort(-score, kind="stable")
    ends = np.r_[np.diff(score[order]) != 0, True]  # the last of equal scores
    for weights in patient_weights(strata, draws, seed, len(score)):
        drawn = weights[:, patient[order]]
        rates = [np.cumsum(drawn * kind, axis=1)[:, ends] for kind in (is_class[order], ~is_class[order])]
        for hits, alarms in zip(*rates, strict=True):
            if hits[-1] and alarms[-1]:
                curves.append(np.interp(grid, np.r_[0, alarms / alarms[-1]], np.r_[0, hits / hits[-1]]))
    return grid, *np.percentile(curves, [2.5, 97.5], axis=0)


def plot_roc(
    table: pd.DataFrame, classes: Sequence[str], one_vs_rest: dict, ax: Axes, draws: int = 0, seed: int = 0
) -> Axes:
    """ROC curve of each class against the rest, the area with its interval in the legend.

    `one_vs_rest` is that of 03's results: `{class: {"auc": estimate}}`. A class without a case has no curve. With
    `draws` each curve has its band (see `roc_band`).
    """
    truth, probabilities, patient = as_arrays(table, list(classes))
    for number, (name, colour) in enumerate(class_palette(classes).items()):
        area = one_vs_rest[name]["auc"]
        if area["value"] is None:
            ax.plot([], [], color=colour, label=f"{class_name(name)}: not estimable")
            continue
        false_positive, true_positive, _ = roc_curve(truth == number, probabilities[:, number])
        label = f"{class_name(name)} (n = {(truth == number).sum()}): AUC {area['value']:.2f} "
        ax.plot(false_positive, true_positive, color=colour, label=f"{label}[{area['low']:.2f}, {area['high']:.2f}]")
        if draws:
            who = (truth == number, probabilities[:, number], patient, patient_strata(truth, patient))
            ax.fill_between(*roc_band(*who, draws, seed), color=colour, alpha=0.15, linewidth=0)
    ax.plot([0, 1], [0, 1], color="grey", linestyle=":", label="chance")
    ax.set(xlabel="1 - specificity", ylabel="sensitivity", title=_size(table), aspect="equal")
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    title = "bands: 95 % at each specificity" if draws else None
    ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1), fontsize="small", title=title, title_fontsize="small")
    return ax


def plot_reliability(table: pd.DataFrame, classes: Sequence[str], ax: Axes, found: dict | None = None) -> Axes:
    """Share right against mean confidence, in bins of equal counts; bars: Wilson on the patients of the bin.

    At most one bin for every ten patients. `found`, as `calibration.calibration` gives it for this table, is written
    in: the error, beside what a perfect model would show.
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
    if found:
        text = "ECE {ece:.3f}\nperfect model: {ece_if_perfect:.3f} to {ece_if_perfect_at_most:.3f}".format(**found)
        ax.text(0.03, 0.97, text, transform=ax.transAxes, va="top", fontsize="small")
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


def plot_forest(table: pd.DataFrame, overall: dict, ax: Axes) -> Axes:
    """Accuracy of each subgroup with its interval, n images (patients) at the right, and a line at the overall one.

    `table` is that of `subgroups.subgroup_table`, `overall` the accuracy of all. A figure of about a quarter of an inch
    for each of `len(table) + table["variable"].nunique() + 3` lines has room for it.
    """
    lines = [{"name": "all images", "bold": True, "colour": "#D55E00", **overall}]
    for name, levels in table.groupby("variable", sort=False):
        p, holm = levels[["p", "p_holm"]].iloc[0]
        size = "not compared" if np.isnan(p) else f"p = {p:.2g}, Holm {holm:.2g}"
        lines += [{"name": name, "bold": True, "size": size}]
        lines += [{"name": row["level"], "colour": "#0072B2"} | row for row in levels.to_dict("records")]
    for y, line in enumerate(lines):
        size = line.get("size") or f"{line['n']} ({line['patients']})"
        ax.text(1.03, y, size, transform=ax.get_yaxis_transform(), va="center", fontsize="small")
        if "n" not in line:
            continue
        if np.isnan(line["value"]):
            ax.text(overall["value"], y, " too few", va="center", fontsize="small")
            continue
        bars = [[line["value"] - line["low"]], [line["high"] - line["value"]]]
        ax.errorbar(line["value"], y, xerr=bars, fmt="o", color=line["colour"], capsize=3)
    ax.axvline(overall["value"], color="#D55E00", linestyle=":", zorder=0)
    ax.text(1.03, -1, "images (patients)", transform=ax.get_yaxis_transform(), va="center", fontsize="small")
    ax.set_yticks(range(len(lines)), [line["name"] for line in lines], fontsize="small")
    for label, line in zip(ax.get_yticklabels(), lines, strict=True):
        label.set_fontweight("bold" if line.get("bold") else "normal")
    ax.tick_params(axis="y", length=0)
    lowest = np.nanmin([line["low"] for line in lines if "low" in line])
    ax.set(xlabel="accuracy (95 % interval)", xlim=(np.floor(10 * lowest) / 10 - 0.02, 1.02))
    ax.set_ylim(len(lines) - 0.5, -1.5)
    return ax


def plot_cases(cases: pd.DataFrame, images: np.ndarray, axes: Sequence[Axes]) -> None:
    """Draw a mammogram a case, cropped to the breast, under its pseudonym, truth and answer; axes left over stay empty.

    Parameters
    ----------
    cases
        Rows of a predictions table.
    images
        `(cases, height, width) uint16` in the same order.
    """
    titles = case_titles(cases, [name.removeprefix("p_") for name in cases if name.startswith("p_")])
    shown = zip(cases["image_id"], titles, images, strict=True)
    for ax, case in zip_longest(np.ravel(axes), shown):
        ax.set_axis_off()
        if case:
            show_mammogram(case[2][breast_box(case[2])], ax)
            ax.set_title(f"{case[0]}\n{case[1]}", fontsize=8)


def plot_differences(results: dict, ax: Axes) -> Axes:
    """Forest of the differences that `mammolib.comparison.compare` found: points with 95 % intervals, zero = as good.

    Log loss has no upper end and is left out. A difference without an interval is a point, one without a value says so.
    """
    names = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1"}
    names |= {"kappa": "kappa", "macro_auc": "macro AUC", "brier": "Brier score (less is better)"}
    rows = [(text, results[name], "#000000") for name, text in names.items()]
    of_class = results["one_vs_rest"]
    for metric in ("sensitivity", "specificity", "auc"):
        text = "AUC" if metric == "auc" else metric
        colours = class_palette(list(of_class)).items()
        rows += [(f"{text}, {class_name(label)}", of_class[label][metric], colour) for label, colour in colours]
    for row, (_, entry, colour) in enumerate(rows):
        if entry["value"] is None:
            ax.text(0, row, " not estimable", va="center", fontsize="small")
            continue
        low, high = (entry["value"] if entry[end] is None else entry[end] for end in ("low", "high"))
        bars = [[entry["value"] - low], [high - entry["value"]]]
        ax.errorbar(entry["value"], row, xerr=bars, fmt="o", color=colour, capsize=3)
    ax.axvline(0, color="grey", linestyle=":")
    ax.set_yticks(range(len(rows)), [text for text, _, _ in rows])
    ax.invert_yaxis()
    size = f"{results['n_images']} images, {results['n_patients']} patients"
    ax.set(xlabel="first model minus second (95 % interval)", title=size)
    return ax
