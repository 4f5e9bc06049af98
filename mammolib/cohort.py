"""From judged rows to a cohort: the last exclusions, split, pseudonyms, and the tables that later notebooks read."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from mammolib.images import CROP
from mammolib.parameters import CHOICES, require_choice
from mammolib.pathology import DESCRIPTION
from mammolib.private_files import keyed, read_key, write_key
from mammolib.registry import PARTS, exclude
from mammolib.terms import REASONS
from mammolib.words import days

COLUMNS = (
    *("image_id", "patient", "label", "split", "ImageLaterality", "ViewPosition", "Manufacturer", "rows", "columns"),
    *("pixel_spacing_mm", "pixel_spacing_source", *CROP, "flipped"),
    *("breast_area_mm2", "sha256"),
)
IN_MEMORY = ("slot", "study", "year", *DESCRIPTION)  # of the cohort's table, for the gate and the tables of 01 alone


def exclude_without_side(rows: pd.DataFrame) -> pd.DataFrame:
    """Take out the images whose side neither header nor registry tells."""
    return exclude(rows, rows["ImageLaterality"] == "", "laterality_unknown", "neither header nor registry has a side")


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
    left, counts = rows.loc[rows["reason"] == "", "label"], rows["reason"].value_counts().drop("", errors="ignore")
    excluded = ", ".join(f"{reason} {n}" for reason, n in counts.items()) or "none"
    if left.empty:
        raise ValueError(f"cohort: none of {len(rows)} images is left; excluded: {excluded}")
    if empty := [name for name in classes if name not in set(left)]:
        raise ValueError(f"cohort: no image of class {', '.join(empty)} among {len(left)}; excluded: {excluded}")


def split_images(kept: pd.DataFrame, test_share: float, seed: int, split: str | None = None) -> pd.Series:
    """Part of each image, development or test.

    Parameters
    ----------
    kept
        Columns patient_id, label, diagnosis_date, split.
    test_share
        Of the patients (by_image: of the images); 0 draws no test part.
    split
        `by_patient` draws patients, stratified by class; one with several classes counts for the first of them.
        `by_date` takes the patients diagnosed last, by their first date; patients of one day stay together, and the
        classes fall as they do. `from_registry` takes the registry's. `by_image` draws images, stratified by class, so
        that a patient can be in both parts. None: the registry's where it has one, otherwise by_patient.

    Raises
    ------
    ValueError
        The registry has no split; a patient has no date; development would lack a class; too few to draw from.
    """
    given = (kept["split"] != "").all()
    split = split or ("from_registry" if given else "by_patient")
    require_choice("split", split, CHOICES["split"])
    if split == "from_registry":
        if not given:
            raise ValueError("split: from_registry, but the registry's column split is empty; allowed: another split")
        return kept["split"]
    if test_share == 0:
        return pd.Series("development", kept.index)
    if split == "by_date":
        in_test = kept["patient_id"].isin(patients_diagnosed_last(kept, test_share))
    else:
        unit = kept["patient_id"] if split == "by_patient" else pd.Series(kept.index, kept.index)
        labels = kept["label"].groupby(unit).first()
        try:
            _, drawn = train_test_split(labels.index, test_size=test_share, stratify=labels, random_state=seed)
        except ValueError as error:
            units = f"{len(labels)} {'patients' if split == 'by_patient' else 'images'}"
            raise ValueError(f"test_share {test_share} of {units} can't be split by class: {error}") from None
        in_test = unit.isin(drawn)
    if lacking := sorted(set(kept["label"]) - set(kept.loc[~in_test, "label"])):
        raise ValueError(
            f"split: {split} leaves no development image of class {', '.join(lacking)}; allowed: a "
            "smaller test_share, or by_patient"
        )
    return in_test.map({True: "test", False: "development"})


def patients_diagnosed_last(kept: pd.DataFrame, test_share: float) -> pd.Index:
    """The share of the patients with the latest first diagnosis, and who else has the first day of theirs."""
    first = days(kept["diagnosis_date"]).groupby(kept["patient_id"]).min().sort_values()
    if n := first.isna().sum():
        raise ValueError(
            f"split: by_date, but {n} of {len(first)} patients have no diagnosis_date; allowed: by_patient"
        )
    return first.index[first >= first.iloc[-max(1, round(test_share * len(first)))]]


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
    write_key(key, {"patient": patients, "image": images})
    return rows.assign(image_id=rows["image_path"].map(images), patient=rows["patient_id"].map(patients))


def cohort_table(
    rows: pd.DataFrame, digest_key: Path | None, test_share: float, seed: int, split: str | None = None
) -> pd.DataFrame:
    """The images that stay, development before test, by image_id in each; `split` as in `split_images`.

    Columns of cohort.csv (`COLUMNS`), and `IN_MEMORY`: study is a running number in place of the Study Instance UID
    (0020,000D) and year that of the image, of the diagnosis where the image has none; "" where neither is known.
    """
    kept = rows[rows["reason"] == ""]
    parts = split_images(kept, test_share, seed, split)
    facts = kept.reindex(columns=["StudyInstanceUID", "image_date"], fill_value="").astype(object).fillna("")
    diagnosed = days(kept["diagnosis_date"]).dt.strftime("%Y").fillna("")
    year = facts["image_date"].str[:4].where(facts["image_date"] != "", diagnosed)
    kept = kept.assign(split=parts, sha256=keyed(kept["digest"], digest_key, seed), year=year)
    kept = kept.astype(dict.fromkeys(("rows", "columns", "slot", *CROP), int) | {"flipped": bool})
    kept = kept.assign(study=facts["StudyInstanceUID"]).sort_values(["split", "image_id"], ignore_index=True)
    numbers = pd.Series(pd.factorize(kept["study"])[0], kept.index).map("S{:04d}".format)
    return kept.assign(study=numbers.where(kept["study"] != "", ""))[[*COLUMNS, *IN_MEMORY]]


def flow_counts(rows: pd.DataFrame, cohort: pd.DataFrame) -> dict:
    """Counts of the flow diagram; reasons in the order in which they are looked for, those that occur."""
    reasons = rows["reason"].value_counts()
    parts = cohort.groupby("split")["patient"].agg(["size", "nunique"]).reindex(list(PARTS), fill_value=0)
    return {
        "registry_rows": len(rows),
        "included": len(cohort),
        "patients": cohort["patient"].nunique(),
        **{f"{part}_images": int(n) for part, n in parts["size"].items()},
        **{f"{part}_patients": int(n) for part, n in parts["nunique"].items()},
        "excluded": {reason: int(reasons[reason]) for reason in REASONS if reason in reasons},
    }
