"""The registry's images, read in several processes: each becomes a network image with its facts, or an exclusion.

What was read before and has not changed is taken from the cache.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path

import numpy as np
import pandas as pd

from mammolib.cache import facts_table, image_at, image_store, mapped, places, read_files, version
from mammolib.dicom import may_pass
from mammolib.headers import UnreadableImage
from mammolib.images import CROP, fit_to_network, read_breast, read_image
from mammolib.leakage import read_signatures, signatures
from mammolib.parallel import stderr_to
from mammolib.registry import exclude

# modules whose code the facts follow from
CODE = ("dicom", "elements", "headers", "images", "intake", "presentation", "terms")
ALIKE = 0.8  # correlation of fine structure from which two images may be of one exposure; the same one has 0.95
BLOCK = 250  # images whose fine structure is held at once
PIXEL_FACTS = (*CROP, "flipped", "breast_pixels", "background", "digest", "reduced", "slot")


@contextmanager
def silent() -> Iterator[None]:
    """Keep off the notebook what decoders write past Python."""
    with open(os.devnull, "wb") as nowhere, stderr_to(nowhere):
        yield


@silent()
def prepare_image(
    path: str, laterality: str, frame: dict, read: dict, digest_alone: bool = False
) -> tuple[dict, np.ndarray | None]:
    """Read one file: its facts and its (height, width) uint16 image, or reason, detail and None.

    Parameters
    ----------
    laterality
        The registry's side, L, R or "".
    frame, read
        See `prepare_images`.
    digest_alone
        Whether nothing but the digest of all pixels is wanted.

    Raises
    ------
    OSError
        Where the file can't be read now.
    """
    with open(path, "rb"):
        pass
    try:
        if digest_alone:
            return {"reason": "", "detail": "", "digest": read_image(Path(path), **read)[1]["digest"]}, None
        pixels, mask, facts = read_breast(Path(path), frame["height"], frame["width"], frame["aspect"], **read)
        side = facts.get("ImageLaterality") or laterality
        if side != (laterality or side):
            raise UnreadableImage("laterality_contradictory", "the header's side is not the registry's")
        source = facts["rows"], facts["columns"]
        image, place = fit_to_network(pixels, mask, **frame, laterality=side, reduced=facts["reduced"], source=source)
    except UnreadableImage as error:
        return {"reason": error.reason, "detail": error.detail}, None
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of a decoder in Rust is no Exception; a message may hold what a file says
        if may_pass(error):
            raise
        return {"reason": "unreadable", "detail": f"fails while it is read ({type(error).__name__})"}, None
    return {"reason": "", "detail": ""} | facts | place, image


def prepare_images(
    rows: pd.DataFrame,
    folder: Path,
    cache: Path,
    frame: dict,
    read: dict,
    workers: int = 0,
    allow_outside: bool = False,
) -> tuple[pd.DataFrame, np.ndarray]:
    """Read every image that has no reason yet, and print the progress.

    Parameters
    ----------
    rows
        As `registry.classify` gives them.
    folder
        What `image_path` is relative to.
    cache
        Private folder of what has been read, see `read_files`; it may be removed at any time.
    frame
        height, width, aspect and background, see `fit_to_network`.
    read
        rules, voi and voi_index, see `read_dicom`.
    workers
        Processes; 0 takes every core.
    allow_outside
        Whether a path may leave the folder.

    Returns
    -------
    rows : DataFrame
        With the facts of the files, see `joined`.
    images : (slots, height, width) uint16
        Mapped from the disk; the column `slot` of the rows is a row's place in it, NaN where it has none.
    """
    shape, todo = (frame["height"], frame["width"]), rows[rows["reason"] == ""]
    jobs = {path: (side, frame, read) for path, side in zip(todo["image_path"], todo["ImageLaterality"], strict=True)}
    file = cache / f"images_{version(CODE, frame, read)}.jsonl"
    with image_store(file.with_suffix(".uint16"), shape) as keeping:
        facts = read_files(prepare_image, folder, jobs, file, workers, allow_outside, *keeping)
        table = facts_table(todo.index, facts, PIXEL_FACTS)
    return joined(rows, table), mapped(file.with_suffix(".uint16"), shape)


def joined(rows: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    """Rows with the facts of their files, header before registry; and the area of the breast in mm2."""
    facts = facts.reindex(rows.index)
    known = facts.notna() & (facts != "")
    if "SOPInstanceUID" in rows:  # of headers that were read before the list was joined
        changed = known["SOPInstanceUID"] & (facts["SOPInstanceUID"] != rows["SOPInstanceUID"])
        rows = exclude(rows, changed, "unreadable", "another file than the one whose header was read")
    taken = rows.assign(**{name: facts[name].where(known[name], rows[name]) for name in facts if name in rows})
    taken = taken.join(facts.drop(columns=[name for name in facts if name in rows]))
    taken["pixel_spacing_mm"] = pd.to_numeric(taken["pixel_spacing_mm"])
    own, unknown = known["pixel_spacing_mm"], taken["pixel_spacing_mm"].isna()
    taken["pixel_spacing_source"] = facts["pixel_spacing_source"].where(own, "registry").mask(unknown, "")
    return taken.assign(breast_area_mm2=taken["breast_pixels"] * taken["pixel_spacing_mm"] ** 2)


def settle_digests(
    rows: pd.DataFrame, images: np.ndarray, folder: Path, cache: Path, frame: dict, read: dict, workers: int = 0
) -> pd.DataFrame:
    """Take the digest of all pixels where it may tell: of JPEG 2000 read smaller that looks like another image.

    A digest of fewer pixels never equals that of the same exposure in another syntax. Elsewhere it does no harm.

    Parameters
    ----------
    rows, images
        As `prepare_images` gives them.
    folder, cache, frame, read, workers
        As `prepare_images` takes them.

    Returns
    -------
    DataFrame
        The rows; what can't be decoded in full is excluded.
    """
    kept = rows[rows["reason"] == ""]
    shapes = kept.groupby(["rows", "columns"])["reduced"]  # a digest tells the shape, too
    kept = kept[(shapes.transform("max") > 1) & (shapes.transform("size") > 1)].sort_values(["rows", "columns"])
    if kept.empty:
        return rows
    shapes, doubtful = kept.groupby(["rows", "columns"]), []
    with signatures(images, kept["slot"], cache, workers) as file:
        for group in shapes.indices.values():  # sorted, so that they follow each other
            smaller = group[kept["reduced"].to_numpy()[group] > 1]
            doubtful += kept.index[smaller[twins(file, group, smaller) > 0]].tolist()
    if not doubtful:
        return rows
    doubted, file = kept.loc[doubtful], cache / f"digests_{version(CODE, read)}.jsonl"
    jobs = dict.fromkeys(doubted["image_path"], ("", frame, read, True))
    facts = read_files(prepare_image, folder, jobs, file, workers, True, itemgetter(0))
    found = pd.DataFrame(facts, index=doubted.index, columns=["reason", "detail", "digest"])
    settled = rows.copy()
    settled.update(found.mask(found == ""))
    return settled


def twins(file: Path, group: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """How many others of a group may show the same exposure as each of the `chosen` of it: numbers of `signatures`.

    The numbers of the group follow each other.
    """
    counts = np.full(len(chosen), -1)  # for each is like itself
    for start in range(0, len(chosen), BLOCK):
        part = chosen[start : start + BLOCK]
        own = np.concatenate([read_signatures(file, number) for number in part]).reshape(len(part), -1)
        for first in range(group[0], group[-1] + 1, BLOCK):
            others = read_signatures(file, first, min(BLOCK, group[-1] + 1 - first))
            alike = own @ others.reshape(len(others), -1).T > ALIKE
            counts[start : start + BLOCK] += alike.sum(axis=1)
    return counts


def save_images(file: Path, images: np.ndarray, slots: np.ndarray) -> None:
    """Write the images at some slots as one .npy, in their order; one at a time, so that memory stays constant."""
    header = {"descr": "<u2", "fortran_order": False, "shape": (len(slots), *images.shape[1:])}
    with file.open("wb") as opened:
        np.lib.format.write_array_header_1_0(opened, header)
        for place in places(images, slots):
            opened.write(image_at(*place).astype("<u2").tobytes())
