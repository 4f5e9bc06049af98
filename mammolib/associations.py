"""What else goes with the class: year, vendor, view, spacing and breast size; and the patients of each class.

A class that can be told from one of these can be learned from it, whatever the breast shows.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mammolib.names import class_name
from mammolib.registry import PARTS

SIZES = ("small", "middle", "large")
NUMBERS = {"age": "age (years)", "lesion_size_mm": "size (mm)"}
WORDS = {"breast_density": "density (BI-RADS)", "specimen": "specimen"}
FEWEST = 5  # known values below which a median would be a patient's own


def traits(cohort: pd.DataFrame) -> pd.DataFrame:
    """What each image has besides its class, as text: year, vendor, view, spacing to 0.01 mm, third of breast size.

    Parameters
    ----------
    cohort
        As `cohort.cohort_table` gives it. What is not known is a value of its own, "unknown", for that may tell a class
        as well.
    """
    area, spacing = cohort["breast_area_mm2"].astype(float), cohort["pixel_spacing_mm"].astype(float)
    thirds = np.searchsorted(area.quantile([1 / 3, 2 / 3]), area)  # a NaN is last
    found = {
        "year": cohort["year"],
        "vendor": cohort["Manufacturer"].fillna(""),
        "view": cohort["ViewPosition"].fillna(""),
        "spacing (mm)": spacing.map("{:.2f}".format).where(spacing.notna(), ""),
        "breast size": pd.Series(np.take(SIZES, thirds, mode="clip"), cohort.index).where(area.notna(), ""),
    }
    return pd.DataFrame(found).replace("", "unknown")


def class_by(labels: pd.Series, trait: pd.Series) -> pd.DataFrame:
    """Images by class (columns) and value of a trait (rows)."""
    return pd.crosstab(trait, labels.map(class_name))


def phi_squared(labels: np.ndarray, values: np.ndarray) -> float:
    """Chi-squared over n of two columns of codes from 0, all of which occur."""
    counts = np.bincount(labels * (values.max() + 1) + values, minlength=(labels.max() + 1) * (values.max() + 1))
    shares = counts.reshape(labels.max() + 1, -1) / len(labels)
    return float((shares**2 / (shares.sum(axis=1, keepdims=True) * shares.sum(axis=0))).sum() - 1)


def corrected_v(phi2: float | np.ndarray, rows: int, columns: int, n: int) -> float | np.ndarray:
    """Cramér's V, corrected for the bias of small tables: Bergsma (2013), J Korean Stat Soc 42, 323-328.

    `n` counts what is independent, which is patients where views of one patient go together.
    """
    bias = (rows - 1) * (columns - 1) / (n - 1)
    rows, columns = (k - (k - 1) ** 2 / (n - 1) for k in (rows, columns))
    share = np.maximum(phi2 - bias, 0) / max(min(rows, columns) - 1, 1e-9)  # a handful of patients leaves nothing
    return np.sqrt(np.minimum(share, 1))


def shuffled(labels: np.ndarray, patients: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels exchanged between patients with as many images, a patient's together."""
    order = np.argsort(patients, kind="stable")
    sizes = np.unique(patients, return_counts=True)[1]
    starts, dealt = np.cumsum(sizes) - sizes, labels.copy()
    for size in np.unique(sizes):
        own = order[starts[sizes == size][:, None] + np.arange(size)]
        dealt[own] = labels[rng.permutation(own)]
    return dealt


def cramers_v(cohort: pd.DataFrame, found: pd.DataFrame, seed: int, shuffles: int = 999) -> pd.DataFrame:
    """How closely each trait goes with the class: a row a trait.

    Parameters
    ----------
    cohort
        Columns label and patient.
    found
        As `traits` gives them, in the cohort's order.
    shuffles
        How often the classes are exchanged between patients, for views of one patient go together.

    Returns
    -------
    DataFrame
        `values` (how many), `images`, `patients`, `cramers_v` (0 to 1), `by_chance` (its mean over the shuffles) and
        `p` (share of the shuffles that are as close); NaN for a trait with one value.
    """
    labels, patients = (pd.factorize(cohort[name])[0] for name in ("label", "patient"))
    n, rows, rng = patients.max() + 1, labels.max() + 1, np.random.default_rng(seed)
    orders = [shuffled(labels, patients, rng) for _ in range(shuffles)]
    table = {}
    for name in found:
        values, size = pd.factorize(found[name])[0], found[name].nunique()
        line = {"values": size, "images": len(labels), "patients": n}
        if size > 1 and rows > 1:
            own, others = phi_squared(labels, values), np.array([phi_squared(order, values) for order in orders])
            line["cramers_v"] = corrected_v(own, rows, size, n)
            line["by_chance"] = corrected_v(others, rows, size, n).mean()
            line["p"] = (1 + (others >= own - 1e-12).sum()) / (1 + shuffles)
        table[name] = line
    columns = ["values", "images", "patients", "cramers_v", "by_chance", "p"]
    return pd.DataFrame.from_dict(table, "index").reindex(columns=columns).rename_axis("trait")


def table_one(cohort: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """The patients by part and class: median [quartiles], or number and share of those known; how many are unknown.

    A patient counts once in each part and class, with what is first known of her. A column that says nothing of anybody
    is left out; fewer than `FEWEST` known values give no median, for it would be a patient's own.

    Parameters
    ----------
    cohort
        Columns patient, label, split and those of `pathology.DESCRIPTION`, "" where nothing is known.
    """
    known = cohort[["split", "label", "patient", *NUMBERS, *WORDS]].replace("", None)
    people = known.groupby(["split", "label", "patient"], as_index=False).first()
    groups = dict(list(people.groupby(["split", "label"])))
    shown = [(part, name) for part in PARTS for name in classes if (part, name) in groups]
    return pd.DataFrame({(part, class_name(name)): described(groups[part, name], people) for part, name in shown})


def described(own: pd.DataFrame, people: pd.DataFrame) -> dict[tuple[str, str], str]:
    """One column of table 1: some of the patients, with a row for whatever is known of any of `people`."""
    cells = {("patients", "n"): f"{len(own)}"}
    for name, title in (NUMBERS | WORDS).items():
        values = own[name].dropna()
        if people[name].isna().all():
            continue
        if name in NUMBERS:
            low, middle, high = pd.to_numeric(values).quantile([0.25, 0.5, 0.75])
            text = f"{middle:g} [{low:g}, {high:g}]" if len(values) >= FEWEST else f"fewer than {FEWEST} known"
            cells[title, "median [quartiles]"] = text
        else:
            for word in sorted(people[name].dropna().unique()):
                n = (values == word).sum()
                cells[title, word] = f"{n} ({n / len(values):.0%})" if n else "0"
        cells[title, "unknown"] = f"{len(own) - len(values)}"
    return cells
