"""Is the accuracy the same for every view, side, vendor, breast and lesion? Levels, estimates and one test a variable.

Such a look explores: a level has few patients, and a difference may come from what goes with it. Nothing of it was
planned for, so the p-values are corrected for the number of variables (Holm 1979, Scand. J. Statist. 6:65-70).
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from mammolib.bootstrap import mean_estimate
from mammolib.metrics import predicted_class
from mammolib.predictions import as_arrays

WORDS = {"view": "ViewPosition", "side": "ImageLaterality", "vendor": "Manufacturer"}
FEWEST = 10  # patients of a level: fewer have no interval worth a bar
COLUMNS = ["variable", "level", "value", "low", "high", "n", "patients", "note", "p", "p_holm"]


def mean_grey(cohort: pd.DataFrame, images: Mapping[str, np.ndarray]) -> pd.Series:
    """Mean grey inside the breast by image_id, as a share of the full range; no breast density, at best kin to it.

    It also knows the exposure, the vendor's presentation and the window.

    Parameters
    ----------
    cohort
        cohort.csv, rows in the order of the arrays within each split.
    images
        `{split: (n, height, width) uint16}`, 0 outside the breast and nowhere inside (`background: zero`).
    """
    found = []
    for part, pixels in images.items():
        ids = cohort.loc[cohort["split"] == part, "image_id"]
        if len(ids) != len(pixels):
            raise ValueError(f"images of {part}: {len(pixels)}, but cohort.csv has {len(ids)} {part} rows")
        sums = [(image.sum(dtype=float), np.count_nonzero(image)) for image in pixels]
        found.append(pd.Series([total / (65535 * n) if n else np.nan for total, n in sums], ids, dtype=float))
    return pd.concat(found)


def thirds(values: pd.Series, development: pd.Series) -> pd.Series:
    """Which third of the development part's values each value lies in, as an ordered categorical; NaN stays unknown.

    The levels name their cuts. Fewer than three of them occur where many values are equal.
    """
    low, high = values[development].quantile([1 / 3, 2 / 3])
    names = [f"low, < {low:.3g}", f"middle, {low:.3g} to {high:.3g}", f"high, >= {high:.3g}"]
    codes = np.where(values.isna() | np.isnan(low), -1, np.searchsorted([low, high], values, side="right"))
    return pd.Series(pd.Categorical.from_codes(codes, names, ordered=True), values.index)


def subgroups(
    table: pd.DataFrame,
    cohort: pd.DataFrame,
    annotations: pd.DataFrame | None = None,
    grey: pd.Series | None = None,
) -> pd.DataFrame:
    """Level of each evaluated image in every variable: categoricals in the order of `table`'s rows.

    Parameters
    ----------
    table
        Predictions table, images of `cohort`.
    cohort
        cohort.csv; the cuts of thirds come from its development part alone.
    annotations
        annotations.csv: `image_id, x, y, radius` in source pixels. The largest lesion of an image counts.
    grey
        As `mean_grey` gives it.

    Returns
    -------
    `view, side, vendor` in the headers' words, "unknown" where those are silent, and thirds of `breast area (cm²)`,
    `lesion radius (mm)` and `mean grey (of 1)`, empty where not known.
    """
    own = cohort.set_index("image_id")
    numbers = {"breast area (cm²)": own["breast_area_mm2"].astype(float) / 100}
    if annotations is not None:
        largest = annotations.groupby("image_id")["radius"].max().reindex(own.index)
        numbers["lesion radius (mm)"] = largest * own["pixel_spacing_mm"].astype(float)
    if grey is not None:
        numbers["mean grey (of 1)"] = grey.reindex(own.index)
    found = {name: own[column].astype(object).fillna("unknown").astype("category") for name, column in WORDS.items()}
    found |= {name: thirds(values, own["split"] == "development") for name, values in numbers.items()}
    return pd.DataFrame(found).loc[table["image_id"]].reset_index(drop=True)


def left_out(groups: pd.DataFrame) -> dict[str, str]:
    """Variables that nothing can be compared by, with the one level that all images have, or "not known"."""
    levels = {name: groups[name].dropna().unique() for name in groups}
    return {name: "".join(map(str, own)) or "not known" for name, own in levels.items() if len(own) < 2}


def _permuted(right: np.ndarray, truth: np.ndarray, patient: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Outcomes minus their mean `(1 + draws, n)`, the first as they are: dealt out anew among patients of one kind.

    Of one kind are patients with as many images of each class. A patient's outcomes move together, and change places
    within the class among her images; the mean is over all that can come to a place.
    """
    rng, dealt = np.random.default_rng(seed), np.empty((1 + draws, len(right)))
    order = np.lexsort((truth, patient))
    images = pd.Series(order).groupby(patient[order]).agg(list)
    for own, alike in images.groupby(images.map(lambda rows: tuple(truth[rows]))):
        rows = np.array(alike.tolist())  # patients x images, by class
        outcomes = right[rows].astype(float)
        outcomes -= [outcomes[:, np.array(own) == c].mean() for c in own]
        keys = np.array(own) + rng.random((draws, *rows.shape))
        within = np.take_along_axis(np.broadcast_to(outcomes, keys.shape), keys.argsort(axis=2), axis=2)
        between = rng.random((draws, len(rows))).argsort(axis=1)
        dealt[0, rows], dealt[1:, rows] = outcomes, np.take_along_axis(within, between[:, :, None], axis=1)
    return dealt


def difference_p(
    right: np.ndarray, truth: np.ndarray, patient: np.ndarray, level: np.ndarray, draws: int, seed: int
) -> float:
    """p of "the accuracy differs between levels", by permutation within classes; the class mix of levels is no reason.

    Whole patients change places with others of the same classes and number of images, which tests levels that all
    images of a patient share; and a patient's images change places, which tests levels that differ between them, such
    as views. The statistic sums over levels the squared distance of the hits from what is expected, over n.

    Parameters
    ----------
    right, truth, patient, level
        `(n,)` 0 or 1, and codes from 0.
    """
    surplus = _permuted(right, truth, patient, draws, seed) @ np.eye(level.max() + 1)[level]
    spread = (surplus**2 / np.maximum(np.bincount(level), 1)).sum(axis=1)
    return float((spread >= spread[0] - 1e-9).mean())


def subgroup_table(
    table: pd.DataFrame, groups: pd.DataFrame, classes: list[str], draws: int, seed: int
) -> pd.DataFrame:
    """Accuracy of each level as an estimate, a row each, with the p-value of its variable.

    Parameters
    ----------
    table
        Predictions table.
    groups
        As `subgroups` gives it. Variables with one level are left out: `left_out` names them.
    draws, seed
        Of the bootstrap and of the permutations.

    Returns
    -------
    `variable, level, value, low, high, n, patients, note, p, p_holm`. A level of fewer than `FEWEST` patients has its
    n and the note "too few" only, and no part in the test.
    """
    truth, probabilities, patient = as_arrays(table, classes)
    right, rows, tests = predicted_class(probabilities) == truth, [], {}
    for name in [name for name in groups if name not in left_out(groups)]:
        codes = groups[name].cat.codes.to_numpy().astype(int)
        compared = np.zeros(len(table), bool)
        for code in np.unique(codes[codes >= 0]):
            inside = codes == code
            row = {"variable": name, "level": str(groups[name].cat.categories[code]), "n": int(inside.sum())}
            row["patients"] = len(np.unique(patient[inside]))
            if row["patients"] < FEWEST:
                rows.append(row | {"note": f"too few: {row['patients']} patients"})
                continue
            compared |= inside
            found = mean_estimate(right[inside], patient[inside], draws, seed, within=truth[inside], proportion=True)
            rows.append({"note": ""} | row | found)
        if len(np.unique(codes[compared])) > 1:
            who = (right[compared], truth[compared], patient[compared], codes[compared])
            tests[name] = difference_p(*who, draws, seed)
    found = pd.DataFrame(rows, columns=COLUMNS)
    adjusted = multipletests(list(tests.values()), method="holm")[1] if tests else []
    found["p"] = found["variable"].map(tests).astype(float)
    found["p_holm"] = found["variable"].map(dict(zip(tests, adjusted, strict=True))).astype(float)
    return found
