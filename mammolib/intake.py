"""The registry's images, read in several processes: each becomes a network image with its facts, or an exclusion."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from mammolib.dicom import UnreadableImage
from mammolib.images import CROP, area_resize, breast_mask, fit_to_network, read_image
from mammolib.parallel import in_parallel

FACTS = ("ImageLaterality", "ViewPosition", "Manufacturer", "QualityControlImage")
SIGNATURE_SIDE = 32


@contextmanager
def silent() -> Iterator[None]:
    """Keep off the notebook what decoders in C and Rust write to file descriptor 2, past Python."""
    sys.stderr.flush()
    with open(os.devnull, "wb") as nowhere, os.fdopen(os.dup(2), "wb") as terminal:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal.fileno(), 2)


@silent()
def prepare_image(
    path: Path, laterality: str, height: int, width: int, aspect: str, background: str
) -> tuple[dict, np.ndarray | None]:
    """Read one file: its row of facts and its (height, width) uint16 image, or reason, detail and None."""
    try:
        pixels, header = read_image(path)
        mask = breast_mask(pixels)
        side = header.get("ImageLaterality") or laterality
        image, place = fit_to_network(pixels, mask, height, width, aspect, background, side)
    except UnreadableImage as error:
        return {"reason": error.reason, "detail": error.detail}, None
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of a decoder in Rust is no Exception; a message may hold what a file says
        return {"reason": "unreadable", "detail": f"fails while it is read ({type(error).__name__})"}, None
    facts = {name: header.get(name, "") for name in FACTS} | place
    facts |= {"rows": pixels.shape[0], "columns": pixels.shape[1], "breast_pixels": int(mask.sum())}
    facts |= {name: header.get(name) for name in ("pixel_spacing_mm", "pixel_spacing_source", "digest")}
    return {"reason": "", "detail": ""} | facts, image


def prepare_images(
    rows: pd.DataFrame,
    folder: Path,
    file: Path,
    height: int,
    width: int,
    aspect: str = "pad",
    background: str = "zero",
    workers: int = 0,
) -> pd.DataFrame:
    """Read every image that has no reason yet, and print the progress.

    Parameters
    ----------
    rows
        As `cohort.classify` gives them.
    folder
        What `image_path` is relative to.
    file
        Where the images go, mapped: (n, height, width) uint16, a row's place in it in the column `slot`.
    workers
        Processes; 0 takes every core, 1 reads in this process.

    Returns
    -------
    DataFrame
        The rows with facts; the registry's view, side and spacing where the header has none.
    """
    todo = rows.index[rows["reason"] == ""]
    images = np.lib.format.open_memmap(file, "w+", np.uint16, (len(todo), height, width))
    jobs = [
        (folder / row.image_path, row.ImageLaterality, height, width, aspect, background)
        for row in rows.loc[todo].itertuples()
    ]
    facts = []
    for slot, (fact, image) in enumerate(in_parallel(prepare_image, jobs, "files", workers)):
        facts.append(fact | {"slot": slot})
        if image is not None:
            images[slot] = image
    images.flush()
    columns = ["reason", "detail", *FACTS, *CROP, "flipped", "rows"]
    columns += ["columns", "breast_pixels", "pixel_spacing_mm", "pixel_spacing_source", "digest", "slot"]
    return joined(rows, pd.DataFrame(facts, index=todo, columns=columns))


def joined(rows: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    """Rows with the facts of their files; header before registry, and the area of the breast in mm2."""
    facts = facts.reindex(rows.index)
    taken = rows.drop(columns=["ImageLaterality", "ViewPosition", "pixel_spacing_mm"]).assign(
        reason=facts["reason"].fillna(rows["reason"]), detail=facts["detail"].fillna(rows["detail"])
    )
    for name in ("ImageLaterality", "ViewPosition"):
        taken[name] = facts[name].where(facts[name].fillna("") != "", rows[name])
    own = pd.to_numeric(facts["pixel_spacing_mm"])
    taken["pixel_spacing_mm"] = own.fillna(pd.to_numeric(rows["pixel_spacing_mm"]))
    taken["pixel_spacing_source"] = facts["pixel_spacing_source"].where(own.notna(), "registry")
    taken.loc[taken["pixel_spacing_mm"].isna(), "pixel_spacing_source"] = ""
    taken = taken.join(facts.drop(columns=[name for name in facts if name in taken]))
    return taken.assign(breast_area_mm2=taken["breast_pixels"] * taken["pixel_spacing_mm"] ** 2)


def signatures(images: np.ndarray) -> np.ndarray:
    """Fine structure of each image at 32 x 32, zero mean and unit length: (n, 1024) float32.

    What changes slowly (outline, thickness, window) is taken out, for all breasts share it.
    """
    found = np.zeros((len(images), SIGNATURE_SIDE**2), np.float32)
    for k, image in enumerate(images):
        small = area_resize(image, SIGNATURE_SIDE, SIGNATURE_SIDE)
        inside = area_resize(image > 0, SIGNATURE_SIDE, SIGNATURE_SIDE) > 0.99
        weight = ndimage.gaussian_filter(inside.astype(np.float32), 2)
        smooth = ndimage.gaussian_filter(np.where(inside, small, 0), 2) / np.maximum(weight, 1e-6)
        fine = np.where(inside, small - smooth, 0)
        fine = np.where(inside, fine - fine[inside].mean(), 0).ravel() if inside.any() else fine.ravel()
        found[k] = fine / max(np.linalg.norm(fine), 1e-6)
    return found


def near_duplicates(images: np.ndarray, patients: np.ndarray, parts: np.ndarray, correlation: float) -> list[tuple]:
    """Pairs (i, j) whose fine structure correlates above `correlation`, under two patients or in two parts.

    All pairs are one matrix product, a thousand rows at a time; a hash to sift them first would save nothing.
    """
    found, marks = [], signatures(images)
    for start in range(0, len(marks), 1000):
        alike = marks[start : start + 1000] @ marks.T > correlation
        for i, j in np.argwhere(alike):
            i = i + start
            if i < j and (patients[i] != patients[j] or parts[i] != parts[j]):
                found.append((int(i), int(j)))
    return found


def find_leaks(cohort: pd.DataFrame, images: np.ndarray, correlation: float) -> dict[str, list]:
    """What development and test part share: patients, pixels, near duplicates (these also between patients).

    Parameters
    ----------
    cohort
        Columns patient, image_id, split, sha256.
    images
        (n, height, width) uint16 in the cohort's order.
    """
    shared = {}
    for name, column in (("shared_patients", "patient"), ("shared_pixels", "sha256")):
        parts = cohort.groupby(column)["split"].nunique()
        shared[name] = sorted(parts.index[parts > 1])
    ids = cohort["image_id"].to_numpy()
    pairs = near_duplicates(images, cohort["patient"].to_numpy(), cohort["split"].to_numpy(), correlation)
    return shared | {"near_duplicates": [f"{ids[i]} and {ids[j]}" for i, j in pairs]}


def require_no_leaks(leaks: dict[str, list]) -> None:
    """Raise ValueError that lists what is in both parts, by pseudonym."""
    lines = [f"{name}: {', '.join(found[:10])} ({len(found)} in all)" for name, found in leaks.items() if found]
    if lines:
        raise ValueError("leakage gate, nothing may be in both parts or under two patients: " + "; ".join(lines))
