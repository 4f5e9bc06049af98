"""Figures of class maps: overlays on mammograms, all classes on one scale, enrichment by zone."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse
from skimage.transform import resize

from mammolib.images import source_to_network
from mammolib.names import class_name
from mammolib.plots import class_palette, show_mammogram
from mammolib.zones import EDGES, ZONES

INSIDE = [zone for zone in ZONES if zone != "outside"]
SPANS = [f"< {EDGES[0]:g} r", *(f"{low:g}-{high:g}" for low, high in pairwise(EDGES)), f"> {EDGES[-1]:g} r"]
HEAT = "inferno"  # even steps of lightness; dark = weak, and weak is transparent anyway
STRONGEST_ALPHA = 0.75


def breast_box(image: np.ndarray, border: int = 2) -> tuple[slice, slice]:
    """Rows and columns that hold anything but the frame's zeros, with a small border; all where nothing does.

    At least 0.6 times as wide as high, where the image is: panels of a row then look alike and titles have room.
    """
    rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return slice(0, image.shape[0]), slice(0, image.shape[1])
    top, bottom = max(0, rows[0] - border), min(image.shape[0], rows[-1] + 1 + border)
    left, right = max(0, columns[0] - border), columns[-1] + 1 + border
    right = max(right, left + round(0.6 * (bottom - top)))
    return slice(top, bottom), slice(left, min(right, image.shape[1]))


def on_network(place: Mapping, lesions: pd.DataFrame, height: int, width: int, aspect: str) -> list[tuple]:
    """Lesions as ellipses `(x, y, half_width, half_height)` in network pixels; circles unless `stretch`."""
    x, y, r = (lesions[name].to_numpy(float) for name in ("x", "y", "radius"))
    there = [place, height, width, aspect]
    centre_x, centre_y = source_to_network(x, y, *there)
    corner_x, corner_y = source_to_network(x + r, y + r, *there)
    return list(zip(centre_x, centre_y, np.abs(corner_x - centre_x), np.abs(corner_y - centre_y), strict=True))


def show_map(
    image: np.ndarray, display: np.ndarray | None, cell: float, ax: Axes, lesions: Sequence = (), mm: float = np.nan
) -> Axes:
    """Draw a mammogram, cropped to the breast, under a map whose colour and opacity follow its strength.

    Parameters
    ----------
    image : ndarray
        (height, width) uint16 as stored.
    display : ndarray or None
        (rows, columns) in [0, 1], as `mammolib.explain.display_maps` gives it; None draws the image alone. Enlarged
        bilinearly: smooth for the eye, no finer than its cells.
    cell : float
        Side of a cell in network pixels.
    lesions : sequence of (x, y, half_width, half_height)
        In network pixels; drawn as outlines.
    mm : float
        Millimetres in a network pixel, for a scale bar; NaN draws none.
    """
    box = breast_box(image)
    show_mammogram(image[box], ax, None, mm if mm and np.isfinite(mm) else None)
    ax.autoscale(False)
    if display is not None:
        enlarged = resize(display, [round(n * cell) for n in display.shape], order=1, mode="edge")
        short = [max(0, n - m) for n, m in zip(image.shape, enlarged.shape, strict=True)]
        enlarged = np.pad(enlarged, [(0, n) for n in short])[box]
        ax.imshow(enlarged, cmap=HEAT, vmin=0, vmax=1, alpha=STRONGEST_ALPHA * np.clip(enlarged, 0, 1))
    for x, y, half_width, half_height in lesions:
        centre = (x - box[1].start, y - box[0].start)
        outline = Ellipse(centre, 2 * half_width, 2 * half_height, fill=False, edgecolor="#56B4E9", linewidth=1.2)
        ax.add_patch(outline)
    return ax


def lesion_marks(cases: pd.DataFrame, annotations: pd.DataFrame, height: int, width: int, aspect: str) -> list[list]:
    """Lesions of each case as `show_map` takes them, in the cases' order; an empty list without annotation."""
    lesions = dict(list(annotations.groupby("image_id")))
    rows = cases.to_dict("records")
    return [on_network(row, lesions.get(row["image_id"], annotations[:0]), height, width, aspect) for row in rows]


def case_titles(cases: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    """Three lines a case: what it truly is, what the network says, each with its probability, and who is right."""
    titles = []
    for row in cases.to_dict("records"):
        said = max(classes, key=lambda name: row[f"p_{name}"])
        verdict = "right" if said == row["label"] else "wrong"
        named = {"true": row["label"], "said": said}.items()
        lines = [f"{what}: {class_name(name)}, p = {row[f'p_{name}']:.2f}" for what, name in named]
        titles.append("\n".join([*lines, f"({verdict})"]))
    return titles


def show_case(image: np.ndarray, panels: Sequence[tuple], axes: Sequence[Axes], title: str, lesions, mm: float) -> None:
    """One row of a figure: the image with its title, then a panel a map.

    Parameters
    ----------
    panels : sequence of (display, cell, text)
        As `show_map` takes them; one fewer than `axes`.
    mm : float
        Millimetres in a network pixel, NaN where unknown (no scale bar then).
    """
    show_map(image, None, 1, axes[0], lesions=lesions, mm=mm)
    axes[0].set_title(title, fontsize=8)
    for ax, (display, cell, text) in zip(axes[1:], panels, strict=True):
        show_map(image, display, cell, ax, lesions=lesions)
        ax.set_title(text, fontsize=8)
        if not display.any():  # else a map without any positive value looks like an image without a map
            where = {"transform": ax.transAxes, "ha": "center", "va": "bottom"}
            ax.text(0.5, 0.03, "empty map", color="white", backgroundcolor="black", fontsize=8, **where)


def surest_case(cases: pd.DataFrame, name: str) -> int:
    """Position of the case of class `name` that the network is surest of, among those with an annotation if any."""
    own = cases.reset_index(drop=True).query("label == @name")
    if own.empty:
        raise ValueError(f"no image of class {name!r} to show")
    marked = own[own["annotated"]]
    return int((marked if len(marked) else own)[f"p_{name}"].idxmax())


def some_cases(right: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Positions of up to `count` right and as many wrong cases, drawn by the seed and not by their looks."""
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(np.flatnonzero(kind))[:count] for kind in (right, ~right)]
    return np.concatenate(chosen)


def heat_bar(axes: Sequence[Axes], label: str = "share of the image's strongest cell (weak is transparent)"):
    """Colour bar beside a row or block of maps; `axes` as `plt.subplots` returns them."""
    axes = np.atleast_1d(axes)
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, 1), HEAT)
    bar = axes.flat[0].figure.colorbar(scale, ax=axes, shrink=0.6, fraction=0.03, pad=0.01)
    bar.set_label(label, fontsize=8)
    return bar


def zone_points(zones: Mapping[str, Mapping], name: str, ax: Axes, classes: Sequence[str]) -> Axes:
    """Enrichment within the breast of a class's own maps, a point a zone with its interval, on a log axis.

    The dotted line at 1 is a map that is even inside the breast. A zone thinner than a cell says so in place of a
    point; an interval that reaches beyond the axis, such as one down to 0, ends there.

    Parameters
    ----------
    zones : mapping
        As `mammolib.zones.zone_summary` gives it, for all classes; it sets the axis.
    name : str
        The class to draw.
    """
    colour, everyone = class_palette(classes)[name], [zones[c][zone]["enrichment"] for c in zones for zone in INSIDE]
    ends = [part[end] for part in everyone for end in ("low", "high", "value") if part[end] is not None]
    lowest, highest = max(0.1, min([0.5, *(0.9 * end for end in ends)])), max([2.0, *(1.15 * end for end in ends)])
    for i, part in enumerate(zones[name][zone]["enrichment"] for zone in INSIDE):
        if part["value"] is None:
            says = "not\nresolvable" if "not resolvable" in part.get("note", "") else "not\nestimable"
            ax.text(i, 1.05, says, ha="center", va="bottom", fontsize=9, color="0.4")
            continue
        # all draws agree, as where no map has anything in the zone: a point without an interval
        whiskers = [part["value"] if part[key] is None else part[key] for key in ("low", "high")]
        value, low, high = (max(number, lowest) for number in (part["value"], *whiskers))
        ax.errorbar(i, value, [[value - low], [high - value]], fmt="o", color=colour, capsize=4, markersize=6)
    ax.axhline(1, color="0.4", linestyle=":", zorder=0)
    ax.set_yscale("log")
    steps = [step for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if lowest <= step <= highest]
    ax.set_yticks(steps, [f"{step:g}" for step in steps])
    ax.minorticks_off()
    ax.set(ylim=(lowest, highest), xlim=(-0.5, len(INSIDE) - 0.5))
    ax.set_ylabel("enrichment within the breast", fontsize=10)
    names = [zone.replace("surroundings", "surround.") for zone in INSIDE]
    ax.set_xticks(range(len(INSIDE)), [f"{zone}\n{span}" for zone, span in zip(names, SPANS, strict=True)])
    ax.tick_params(labelsize=9.5)
    n, patients = (zones[name]["core"]["energy"][key] for key in ("n", "patients"))
    ax.set_title(f"{class_name(name)}\nn = {n} images, {patients} patients", fontsize=11)
    return ax
