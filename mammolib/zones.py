"""Where a map's energy lies, in zones around the annotated lesions.

d is the smallest distance / radius over an image's lesions, in source pixels. Zones: core d < 0.7, margin 0.7-1.3,
surroundings 1.3-3, remote d >= 3 inside the breast, and whatever lies outside the breast, at any d. Shares are of the
unpadded image, so that an image's five add up to 1.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from mammolib.bootstrap import mean_estimate
from mammolib.claims import shown
from mammolib.images import breast_mask, network_to_source
from mammolib.names import class_name

ZONES = ("core", "margin", "surroundings", "remote", "outside")
EDGES = (0.7, 1.3, 3.0)  # radii
# How thick a zone is, in radii: the core is measured across, the two beyond the lesion have no outer end of their own.
THICKNESS = {"core": 1.4, "margin": 0.6, "surroundings": 1.7, "remote": np.inf, "outside": np.inf}
PADDING = -1
SUBSAMPLES = 3  # parts of a network pixel along each axis: circles are cut that much finer than pixels


def lesion_distance(x: np.ndarray, y: np.ndarray, lesions: pd.DataFrame) -> np.ndarray:
    """Smallest distance over radius to any of the lesions (`x, y, radius` in x's unit); x's shape, inf without one."""
    if not (lesions["radius"] > 0).all():
        raise ValueError(f"radius {lesions['radius'].min()} of a lesion; a positive number is allowed")
    if lesions.empty:
        return np.full(x.shape, np.inf)
    return np.min([np.hypot(x - a.x, y - a.y) / a.radius for a in lesions.itertuples()], axis=0)


def zone_grid(place: Mapping, lesions: pd.DataFrame, breast: np.ndarray, aspect: str) -> np.ndarray:
    """Zone of each part of a network pixel.

    Parameters
    ----------
    place : mapping
        The image's row of cohort.csv: `crop_top, crop_left, crop_height, crop_width, flipped`.
    lesions : DataFrame
        `x, y, radius` in source pixels; without a row all of the breast is remote.
    breast : ndarray
        (height, width) bool on the network's grid.
    aspect : str
        How 01 fitted the crop into the network's frame: `pad` or `stretch`.

    Returns
    -------
    grid : ndarray
        (height * SUBSAMPLES, width * SUBSAMPLES) int8: index into `ZONES`, -1 in the padding.
    """
    height, width = breast.shape
    rows, columns = ((np.arange(n * SUBSAMPLES) + 0.5) / SUBSAMPLES - 0.5 for n in (height, width))
    x, y = np.meshgrid(columns, rows)
    x, y = network_to_source(x, y, place, height, width, aspect)
    zones = np.digitize(lesion_distance(x, y, lesions), EDGES).astype(np.int8)
    zones[~np.kron(breast, np.ones((SUBSAMPLES, SUBSAMPLES), bool))] = ZONES.index("outside")
    left, top = place["crop_left"] - 0.5, place["crop_top"] - 0.5  # a pixel's centre is a whole number
    inside = (x >= left) & (x < left + place["crop_width"]) & (y >= top) & (y < top + place["crop_height"])
    zones[~inside] = PADDING
    return zones


def zone_shares(maps: np.ndarray, cell: float, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of the maps' positive part, and of the area, in each zone.

    A cell's value counts for its whole square: nothing is interpolated, for that would invent detail.

    Parameters
    ----------
    maps : ndarray
        (classes, rows, columns) raw maps of one image.
    cell : float
        Side of a cell in network pixels.
    grid : ndarray
        As `zone_grid` gives it.

    Returns
    -------
    energy : ndarray
        (classes, 5), each row adds up to 1, or is NaN where a map has no positive part in the unpadded image.
    area : ndarray
        (5,), adds up to 1.
    """
    rows, columns = (
        np.minimum(((np.arange(n) + 0.5) / (SUBSAMPLES * cell)).astype(int), m - 1)
        for n, m in zip(grid.shape, maps.shape[1:], strict=True)
    )
    positive = np.maximum(np.nan_to_num(maps), 0)[:, rows][:, :, columns]
    seen = grid != PADDING
    zones = grid[seen]
    area = np.bincount(zones, minlength=len(ZONES)) / zones.size
    sums = np.array([np.bincount(zones, values[seen], minlength=len(ZONES)) for values in positive])
    total = sums.sum(axis=1, keepdims=True)
    return np.divide(sums, total, out=np.full_like(sums, np.nan), where=total > 0), area


def zone_table(
    maps: np.ndarray,
    cell: float,
    images: pd.DataFrame,
    annotations: pd.DataFrame,
    breasts: np.ndarray,
    classes: Sequence[str],
    aspect: str,
) -> pd.DataFrame:
    """Zone shares of every annotated image and class.

    Parameters
    ----------
    maps : ndarray
        (n, classes, rows, columns) raw maps.
    images : DataFrame
        n rows in the order of the maps, with the columns of cohort.csv.
    annotations : DataFrame
        `image_id, x, y, radius`; images without a row are left out.
    breasts : ndarray
        (n, height, width) bool on the network's grid.

    Returns
    -------
    table : DataFrame
        `image_id, patient, label, map_class, zone, energy, area`; energy is NaN for an empty map.
    """
    parts = []
    lesions = dict(list(annotations.groupby("image_id")))
    for row, raw, breast in zip(images.to_dict("records"), maps, breasts, strict=True):
        if row["image_id"] not in lesions:
            continue
        energy, area = zone_shares(raw, cell, zone_grid(row, lesions[row["image_id"]], breast, aspect))
        index = pd.MultiIndex.from_product([classes, ZONES], names=["map_class", "zone"])
        part = pd.DataFrame({"energy": energy.ravel(), "area": np.tile(area, len(classes))}, index=index).reset_index()
        parts.append(part.assign(image_id=row["image_id"], patient=row["patient"], label=row["label"]))
    columns = ["image_id", "patient", "label", "map_class", "zone", "energy", "area"]
    return pd.concat(parts)[columns].reset_index(drop=True) if parts else pd.DataFrame(columns=columns)


def outside_shares(
    maps: np.ndarray, cell: float, images: pd.DataFrame, breasts: np.ndarray, aspect: str
) -> tuple[np.ndarray, np.ndarray]:
    """Share of each map's energy, (n, classes), and of the area, (n,), outside the breast; annotated or not."""
    nowhere = pd.DataFrame({"x": [], "y": [], "radius": []}, dtype=float)
    rows = zip(images.to_dict("records"), maps, breasts, strict=True)
    shares = [zone_shares(raw, cell, zone_grid(row, nowhere, breast, aspect)) for row, raw, breast in rows]
    last = ZONES.index("outside")
    return np.array([energy[:, last] for energy, _ in shares]), np.array([area[last] for _, area in shares])


def breasts_of(images: np.ndarray, background: str) -> np.ndarray:
    """Where the breast is on the network's grid, (n, height, width) bool, for 01's parameter `background`.

    `zero` left exact zeros outside; under `keep` the outline is looked for again.
    """
    return images > 0 if background == "zero" else np.array([breast_mask(image) for image in images])


def cells_inside(breasts: np.ndarray, cell: float, rows: int, columns: int) -> np.ndarray:
    """Which cells of a layer have their centre in the breast: (n, rows, columns) bool."""
    y, x = (
        np.minimum(((np.arange(n) + 0.5) * cell).astype(int), m - 1)
        for n, m in zip((rows, columns), breasts.shape[1:], strict=True)
    )
    return breasts[:, y][:, :, x]


def within_breast(table: pd.DataFrame, column: str) -> pd.Series:
    """Each row's share of what its map has inside the breast; NaN for `outside`, and where a map has nothing there."""
    inside = table[column].where(table["zone"] != "outside")
    total = inside.groupby([table["image_id"], table["map_class"]]).transform("sum")
    return inside / total.where(total > 0)


def zone_summary(table: pd.DataFrame, classes: Sequence[str], resolvable: Mapping, draws: int, seed: int) -> dict:
    """Energy, area, enrichment and contrast of each class's own map on the images that truly are of the class.

    Parameters
    ----------
    table : DataFrame
        As `zone_table` gives it.
    resolvable : mapping
        Zone to bool, as `resolvable_zones` gives it; enrichment and contrast of the others have no value and say so.

    Returns
    -------
    zones : dict
        {class: {zone: {"energy", "area", "enrichment", "contrast"}}}, each an estimate. Energy and area are shares of
        the image, the five zones add up to 1. Enrichment is mean energy over mean area, both as shares of what lies
        within the breast: a map that is even there has 1 in every zone, however dark it is outside. Contrast is that
        enrichment less its mean over the other classes' maps of the same images: 0 where all classes look alike.
    """
    table = table.assign(**{f"{name}_within": within_breast(table, name) for name in ("energy", "area")})
    summary = {}
    for name in classes:
        own = table[(table["label"] == name) & (table["map_class"] == name) & table["energy"].notna()]
        summary[name] = {}
        for zone in ZONES:
            part = own[own["zone"] == zone]
            energy, area = part["energy"].to_numpy(float), part["area"].to_numpy(float)
            patients, how = part["patient"].to_numpy(), {"draws": draws, "seed": seed}
            found = {key: mean_estimate(v, patients, **how) for key, v in (("energy", energy), ("area", area))}
            ours, within = part["energy_within"].to_numpy(float), part["area_within"].to_numpy(float)
            others = table[(table["zone"] == zone) & (table["map_class"] != name)]
            others = part["image_id"].map(others.groupby("image_id")["energy_within"].mean()).to_numpy(float)
            for key, values, lowest in (("enrichment", ours, 0.0), ("contrast", ours - others, -np.inf)):
                ratio = mean_estimate(values, patients, **how, over=within, limits=(lowest, np.inf))
                if zone == "outside":
                    ratio |= {"note": "not estimable: enrichment is within the breast"}
                elif not resolvable[zone] and ratio["value"] is not None:
                    ratio |= {"value": None, "low": None, "high": None, "note": "not resolvable: thinner than a cell"}
                found[key] = ratio
            summary[name][zone] = found
    return summary


def zone_text(summary: Mapping) -> pd.DataFrame:
    """The summary as people read it: a row a class and zone, `0.12 [0.10, 0.15]`, with n of images and patients."""
    rows = []
    for name, zones in summary.items():
        for zone, found in zones.items():
            row = {key: shown(part) for key, part in found.items()}
            n = {key: found["energy"][key] for key in ("n", "patients")}
            rows.append({"class": class_name(name), "zone": zone} | row | n)
    return pd.DataFrame(rows).set_index(["class", "zone"])


def in_mm(length: float) -> str:
    """A length in mm as text, `5.8 mm`, or that it is unknown: cohorts without pixel spacing have none."""
    return f"{length:.1f} mm" if np.isfinite(length) else "unknown mm"


def below(found: Mapping, limit: float, says: str) -> dict:
    """A check whose estimate has to lie below a limit: passed where all of its interval does, failed where none."""
    value, low, high = (found[key] for key in ("value", "low", "high"))
    known = None not in (value, low, high, limit)
    verdict = ("passed" if high < limit else "failed" if low >= limit else "undecided") if known else "not estimable"
    return {"says": says} | dict(found) | {"limit": limit, "verdict": verdict}


def network_scale(images: pd.DataFrame, height: int, width: int) -> np.ndarray:
    """Source pixels in one network pixel, (n,) float: along the side that fills the frame, the coarser if both do."""
    return np.maximum(images["crop_height"] / height, images["crop_width"] / width).to_numpy()


def cell_table(layers: pd.DataFrame, radius: float, mm: float) -> pd.DataFrame:
    """What each layer can show; `radius` in network pixels.

    Columns `layer, rows, columns, cell_mm, receptive_field_mm, margin_mm, cells fine enough for`.
    """
    thin = [zone for zone, thickness in THICKNESS.items() if np.isfinite(thickness)]
    seen = [resolvable_zones(cell, radius) for cell in layers["cell"]]
    named = [", ".join(zone for zone in thin if found[zone]) or "none" for found in seen]
    sizes = {"cell_mm": layers["cell"] * mm, "receptive_field_mm": layers["field"] * mm}
    sizes |= {"margin_mm": THICKNESS["margin"] * radius * mm, "cells fine enough for": named}
    return layers[["layer", "rows", "columns"]].assign(**sizes).set_index("layer")


def resolvable_zones(cell: float, radius: float) -> dict[str, bool]:
    """Which zones of a lesion of `radius` are at least as thick as a cell (both in network pixels)."""
    return {zone: bool(cell <= thickness * radius) for zone, thickness in THICKNESS.items()}


def choose_layer(layers: pd.DataFrame, radius: float) -> str:
    """The deepest layer whose cell resolves the thinnest zone, else the finest there is.

    Deep layers carry the class, shallow ones the place: the deepest that can show the zones is the best of both.

    Parameters
    ----------
    layers : DataFrame
        `layer, cell` in the network's order, as `mammolib.explain.last_of_each_grid` gives it.
    radius : float
        Of the median lesion, in network pixels; NaN without lesions gives the deepest layer.
    """
    if np.isnan(radius):
        return layers["layer"].iloc[-1]
    fine = layers[layers["cell"] <= min(THICKNESS.values()) * radius]
    return fine["layer"].iloc[-1] if len(fine) else layers.loc[layers["cell"].idxmin(), "layer"]
