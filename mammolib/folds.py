"""Who trains and who is held out: whole patients, classes spread evenly; and which rows and labels a training gets."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

SHUFFLE, DRAW = 2**32 - 1, 2**32 - 2  # beside the seed; an epoch's order has its number there


def patient_folds(labels: Sequence, patients: Sequence, folds: int, seed: int) -> np.ndarray:
    """Assign every image to one of `folds` folds: whole patients, classes spread evenly.

    Parameters
    ----------
    labels
        (n,) classes; of a pandas Categorical the order counts, of others the sorted one. Where patients can't be dealt
        out quite evenly, who goes where follows from it.
    patients
        (n,) who stays together.

    Returns
    -------
    ndarray
        (n,) int fold of each image, 0 to folds - 1.

    Raises
    ------
    ValueError
        A class with fewer patients than folds.
    """
    labels, patients = pd.Categorical(labels), np.asarray(patients)
    name, fewest = fewest_of(labels, patients)
    if fewest < folds:
        raise ValueError(
            f"folds: {folds}, but of class {name} only {fewest} can be dealt out; allowed is at most {fewest}"
        )
    fold = np.full(len(labels), -1)
    split = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    for number, (_, rows) in enumerate(split.split(labels.codes, labels.codes, patients)):
        fold[rows] = number
    return fold


def fewest_of(labels: pd.Categorical, patients: np.ndarray) -> tuple[str, int]:
    """Return the class with the fewest patients, and their number."""
    counts = pd.Series(patients).groupby(labels, observed=True).nunique()
    return counts.idxmin(), counts.min()


def validation_part(labels: Sequence, patients: Sequence, share: float, seed: int) -> np.ndarray:
    """Hold out about `share` of the images by patient: (n,) int, 0 = validation, -1 = training.

    The share is one of 1 / k parts (0.1 is one of ten, 0.3 one of three); 0 holds nothing out.
    """
    if share == 0:
        return np.full(len(labels), -1)
    parts, (name, fewest) = round(1 / share), fewest_of(pd.Categorical(labels), np.asarray(patients))
    if parts > fewest:
        allowed = f"{np.ceil(1000 / fewest) / 1000:g} or more, or 0 (nobody)" if fewest > 1 else "0 (nobody)"
        raise ValueError(
            f"validation_share: {share} holds out one in {parts} of each class, but of class {name} only "
            f"{fewest} can be dealt out; allowed is {allowed}"
        )
    return np.where(patient_folds(labels, patients, parts, seed) == 0, 0, -1)


def require_classes(labels: Sequence, fold: np.ndarray) -> None:
    """Raise a ValueError where a fold lacks a class: patients with images of two classes can be dealt out like that."""
    counts = pd.crosstab(np.asarray(labels), fold)
    if (empty := counts.eq(0)).any(axis=None):
        name, number = empty.stack().idxmax()
        raise ValueError(f"fold {number} has no image of class {name}; allowed are fewer folds, or another seed")


def require_batch(batch_size: int, labels: np.ndarray, fold: np.ndarray, downsampling: bool) -> None:
    """Raise a ValueError for a batch larger than the images that train any one network of those folds.

    (n,) int class numbers and folds, as `patient_folds` or `validation_part` return them: fold `k`'s network trains on
    all others. With down-sampling that is as many of each class as the rarest has among them.
    """
    smallest = len(labels)
    for number in range(max(0, *fold) + 1):
        counts = np.unique(labels[fold != number], return_counts=True)[1]
        smallest = min(smallest, len(counts) * counts.min() if downsampling else counts.sum())
    if not 1 <= batch_size <= smallest:
        raise ValueError(
            f"batch_size: {batch_size}; allowed is 1 to {smallest}, the images that train the network with the fewest"
        )


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
