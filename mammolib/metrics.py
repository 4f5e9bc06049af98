"""Metrics of a classifier of two or more classes, for one table or for many resampled ones at once.

scikit-learn has each of them for one table; the forms here take a stack of confusion matrices, or of weights, so
that thousands of bootstrap draws cost one pass. The tests hold each against scikit-learn.
"""

import numpy as np


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
    `accuracy, balanced_accuracy, macro_f1, kappa, mcc, mean_one_vs_rest_accuracy` of shape `(...)` and, one-vs-rest,
    `class_accuracy, class_sensitivity, class_specificity, class_ppv, class_npv, class_f1` of shape `(..., classes)`.
    NaN = not estimable. Balanced accuracy is the mean over classes with a case; macro-F1 over classes that occur or
    are predicted. `mcc` is Matthews' correlation for any number of classes (Gorodkin 2004, Comput. Biol. Chem.
    28:367), 0 where one class alone is predicted, as scikit-learn has it.
    """
    k = confusion.shape[-1]
    truth, predicted, total = confusion.sum(-1), confusion.sum(-2), confusion.sum((-1, -2))
    hit = np.diagonal(confusion, axis1=-2, axis2=-1)
    all_of = total[..., None]
    rest_right = all_of - truth - predicted + hit
    sensitivity, f1 = _ratio(hit, truth), _ratio(2 * hit, truth + predicted)
    class_accuracy = _ratio(hit + rest_right, all_of)
    index = np.arange(k)
    penalty = (index[:, None] - index) ** 2.0 if ordered else 1.0 - np.eye(k)
    by_chance = _ratio(truth[..., :, None] * predicted[..., None, :], all_of[..., None])
    spread_truth, spread_predicted = (total**2 - (side**2).sum(-1) for side in (truth, predicted))
    together = total * hit.sum(-1) - (truth * predicted).sum(-1)
    correlation = _ratio(together, np.sqrt(spread_truth * spread_predicted))
    return {
        "accuracy": _ratio(hit.sum(-1), total),
        "balanced_accuracy": _mean_of_defined(sensitivity),
        "macro_f1": _mean_of_defined(f1),
        "kappa": 1 - _ratio((penalty * confusion).sum((-1, -2)), (penalty * by_chance).sum((-1, -2))),
        "mcc": np.where((spread_truth > 0) & (spread_predicted <= 0), 0.0, correlation),
        "mean_one_vs_rest_accuracy": class_accuracy.mean(-1),
        "class_accuracy": class_accuracy,
        "class_sensitivity": sensitivity,
        "class_specificity": _ratio(rest_right, all_of - truth),
        "class_ppv": _ratio(hit, predicted),
        "class_npv": _ratio(rest_right, all_of - predicted),
        "class_f1": f1,
    }


def ranking_metrics(
    truth: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None, patient: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """What the order of the scores tells of each class against the rest, for many weightings of the same images.

    Each class is sorted once for all weightings, and only groups of equal scores that hold a case of it are summed.

    Parameters
    ----------
    truth
        `(n,) int`.
    probabilities
        `(n, classes)`.
    weights
        `(draws, patients)`, how often each patient was drawn; None = once each.
    patient
        `(n,) int` column of `weights` that an image has; None = each its own.

    Returns
    -------
    `class_auc` (area under the ROC curve; equal scores count half) and `class_average_precision` (sum over thresholds
    of precision times the step in sensitivity), `(draws, classes)`; NaN where a draw holds no case of the class, or
    nothing else. Their means over classes are `macro_auc` and `macro_average_precision`, NaN where one class is.
    """
    patient = np.arange(len(truth)) if patient is None else patient
    weights = np.ones((1, patient.max() + 1)) if weights is None else weights
    found = {name: np.empty((len(weights), probabilities.shape[1])) for name in ("auc", "average_precision")}
    for c in range(probabilities.shape[1]):
        order = np.argsort(-probabilities[:, c], kind="stable")  # best first
        score, is_case = probabilities[order, c], truth[order] == c
        last = np.searchsorted(-score, -score[is_case], "right")
        ends, group = np.unique(last, return_inverse=True)  # groups of equal scores that hold a case
        starts = np.searchsorted(-score, -score[ends - 1], "left")
        above = np.zeros((len(weights), len(truth) + 1))
        np.take(weights, patient[order], axis=1, out=above[:, 1:], mode="clip")
        cases = above[:, 1:][:, is_case]
        np.cumsum(above, axis=1, out=above)
        if len(ends) < len(group):
            cases = np.add.reduceat(cases, np.flatnonzero(np.diff(group, prepend=-1)), axis=1)
        hits, called = np.cumsum(cases, axis=1), np.take(above, ends, axis=1)
        all_cases = cases.sum(axis=1)
        others = above[:, -1] - all_cases
        higher = (np.take(above, starts, axis=1) + called + cases) / 2 - hits  # others; equal scores count half
        below = others * all_cases - np.einsum("dg,dg->d", cases, higher)
        found["auc"][:, c] = _ratio(below, all_cases * others)
        precision = np.divide(hits, called, out=called, where=hits > 0)
        area = _ratio(np.einsum("dg,dg->d", cases, precision), all_cases)
        found["average_precision"][:, c] = np.where(others > 0, area, np.nan)
    macro = {f"macro_{name}": values.mean(axis=1) for name, values in found.items()}
    return {f"class_{name}": values for name, values in found.items()} | macro


def image_scores(truth: np.ndarray, probabilities: np.ndarray) -> dict[str, np.ndarray]:
    """Brier score (0 to 2, sum over classes) and log loss (nats) of each image, `(n,)`; the means are the metrics."""
    wanted = np.eye(probabilities.shape[1])[truth]
    smallest = np.finfo(probabilities.dtype).eps  # as scikit-learn: a certain error is dear, not infinite
    return {
        "brier": ((probabilities - wanted) ** 2).sum(axis=1),
        "log_loss": -np.log(np.clip(probabilities, smallest, 1)[np.arange(len(truth)), truth]),
    }
