"""Are the probabilities right? How far they are off, and how far a perfect model's would seem to be at this n."""

import numpy as np

from mammolib.metrics import predicted_class

BINS = 5  # of confidence: 131 images give 26 each


def confidence_bins(probabilities: np.ndarray, most: int = BINS) -> np.ndarray:
    """Bin `(n,) int` of each image's highest probability; up to `BINS`, equal counts (+-1), least confident first."""
    confidence = probabilities.max(axis=1)
    ranks = np.argsort(np.argsort(confidence, kind="stable"), kind="stable")
    return ranks * max(1, min(BINS, most, len(ranks))) // len(ranks)


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Expected calibration error: mean over images of |mean confidence - share right| of their bin.

    `confidence, bins` are `(n,)`, `right` is `(..., n)`: many outcomes of the same predictions at once.
    """
    members = np.eye(bins.max() + 1)[bins]
    return np.abs((right - confidence) @ members).sum(-1) / len(bins)


def calibration(truth: np.ndarray, probabilities: np.ndarray, seed: int) -> dict:
    """ECE of a table, with the one that a perfectly calibrated model would show at this n.

    `ece_if_perfect` is the mean over 500 simulated outcomes drawn from the predicted probabilities.
    """
    bin_of, confidence = confidence_bins(probabilities), probabilities.max(axis=1)
    right = predicted_class(probabilities) == truth
    perfect = np.random.default_rng(seed).random((500, len(truth))) < confidence
    return {
        "ece": float(calibration_error(confidence, right, bin_of)),
        "ece_if_perfect": float(calibration_error(confidence, perfect, bin_of).mean()),
        "bins": int(bin_of.max() + 1),
        "binning": "equal counts of the highest probability",
    }
