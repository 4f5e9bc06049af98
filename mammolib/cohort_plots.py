"""Figures of notebook 01: the flow of images from registry to cohort, and a page of examples."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from mammolib.names import class_name
from mammolib.plots import show_mammogram
from mammolib.terms import REASONS


def flow_figure(flow: Mapping, ax: Axes) -> Axes:
    """Flow diagram after CONSORT: registry, exclusions by reason, included, the two parts; n in every box.

    Parameters
    ----------
    flow
        As `mammolib.cohort.flow_counts` gives it.
    """
    excluded = flow["excluded"]
    reasons = [f"{n:,}  {REASONS[reason]}" for reason, n in excluded.items()] or ["none"]
    total = sum(excluded.values())
    boxes = [
        (0.28, 0.93, f"Images in the registry\nn = {flow['registry_rows']:,}"),
        (0.28, 0.30, f"Included\nn = {flow['included']:,} images of {flow['patients']:,} patients"),
        (0.12, 0.07, f"Development part\nn = {flow['development_images']:,} images"),
        (0.44, 0.07, f"Test part\nn = {flow['test_images']:,} images"),
    ]
    frame = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": "0.3"}
    for x, y, text in boxes:
        ax.text(x, y, text, ha="center", va="center", bbox=frame)
    ax.text(0.60, 0.62, "\n".join([f"Excluded, n = {total:,} images", *reasons]), va="center", bbox=frame)
    arrow = {"arrowstyle": "-|>", "color": "0.3", "shrinkA": 0, "shrinkB": 0}
    ways = [((0.28, 0.865), (0.28, 0.365)), ((0.28, 0.62), (0.58, 0.62))]
    ways += [((0.28, 0.235), (0.12, 0.135)), ((0.28, 0.235), (0.44, 0.135))]
    for start, end in ways:
        ax.annotate("", xy=end, xytext=start, arrowprops=arrow)
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.set_axis_off()
    return ax


def draw_examples(cohort: pd.DataFrame, classes: Sequence[str], each: int, seed: int) -> list[list[int]]:
    """Rows to show, `each` a class at most, drawn by the seed among the development part."""
    rng, development = np.random.default_rng(seed), (cohort["split"] == "development").to_numpy()
    chosen = []
    for name in classes:
        rows = np.flatnonzero(development & (cohort["label"] == name).to_numpy())
        chosen.append(sorted(rng.choice(rows, min(each, len(rows)), replace=False).tolist()))
    return chosen


def examples_figure(
    images: np.ndarray, cohort: pd.DataFrame, chosen: Sequence[Sequence[int]], axes: np.ndarray
) -> np.ndarray:
    """One row of axes a class: image, view, and its class at the left.

    Parameters
    ----------
    images
        (n, height, width) uint16 in the cohort's order, as the network gets them.
    chosen
        Row numbers a class, as `draw_examples` gives them.
    axes
        (classes, at least the longest of `chosen`) axes.
    """
    for ax in axes.ravel():
        ax.set_axis_off()
    for line, rows in zip(axes, chosen, strict=True):
        for ax, k in zip(line, rows, strict=False):
            row = cohort.iloc[k]
            side = f"{row['ImageLaterality']} {row['ViewPosition']}".strip()
            show_mammogram(images[k], ax, f"{class_name(row['label'])}\n{side}")
    return axes
