"""From a registry to judged rows: the list and its circles are checked as a whole, words and dates become reasons.

One table goes through all steps of notebook 01: a row an image of the registry, with `reason` ("" while the image
stays) and `detail`. Every step returns a new table; the first reason stays.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mammolib import terms
from mammolib.parameters import require_choice
from mammolib.pathology import DESCRIPTION, allowed, checked, row_numbers
from mammolib.tables import read_csv, require_columns
from mammolib.words import day, days, folded, meanings, plain_id, read_label_map, unknown_words

REQUIRED = ("patient_id", "image_path", "label")
OPTIONAL = ("diagnosis_date", "ImageLaterality", "ViewPosition", "pixel_spacing_mm", "split")
PARTS = ("development", "test")
OWNER = ["patient_id", "label"]  # who must be one for equal images to be one


def exclude(rows: pd.DataFrame, where: pd.Series, reason: str, detail: str | pd.Series) -> pd.DataFrame:
    """Give a reason, one of `terms.REASONS`, and its detail to the rows that have none yet."""
    require_choice("reason", reason, terms.REASONS)
    where = where & (rows["reason"] == "")
    return rows.assign(reason=rows["reason"].mask(where, reason), detail=rows["detail"].mask(where, detail))


def read_table(path: Path, required: Sequence[str], encoding: str = "utf-8-sig") -> pd.DataFrame:
    """Read a CSV as text, spaces round values removed; ValueError names file and column where it doesn't fit."""
    table = read_csv(path, encoding, dtype=str, keep_default_na=False, skip_blank_lines=False)
    require_columns(table, required, path)
    table = table.apply(lambda column: column.str.strip())
    return table[(table != "").any(axis=1)]  # a row keeps its number in the file


def read_registry(path: Path, encoding: str = "utf-8-sig") -> pd.DataFrame:
    """Registry in the columns `REQUIRED`, `OPTIONAL` and `DESCRIPTION`, all text; one that is absent is "".

    ValueError also where a name is written in another way (Split, " label") or stands there twice: an optional column
    would be passed over without a word, and the test part with it.
    """
    names = read_csv(path, encoding, dtype=str, keep_default_na=False, header=None, nrows=1).iloc[0]
    columns = [*REQUIRED, *OPTIONAL, *DESCRIPTION]
    known = {folded(name): name for name in columns}
    for name in names:
        if known.get(folded(name), name) != name:
            raise ValueError(f"{path}: column {name!r} is not read; allowed is {known[folded(name)]}")
    if names.duplicated().any():
        twice = names[names.duplicated()].iloc[0]
        raise ValueError(f"{path}: column {twice if twice in columns else 'of one name'} stands there twice")
    return read_table(path, REQUIRED, encoding).reindex(columns=columns, fill_value="")


def classify(
    registry: pd.DataFrame,
    classes: Sequence[str],
    label_map: dict[str, str] | None = None,
    diagnosed_from: str | None = None,
    diagnosed_to: str | None = None,
) -> pd.DataFrame:
    """Check the registry and judge each row by word and date.

    Parameters
    ----------
    registry
        Columns `REQUIRED` and `OPTIONAL`; those of `DESCRIPTION`, and `reason` with `detail`, where it has them. A row
        that comes with a reason keeps it, and nothing is asked of it.

    Returns
    -------
    DataFrame
        The registry, `label` now a class ("" where the word means none), with `DESCRIPTION`, `reason` and `detail`.

    Raises
    ------
    ValueError
        One line a problem, all together: no row, empty or repeated paths, empty patients, unknown words with their
        counts, dates, spacings, sides, views or descriptions that are none, parts other than development and test, a
        split given in part.
    """
    absent = [name for name in (*DESCRIPTION, "reason", "detail") if name not in registry]
    rows = registry.assign(**dict.fromkeys(absent, ""))
    known = read_label_map(None, classes) if label_map is None else label_map
    problems = registry_problems(rows[rows["reason"] == ""], known)
    if registry.empty:
        problems = ["no row; at least one image is needed"]
    if problems:
        raise ValueError("registry: " + "\n".join(problems))
    rows = rows.reset_index(drop=True)
    classed, dates = meanings(rows["label"], known), days(rows["diagnosis_date"])
    forms = {name: checked(name, rows[name]).fillna("") for name in DESCRIPTION}
    sides, views = rows["ImageLaterality"].map(terms.laterality), rows["ViewPosition"].map(terms.view)
    labels = classed.where(classed.isin(list(classes)), "")
    rows = rows.assign(label=labels, ImageLaterality=sides, ViewPosition=views, **forms)
    if diagnosed_from or diagnosed_to:
        first = day(diagnosed_from, "diagnosed_from") if diagnosed_from else pd.Timestamp.min
        last = day(diagnosed_to, "diagnosed_to") if diagnosed_to else pd.Timestamp.max
        rows = exclude(rows, dates.isna(), "no_diagnosis_date", "diagnosis_date is empty")
        period = f"{diagnosed_from or 'from the first'} to {diagnosed_to or 'no limit'}"
        rows = exclude(rows, (dates < first) | (dates > last), "outside_period", period)
    for reason in sorted(set(classed.dropna()) - set(classes)):
        rows = exclude(rows, classed == reason, reason, "by the label's word")
    return rows


def in_rows(rows: pd.DataFrame, found: pd.Series) -> str:
    """Which rows of the file these are; the header is row 1."""
    return row_numbers(list(rows.index[found] + 2))


def registry_problems(rows: pd.DataFrame, known: dict[str, str]) -> list[str]:
    """What is wrong with a registry, one line each; identities and dates are counted, never shown."""
    lines = []
    for column in ("patient_id", "image_path"):
        if (empty := rows[column] == "").any():
            lines.append(f"column {column}: empty in {in_rows(rows, empty)}; every image needs one")
    plain = rows["patient_id"].map(plain_id)
    if (alike := rows["patient_id"].groupby(plain).transform("nunique") > 1).any():
        differ = f"in {in_rows(rows, alike)} ids differ in zeros, width or spaces alone"
        lines.append(f"column patient_id: {differ}; allowed is one way to write a patient's id")
    if n := rows["image_path"].duplicated().sum():
        other = (rows.groupby("image_path")[OWNER].nunique() > 1).any(axis=1).sum()
        repeated = f"{n} rows repeat a path, {other} paths with another patient or label"
        lines.append(f"column image_path: {repeated}; allowed is one row an image")
    if unknown := unknown_words(rows["label"], known):
        meant = ", ".join(dict.fromkeys(known.values()))
        lines.append(f"column label: unknown words {unknown}; known are words for {meant}")
    plausible = pd.to_numeric(rows["pixel_spacing_mm"], errors="coerce").map(terms.plausible_spacing)
    for column, wrong, known_values in (
        ("diagnosis_date", days(rows["diagnosis_date"]).isna(), "2006-01-05, 2006/1/5, H18.1.5"),
        ("pixel_spacing_mm", ~plausible.astype(bool), f"{' to '.join(map(str, terms.SPACINGS))} mm"),
        ("ImageLaterality", rows["ImageLaterality"].map(terms.laterality) == "", "L, R, left, right, 左, 右"),
        ("ViewPosition", rows["ViewPosition"].map(terms.view) == "", ", ".join(terms.VIEWS)),
        ("split", ~rows["split"].isin(PARTS), ", ".join(PARTS)),
        *((name, checked(name, rows[name]).isna(), allowed(name)) for name in DESCRIPTION),
    ):
        if (wrong := wrong & (rows[column] != "")).any():
            values = f"{wrong.sum()} values are unknown in {in_rows(rows, wrong)}"
            lines.append(f"column {column}: {values}; allowed: {known_values} or empty")
    if 0 < (n := (rows["split"] == "").sum()) < len(rows):
        lines.append(f"column split: empty in {n} rows; given for all or for none")
    return lines


def check_lesions(lesions: pd.DataFrame, listed: pd.DataFrame) -> None:
    """Raise ValueError that counts circles whose numbers are none, or whose image is not listed."""
    numbers = lesions[["x", "y", "radius"]].apply(pd.to_numeric, errors="coerce")
    wrong = (~np.isfinite(numbers.to_numpy(float)).all(axis=1) | (numbers["radius"] <= 0)).sum()
    strange = (~lesions["image_path"].isin(listed["image_path"])).sum()
    if wrong or strange:
        faults = f"x, y, radius are no numbers (radius above 0) in {wrong} rows"
        raise ValueError(f"annotations: {faults}; image_path is not among the images in {strange} rows")


def name_lesions(lesions: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Circles of the images that stay, by image_id; ValueError counts those that lie outside their image."""
    numbers = lesions[["x", "y", "radius"]].apply(pd.to_numeric)
    kept = rows.loc[rows["reason"] == "", ["image_path", "image_id", "rows", "columns"]]
    named = numbers.assign(image_path=lesions["image_path"]).merge(kept, on="image_path")
    inside = named["x"].between(0, named["columns"] - 1) & named["y"].between(0, named["rows"] - 1)
    if n := (~inside | (named["radius"] > named[["rows", "columns"]].max(axis=1))).sum():
        raise ValueError(f"annotations: {n} circles have their centre outside the image, or a radius beyond its size")
    return named[["image_id", "x", "y", "radius"]].sort_values(["image_id", "x", "y"], ignore_index=True)
