"""Cells of a layer: how large they are in source pixels and mm, and which zones of a lesion they can resolve."""

import numpy as np
import pandas as pd

from mammolib.zones import EDGES, ZONES

# How thick a zone is, in radii: the core is measured across, the two beyond the lesion have no outer end of their own.
THICKNESS = dict(zip(ZONES, [2 * EDGES[0], *np.diff(EDGES).round(6).tolist(), np.inf, np.inf], strict=True))


def in_mm(length: float) -> str:
    """A length in mm as text, `5.8 mm`, or that it is unknown: cohorts without pixel spacing have none."""
    return f"{length:.1f} mm" if np.isfinite(length) else "unknown mm"


def network_scale(images: pd.DataFrame, height: int, width: int) -> np.ndarray:
    """Source pixels in one network pixel, (n,) float: along the side that fills the frame, the coarser if both do."""
    return np.maximum(images["crop_height"] / height, images["crop_width"] / width).to_numpy()


def resolvable_zones(cell: float, radius: float) -> dict[str, bool]:
    """Which zones of a lesion of `radius` are at least as thick as a cell (both in network pixels)."""
    return {zone: bool(cell <= thickness * radius) for zone, thickness in THICKNESS.items()}


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


def cells_inside(breasts: np.ndarray, cell: float, rows: int, columns: int) -> np.ndarray:
    """Which cells of a layer have their centre in the breast: (n, rows, columns) bool."""
    sides = zip((rows, columns), breasts.shape[1:], strict=True)
    y, x = (np.minimum(((np.arange(n) + 0.5) * cell).astype(int), m - 1) for n, m in sides)
    return breasts[:, y][:, :, x]
