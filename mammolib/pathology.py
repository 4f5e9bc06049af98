"""A pathology list, a row a lesion, read strictly; and what it says of each breast."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pandas as pd

from mammolib import words
from mammolib.tables import read_csv
from mammolib.terms import REASONS

REQUIRED = ("patient_id", "laterality", "diagnosis_date", "histology")
NUMBERS = {"age": (120, "歳"), "lesion_size_mm": (300, "mm or cm"), "area_mm2": (70_000, "mm2")}  # most, and unit
SAME_FOR = {  # one value for equal ones of these
    "age": ["patient_id", "diagnosis_date"],
    "neoadjuvant": ["patient_id", "laterality", "specimen", "diagnosis_date"],
    "breast_density": ["patient_id", "laterality", "diagnosis_date"],
}
EPISODE_DAYS = 365  # treatment before surgery takes up to about a year; what comes later is another cancer
WORKUP_DAYS = 90  # a biopsy without invasion that was taken longer before the cancer's is no part of its diagnosis
DESCRIPTION = ("age", "breast_density", "lesion_size_mm", "specimen")


def read_pathology(path: Path, encoding: str = "utf-8-sig", known: dict[str, str] | None = None) -> pd.DataFrame:
    """Read a pathology list, a row a lesion, and check all of it.

    Parameters
    ----------
    known
        Folded word -> meaning, see `words.read_label_map`; None: the words are not looked at.

    Returns
    -------
    DataFrame
        Text, "" where the list says nothing, in the columns of `words.COLUMN_NAMES`: `patient_id` as written,
        `laterality` L or R, `diagnosis_date` in ISO's form (the day of the biopsy, in a surgical row of the surgery),
        `histology` in the list's word, `specimen` core or surgical, `neoadjuvant` yes or no, `age` in years,
        `lesion_size_mm` (largest diameter), `area_mm2`, `breast_density` a to d (BI-RADS).

    Raises
    ------
    FileNotFoundError, ValueError
        No such file, another encoding, columns missing or twice; and all faulty rows together, by row of the file (the
        header is row 1) and column: values that are none, rows equal in every column, rows that contradict each other;
        and every unknown word with its count. No other value is shown, for it may be a name.
    """
    table = named_columns(read_csv(path, encoding, dtype=str, keep_default_na=False, skip_blank_lines=False), path)
    table.index += 2
    table = table[table.apply(lambda column: column.str.strip() != "").any(axis=1)]
    if table.empty:
        raise ValueError(f"{path}: no row; at least one lesion is needed")
    absent = pd.Series("", table.index, dtype=str)
    lesions = pd.DataFrame({name: checked(name, table.get(name, absent)) for name in words.COLUMN_NAMES})
    bad = {name: row_numbers(lesions.index[none]) for name, none in lesions.isna().items() if none.any()}
    faults = [f"column {name}: no value that is allowed in {at}; allowed: {allowed(name)}" for name, at in bad.items()]
    faults += contradictions(lesions)
    again = lesions.assign(**table.drop(columns=list(words.COLUMN_NAMES), errors="ignore")).duplicated()
    if again.any():
        faults.append(f"{row_numbers(lesions.index[again])}: equal to an earlier row; allowed is one row a lesion")
    if known is not None and (unknown := words.unknown_words(lesions["histology"], known)):
        faults.append(f"column histology: unknown words {unknown}; allowed are the words of label_map, yours to extend")
    if faults:
        raise ValueError(f"{path}: " + "\n".join(faults))
    return lesions.reset_index(drop=True)


def named_columns(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The list's columns by our names, others by theirs; ValueError where one is missing or stands there twice.

    Where a column has our own name, others that could be meant are not read. The error shows no name that is not known:
    without a header they would be a patient's values.
    """
    ours = words.listed(words.COLUMN_NAMES)
    plain = table.columns.str.replace(r"\.[0-9]+$", "", regex=True).map(words.folded)  # pandas: a second age is age.1
    own = {words.folded(name): name for name in words.COLUMN_NAMES}
    said = {name for word, name in own.items() if word in set(plain)}
    meant = [own.get(word) or (ours.get(word) if ours.get(word) not in said else None) for word in plain]
    names = pd.Series([one or name for one, name in zip(meant, table.columns, strict=True)])
    if twice := sorted(set(names[names.duplicated()])):
        where = ", ".join(table.columns[names.isin(twice)])
        raise ValueError(f"{path}: columns {where} are read as {', '.join(twice)}; allowed is one column for each")
    if missing := [f"{name} (or {words.COLUMN_NAMES[name]})" for name in REQUIRED if name not in set(names)]:
        raise ValueError(f"{path}: no column {'; '.join(missing)} among {len(names)}; is row 1 the header?")
    return table.set_axis(names, axis=1)


def columns_line(path: Path, encoding: str = "utf-8-sig") -> str:
    """Which columns of a list are read as what, and which are not; for whoever has the list before them."""
    table = read_csv(path, encoding, dtype=str, nrows=0)
    pairs = list(zip(table.columns, named_columns(table, path).columns, strict=True))
    read = [f"{name} as {ours}" if name != ours else name for name, ours in pairs if ours in words.COLUMN_NAMES]
    passed = [name for name, ours in pairs if ours not in words.COLUMN_NAMES]
    return f"columns read: {', '.join(read)}; not read: {', '.join(passed) or 'none'}"


def checked(name: str, texts: pd.Series) -> pd.Series:
    """One column in the form of `read_pathology`, NaN where a value is not allowed."""
    folded = texts.map(words.folded)
    if name == "patient_id":
        changed = folded.map(lambda text: bool(words.SPREADSHEET_ID.fullmatch(text)))
        return texts.where((texts.map(words.plain_id) != "") & ~changed)
    if name == "histology":
        return texts.str.strip()
    if name in words.VALUES:
        found = folded.map(words.listed(words.VALUES[name]))
    elif name == "lesion_size_mm":
        found = texts.map(lambda text: words.longest(text, NUMBERS[name][0]))
    elif name in NUMBERS:
        found = texts.map(lambda text: words.number(text, *NUMBERS[name]))
    else:
        found = words.days(texts).dt.strftime("%Y-%m-%d")
    return found if name == "laterality" else found.mask(folded.isin(words.UNKNOWN), "")


def allowed(name: str) -> str:
    """What a column may hold, for an error."""
    if name in words.VALUES:
        return "; ".join(f"{value}: {others}" for value, others in words.VALUES[name].items())
    if name in NUMBERS:
        return f"0 to {NUMBERS[name][0]} {NUMBERS[name][1]}"
    if name == "patient_id":
        return 'an id that no spreadsheet has changed, as 17.0, 3.4E+08 and ="17" were'
    return "a day such as 2006-01-05, 2006/1/5 or H18.1.5"


def row_numbers(rows: Sequence[int]) -> str:
    """Rows of the file, the first ten of them."""
    more = f" and {len(rows) - 10} more" if len(rows) > 10 else ""
    return f"row{'s' if len(rows) > 1 else ''} {', '.join(map(str, rows[:10]))}{more}"


def contradictions(lesions: pd.DataFrame) -> list[str]:
    """A line a column in which rows of one patient, breast or specimen on one day (`SAME_FOR`) say different things."""
    lines = []
    for column, keys in SAME_FOR.items():
        said = lesions[(lesions[["diagnosis_date", column]].fillna("") != "").all(axis=1)]
        differ = said.groupby(keys)[column].transform("nunique") > 1
        if differ.any():
            rows = row_numbers(said.index[differ])
            lines.append(f"column {column}: {rows} contradict each other; allowed is one value for {', '.join(keys)}")
    return lines


def one_row_a_breast(lesions: pd.DataFrame, known: dict[str, str]) -> pd.DataFrame:
    """What the list says of each breast, a row a patient and side.

    1. The first biopsy's day is the day of the diagnosis. Rows more than `EPISODE_DAYS` after the first row are another
       cancer, and rows without invasion more than `WORKUP_DAYS` before the first invasive biopsy another finding: they
       are counted in `other_rows` and not used. A row without a specimen counts as a biopsy's.
    2. The surgical type counts before the biopsy's. With neoadjuvant treatment the biopsy's counts, for treatment
       changes the type. A kind of specimen that never names a type leaves the word to the other, but what was seen
       after treatment never counts where there is a biopsy.
    3. A lesion without invasion counts where it is the only one. Among those of several meanings the larger one counts,
       by `area_mm2` where all have it, else by `lesion_size_mm`; otherwise, and of equals, the breast leaves:
       two_types. A mixed word (`words.meaning`) alike.
    4. A list that has the surgery alone gives its day for the biopsy's (`dated_by_surgery`), but where treatment came
       before; then nobody knows which images came first: no_diagnosis_date.
    5. Each side of a bilateral cancer stands for itself.

    Parameters
    ----------
    lesions
        As `read_pathology` gives them.
    known
        Folded word -> meaning, of every word of the list.

    Returns
    -------
    DataFrame
        `patient_id, laterality, diagnosis_date` and `surgery_date` (the first surgical row's day), `neoadjuvant`,
        `label` (the list's word of the lesion that counts, "" with two_types), `DESCRIPTION`, counts of `list_rows` and
        `other_rows`, `types` (how many meanings were compared), `core_differs` (biopsy and surgery say different
        things), `dated_by_surgery`, `reason` (two_types, subtype_not_stated where the list has no word,
        no_diagnosis_date or "") and `detail`.
    """
    breast, rows = ["patient_id", "laterality"], []
    for names, own in lesions.assign(meaning=words.meanings(lesions["histology"], known)).groupby(breast, sort=False):
        rows.append(dict(zip(breast, names, strict=True)) | breast_row(own.to_dict("records")))
    return pd.DataFrame(rows)


def breast_row(lesions: list[dict]) -> dict:
    """One breast, by the rules of `one_row_a_breast`; `lesions` are its rows with their `meaning`."""
    lesions = sorted(lesions, key=lambda lesion: (lesion["diagnosis_date"] or "9999", lesion["specimen"] == "surgical"))
    counted = of_one_cancer(lesions)
    surgical = [lesion for lesion in counted if lesion["specimen"] == "surgical"]
    operated = first_said(surgical, "diagnosis_date")
    before = [lesion for lesion in counted if not operated or lesion["diagnosis_date"] <= operated]
    biopsies = [lesion for lesion in before if lesion["specimen"] != "surgical"]
    treated = first_said([lesion for lesion in counted if lesion["neoadjuvant"] == "yes"] or counted, "neoadjuvant")
    by_surgery = not biopsies and treated != "yes"
    dated = first_said(surgical if by_surgery else biopsies, "diagnosis_date")
    compared = lesions_that_count(biopsies, surgical, treated == "yes")
    compared = [lesion for lesion in compared if lesion["meaning"] != "no_invasion"] or compared
    larger = larger_lesion(compared)
    two_types = larger is None or larger["meaning"] == "two_types"
    silent = not two_types and not larger["histology"]
    reason = "two_types" if two_types else "subtype_not_stated" if silent else "" if dated else "no_diagnosis_date"
    return {
        "diagnosis_date": dated,
        "surgery_date": operated,
        "neoadjuvant": treated,
        "label": "" if two_types else larger["histology"],
        **{name: first_said(counted, name) for name in ("age", "breast_density")},
        **{name: larger[name] if larger else "" for name in ("lesion_size_mm", "specimen")},
        "list_rows": len(lesions),
        "other_rows": len(lesions) - len(counted),
        "types": len(meanings_of(compared)),
        "core_differs": bool(surgical and biopsies) and meanings_of(surgical) != meanings_of(biopsies),
        "dated_by_surgery": by_surgery and bool(dated),
        "reason": reason,
        "detail": REASONS.get(reason, ""),
    }


def of_one_cancer(lesions: list[dict]) -> list[dict]:
    """Rule 1 of `one_row_a_breast`: rows of the first invasive cancer, in the order of their days."""
    invasive = [lesion for lesion in lesions if lesion["meaning"] != "no_invasion"]
    before = WORKUP_DAYS if invasive and invasive[0]["specimen"] != "surgical" else EPISODE_DAYS
    start = first_said(invasive, "diagnosis_date")
    lesions = [lesion for lesion in lesions if days_after(lesion["diagnosis_date"], start) <= before]
    first = lesions[0]["diagnosis_date"]
    return [lesion for lesion in lesions if days_after(first, lesion["diagnosis_date"]) <= EPISODE_DAYS]


def lesions_that_count(biopsies: list[dict], surgical: list[dict], treated: bool) -> list[dict]:
    """The rows of the specimen that has the last word; `treated`: neoadjuvant treatment came between the two."""
    if treated:
        return biopsies or surgical
    for silent in (words.NO_TYPE, {"no_invasion"}):
        if named := [lesions for lesions in (surgical, biopsies) if meanings_of(lesions) - silent]:
            return named[0]
    return surgical or biopsies


def larger_lesion(lesions: list[dict]) -> dict | None:
    """The largest lesion; None where larger ones of another meaning can't be ruled out."""
    for measure in ("area_mm2", "lesion_size_mm"):
        if all(lesion[measure] for lesion in lesions):
            most = max(float(lesion[measure]) for lesion in lesions)
            lesions = [lesion for lesion in lesions if float(lesion[measure]) == most]
            break
    return lesions[0] if len(meanings_of(lesions)) == 1 else None


def meanings_of(lesions: list[dict]) -> set[str]:
    """The meanings of some lesions."""
    return {lesion["meaning"] for lesion in lesions}


def first_said(lesions: list[dict], name: str) -> str:
    """The first value that is not empty; "" where there is none."""
    return next((lesion[name] for lesion in lesions if lesion[name]), "")


def days_after(first: str, later: str) -> int:
    """Days from one day to another, both in ISO's form; 0 where one is not known."""
    return (date.fromisoformat(later) - date.fromisoformat(first)).days if first and later else 0
