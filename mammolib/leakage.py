"""The gate: what development and test part share, by name and by what the images show.

Two images of one exposure may differ in window, bits, noise, size, cut and orientation. So the fine structure
inside the breast is compared, evened out in brightness and contrast, and turned, shifted and scaled onto the other's.
That takes about two milliseconds a pair. Which pairs are worth it a spectrum tells, in which a shift is not seen.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import fft, ndimage

from mammolib.cache import image_at, places, scratch_file
from mammolib.images import area_resize
from mammolib.parallel import in_parallel
from mammolib.registry import PARTS

SIDE = 64  # pixels at which fine structure is looked at
SCALES = np.linspace(0.92, 1.08, 9)
SHIFTS = np.arange(-8, 9)  # pixels, an eighth of the frame
PADDED = (SIDE + 8, SIDE + 8)  # so that what a shift moves out does not come in on the other side
NEAREST = 20  # images with the spectra most like one's own, at most, to be compared with it
LEAST_ALIKE = 0.5  # correlation of two spectra; those of one exposure had 0.57 or more
BLOCK = 50  # images whose likeness to all others is held at once


def fine_structure(image: np.ndarray) -> np.ndarray:
    """What is finer than about 4 of 64 pixels inside the breast: (64, 64) float32, zero mean, length 1 or 0.

    Outline, thickness and window change slowly: the local mean is taken off and the local spread divided out.
    """
    inside = area_resize(image > 0, SIDE, SIDE) > 0.99
    if not inside.any():
        return np.zeros((SIDE, SIDE), np.float32)
    weight = np.maximum(ndimage.gaussian_filter(inside.astype(np.float32), 2), 1e-6)

    def local_mean(values: np.ndarray) -> np.ndarray:
        return np.where(inside, ndimage.gaussian_filter(np.where(inside, values, 0), 2) / weight, 0)

    values = area_resize(image, SIDE, SIDE)
    fine = np.where(inside, values - local_mean(values), 0)
    spread = np.sqrt(local_mean(fine**2))
    fine /= spread + 0.1 * spread[inside].mean() + 1e-6  # what is nearly flat is not blown up
    fine = np.where(inside, fine - fine[inside].mean(), 0)
    return fine / max(np.linalg.norm(fine), 1e-6)


def signature_at(*place) -> np.ndarray:
    """Fine structure of the image at a place, see `cache.places`, as it is kept: (64, 64) float16."""
    return fine_structure(image_at(*place)).astype(np.float16)


@contextmanager
def signatures(images: np.ndarray, slots: Iterable[int], folder: Path, workers: int = 0) -> Iterator[Path]:
    """Yield a private file of the fine structure of each image in order, and print the progress; see `read_signatures`.

    They are 8 KB an image, so they are not held.
    """
    with scratch_file(folder) as opened:
        for fine in in_parallel(signature_at, places(images, slots), "images looked at for copies", workers):
            opened.write(fine.tobytes())
        opened.flush()
        yield Path(opened.name)


def read_signatures(file: Path, start: int, count: int = 1) -> np.ndarray:
    """Some of the `signatures`, (count, 64, 64) float32, fewer at the end; a product of two is their correlation."""
    found = np.fromfile(file, np.float16, count * SIDE**2, offset=2 * start * SIDE**2)
    return found.reshape(-1, SIDE, SIDE).astype(np.float32)


def spectrum(fine: np.ndarray) -> np.ndarray:
    """Root of the amplitudes at low frequencies, (33, 17) float32, zero mean and length 1.

    A shift changes no amplitude, blurring them lets a change of scale pass; a mirror image has the rows reversed.
    """
    amplitudes = fft.fftshift(np.sqrt(np.abs(fft.rfft2(fine, (2 * SIDE, 2 * SIDE)))), axes=0)
    low = ndimage.gaussian_filter(amplitudes, 1)[SIDE // 2 : 3 * SIDE // 2 + 1 : 2, : SIDE // 2 + 1 : 2]
    return (low - low.mean()) / max(np.linalg.norm(low - low.mean()), 1e-6)


def candidates(file: Path, patients: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Pairs under two patients or in two parts: each image and those with the spectra most like its own.

    Parameters
    ----------
    file
        As `signatures` gives it.
    patients, parts
        (n,) of each image.

    Returns
    -------
    (pairs, 2) int32
        i < j, in order.
    """
    spectra = np.empty((len(patients), SIDE // 2 + 1, SIDE // 4 + 1), np.float32)
    for number in range(len(spectra)):
        spectra[number] = spectrum(read_signatures(file, number)[0])
    flat, pairs = spectra.reshape(len(spectra), -1), [np.empty((0, 2), np.int32)]
    for start in range(0, len(flat), BLOCK):
        rows = slice(start, start + BLOCK)
        mirrored = spectra[rows, ::-1].reshape(-1, flat.shape[1])
        likeness = np.maximum(flat[rows] @ flat.T, mirrored @ flat.T)
        likeness[(patients[rows, None] == patients) & (parts[rows, None] == parts)] = -1
        nearest = np.argsort(-likeness, axis=1)[:, :NEAREST]
        found = np.argwhere(np.take_along_axis(likeness, nearest, axis=1) > LEAST_ALIKE)
        each = np.stack([start + found[:, 0], nearest[tuple(found.T)]], axis=1)
        pairs.append(np.sort(each, axis=1).astype(np.int32))
    return np.unique(np.concatenate(pairs), axis=0)


def at_every_scale(fine: np.ndarray) -> np.ndarray:
    """Transforms of a fine structure as it is, mirrored, and both upside down, at all `SCALES`: (36, 72, 37)."""
    middle = (SIDE - 1) / 2
    scaled = [
        ndimage.affine_transform(one, [1 / scale] * 2, middle * (1 - 1 / scale), order=1)
        for one in (fine, fine[:, ::-1], fine[::-1], fine[::-1, ::-1])
        for scale in SCALES
    ]
    return fft.rfft2(scaled / np.maximum(np.linalg.norm(scaled, axis=(1, 2), keepdims=True), 1e-6), PADDED)


def best_correlation(scaled: np.ndarray, other: np.ndarray) -> float:
    """Largest correlation of one fine structure, `at_every_scale`, with another or its negative, at any shift."""
    correlations = fft.irfft2(scaled * fft.rfft2(other, PADDED).conj(), PADDED)
    return float(np.abs(correlations[:, SHIFTS[:, None], SHIFTS]).max())


def best_correlations(file: Path, number: int, others: np.ndarray) -> list[float]:
    """Best correlation of one of the `signatures` with some others."""
    scaled = at_every_scale(read_signatures(file, number)[0])
    return [best_correlation(scaled, read_signatures(file, other)[0]) for other in others]


def compare(
    images: np.ndarray, slots: Iterable[int], patients: np.ndarray, parts: np.ndarray, folder: Path, workers: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Correlate the images that may be one exposure under two patients or in two parts, and print the progress.

    What 0.75 finds and misses of 300 phantoms and 322 films stands in benchmarks/near_duplicates.json: no false pair,
    images of two patients reached 0.35 and 0.69; copies turned by 3 degrees or cut by a tenth are missed. At 32 pixels
    a fifth of the copies are. The usual hash, signs of the 63 lowest cosine terms, does not do for the sifting: of the
    copies cut by 5 % it had a tenth and a fifth not among the 20 nearest.

    Parameters
    ----------
    images
        (slots, height, width) uint16.
    slots, patients, parts
        (n,) of each image to compare.
    folder
        Private, for what is too much to hold; nothing stays there.
    workers
        Processes; 0 takes every core.

    Returns
    -------
    pairs : (pairs, 2) int32
        Places i < j in `slots`, see `candidates`.
    correlations : (pairs,) float
    """
    with signatures(images, slots, folder, workers) as file:
        pairs = candidates(file, patients, parts)
        numbers, first = np.unique(pairs[:, 0], return_index=True)
        rows = [(file, *row) for row in zip(numbers, np.split(pairs[:, 1], first)[1:], strict=True)]
        correlations = list(in_parallel(best_correlations, rows, "images compared with those most like them", workers))
    return pairs, np.concatenate([[], *correlations])


def find_leaks(
    cohort: pd.DataFrame, images: np.ndarray, correlation: float, folder: Path, workers: int = 0
) -> tuple[dict[str, list[str]], dict[str, float | None]]:
    """What development and test part share, by pseudonym; near duplicates also between patients of one part.

    Parameters
    ----------
    cohort
        Columns patient, study, image_id, split, sha256, slot, see `cohort.cohort_table`.
    images
        (slots, height, width) uint16; a row's image is at its slot.
    correlation
        Of the fine structure, above which two images are one exposure.
    folder, workers
        See `compare`.

    Returns
    -------
    leaks : dict
        `shared_patients`; and as pairs of images, one a study and one a digest, `shared_studies` and `shared_pixels`;
        `near_duplicates`, all pairs.
    compared : dict
        `pairs`, how many were correlated, and `highest`, the highest correlation of those that are no near duplicates;
        None where there are none.
    """
    ids = cohort["image_id"].to_numpy()
    patients, parts = (pd.factorize(cohort[name])[0] for name in ("patient", "split"))
    pairs, correlations = compare(images, cohort["slot"], patients, parts, folder, workers)
    alike = correlations > correlation
    leaks = {
        "shared_patients": in_both_parts(cohort, "patient").index.tolist(),
        "shared_studies": in_both_parts(cohort, "study").tolist(),
        "shared_pixels": in_both_parts(cohort, "sha256").tolist(),
        "near_duplicates": [f"{ids[i]} and {ids[j]}" for i, j in pairs[alike]],
    }
    passed = correlations[~alike].tolist()
    return leaks, {"pairs": len(pairs), "highest": round(max(passed), 3) if passed else None}


def in_both_parts(cohort: pd.DataFrame, column: str) -> pd.Series:
    """The values of a column that both parts have ("" is none), as index; and the first image_id of each part."""
    first = cohort[cohort[column] != ""].groupby([column, "split"])["image_id"].first().unstack("split")
    both = first.reindex(columns=PARTS).dropna()
    return pd.Series([" and ".join(pair) for pair in both.to_numpy()], both.index, dtype=object)


def require_no_leaks(leaks: dict[str, list[str]], split: str | None = None) -> None:
    """Raise ValueError that lists what may not be shared; a split by_image shares patients and studies on purpose."""
    meant = ("shared_patients", "shared_studies") if split == "by_image" else ()
    faults = {name: found for name, found in leaks.items() if found and name not in meant}
    if faults:
        lines = [f"{name}: {', '.join(found[:10])} ({len(found)} in all)" for name, found in faults.items()]
        raise ValueError("leakage gate, nothing may be in both parts or under two patients: " + "; ".join(lines))


def split_note(split: str | None, cohort: pd.DataFrame) -> str:
    """What stands beside the cohort's name wherever a result is shown; "" unless the split is by image."""
    return f"split by image: {len(in_both_parts(cohort, 'patient'))} patients in both parts" * (split == "by_image")
