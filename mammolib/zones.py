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
    sides = zip(grid.shape, maps.shape[1:], strict=True)
    rows, columns = (np.minimum(((np.arange(n) + 0.5) / (SUBSAMPLES * cell)).astype(int), m - 1) for n, m in sides)
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


def within_breast(table: pd.DataFrame, column: str) -> pd.Series:
    """Each row's share of what its map has inside the breast; NaN for `outside`, and where a map has nothing there."""
    inside = table[column].where(table["zone"] != "outside")
    total = inside.groupby([table["image_id"], table["map_class"]]).transform("sum")
    return inside / total.where(total > 0)


def lowest(found: Mapping) -> float:
    """An estimate's lower limit, its value where it has no interval, infinity where there is no case."""
    return next((found[key] for key in ("low", "value") if found[key] is not None), np.inf)


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
        enrichment less that of another class's maps of the same images, 0 where both look alike; of the other classes
        the one (`against`) whose lower limit is smallest, so that above 0 means above 0 against each of them.
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
            ours, how["over"] = part["energy_within"].to_numpy(float), part["area_within"].to_numpy(float)
            found["enrichment"] = mean_estimate(ours, patients, **how, limits=(0.0, np.inf))
            of_zone = table[table["zone"] == zone].pivot(index="image_id", columns="map_class", values="energy_within")
            of_zone = of_zone.reindex(columns=classes)
            contrasts = [
                mean_estimate(ours - of_zone[other].reindex(part["image_id"]).to_numpy(), patients, **how,
                              limits=(-np.inf, np.inf)) | {"against": other}
                for other in classes if other != name
            ]  # fmt: skip
            found["contrast"] = min(contrasts, key=lowest)
            for ratio in (found["enrichment"], found["contrast"]):
                if zone == "outside":
                    ratio |= {"note": "not estimable: enrichment is within the breast"}
                elif not resolvable[zone] and ratio["value"] is not None:
                    ratio |= {"value": None, "low": None, "high": None, "note": "not resolvable: thinner than a cell"}
            summary[name][zone] = found
    return summary


def zone_text(summary: Mapping) -> pd.DataFrame:
    """The summary as people read it: a row a class and zone, `0.12 [0.10, 0.15]`, with n of images and patients."""
    rows = []
    for name, zones in summary.items():
        for zone, found in zones.items():
            row = {key: shown(part, part.get("against", "")) for key, part in found.items()}
            n = {key: found["energy"][key] for key in ("n", "patients")} | {"n of contrast": found["contrast"]["n"]}
            rows.append({"class": class_name(name), "zone": zone} | row | n)
    return pd.DataFrame(rows).set_index(["class", "zone"])


def below(found: Mapping, limit: float) -> dict:
    """A check whose estimate has to lie below a limit: passed where all of its interval does, failed where none."""
    value, low, high = (found[key] for key in ("value", "low", "high"))
    known = None not in (value, low, high, limit)
    verdict = ("passed" if high < limit else "failed" if low >= limit else "undecided") if known else "not estimable"
    return dict(found) | {"limit": limit, "verdict": verdict}
