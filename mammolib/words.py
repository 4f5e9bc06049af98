"""The words, days, numbers and ids of a pathology list, as people write them."""

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mammolib.tables import read_csv, require_columns

WORD_REASONS = ("other_histology", "subtype_not_stated", "no_invasion")  # what a word can say beside a class
NO_TYPE = {"subtype_not_stated", "no_invasion"}  # those that say nothing against a type beside them
BRACKETS = str.maketrans("[]{}〔〕【】「」〈〉", "()" * 6)
# Letter or name of an era -> its first and its last day; its first year is its year 1
ERAS = {
    **dict.fromkeys(("s", "昭和"), ("1926-12-25", "1989-01-07")),
    **dict.fromkeys(("h", "平成"), ("1989-01-08", "2019-04-30")),
    **dict.fromkeys(("r", "令和"), ("2019-05-01", "2099-12-31")),
}
ERA_DAY = re.compile(rf"({'|'.join(ERAS)})\.?\s*([0-9]{{1,2}}|元)([-/.])([0-9]{{1,2}})\3([0-9]{{1,2}})")
WESTERN_DAY = re.compile(r"((?:19|20)[0-9]{2})([-/.])([0-9]{1,2})\2([0-9]{1,2})")
# What a list may call its columns and what stands in them, in words that `folded` folds
COLUMN_NAMES = {
    "patient_id": "patientid,患者id,患者番号,カルテ番号,診療録番号",
    "laterality": "side,左右,左右別,患側,側性",
    "diagnosis_date": "biopsy_date,生検日,採取日,検体採取日,診断日,診断年月日,病理診断日",
    "histology": "組織型,病理組織型,病理組織診断,病理診断",
    "specimen": "検体,検体種別,検体の種類,採取法,材料,検査材料",
    "neoadjuvant": "nac,術前化学療法,術前化療,術前薬物療法,術前治療,術前療法",
    "age": "年齢,診断時年齢",
    "lesion_size_mm": "腫瘍径,腫瘍径mm,腫瘍径(mm),腫瘍最大径,腫瘍最大径(mm),最大径(mm)",
    "area_mm2": "面積,面積mm2,面積(mm2),腫瘍面積(mm2)",
    "breast_density": "乳腺濃度,乳房構成,乳房の構成",
}
UNKNOWN = ("", "不明", "unknown", "na", "n/a")
VALUES = {
    "laterality": {"L": "left,lt,左,左側,左乳,左乳房", "R": "right,rt,右,右側,右乳,右乳房"},
    "specimen": {
        "core": "biopsy,core biopsy,core needle biopsy,cnb,vab,生検,針生検,吸引式組織生検,マンモトーム生検",
        "surgical": "surgery,手術,手術検体,手術材料,切除,切除検体",
    },
    "neoadjuvant": {"yes": "y,有,有り,あり,施行", "no": "n,無,無し,なし,未施行"},
    "breast_density": {"a": "脂肪性", "b": "乳腺散在", "c": "不均一高濃度", "d": "極めて高濃度"},
}
SPREADSHEET_ID = re.compile(r"[0-9]+\.0+|[0-9.]+e\+?[0-9]+|=.*")  # 17.0, 3.4E+08, ="17"
# In the order in which they are undone
SPELLINGS = {
    "full_width": lambda text: unicodedata.normalize("NFKC", text),
    "spaces": lambda text: "".join(text.split()),
    "leading_zeros": lambda text: text.lstrip("0") or text[:1],
}


def folded(word: str) -> str:
    """Fold what writes the same word.

    Full and half width (NFKC), capitals, がん / ガン / 癌, kinds of bracket; hyphens, long vowels, underscores and the
    full stop of an abbreviation are a space; a space beside a Japanese character or a joining sign is none.
    """
    word = unicodedata.normalize("NFKC", word).casefold().translate(BRACKETS)
    word = word.replace("がん", "癌").replace("ガン", "癌")
    word = re.sub(r"[-_‐‒–—―−ー]|(?<=[a-z])\.", " ", word)
    word = re.sub(r"\s*([^\x00-\x7f]|[()+/,;&>])\s*", r"\1", word)
    return " ".join(word.split())


def listed(words: dict[str, str]) -> dict[str, str]:
    """Folded word -> value, of a table that gives the words of each value; the value itself is one of them."""
    return {folded(word): value for value, others in words.items() for word in (value, *others.split(","))}


def read_label_map(path: Path | None, classes: Sequence[str]) -> dict[str, str]:
    """Folded word -> class, or -> one of `WORD_REASONS`; an empty class means other_histology.

    Without a file the classes are their own words. No word at all names no subtype.

    Raises
    ------
    ValueError
        For a class that is neither in `classes` nor in `WORD_REASONS`, and for a word that has two classes.
    """
    if path is None:
        return {folded(name): name for name in classes} | {"": "subtype_not_stated"}
    table = read_csv(path, dtype=str, keep_default_na=False)
    require_columns(table, ("word", "class"), path)
    table = pd.DataFrame({"word": table["word"].map(folded), "class": table["class"].str.strip()})
    table = table.replace({"class": {"": "other_histology"}}).drop_duplicates()
    twice = table.loc[table["word"].duplicated(), "word"].tolist()
    strange = sorted(set(table["class"]) - {*classes, *WORD_REASONS})
    if twice or strange:
        faults = [f"words with two classes: {', '.join(twice)}"] * bool(twice)
        faults += [f"class {', '.join(strange)}; allowed: {', '.join([*classes, *WORD_REASONS])}"] * bool(strange)
        raise ValueError(f"{path}: {'; '.join(faults)}")
    return dict(zip(table["word"], table["class"], strict=True)) | {"": "subtype_not_stated"}


def meaning(word: str, known: dict[str, str]) -> str:
    """What a word of a list says: a class, one of `WORD_REASONS`, two_types, or "" where it is not known.

    1. A word that `known` has as a whole has that meaning, whatever signs stand in it.
    2. Otherwise it is cut at > + , ; / & ・ 、 and brackets, and each part must be known. A / between digits is part
       of an ICD-O code.
    3. Before > stands what is larger: only the parts before the first one count, or those after where nothing before is
       invasive.
    4. What follows a part without invasion, but for a + or &, describes it: "DCIS (solid)" is none of the solid type.
    5. A part that names no subtype, or nothing invasive, says nothing against one that names a type:
       "浸潤性乳管癌(硬性型)" is scirrhous, and so is "硬癌+DCIS".
    6. Parts of one meaning have it. Of several, no larger one is known: two_types. (The 17th edition names the less
       differentiated type where none prevails; a list does not say whether its writer followed that.)

    Parameters
    ----------
    known
        Folded word -> meaning.
    """
    if (whole := folded(word)) in known:
        return known[whole]
    found = [[parts_said(tumour, known) for tumour in re.split("[+&]", size)] for size in re.split(r"[>≫]+", whole)]
    if any("" in said for tumours in found for said in tumours) or not any(found[0]):
        return ""
    sizes = [set().union(*(shown(said) for said in tumours)) for tumours in found]
    larger = next((said for said in sizes if said - {"no_invasion"}), sizes[0])
    named = larger - NO_TYPE or larger - {"no_invasion"} or larger
    return named.pop() if len(named) == 1 else "two_types"


def parts_said(text: str, known: dict[str, str]) -> list[str]:
    """The meaning of each part of a word, "" for one that is not known; the / of an ICD-O code parts nothing."""
    parts = re.split(r"[,;・、()]|(?<![0-9])/|/(?![0-9])", text)
    return [known.get(part.strip(), "") for part in parts if part.strip()]


def shown(said: list[str]) -> set[str]:
    """The meanings of one tumour's parts; what follows one without invasion is a pattern of that."""
    return set(said[: said.index("no_invasion") + 1] if "no_invasion" in said else said)


def meanings(words: pd.Series, known: dict[str, str]) -> pd.Series:
    """The meaning of each word, NaN where it is not known."""
    found = {word: meaning(word, known) for word in words.unique()}
    return words.map({word: said for word, said in found.items() if said})


def unknown_words(words: pd.Series, known: dict[str, str]) -> str:
    """The words without a meaning, each with its count, the most frequent first; "" where there is none."""
    counts = words[meanings(words, known).isna()].value_counts()
    return ", ".join(f"{word!r} ({n})" for word, n in counts.items())


def iso_day(text: str) -> str:
    """A day in ISO's form, "" where the text is none; whether the month has that day is not looked at.

    Years have four digits, or an era that had that day: H32.1.5 is none, nor S64.1.8, nor 18.1.5.
    """
    text = unicodedata.normalize("NFKC", text).strip().casefold()
    text = re.sub(r"\s*\([日月火水木金土]\)$|[\st]+0?0:00(:00)?$", "", text)  # midnight is a spreadsheet's
    text = re.sub(r"\s*([-/.年月日])\s*", r"\1", text)
    text = re.sub(r"年([0-9]+)月([0-9]+)日$", r"-\1-\2", text)
    text = re.sub(r"^([0-9]{4})([0-9]{2})([0-9]{2})$", r"\1-\2-\3", text)
    if western := WESTERN_DAY.fullmatch(text):
        year, _, month, day_of_month = western.groups()
        return f"{year}-{int(month):02d}-{int(day_of_month):02d}"
    if not (japanese := ERA_DAY.fullmatch(text)):
        return ""
    era, year, _, month, day_of_month = japanese.groups()
    first, last = ERAS[era]
    found = f"{int(first[:4]) + int(year.replace('元', '1')) - 1}-{int(month):02d}-{int(day_of_month):02d}"
    return found if first <= found <= last else ""


def days(texts: pd.Series) -> pd.Series:
    """Days as people write them, datetime64; NaT for anything else (a year, a time, "now").

    2006-01-05, 2006/1/5, 2006.1.5, 20060105, 2006年1月5日, H18.1.5, 平成18年1月5日, 令和元年5月1日; 1900 to 2099. A day
    of the week in brackets, and the midnight of spreadsheets, are passed over.
    """
    found = texts.map({text: iso_day(text) for text in texts.unique()})
    return pd.to_datetime(found, format="%Y-%m-%d", errors="coerce")


def day(text: str, name: str) -> pd.Timestamp:
    """Read a parameter that is a day, such as 2006-01-01."""
    if pd.isna(found := days(pd.Series([text], dtype=str))[0]):
        raise ValueError(f"{name} is {text!r}; allowed: a day such as 2006-01-01, or null")
    return found


def number(text: str, most: float, unit: str) -> str | None:
    """A number from 0 to `most`, with its unit or without; None for anything else."""
    text = unicodedata.normalize("NFKC", text).strip().casefold()
    found = re.fullmatch(rf"([0-9]+(?:\.[0-9]+)?)\s*(?:{unit})?", text)
    return f"{float(found[1]):g}" if found and float(found[1]) <= most else None


def longest(text: str, most: float) -> str | None:
    """The largest of one to three diameters in mm, such as 15, 15mm, 1.5 cm or 15 x 12; None for anything else."""
    parts = re.split("[x×*]", unicodedata.normalize("NFKC", text).casefold())
    found = [re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(mm|cm)?\s*", part) for part in parts]
    if len(parts) > 3 or not all(found):
        return None
    unit = next((one[2] for one in found[::-1] if one[2]), "mm")
    largest = max(float(one[1]) * (10 if (one[2] or unit) == "cm" else 1) for one in found)
    return f"{largest:g}" if largest <= most else None


def plain_id(text: str, but: str = "") -> str:
    """A patient's id without what programs and people change in it: full width, spaces, leading zeros.

    It stays text, capitals as they are; an id of zeros only is "0". `but` names one of `SPELLINGS` to leave as it is.
    """
    for name, undo in SPELLINGS.items():
        text = undo(text) if name != but else text
    return text


def spelling_difference(one: str, other: str) -> str:
    """In which of `SPELLINGS` two texts of one plain id differ, such as leading_zeros or full_width+spaces."""
    return "+".join(name for name in SPELLINGS if plain_id(one, name) != plain_id(other, name))
