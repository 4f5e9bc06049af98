"""Figures of notebook 01: the flow of images, reading before and after, examples, and the hard cases."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
from matplotlib.axes import Axes
from scipy import ndimage

from mammolib.dicom import stored_values
from mammolib.images import area_resize, read_breast
from mammolib.intake import silent
from mammolib.names import class_name
from mammolib.plots import show_mammogram
from mammolib.terms import REASONS

# Box of the flow diagram -> the first of `terms.REASONS` that stands in it, and what the images left by it are
GROUPS = {
    "List and dates": ("patient_not_listed", "Listed with a class, in the period"),
    "File and header": ("missing_file", "Mammograms for presentation"),
    "Pixels and repeats": ("contradictory_inversion", "Included"),
}


def grouped_reasons(excluded: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Counts of exclusions by group of `GROUPS` and reason, in the order of `terms.REASONS`."""
    first, found, group = {reason: name for name, (reason, _) in GROUPS.items()}, {name: {} for name in GROUPS}, ""
    for reason in REASONS:
        group = first.get(reason, group)
        if reason in excluded:
            found[group][reason] = excluded[reason]
    return found


def flow_figure(flow: Mapping, ax: Axes, archive: bool = False) -> Axes:
    """Flow diagram after CONSORT: what there was, exclusions in three groups by reason, the two parts; n in every box.

    The figure gets as high as its lines need.

    Parameters
    ----------
    flow
        As `mammolib.cohort.flow_counts` gives it.
    archive
        Whether the images are the files below a folder, whose headers are judged before the list is looked at.
    """
    groups = grouped_reasons(flow["excluded"])
    first, second, last = GROUPS
    order = [name for name in ((second, first) if archive else (first, second)) if groups[name]] + [last]
    style = {"fontsize": 9, "linespacing": 1.25, "va": "center"}
    style["bbox"] = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": "0.3"}
    arrow = {"arrowstyle": "-|>", "color": "0.3", "shrinkA": 0, "shrinkB": 0}

    def box(x: float, y: float, text: str, n: int, of: str = "images", patients: int | None = None) -> None:
        whose = "" if patients is None else f" of {patients:,} patients"
        ax.text(x, y, f"{text}\nn = {n:,} {of}{whose}", ha="center", **style)

    y, left = 1.6, flow["registry_rows"]  # y counts lines of text from the top
    box(0.25, y, *(("Below the folder", left, "files") if archive else ("In the registry", left)))
    for name in order:
        total, before = sum(groups[name].values()), y
        middle = y + 2.6 + (len(groups[name]) + 1) / 2
        y, left = middle + 2.6 + (len(groups[name]) + 1) / 2, left - total
        ax.annotate("", (0.25, y - 1.6), (0.25, before + 1.6), arrowprops=arrow)
        ax.annotate("", (0.49, middle), (0.25, middle), arrowprops=arrow)
        lines = [f"{name}: {total:,} excluded", *(f"{n:,}  {REASONS[reason]}" for reason, n in groups[name].items())]
        ax.text(0.5, middle, "\n".join(lines), **style)
        box(0.25, y, GROUPS[name][1], left, patients=flow["patients"] if name == last else None)
    for part, x in (("development", 0.12), ("test", 0.38)):
        ax.annotate("", (x, y + 3.4), (0.25, y + 1.6), arrowprops=arrow)
        box(x, y + 5, f"{part.capitalize()} part", flow[f"{part}_images"], patients=flow[f"{part}_patients"])
    ax.set(xlim=(0, 1), ylim=(y + 6.8, -0.2), position=(0, 0, 1, 1))
    ax.set_axis_off()
    ax.figure.set_size_inches(9, 0.165 * (y + 7))
    return ax


@silent()
def before_and_after(path: Path, read: Mapping, height: int = 240) -> tuple[np.ndarray, np.ndarray]:
    """Stored values under their full range, and presentation values: two thumbnails of one DICOM file.

    Parameters
    ----------
    read
        rules, voi and voi_index, see `dicom.read_dicom`.

    Returns
    -------
    Both (height, width) uint16; 0 outside the breast, where annotations may be burned in.
    """
    pixels, mask, facts = read_breast(path, height, height, "pad", **read)
    with pydicom.config.disable_value_validation(), warnings.catch_warnings(record=True):
        dataset = pydicom.dcmread(path)
        stored, _ = stored_values(dataset, (height, height))
        if dataset.PixelRepresentation == 1:  # two's complement
            stored = stored ^ np.uint16(2 ** (facts["bits"] - 1))
    size = height, max(1, round(height * mask.shape[1] / mask.shape[0]))
    inside = area_resize(mask, *size) > 0.99
    both = area_resize(stored, *size) * (65535 / (2 ** facts["bits"] - 1)), area_resize(pixels, *size)
    return tuple(np.where(inside, np.rint(values), 0).astype(np.uint16) for values in both)


def draw_windows(rows: pd.DataFrame, cohort: pd.DataFrame, most: int, seed: int) -> pd.DataFrame:
    """One DICOM image, drawn by the seed in the development part, of each vendor and window kind; frequent ones first.

    Returns
    -------
    DataFrame
        At most `most` of the rows, with `title` and `n`, how many images are of this kind.
    """
    development = cohort.loc[cohort["split"] == "development", "image_id"]
    own = rows[rows["image_id"].isin(development) & (rows["PhotometricInterpretation"].fillna("") != "")]
    kinds = own.groupby(["Manufacturer", "voi", "PhotometricInterpretation"])
    drawn = kinds.sample(1, random_state=seed).assign(n=kinds.size().to_numpy())
    titles = drawn["Manufacturer"].replace("", "unknown") + "\n" + drawn["voi"].replace("", "no window") + "\n"
    drawn["title"] = titles + drawn["PhotometricInterpretation"] + "\nn = " + drawn["n"].astype(str)
    return drawn.sort_values("n", ascending=False, kind="stable").head(most)


def before_after_figure(pairs: Sequence[tuple], titles: Sequence[str], axes: np.ndarray) -> np.ndarray:
    """Pairs of `before_and_after`: stored values above, presentation values below; axes (2, number of pairs)."""
    for line, images, name in zip(axes, zip(*pairs, strict=True), ("stored", "presentation"), strict=True):
        for ax, image, title in zip(line, images, titles, strict=True):
            show_mammogram(image, ax, title if name == "stored" else None)
        line[0].text(-0.08, 0.5, name, rotation=90, ha="right", va="center", transform=line[0].transAxes)
    return axes


def draw_examples(cohort: pd.DataFrame, classes: Sequence[str], each: int, seed: int) -> list[list[int]]:
    """Rows to show, `each` a class at most, drawn by the seed among the development part."""
    rng, development = np.random.default_rng(seed), (cohort["split"] == "development").to_numpy()
    of_class = [np.flatnonzero(development & (cohort["label"] == name).to_numpy()) for name in classes]
    return [sorted(rng.choice(rows, min(each, len(rows)), replace=False).tolist()) for rows in of_class]


def caption(row: pd.Series) -> str:
    """Class, side and view of an image of the cohort."""
    return f"{class_name(row['label'])}\n{row['ImageLaterality']} {row['ViewPosition']}".rstrip()


def examples_figure(
    images: np.ndarray, cohort: pd.DataFrame, chosen: Sequence[Sequence[int]], axes: np.ndarray
) -> np.ndarray:
    """One row of axes a class: image, view, and its class at the left.

    Parameters
    ----------
    images
        (slots, height, width) uint16, as the network gets them; a row's image is at its `slot`.
    chosen
        Row numbers a class, as `draw_examples` gives them.
    axes
        (classes, at least the longest of `chosen`) axes.
    """
    for ax in axes.ravel():
        ax.set_axis_off()
    for line, rows in zip(axes, chosen, strict=True):
        for ax, k in zip(line, rows, strict=False):
            show_mammogram(images[cohort["slot"].iloc[k]], ax, caption(cohort.iloc[k]))
    return axes


def hard_measures(image: np.ndarray) -> dict[str, float]:
    """By what `hard_cases` chooses, larger is harder; of one (height, width) uint16 image, 0 outside the breast."""
    inside = image > 0
    heights = inside.sum(axis=0)[inside.any(axis=0)]
    edge = max(1, len(heights) // 20)
    low, high = np.percentile(image[inside], [5, 95])
    skin = inside & ~ndimage.binary_erosion(inside, iterations=max(1, len(image) // 32), border_value=1)
    return {
        "smallest breast": -float(inside.sum()),
        "lowest contrast": low - high,
        "most at full white": float((image[inside] == 65535).mean()),
        "brightest skin": (np.median(image[skin]) if skin.any() else 0.0) - np.median(image[inside]),
        "side least sure": heights[-edge:].mean() / heights[:edge].mean(),
    }


def hard_cases(cohort: pd.DataFrame, images: np.ndarray) -> dict[str, int]:
    """The image of the development part that is hardest by each rule, as a row number; none is chosen twice.

    Parameters
    ----------
    images
        See `examples_figure`.

    Returns
    -------
    dict
        Smallest breast (in the picture), lowest contrast (5th to 95th percentile), most pixels at full white, skin
        brighter than what is inside (as in an image that was inverted once too often), and least sure side (as tall
        at the nipple as at the chest wall).
    """
    rows = np.flatnonzero(cohort["split"] == "development")
    measures = pd.DataFrame([hard_measures(images[slot]) for slot in cohort["slot"].iloc[rows]], index=rows)
    chosen = {}
    for rule in measures:
        left = measures[rule].drop(list(chosen.values()))
        if len(left):
            chosen[rule] = int(left.idxmax())
    return chosen


def hard_cases_figure(
    images: np.ndarray, cohort: pd.DataFrame, cases: Mapping[str, int], axes: np.ndarray
) -> np.ndarray:
    """One of the axes (at least as many as `hard_cases`) a case: rule, class, side and view."""
    for ax in axes:
        ax.set_axis_off()
    for ax, (rule, k) in zip(axes, cases.items(), strict=False):
        show_mammogram(images[cohort["slot"].iloc[k]], ax, f"{rule}\n{caption(cohort.iloc[k])}")
    return axes
