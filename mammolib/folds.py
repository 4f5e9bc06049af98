"""Who trains and who is held out: whole patients, classes spread evenly; and which rows and labels a training gets."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

SHUFFLE, DRAW = 2**32 - 1, 2**32 - 2  # beside the seed; an epoch's order has its number there


def patient_folds(labels: Sequence, patients: Sequence, folds: int, seed: int) -> np.ndarray:
    """Assign every image to one of `folds` folds: whole patients, classes spread evenly.

    Returns
    -------
    ndarray
        (n,) int fold of each image, 0 to folds - 1.

    Raises
    ------
    ValueError
        A class with fewer patients than folds.
    """
    labels, patients = np.asarray(labels), np.asarray(patients)
    counts = pd.Series(patients).groupby(labels).nunique()
    if counts.min() < folds:
        fewest = f"class {counts.idxmin()} has {counts.min()} patients"
        raise ValueError(f"folds: {folds}, but {fewest}; allowed is at most {counts.min()}")
    fold = np.full(len(labels), -1)
    split = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    for number, (_, rows) in enumerate(split.split(labels, labels, patients)):
        fold[rows] = number
    return fold


def validation_part(labels: Sequence, patients: Sequence, share: float, seed: int) -> np.ndarray:
    """Hold out about `share` of the images by patient: (n,) int, 0 = validation, -1 = training.

    The share is one of 1 / k parts (0.1 is one of ten, 0.3 one of three); 0 holds nothing out.
    """
    if share == 0:
        return np.full(len(labels), -1)
    parts, fewest = round(1 / share), pd.Series(patients).groupby(np.asarray(labels)).nunique().min()
    if parts > fewest:
        allowed = f"{np.ceil(1000 / fewest) / 1000:g} or more, or 0 (nobody)" if fewest > 1 else "0 (nobody)"
        raise ValueError(
            f"validation_share: {share} holds out one patient in {parts} of each class, but a class has {fewest}; "
            f"allowed is {allowed}"
        )
    return np.where(patient_folds(labels, patients, parts, seed) == 0, 0, -1)


def downsampled(rows: np.ndarray, labels: np.ndarray, seed: int, draw: int = 0) -> np.ndarray:
    """Draw from `rows` as many of each class as the rarest has among them; without replacement, in ascending order."""
    rng, of_rows = np.random.default_rng([seed, DRAW, draw]), np.asarray(labels)[rows]
    classes, counts = np.unique(of_rows, return_counts=True)
    drawn = [rng.choice(np.asarray(rows)[of_rows == name], counts.min(), replace=False) for name in classes]
    return np.sort(np.concatenate(drawn)) if drawn else np.asarray(rows)


def shuffled(labels: np.ndarray, rows: np.ndarray, seed: int) -> np.ndarray:
    """Return a copy of `labels` permuted among `rows` alone: the control that must learn nothing."""
    out = labels.copy()
    out[rows] = np.random.default_rng([seed, SHUFFLE]).permutation(labels[rows])
    return out
