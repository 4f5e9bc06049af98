"""From a registry to a cohort: checks, label words, exclusions with their reason, split by patient, leakage gate.

One table goes through all steps: a row an image of the registry, with `reason` ("" while the image stays) and
`detail`. Every step returns a new table; the first reason stays.
"""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from mammolib import terms
from mammolib.images import CROP
from mammolib.parameters import require_choice
from mammolib.private_files import KEY_COLUMNS, keyed, read_key, write_private
from mammolib.tables import read_csv, require_columns
from mammolib.terms import REASONS

REQUIRED = ("patient_id", "image_path", "label")
OPTIONAL = ("diagnosis_date", "ImageLaterality", "ViewPosition", "pixel_spacing_mm", "split")
WORD_REASONS = ("other_histology", "subtype_not_stated")  # what a word of the registry can say
COLUMNS = (
    *("image_id", "patient", "label", "split", "ImageLaterality", "ViewPosition", "Manufacturer", "rows", "columns"),
    *("pixel_spacing_mm", "pixel_spacing_source", *CROP, "flipped"),
    *("breast_area_mm2", "sha256"),
)
PARTS = ("development", "test")


def read_table(path: Path, required: Sequence[str], encoding: str = "utf-8-sig") -> pd.DataFrame:
    """Read a CSV as text, spaces round values removed; ValueError names file and column where it doesn't fit."""
    table = read_csv(path, encoding, dtype=str, keep_default_na=False)
    require_columns(table, required, path)
    return table.apply(lambda column: column.str.strip())


def read_registry(path: Path, encoding: str = "utf-8-sig") -> pd.DataFrame:
    """Registry in the columns `REQUIRED` and `OPTIONAL`, all text; an optional column that is absent is "".

    ValueError also where a name is written in another way (Split, " label") or stands there twice: an optional column
    would be passed over without a word, and the test part with it.
    """
    names = read_csv(path, encoding, dtype=str, keep_default_na=False, header=None, nrows=1).iloc[0]
    known = {folded(name): name for name in (*REQUIRED, *OPTIONAL)}
    for name in names:
        if known.get(folded(name), name) != name:
            raise ValueError(f"{path}: column {name!r} is not read; allowed is {known[folded(name)]}")
    if names.duplicated().any():
        raise ValueError(f"{path}: column {names[names.duplicated()].iloc[0]} stands there twice")
    return read_table(path, REQUIRED, encoding).reindex(columns=[*REQUIRED, *OPTIONAL], fill_value="")


def folded(word: str) -> str:
    """Fold what writes the same word: full and half width (NFKC), がん / ガン / 癌, capitals, spaces."""
    word = unicodedata.normalize("NFKC", word).casefold()
    return " ".join(word.replace("がん", "癌").replace("ガン", "癌").split())


def read_label_map(path: Path, classes: Sequence[str]) -> dict[str, str]:
    """Folded word -> class, or -> one of `WORD_REASONS`; an empty class means other_histology.

    Raises
    ------
    ValueError
        For a class that is neither in `classes` nor in `WORD_REASONS`, and for a word that has two classes.
    """
    table = read_table(path, ("word", "class"))
    table["class"] = table["class"].replace("", "other_histology")
    table["word"] = table["word"].map(folded)
    table = table.drop_duplicates()
    twice = table.loc[table["word"].duplicated(), "word"].tolist()
    strange = sorted(set(table["class"]) - {*classes, *WORD_REASONS})
    if twice or strange:
        faults = [f"words with two classes: {', '.join(twice)}"] * bool(twice)
        faults += [f"class {', '.join(strange)}; allowed: {', '.join([*classes, *WORD_REASONS])}"] * bool(strange)
        raise ValueError(f"{path}: {'; '.join(faults)}")
    return dict(zip(table["word"], table["class"], strict=True))


def days(texts: pd.Series) -> pd.Series:
    """Days such as 2006-01-05 or 2006/1/5; NaT for anything else (a year, a time, "now")."""
    whole = texts.where(texts.str.fullmatch(r"[0-9]{4}([-/])[0-9]{1,2}\1[0-9]{1,2}"))
    return pd.to_datetime(whole.str.replace("/", "-"), format="%Y-%m-%d", errors="coerce")


def day(text: str, name: str) -> pd.Timestamp:
    """Read a parameter that is a day, such as 2006-01-01."""
    if pd.isna(found := days(pd.Series([text], dtype=str))[0]):
        raise ValueError(f"{name} is {text!r}; allowed: a day such as 2006-01-01, or null")
    return found


def classify(
    registry: pd.DataFrame,
    classes: Sequence[str],
    label_map: dict[str, str] | None = None,
    diagnosed_from: str | None = None,
    diagnosed_to: str | None = None,
) -> pd.DataFrame:
    """Check the registry and judge each row by word and date.

    Returns
    -------
    DataFrame
        The registry, `label` now a class ("" where the word means none), with `reason` and `detail`.

    Raises
    ------
    ValueError
        One line a problem, all together: empty or repeated paths, empty patients, unknown words with their counts,
        dates, spacings, sides or views that are none, parts other than development and test, a split given in part.
    """
    words = registry["label"].map(folded)
    known = {folded(name): name for name in classes} if label_map is None else label_map
    classed = words.map(known)
    dates = days(registry["diagnosis_date"])
    problems = registry_problems(registry, classed.isna(), dates, list(classes if label_map is None else label_map))
    if problems:
        raise ValueError("registry: " + "\n".join(problems))
    rows = registry.assign(label=classed.where(classed.isin(list(classes)), ""), reason="", detail="")
    rows["ImageLaterality"] = rows["ImageLaterality"].map(terms.laterality)
    rows["ViewPosition"] = rows["ViewPosition"].map(terms.view)
    if diagnosed_from or diagnosed_to:
        first = day(diagnosed_from, "diagnosed_from") if diagnosed_from else pd.Timestamp.min
        last = day(diagnosed_to, "diagnosed_to") if diagnosed_to else pd.Timestamp.max
        rows = exclude(rows, dates.isna(), "no_diagnosis_date", "diagnosis_date is empty")
        period = f"{diagnosed_from or 'from the first'} to {diagnosed_to or 'no limit'}"
        rows = exclude(rows, (dates < first) | (dates > last), "outside_period", period)
    for reason in sorted(set(classed) - set(classes)):
        rows = exclude(rows, classed == reason, reason, "by the label's word")
    return rows


def registry_problems(registry: pd.DataFrame, unknown: pd.Series, dates: pd.Series, words: list[str]) -> list[str]:
    """What is wrong with a registry, one line each; identities and dates are counted, never shown."""
    lines = []
    if registry.empty:
        lines.append("no row; at least one image is needed")
    for column in ("patient_id", "image_path"):
        if n := (registry[column] == "").sum():
            lines.append(f"column {column}: empty in {n} rows; every image needs one")
    if n := registry["image_path"].duplicated().sum():
        lines.append(f"column image_path: {n} rows repeat a path; allowed is one row an image")
    if unknown.any():
        counts = registry.loc[unknown, "label"].value_counts()
        listed = ", ".join(f"{word!r} ({n})" for word, n in counts.items())
        lines.append(f"column label: unknown words {listed}; known: {', '.join(words)}")
    if n := (dates.isna() & (registry["diagnosis_date"] != "")).sum():
        lines.append(f"column diagnosis_date: {n} values are no dates; allowed: 2006-01-05 or 2006/1/5")
    spacing = pd.to_numeric(registry["pixel_spacing_mm"], errors="coerce")
    if n := ((registry["pixel_spacing_mm"] != "") & ~spacing.map(terms.plausible_spacing)).sum():
        lines.append(f"column pixel_spacing_mm: {n} values are not {' to '.join(map(str, terms.SPACINGS))} mm")
    for column, term, allowed in (
        ("ImageLaterality", terms.laterality, "L, R, left, right, 左, 右"),
        ("ViewPosition", terms.view, ", ".join(terms.VIEWS)),
    ):
        if n := ((registry[column] != "") & (registry[column].map(term) == "")).sum():
            lines.append(f"column {column}: {n} values are unknown; allowed: {allowed} or empty")
    strange = sorted(set(registry["split"]) - {*PARTS, ""})
    if strange:
        lines.append(f"column split: {', '.join(strange)}; allowed: {', '.join(PARTS)}")
    if 0 < (registry["split"] == "").sum() < len(registry):
        lines.append(f"column split: empty in {(registry['split'] == '').sum()} rows; given for all or for none")
    return lines


def exclude(rows: pd.DataFrame, where: pd.Series, reason: str, detail: str) -> pd.DataFrame:
    """Give a reason, one of `REASONS`, to the rows that have none yet."""
    require_choice("reason", reason, REASONS)
    where = where & (rows["reason"] == "")
    return rows.assign(reason=rows["reason"].mask(where, reason), detail=rows["detail"].mask(where, detail))


def exclude_duplicates(rows: pd.DataFrame) -> pd.DataFrame:
    """Take out equal pixels (`digest`): under one patient and label the first stays, otherwise nobody knows whose."""
    kept = rows[rows["reason"] == ""]
    groups = kept.groupby("digest")
    owners = groups["patient_id"].transform("nunique").gt(1) | groups["label"].transform("nunique").gt(1)
    doubled = (groups["digest"].transform("size") > 1).reindex(rows.index, fill_value=False)
    shared = owners.reindex(rows.index, fill_value=False)
    again = kept["digest"].duplicated().reindex(rows.index, fill_value=False)
    rows = exclude(rows, doubled & shared, "duplicate_other_patient", "pixels equal another image's")
    return exclude(rows, again & ~shared, "duplicate_same_patient", "pixels equal an earlier image's; the first stays")


def judge_quality_control(rows: pd.DataFrame) -> tuple[pd.DataFrame, bool]:
    """Whether the cohort is synthetic: every image that is left says Quality Control Image (0028,0300) YES.

    In a mixed cohort those images leave, so that no phantom counts as a patient.
    """
    left = rows["reason"] == ""
    flagged = rows["QualityControlImage"] == "YES"
    if left.any() and flagged[left].all():
        return rows, True
    return exclude(rows, flagged, "quality_control_image", "Quality Control Image (0028,0300) is YES"), False


def require_images(rows: pd.DataFrame, classes: Sequence[str]) -> None:
    """Raise ValueError where nothing is left, or a class has no image; the message counts the reasons."""
    left = rows.loc[rows["reason"] == "", "label"]
    reasons = ", ".join(
        f"{reason} {n}" for reason, n in rows.loc[rows["reason"] != "", "reason"].value_counts().items()
    )
    if left.empty:
        raise ValueError(f"cohort: none of {len(rows)} images is left; excluded: {reasons}")
    empty = [name for name in classes if name not in set(left)]
    if empty:
        raise ValueError(
            f"cohort: no image of class {', '.join(empty)} among {len(left)}; excluded: {reasons or 'none'}"
        )


def split_patients(kept: pd.DataFrame, test_share: float, seed: int) -> pd.Series:
    """Part of each image: the registry's split where it has one, else by patient, stratified by class.

    A patient with several classes counts for the first of them; `test_share` is a share of the patients.
    """
    if (kept["split"] != "").all():
        return kept["split"]
    patients = kept.groupby("patient_id")["label"].first()
    if test_share == 0:
        return pd.Series("development", kept.index)
    try:
        _, test = train_test_split(patients.index, test_size=test_share, stratify=patients, random_state=seed)
    except ValueError as error:
        raise ValueError(
            f"test_share {test_share} of {len(patients)} patients can't be split by class: {error}"
        ) from None
    return kept["patient_id"].isin(test).map({True: "test", False: "development"})


def pseudonyms(originals: Sequence[str], prefix: str, known: dict[str, str], seed: int) -> dict[str, str]:
    """Sequential names in seeded order, such as P0001; those already given stay, new ones go on counting."""
    new = [original for original in dict.fromkeys(originals) if original not in known]
    order = np.random.default_rng(seed).permutation(len(new))
    last = max((int(name.removeprefix(prefix)) for name in known.values()), default=0)
    width = max(4, len(str(last + len(new))))
    return known | {new[k]: f"{prefix}{last + n:0{width}d}" for n, k in enumerate(order, start=1)}


def name_rows(rows: pd.DataFrame, key: Path, seed: int) -> pd.DataFrame:
    """Add `image_id` and `patient`, continued from the key file and kept in it (mode 600)."""
    known = read_key(key) if key.is_file() else {"patient": {}, "image": {}}
    patients = pseudonyms(rows["patient_id"], "P", known["patient"], seed)
    images = pseudonyms(rows["image_path"], "I", known["image"], seed + 1)
    table = pd.DataFrame(
        [("patient", *pair) for pair in patients.items()] + [("image", *pair) for pair in images.items()],
        columns=KEY_COLUMNS,
    )
    write_private(key, table.to_csv(index=False))
    return rows.assign(image_id=rows["image_path"].map(images), patient=rows["patient_id"].map(patients))


def cohort_table(rows: pd.DataFrame, digest_key: Path | None, test_share: float, seed: int) -> pd.DataFrame:
    """The images that stay, in the columns of cohort.csv and `slot`: development before test, by image_id in each."""
    kept = rows[rows["reason"] == ""]
    kept = kept.assign(split=split_patients(kept, test_share, seed), sha256=keyed(kept["digest"], digest_key, seed))
    kept = kept.astype(dict.fromkeys(("rows", "columns", "slot", *CROP), int) | {"flipped": bool})
    return kept.sort_values(["split", "image_id"], ignore_index=True)[[*COLUMNS, "slot"]]


def flow_counts(rows: pd.DataFrame, cohort: pd.DataFrame) -> dict:
    """Counts of the flow diagram; reasons in the order in which they are looked for, those that occur."""
    reasons = rows["reason"].value_counts()
    parts = cohort["split"].value_counts()
    return {
        "registry_rows": len(rows),
        "included": len(cohort),
        "patients": cohort["patient"].nunique(),
        "development_images": int(parts.get("development", 0)),
        "test_images": int(parts.get("test", 0)),
        "excluded": {reason: int(reasons[reason]) for reason in REASONS if reason in reasons},
    }


def name_lesions(lesions: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Annotations of the images that stay, by image_id; numbers checked, ValueError counts what doesn't fit."""
    numbers = lesions[["x", "y", "radius"]].apply(pd.to_numeric, errors="coerce")
    wrong = (~np.isfinite(numbers.to_numpy(float)).all(axis=1) | (numbers["radius"] <= 0)).sum()
    strange = (~lesions["image_path"].isin(rows["image_path"])).sum()
    if wrong or strange:
        raise ValueError(
            f"annotations: x, y, radius are no numbers (radius above 0) in {wrong} rows; "
            f"image_path is not in the registry in {strange} rows"
        )
    kept = rows.loc[rows["reason"] == "", ["image_path", "image_id", "rows", "columns"]]
    named = numbers.assign(image_path=lesions["image_path"]).merge(kept, on="image_path")
    inside = named["x"].between(0, named["columns"] - 1) & named["y"].between(0, named["rows"] - 1)
    if n := (~inside | (named["radius"] > named[["rows", "columns"]].max(axis=1))).sum():
        raise ValueError(f"annotations: {n} circles have their centre outside the image, or a radius beyond its size")
    return named[["image_id", "x", "y", "radius"]].sort_values(["image_id", "x", "y"], ignore_index=True)
