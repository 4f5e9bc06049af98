"""How often the leakage gate finds one exposure that was changed, and how alike two breasts look to it.

Every image has one changed copy under another patient; all kinds of change in turn, each with all originals. Found is a
copy whose pair with its original correlates above the threshold of notebook 01; a false pair is any other. `highest` is
the most that two images of different patients reach among the pairs compared. Images are phantoms, or the pictures of a
folder, whose names give no patient: there neighbours in the order of names count as one (two views of one woman).

The last line is JSON.

    python benchmarks/near_duplicates.py --images 300
    python benchmarks/near_duplicates.py --images 322 --folder data/mini-mias
"""

import argparse
import io
import itertools
import json
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from mammolib.images import RASTER_SUFFIXES, breast_mask, fit_to_network, read_raster
from mammolib.leakage import compare
from mammolib.parameters import declared_parameters
from mammolib.phantom import Case, draw
from mammolib.phantom_lesion import SIGNS
from mammolib.rooms import project_root

SIDE = 112


def noisy(pixels: np.ndarray) -> np.ndarray:
    """8 bits with noise of two grey values."""
    noise = np.random.default_rng(1).normal(0, 2, pixels.shape)
    return np.clip(np.rint(pixels / 257 + noise), 0, 255) * 257


def as_jpeg(pixels: np.ndarray) -> np.ndarray:
    """Through a JPEG of 8 bits and quality 30."""
    held = io.BytesIO()
    Image.fromarray((pixels >> 8).astype(np.uint8)).save(held, "JPEG", quality=30)
    return np.asarray(Image.open(held)).astype(float) * 257


def sides_cut(pixels: np.ndarray, share: float) -> np.ndarray:
    """All four sides cut by a share of the height or width."""
    rows, columns = (int(share * size) for size in pixels.shape)
    return pixels[rows : pixels.shape[0] - rows, columns : pixels.shape[1] - columns]


CHANGES = {
    "none": lambda pixels: pixels,
    "narrow window": lambda pixels: 65535 * np.clip((pixels / 65535 - 0.05) / 0.6, 0, 1) ** 0.7,
    "8 bits with noise": noisy,
    "JPEG of quality 30": as_jpeg,
    "mirrored": np.fliplr,
    "upside down": np.flipud,
    "turned round": lambda pixels: pixels[::-1, ::-1],
    "half the size": lambda pixels: ndimage.zoom(pixels.astype(float), 0.5, order=1),
    "top cut by 5 %": lambda pixels: pixels[pixels.shape[0] // 20 :],
    "sides cut by 2 %": lambda pixels: sides_cut(pixels, 0.02),
    "sides cut by 5 %": lambda pixels: sides_cut(pixels, 0.05),
    "sides cut by 10 %": lambda pixels: sides_cut(pixels, 0.1),
    "turned by 1 degree": lambda pixels: ndimage.rotate(pixels.astype(float), 1, reshape=False, order=1),
    "turned by 2 degrees": lambda pixels: ndimage.rotate(pixels.astype(float), 2, reshape=False, order=1),
    "turned by 3 degrees": lambda pixels: ndimage.rotate(pixels.astype(float), 3, reshape=False, order=1),
    "turned by 90 degrees": np.rot90,
}


def originals(count: int, folder: Path | None) -> list[np.ndarray]:
    """Pictures (rows, columns) uint16, two of each patient one after the other."""
    if folder is None:
        cases = itertools.islice(itertools.product(range(count), ("CC", "MLO")), count)
        return [
            np.rint(65535 * draw(Case(77, k, view, "LR"[k % 2], list(SIGNS)[k % 3]), 1.0)).astype(np.uint16)
            for k, view in cases
        ]
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in RASTER_SUFFIXES)
    return [read_raster(path)[0] for path in files[:count]]


def network(pixels: np.ndarray) -> np.ndarray:
    """The network's image, nothing but 0 where no breast is found in a copy."""
    pixels = np.ascontiguousarray(np.clip(pixels, 0, 65535)).astype(np.uint16)
    try:
        return fit_to_network(pixels, breast_mask(pixels), SIDE, SIDE)[0]
    except Exception:
        return np.zeros((SIDE, SIDE), np.uint16)


def main() -> None:
    """Compare the originals with their copies, one kind of change after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--folder", type=Path)
    chosen = parser.parse_args()
    notebook = project_root() / "notebooks" / "01_data_curation.ipynb"
    threshold = declared_parameters(notebook)["near_duplicate"].default
    pictures = originals(chosen.images, chosen.folder)
    own, n = [network(pixels) for pixels in pictures], len(pictures)
    patients = np.concatenate([np.arange(n) // 2, n + np.arange(n)])
    result = {"images": n, "of": "phantoms" if chosen.folder is None else chosen.folder.name, "side": SIDE}
    result |= {"threshold": threshold, "found": {}, "false_pairs": 0, "highest": 0}
    for name, change in CHANGES.items():
        images = np.stack([*own, *(network(change(pixels)) for pixels in pictures)])
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
            pairs, correlations = compare(images, range(2 * n), patients, patients, Path(folder))
        same = patients[pairs[:, 0]] == (pairs[:, 1] - n) // 2  # another view of one patient is no false pair
        copy = pairs[:, 1] - pairs[:, 0] == n
        result["found"][name] = int((correlations[copy] > threshold).sum())
        others = correlations[~copy & ~same & (pairs[:, 0] < n)]
        result["false_pairs"] += int((others > threshold).sum())
        result["highest"] = round(max([result["highest"], *others.tolist()]), 3)
        print(name, result["found"][name], flush=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
