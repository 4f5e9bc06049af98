"""Metrics of a classifier of two or more classes, for one table or for many resampled ones at once.

scikit-learn has each of them for one table; the forms here take a stack of confusion matrices, or of weights, so
that thousands of bootstrap draws cost one pass. The tests hold each against scikit-learn.
"""

import numpy as np

PER_CLASS = ["accuracy", "sensitivity", "specificity", "ppv", "auc"]


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
