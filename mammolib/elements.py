"""Elements of a DICOM header by keyword, whatever is written there: absent, empty, several, or of another type."""

import math
import re
from collections.abc import MutableSequence

import pydicom
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code


def file_meta(dataset: pydicom.Dataset) -> pydicom.Dataset:
    """File meta information, empty where a dataset comes from no file."""
    return getattr(dataset, "file_meta", None) or pydicom.Dataset()


def values(dataset: pydicom.Dataset, keyword: str) -> list:
    """Values of one element, [] where it is absent or empty; ValueError where pydicom can't convert it."""
    try:
        value = dataset.get(keyword)
    except Exception as error:  # each VR's converter raises what it likes
        raise ValueError(f"{keyword} can't be converted") from error
    found = list(value) if isinstance(value, MutableSequence) else [value]
    return [] if found in ([None], [""], [b""]) else found


def text(dataset: pydicom.Dataset, keyword: str) -> str:
    """An element as text, several values joined as in the file; "" for bytes, sequences and what can't be converted."""
    try:
        found = values(dataset, keyword)
    except ValueError:
        return ""
    return "\\".join(str(value) for value in found if not isinstance(value, (bytes, pydicom.Dataset))).strip(" \0")


def one_of(dataset: pydicom.Dataset, keyword: str, allowed: tuple[str, ...], other: str = "other") -> str:
    """An element from a closed list, in capitals; `other` for anything else, "" where it is absent."""
    found = text(dataset, keyword).upper()
    return found if found in allowed or not found else other


def whole(dataset: pydicom.Dataset, keyword: str) -> int | None:
    """A describing whole number above 0, else None."""
    found = text(dataset, keyword)
    return int(found) if re.fullmatch("[1-9][0-9]{0,8}", found) else None


def numbers(dataset: pydicom.Dataset, keyword: str) -> list[float]:
    """Values of an element as finite numbers, [] where it is absent; ValueError for anything else."""
    try:
        found = [float(value) for value in values(dataset, keyword)]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{keyword} is not a number") from error
    if not all(map(math.isfinite, found)):
        raise ValueError(f"{keyword} is not finite")
    return found


def number(dataset: pydicom.Dataset, keyword: str) -> float | None:
    """A number that decides, None where it is absent; ValueError where it is not one finite number."""
    found = numbers(dataset, keyword)
    if len(found) > 1:
        raise ValueError(f"{keyword} has several values, allowed is one")
    return found[0] if found else None


def count(dataset: pydicom.Dataset, keyword: str) -> int:
    """A count that decides, 1 where it is absent; ValueError where it is not one whole number above 0."""
    found = number(dataset, keyword)
    if found is not None and (found < 1 or found != int(found)):
        raise ValueError(f"{keyword} is not a whole number above 0")
    return 1 if found is None else int(found)


def items(dataset: pydicom.Dataset, keyword: str) -> list[pydicom.Dataset]:
    """Items of a sequence, [] where it is absent or empty; ValueError where it is no sequence."""
    found = values(dataset, keyword)
    if not all(isinstance(item, pydicom.Dataset) for item in found):
        raise ValueError(f"{keyword} is not a sequence")
    return found


def coded(item: pydicom.Dataset, table: dict[str, str], old: dict[str, str] | None = None) -> str:
    """The word for a code sequence's item (PS3.3 8.8), by pydicom's name of the code or an `old` value; "" for none.

    SNOMED RT, also by its old designator SNM3, counts as SNOMED CT.
    """
    value, scheme = text(item, "CodeValue").upper(), text(item, "CodingSchemeDesignator").upper()
    code = Code(value, "SRT" if scheme == "SNM3" else scheme, "")
    known = (old or {}).get(value, "")
    return next((word for name, word in table.items() if getattr(codes.SCT, name) == code), known)


def holds(words: str, description: str) -> bool:
    """Whether a description holds one of the words, a regular expression, capitals or not."""
    return re.search(words, description, re.IGNORECASE) is not None
