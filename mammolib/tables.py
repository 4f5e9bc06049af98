"""Reading CSV files: what is wrong with one that people give is said in one line; ids stay text in our own."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import pandas as pd


def read_csv(path: str | Path, encoding: str = "utf-8-sig", **options) -> pd.DataFrame:
    """Read a CSV by pandas, `options` as there.

    Raises
    ------
    FileNotFoundError, ValueError
        The file is missing, a folder, in another encoding, empty, or has rows longer than its header.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # values would be cut off
            return pd.read_csv(path, encoding=encoding, index_col=False, **options)
    except pd.errors.ParserWarning:
        raise ValueError(f"{path}: rows have more values than the header has names") from None
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); allowed is a CSV file") from None
    except UnicodeError:
        hint = "set `encoding` (utf-8-sig, cp932, ...) for a registry or a pathology list, save others as UTF-8"
        raise ValueError(f"{path}: not {encoding}; {hint}") from None
    except (LookupError, ValueError) as error:  # pandas' own errors of parsing are ValueErrors
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: not read as CSV with encoding {encoding!r} ({reason})") from None


def require_columns(table: pd.DataFrame, needed: Sequence[str], where: str | Path) -> None:
    """Raise a ValueError that names the file (`where`) and the columns it lacks.

    Those that it has are counted: without a header they would be a patient's values.
    """
    if missing := [name for name in needed if name not in table]:
        raise ValueError(f"{where}: no column {', '.join(missing)} among {len(table.columns)}; is row 1 the header?")


def read_by_image(path: str | Path) -> pd.DataFrame:
    """Read a table of an earlier notebook (cohort.csv, folds.csv, annotations.csv), ids and patients as text."""
    return read_csv(path, dtype={"image_id": str, "patient": str})
