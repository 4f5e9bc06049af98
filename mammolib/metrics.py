"""Metrics of a classifier of two or more classes, for one table or for many resampled ones at once.

scikit-learn has each of them for one table; the forms here take a stack of confusion matrices, or of weights, so
that thousands of bootstrap draws cost one pass. The tests hold each against scikit-learn.
"""

import numpy as np

PER_CLASS = ["accuracy", "sensitivity", "specificity", "ppv", "auc"]
BINS = 5  # of confidence: 131 images give 26 each


def predicted_class(probabilities: np.ndarray) -> np.ndarray:
    """Most probable class `(n,) int`; the first of equals."""
    return np.argmax(probabilities, axis=1)


def confusion_counts(truth: np.ndarray, predicted: np.ndarray, groups: np.ndarray, classes: int) -> np.ndarray:
    """Confusion matrix of each group (patient): `(groups, classes, classes)`, rows truth, columns predicted."""
    counts = np.zeros((groups.max() + 1, classes, classes))
    np.add.at(counts, (groups, truth, predicted), 1)
    return counts


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient, NaN where nothing stands below the line: not estimable."""
    return np.divide(numerator, denominator, out=np.full(np.shape(numerator), np.nan), where=denominator > 0)


def _mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without NaN (a class without a case does not count); NaN where all are."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0).sum(axis=-1), defined.sum(axis=-1).astype(float))


def confusion_metrics(confusion: np.ndarray, ordered: bool = False) -> dict[str, np.ndarray]:
    """All that a confusion matrix tells.

    Parameters
    ----------
    confusion
        `(..., classes, classes)` counts or weights, rows truth, columns predicted.
    ordered
        Cohen's kappa with quadratic weights, for classes that have an order.

    Returns
    -------
    `accuracy, balanced_accuracy, macro_f1, kappa, mean_one_vs_rest_accuracy` of shape `(...)` and, one-vs-rest,
    `class_accuracy, class_sensitivity, class_specificity, class_ppv` of shape `(..., classes)`. NaN = not estimable.
    Balanced accuracy is the mean over classes with a case; macro-F1 over classes that occur or are predicted.
    """
    k = confusion.shape[-1]
    truth, predicted, total = confusion.sum(-1), confusion.sum(-2), confusion.sum((-1, -2))
    hit = np.diagonal(confusion, axis1=-2, axis2=-1)
    all_of = total[..., None]
    rest_right = all_of - truth - predicted + hit
    sensitivity = _ratio(hit, truth)
    class_accuracy = _ratio(hit + rest_right, all_of)
    index = np.arange(k)
    penalty = (index[:, None] - index) ** 2.0 if ordered else 1.0 - np.eye(k)
    by_chance = _ratio(truth[..., :, None] * predicted[..., None, :], all_of[..., None])
    return {
        "accuracy": _ratio(hit.sum(-1), total),
        "balanced_accuracy": _mean_of_defined(sensitivity),
        "macro_f1": _mean_of_defined(_ratio(2 * hit, truth + predicted)),
        "kappa": 1 - _ratio((penalty * confusion).sum((-1, -2)), (penalty * by_chance).sum((-1, -2))),
        "mean_one_vs_rest_accuracy": class_accuracy.mean(-1),
        "class_accuracy": class_accuracy,
        "class_sensitivity": sensitivity,
        "class_specificity": _ratio(rest_right, all_of - truth),
        "class_ppv": _ratio(hit, predicted),
    }


def one_vs_rest_auc(truth: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Area under the ROC curve of each class against the rest, for many weightings of the same images.

    Parameters
    ----------
    truth
        `(n,) int`.
    probabilities
        `(n, classes)`; equal scores count half (trapezoidal rule).
    weights
        `(draws, n)`, how often each image was drawn; None = once each.

    Returns
    -------
    `(draws, classes)`; NaN where a draw holds no case of the class, or nothing else.
    """
    weights = np.ones((1, len(truth))) if weights is None else weights
    areas = np.empty((len(weights), probabilities.shape[1]))
    for number in range(probabilities.shape[1]):
        score = probabilities[:, number]
        order = np.argsort(score, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(score[order]) > 0])  # one group a distinct score
        drawn = weights[:, order]
        cases = np.add.reduceat(drawn * (truth[order] == number), starts, axis=1)
        others = np.add.reduceat(drawn, starts, axis=1) - cases
        below = np.cumsum(others, axis=1) - others / 2
        areas[:, number] = _ratio((cases * below).sum(1), cases.sum(1) * others.sum(1))
    return areas


def image_scores(truth: np.ndarray, probabilities: np.ndarray) -> dict[str, np.ndarray]:
    """Brier score (0 to 2, sum over classes) and log loss (nats) of each image, `(n,)`; the means are the metrics."""
    wanted = np.eye(probabilities.shape[1])[truth]
    smallest = np.finfo(probabilities.dtype).eps  # as scikit-learn: a certain error is dear, not infinite
    return {
        "brier": ((probabilities - wanted) ** 2).sum(axis=1),
        "log_loss": -np.log(np.clip(probabilities, smallest, 1)[np.arange(len(truth)), truth]),
    }


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
