"""What texture alone tells of breast density on real films: a support vector machine on a hundred numbers a breast.

Runs notebook 01 of the profile `mini-mias` at 256 pixels and describes the inner breast of each film (a margin below
the skin and, roughly, the pectoral muscle are cut off): histogram and percentiles, energies between Gaussians of six
widths, uniform local binary patterns at three radii, brightness by depth below the skin. Five folds by patient, as in
notebook 02; scaling, penalty and kernel width are chosen within the other four folds, again by patient. No fold's
films choose anything for themselves. Beside it stands the same with histogram and percentiles alone.

The last line is JSON: out-of-fold accuracy for each seed of the folds.

    python benchmarks/texture_baseline.py --seeds 1 2 3 4 5
"""

import argparse
import itertools
import json
import tempfile
from pathlib import Path

import numpy as np
from scipy import ndimage, stats
from skimage.feature import local_binary_pattern
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from mammolib import runner
from mammolib.folds import patient_folds
from mammolib.tables import read_by_image

SIDE, FOLDS = 256, 5
MARGIN = 6  # pixels below the skin, where the breast is thin
SIGMAS = (1, 2, 4, 8, 16, 32)
CHOICES = {"svc__C": [1, 3, 10, 30], "svc__gamma": [0.001, 0.003, 0.01, 0.03]}


def inner_breast(image: np.ndarray) -> np.ndarray:
    """The breast without its margin and without the upper chest-wall corner of an oblique view: (SIDE, SIDE) bool."""
    inside = image > 0
    y, x = np.mgrid[:SIDE, :SIDE]
    height, width = (np.ptp(np.flatnonzero(inside.any(axis=axis))) + 1 for axis in (1, 0))
    pectoral = x / (0.45 * width) + y / (0.6 * height) < 1
    inner = ndimage.binary_erosion(inside, iterations=MARGIN) & ~pectoral
    return inner if inner.sum() > 500 else inside


def histogram_features(values: np.ndarray) -> list[float]:
    """Shares of 16 grey levels, nine percentiles and four moments of the inner breast."""
    shares = np.histogram(values, 16, (0, 1))[0] / len(values)
    return [*shares, *np.percentile(values, range(10, 100, 10)), values.mean(), values.std(), *moments(values)]


def moments(values: np.ndarray) -> tuple[float, float]:
    """Skewness and kurtosis."""
    return float(stats.skew(values)), float(stats.kurtosis(values))


def features(image: np.ndarray) -> tuple[list[float], int]:
    """About a hundred numbers of a (SIDE, SIDE) uint16 image, and how many of them, first, are the histogram's."""
    grey, inner = image / 65535, inner_breast(image)
    found = histogram_features(grey[inner])
    count = len(found)
    smooth = [grey]
    for sigma in SIGMAS:  # the mean over the breast alone, so that its edge is no texture
        weight = np.maximum(ndimage.gaussian_filter((image > 0).astype(float), sigma), 1e-6)
        smooth.append(ndimage.gaussian_filter(np.where(image > 0, grey, 0), sigma) / weight)
    for finer, coarser in itertools.pairwise(smooth):
        band = (finer - coarser)[inner]
        found += [np.log(band.std() + 1e-6), np.abs(band).mean(), moments(band)[0]]
    for radius in (1, 2, 4):
        pattern = local_binary_pattern((grey * 255).astype(np.uint8), 8, radius, "uniform")[inner]
        found += list(np.histogram(pattern, 10, (0, 10))[0] / len(pattern))
    depth = ndimage.distance_transform_edt(np.pad(image > 0, ((0, 0), (1, 0)), constant_values=True))[:, 1:]
    bands = np.minimum(8 * depth / depth.max(), 7).astype(int)
    for band in range(8):
        values = grey[(bands == band) & inner]
        found += [values.mean(), values.std()] if len(values) else [0.0, 0.0]
    return [*found, inner.sum() / SIDE**2, (image > 0).sum() / SIDE**2], count


def out_of_fold(numbers: np.ndarray, labels: np.ndarray, patients: np.ndarray, seed: int) -> float:
    """Accuracy of each fold's films by a machine that saw neither them nor their patients."""
    fold = patient_folds(labels, patients, FOLDS, seed)
    right = 0
    for number in range(FOLDS):
        rows = fold != number
        inner = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        search = GridSearchCV(make_pipeline(StandardScaler(), SVC()), CHOICES, cv=inner)
        search.fit(numbers[rows], labels[rows], groups=patients[rows])
        right += int((search.predict(numbers[~rows]) == labels[~rows]).sum())
    return right / len(labels)


def main() -> None:
    """Curate the films at 256 pixels, describe them, and classify out of fold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    seeds = parser.parse_args().seeds
    with tempfile.TemporaryDirectory() as folder:
        size = [f"01_data_curation.{name}={SIDE}" for name in ("image_height", "image_width")]
        if runner.run("mini-mias", None, size, folder, "01_data_curation"):
            raise SystemExit(1)
        room = Path(folder) / "01_data_curation"
        table = read_by_image(room / "cohort.csv")
        described = [features(image) for image in np.load(room / "images_development.npy", mmap_mode="r")]
    numbers, count = np.array([found for found, _ in described]), described[0][1]
    labels, patients = table["label"].to_numpy(), table["patient"].to_numpy()
    result = {"images": len(table), "patients": int(table["patient"].nunique()), "seeds": seeds}
    for name, chosen in {"texture": numbers, "histogram": numbers[:, :count]}.items():
        scores = [round(out_of_fold(chosen, labels, patients, seed), 4) for seed in seeds]
        result[name] = {"features": chosen.shape[1], "accuracies": scores, "mean": round(float(np.mean(scores)), 4)}
        print(name, result[name], flush=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
