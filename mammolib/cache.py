"""What has been read of the files stays in a private folder: facts, one line a file, and images, one behind the other.

A run that was stopped goes on from there, and the next one reads only what is new or has changed. The folder may be
removed at any time.
"""

import fcntl
import hashlib
import json
import mmap
import os
import stat
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
import pydicom

from mammolib.headers import UnreadableImage, header_facts
from mammolib.parallel import Stopped, within_limits
from mammolib.provenance import versions
from mammolib.rooms import plain


def version(code: Iterable[str], *settings: dict) -> str:
    """What all facts follow from besides the files: a hash of settings, code and installed packages."""
    sources = [hashlib.sha256(Path(__file__).with_name(f"{name}.py").read_bytes()).hexdigest() for name in code]
    return hashlib.sha256(json.dumps([settings, sources, versions()]).encode()).hexdigest()[:16]


@contextmanager
def private_file(file: Path) -> Iterator[BinaryIO]:
    """Open a file to read and write, for this run alone; it is made with mode 600, its folder and that one's with 700.

    Raises
    ------
    ValueError
        Where another run has it.
    """
    for folder in (file.parent.parent, file.parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.touch(mode=0o600)
    with file.open("r+b") as opened:
        try:
            fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of this process alone: no orphaned worker keeps it
        except OSError as error:
            raise ValueError(f"{file}: another run is at work here, or no locks ({error.strerror})") from None
        yield opened


def locate(folder: str, name: str, allow_outside: bool) -> tuple[str, list[int]]:
    """Real path of a file below `folder`, and what tells whether it has changed: size, and times of change in ns.

    A file that takes the name of another keeps its time of modification, but not that of its inode.

    Raises
    ------
    UnreadableImage
        outside_folder, where "..", a full path or a link leads out of the folder and that is not allowed; missing_file;
        unreadable, for a name that is not UTF-8 (it could stand in no table) and for what is no file.
    """
    try:
        name.encode()
        path = os.path.realpath(os.path.join(folder, name))
        if not (allow_outside or Path(path).is_relative_to(folder)):
            raise UnreadableImage("outside_folder", "the path leads out of its folder")
        found = os.stat(path)
    except ValueError:
        raise UnreadableImage("unreadable", "the path is not in UTF-8") from None
    except OSError as error:
        raise UnreadableImage("missing_file", f"no file of this path ({type(error).__name__})") from None
    if not stat.S_ISREG(found.st_mode):
        raise UnreadableImage("unreadable", "a folder or a device, not a file")
    return path, [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def read_files(
    function: Callable,
    folder: Path,
    jobs: dict[str, tuple],
    file: Path,
    workers: int = 0,
    allow_outside: bool = False,
    store: Callable[..., dict] = dict,
    whole: Callable[[dict], bool] = bool,
) -> Iterator[dict]:
    """Yield the facts of each file in order, or `reason` and `detail`; what has a line in `file` is not read again.

    A line is written as soon as its file is done, so a run that is killed, or finds the disk full, loses only the files
    in hand. What a file was `Stopped` for may have been the machine's fault (a disk or a server that fails, too, for
    `function` raises its OSError): it is not kept.

    Parameters
    ----------
    function
        Of a real path and more arguments, see `within_limits`.
    folder
        What the paths are relative to.
    jobs
        Path, "/" between its parts -> the more arguments, fit for JSON.
    file
        See `private_file`. It holds no paths, but what `function` finds in the files.
    workers
        Processes; 0 takes every core.
    allow_outside
        Whether a path may leave the folder.
    store
        Makes of what `function` returns the facts to keep, before their line is written.
    whole
        Whether what belongs to kept facts is still there.
    """
    calls, faults = located(folder, jobs, allow_outside)
    with private_file(file) as lines:
        places = whole_lines(lines, whole)
        todo = [name for name, (key, _) in calls.items() if key not in places]
        if len(todo) < len(calls):
            print(f"{len(calls) - len(todo)} of {len(calls)} files are known from a run before", flush=True)
        for number, result in within_limits(function, [calls[name][1] for name in todo], "files", workers):
            if isinstance(result, Stopped):
                faults[todo[number]] = {"reason": "unreadable", "detail": result.detail}
                continue
            key = calls[todo[number]][0]
            places[key] = lines.seek(0, os.SEEK_END)
            line = json.dumps(plain({"key": key} | store(result))).encode()
            lines.write(b"%08x %s\n" % (zlib.crc32(line), line))
            lines.flush()
        for name in jobs:
            if name not in faults:
                lines.seek(places[calls[name][0]])
            yield faults[name] if name in faults else json.loads(lines.readline()[9:])


def located(folder: Path, jobs: dict[str, tuple], allow_outside: bool) -> tuple[dict[str, tuple], dict[str, dict]]:
    """By path: the key of what is to be done with a file as it is now, and its arguments; or why it can't be read."""
    top, calls, faults = os.path.realpath(folder), {}, {}
    for name, more in jobs.items():
        try:
            path, stamp = locate(top, name, allow_outside)
            # hashed, for a path may hold a patient's name
            key = hashlib.sha256(json.dumps([path, stamp, more]).encode()).hexdigest()[:32]
            calls[name] = key, (path, *more)
        except UnreadableImage as error:
            faults[name] = {"reason": error.reason, "detail": error.detail}
    return calls, faults


def whole_lines(lines: BinaryIO, whole: Callable) -> dict[str, int]:
    """Where the line of each key begins; the rest of a line that was not written to its end is cut off.

    A line begins with its checksum in 8 hexadecimal digits; one that a bad disk has changed is passed over.
    """
    places, place = {}, 0
    for line in lines:
        if not line.endswith(b"\n"):
            break
        if line[:9] == b"%08x " % zlib.crc32(line[9:-1]) and whole(facts := json.loads(line[9:])):
            places[facts["key"]] = place
        place += len(line)
    lines.truncate(place)
    return places


@contextmanager
def image_store(file: Path, shape: tuple[int, int]) -> Iterator[tuple[Callable, Callable]]:
    """Yield `store` and `whole` for `read_files`: images one behind the other in a file.

    Their facts have a `slot` and the image's checksum, for a slot may get another image when the file was removed.
    They are written, for a full disk raises an error then; it would end a process that has the file mapped.
    """
    size = 2 * shape[0] * shape[1]
    with private_file(file) as images:
        slots = images.seek(0, os.SEEK_END) // size
        images.truncate(slots * size)

        def store(result: tuple[dict, np.ndarray | None]) -> dict:
            facts, image = result
            if image is None:
                return facts
            slot = images.seek(0, os.SEEK_END) // size
            images.write(image.tobytes())
            images.flush()
            return facts | {"slot": slot, "image_crc": zlib.crc32(image)}

        def whole(facts: dict) -> bool:
            if "slot" not in facts:
                return True
            images.seek(facts["slot"] * size)
            return zlib.crc32(images.read(size)) == facts["image_crc"]

        yield store, whole


def mapped(file: Path, shape: tuple[int, int]) -> np.ndarray:
    """A file of images as (slots, height, width) uint16, read as it is used."""
    slots = file.stat().st_size // (2 * shape[0] * shape[1])
    return np.memmap(file, np.uint16, "r", shape=(slots, *shape)) if slots else np.empty((0, *shape), np.uint16)


def places(images: np.ndarray, slots: Iterable[int]) -> list[tuple]:
    """Arguments of `image_at` for each slot, fit for another process: where an image of `mapped` stands, or itself."""
    if isinstance(images.base, mmap.mmap):
        return [(images.filename, images.shape[1:], int(slot)) for slot in slots]
    return [(images[slot],) for slot in slots]


def image_at(source: Path | np.ndarray, shape: tuple[int, int] | None = None, slot: int = 0) -> np.ndarray:
    """One image, read anew from a file: what is read through a map stays in the process' memory."""
    if shape is None:
        return source
    pixels = shape[0] * shape[1]
    return np.fromfile(source, np.uint16, pixels, offset=2 * pixels * slot).reshape(shape)


@contextmanager
def scratch_file(folder: Path) -> Iterator[BinaryIO]:
    """Yield a new file in a private folder, for its owner alone, removed at the end; for what is too much to hold."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix="scratch_") as opened:
        yield opened


def facts_table(index: pd.Index, facts: Iterable[dict], more: Iterable[str]) -> pd.DataFrame:
    """One row of facts after the other as a table: reason, detail, a header's facts and `more`; NaN where absent."""
    columns = {name: [] for name in ("reason", "detail", *header_facts(pydicom.Dataset()), *more)}
    known = {}  # one text for all that are equal
    for row in facts:
        for name, values in columns.items():
            value = row.get(name)
            values.append(known.setdefault(value, value) if isinstance(value, str) else value)
    return pd.DataFrame(columns, index=index)
