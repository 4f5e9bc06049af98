"""A folder of anything, scanned: what the header of each file says, and which files are no mammograms.

No pixel is read. What was read before and has not changed is taken from the cache.
"""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pydicom
from pydicom.errors import InvalidDicomError

from mammolib.cache import facts_table, read_files, version
from mammolib.dicom import may_pass
from mammolib.headers import SCAN_TAGS, header_facts, judge

CODE = ("archive", "elements", "headers", "terms")  # modules whose code the facts follow from
PACKED = (b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"BZh")  # zip, gzip, 7z, rar, bzip2
BARE = (b"\x08\0", b"\0\x08", b"\x02\0")  # how a DICOM dataset without the preamble begins


def scan_archive(folder: Path, cache: Path, rules: dict, workers: int = 0) -> pd.DataFrame:
    """Read and judge the header of every file below a folder, and print the progress.

    Parameters
    ----------
    cache
        Private folder of what has been read, see `read_files`; it may be removed at any time.
    rules
        Keyword arguments of `judge`; other rules read no file again.
    workers
        Processes; 0 takes every core.

    Returns
    -------
    DataFrame
        A row a file, in the order of paths: `image_path` (below the folder, with "/"), `reason` and `detail` ("" where
        nothing in the header speaks against the image), and what `header_facts` gives, NaN where there is no header.

    Raises
    ------
    FileNotFoundError
        No such folder, or nothing in it.
    """
    names = sorted(files_below(os.path.realpath(folder)))
    if not names:
        raise FileNotFoundError(f"{folder}: no such folder, or no file in it")
    facts = read_files(scan_file, folder, dict.fromkeys(names, ()), cache / f"headers_{version(CODE)}.jsonl", workers)
    judged = ((fact if "reason" in fact else with_verdict(fact, rules)) for fact in facts)
    paths = [os.fsencode(name).decode("utf-8", "backslashreplace") for name in names]
    table = facts_table(pd.RangeIndex(len(names)), judged, ())
    table.insert(0, "image_path", paths)
    return table


def with_verdict(facts: dict, rules: dict) -> dict:
    """Facts of a header with the reason and detail of `judge`."""
    reason, detail = judge(facts, **rules)
    return {"reason": reason, "detail": detail} | facts


def files_below(top: str) -> Iterator[str]:
    """Path below a folder, with "/", of every file, of links that lead out of it, and of folders that can't be listed.

    A link to what stands in the folder is left out, for that is found itself.
    """
    denied = []
    for folder, folders, files in os.walk(top, onerror=lambda error: denied.append(error.filename)):
        paths = [(os.path.join(folder, name), True) for name in files]
        paths += [(os.path.join(folder, name), False) for name in folders]
        for path, is_file in paths:
            leaves = os.path.islink(path) and not Path(os.path.realpath(path)).is_relative_to(top)
            if leaves or (is_file and not os.path.islink(path)):
                yield os.path.relpath(path, top).replace(os.sep, "/")
    yield from (os.path.relpath(path, top).replace(os.sep, "/") for path in denied if path != top)


def scan_file(path: str) -> dict:
    """Facts of one file's header, or reason and detail; OSError where it can't be read now."""
    with (
        open(path, "rb") as opened,
        pydicom.config.disable_value_validation(),
        warnings.catch_warnings(record=True),  # they hold paths and header texts
    ):
        try:
            return header_facts(pydicom.dcmread(opened, stop_before_pixels=True, specific_tags=SCAN_TAGS))
        except InvalidDicomError:
            opened.seek(0)
            begin = opened.read(6)
            if begin.startswith(BARE):
                return {"reason": "unreadable", "detail": "DICOM without a preamble (PS3.10 7.1)"}
            detail = "packed files, to be unpacked first" if begin.startswith(PACKED) else "no DICOM file"
            return {"reason": "not_image", "detail": detail}
        except Exception as error:
            if may_pass(error):
                raise
            return {"reason": "unreadable", "detail": f"header can't be read ({type(error).__name__})"}
