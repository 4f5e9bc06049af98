"""Every metric of a predictions table with an interval that respects patients; patients drawn within the classes.

Views of a patient are not independent, so a patient is drawn, or left out, with all its images. Drawing within classes
keeps the class mix near that of the data: the intervals are conditional on it.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from mammolib import intervals
from mammolib.calibration import calibration
from mammolib.intervals import estimate, wilson_estimate
from mammolib.metrics import (
    confusion_counts,
    confusion_metrics,
    image_scores,
    predicted_class,
    ranking_metrics,
)
from mammolib.predictions import as_arrays, check_predictions

LIMITS = {"kappa": (-1.0, 1.0), "mcc": (-1.0, 1.0), "brier": (0.0, 2.0)}  # all others: 0 to 1
MEAN_OVR = "mean_one_vs_rest_accuracy"  # 1 - 2 (1 - accuracy) / classes, so from 1 - 2 / classes to 1
OF_CLASSES = ("balanced_accuracy", "macro_f1", "macro_auc", "macro_average_precision")  # each class counts the same
NEAR_BEST = ("auc", "average_precision", "macro_auc", "macro_average_precision", "brier")  # no count of answers
CAUTIOUS = "so near the best value it is wider than need be: in simulations it holds the truth in up to 98.8 %"
CELLS = 400_000  # draws x images held at once: 3 MB a float64 array, so that it stays in the cache


def patient_strata(truth: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """Class `(patients,) int` that a patient is drawn within: that of most of its images, the first of equals."""
    return pd.crosstab(patient, truth).idxmax(axis=1).to_numpy()


def patient_weights(strata: np.ndarray, draws: int, seed: int, images: int = 0) -> Iterator[np.ndarray]:
    """How often each patient is drawn, in blocks `(some draws, patients)` that fit into memory.

    Each draw takes, within each stratum, as many patients as it has, with replacement.
    """
    generator = np.random.default_rng(seed)
    block = max(1, CELLS // max(images, len(strata)))
    for start in range(0, draws, block):
        weights = np.zeros((min(block, draws - start), len(strata)))
        for stratum in np.unique(strata):
            members = np.flatnonzero(strata == stratum)
            n = len(members)
            weights[:, members] = generator.multinomial(n, np.full(n, 1 / n), size=len(weights))
        yield weights


def mean_estimate(
    values: np.ndarray,
    patients: np.ndarray,
    draws: int,
    seed: int,
    over: np.ndarray | None = None,
    within: np.ndarray | None = None,
    limits: tuple[float, float] = (0.0, 1.0),
    proportion: bool = False,
) -> dict:
    """Mean over images, or the ratio of two means, as an estimate: patients resampled with all their images.

    Parameters
    ----------
    values
        `(n,)` one value an image; NaN is left out.
    patients
        `(n,)` whose image it is.
    over
        `(n,)` the ratio's lower part. The ratio of means has a value where single areas are zero; a mean of ratios not.
    within
        `(n,) int` class of each image, to draw patients within classes (see `patient_strata`); None draws among all.
    limits
        Smallest and largest value possible. From 0 without end: bootstrap-t of the logarithm; else BCa.
    proportion
        A share of images, or a linear function of one: Wilson's interval on the effective number.

    Returns
    -------
    An estimate. Where the draws all agree, or more than 5 % of them have no value, each patient counts as one in
    Wilson's interval between the limits, or there is none; the note says so.
    """
    known = ~np.isnan(values)
    if not known.any():
        return estimate(np.nan, None, 0, 0, "")
    over = np.ones(len(values)) if over is None else over
    codes = pd.factorize(np.asarray(patients)[known])[0]
    above, below = (np.bincount(codes, np.asarray(part, float)[known]) for part in (values, over))
    n, of = known.sum(), len(above)
    if below.sum() == 0:
        return estimate(np.nan, None, n, of, "", "not estimable: no such area")
    strata = np.zeros(of, int) if within is None else patient_strata(within[known], codes)
    value, rest = above.sum() / below.sum(), below.sum() - below
    left_out = np.divide(above.sum() - above, rest, out=np.full(of, np.nan), where=rest > 0)
    if proportion:
        return wilson_estimate(value, left_out, strata, n, of, limits)
    blocks = patient_weights(strata, draws, seed)
    drawn, errors = np.hstack([intervals.ratio_and_error(block, above, below, strata) for block in blocks])
    defined = ~np.isnan(drawn)
    if defined.mean() < 0.95 or np.ptp(drawn[defined]) < 1e-9:
        if not np.isfinite(limits).all():
            return estimate(value, None, n, of, "", "interval not estimable: all draws agree")
        low, high, _ = intervals.effective_wilson(value, np.nan, of, limits)
        return estimate(value, (low, high), n, of, intervals.WILSON, "all draws agree: each patient counts as one")
    error = intervals.ratio_and_error(np.ones((1, of)), above, below, strata)[1][0]
    if limits == (0.0, np.inf) and ((drawn > 0) & (errors > 1e-6 * error)).mean() > 0.95:
        return estimate(value, intervals.log_bootstrap_t(value, error, drawn, errors), n, of, intervals.LOG_T)
    return estimate(value, intervals.bca(value, drawn, left_out, strata), n, of, intervals.BCA)


def accuracy_estimate(table: pd.DataFrame, classes: list[str], draws: int, seed: int) -> dict:
    """Accuracy of a predictions table alone, as `evaluate` gives it."""
    truth, probabilities, patient = as_arrays(table, classes)
    right = predicted_class(probabilities) == truth
    return mean_estimate(right, patient, draws, seed, within=truth, proportion=True)


def metrics_of_weights(
    truth: np.ndarray,
    probabilities: np.ndarray,
    patient: np.ndarray,
    ordered: bool,
    ranked: bool = True,
    scores: np.ndarray | None = None,
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """A function of `(draws, patients)` weights that gives every metric: `{name: (draws,) or (draws, classes)}`.

    `ranked` False leaves out what needs the order of the probabilities, or their size. `scores` `(n, classes)` are
    ranked in place of the probabilities.
    """
    scores = probabilities if scores is None else scores
    confusion = confusion_counts(truth, predicted_class(probabilities), patient, probabilities.shape[1])
    sums = {name: np.bincount(patient, score) for name, score in image_scores(truth, probabilities).items()}
    images = np.bincount(patient).astype(float)

    def metrics(weights: np.ndarray) -> dict[str, np.ndarray]:
        found = confusion_metrics(np.tensordot(weights, confusion, axes=1), ordered)
        if not ranked:
            return found
        found |= ranking_metrics(truth, scores, weights, patient)
        return found | {name: weights @ total / (weights @ images) for name, total in sums.items()}

    return metrics


def without_each(metrics: Callable, patients: int, images: int) -> dict[str, np.ndarray]:
    """Every metric without each patient in turn, `{name: (patients,) or (patients, classes)}`."""
    block = max(1, CELLS // max(images, patients))
    parts = [
        metrics((np.arange(start, min(start + block, patients))[:, None] != np.arange(patients)).astype(float))
        for start in range(0, patients, block)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _behind(truth: np.ndarray, predicted: np.ndarray, patient: np.ndarray, c: int) -> dict:
    """Of each metric of class `c` the images `(n,) bool` that it is of, and how many patients its interval counts.

    An AUC and an F1 are of two sides, and of 4 a b / (a + b) patients where the sides have a and b: of all where these
    are equal, of few where one side is small. The average precision rests on the fewer.
    """
    own, said = truth == c, predicted == c
    parts = {"accuracy": own | ~own, "sensitivity": own, "specificity": ~own, "ppv": said, "npv": ~said}
    found = {name: (chosen, len(np.unique(patient[chosen]))) for name, chosen in parts.items()}
    cases, others = found["sensitivity"][1], found["specificity"][1]
    both = 4 * cases * others / (cases + others)
    counted = {"f1": both, "auc": both, "average_precision": min(cases, others)}
    return found | {name: (own | ~own, number) for name, number in counted.items()}


def _note(name: str, value: float) -> str:
    """What the simulation says of an interval that is made for shares: cautious for others near their best value."""
    return CAUTIOUS if name in NEAR_BEST and (1 - value / 2 if name == "brier" else value) > 0.9 else ""


def _estimates(
    truth: np.ndarray, probabilities: np.ndarray, patient: np.ndarray, ordered: bool, ranked: bool
) -> tuple[dict, list[dict]]:
    """Estimates over all classes by name, and those of each class, of all that has two limits."""
    patients, k, n = patient.max() + 1, probabilities.shape[1], len(truth)
    predicted, strata = predicted_class(probabilities), patient_strata(truth, patient)
    metrics = metrics_of_weights(truth, probabilities, patient, ordered, ranked)
    whole = {name: values[0] for name, values in metrics(np.ones((1, patients))).items()}
    left_out = without_each(metrics, patients, n)

    def count(chosen: np.ndarray) -> int:
        return len(np.unique(patient[chosen]))

    sizes = np.array([count(truth == c) for c in np.unique(truth)])
    even = len(sizes) ** 2 / (1 / sizes).sum()  # patients behind a mean of classes: fewer where one class is small
    overall, by_class = {}, [{} for _ in range(k)]
    for name in [name for name in whole if not name.startswith("class_") and name != "log_loss"]:
        limits = LIMITS.get(name, (1 - 2 / k if name == MEAN_OVR else 0.0, 1.0))
        how = {"limits": limits, "counted": even if name in OF_CLASSES else patients, "note": _note(name, whole[name])}
        overall[name] = wilson_estimate(whole[name], left_out[name], strata, n, patients, **how)
    for c, entries in enumerate(by_class):
        for name, (chosen, counted) in _behind(truth, predicted, patient, c).items():
            if (of_class := f"class_{name}") in whole:
                value, rest = whole[of_class][c], left_out[of_class][:, c]
                how = {"counted": counted, "note": _note(name, value)}
                numbers = chosen.sum(), len(np.unique(patient[chosen]))
                entries[name] = wilson_estimate(value, rest, strata, *numbers, **how)
    return overall, by_class


def evaluate(table: pd.DataFrame, classes: list[str], ordered: bool, draws: int, seed: int) -> dict:
    """Every metric of a predictions table as an estimate.

    Parameters
    ----------
    table
        As `mammolib.predictions.read_predictions` gives it.
    classes
        In the order of the probabilities.
    ordered
        Quadratic weights for kappa.
    draws, seed
        Of the patient bootstrap (of the log loss; all others need none); 2,000 draws or more.

    Returns
    -------
    `n_images, n_patients, correct` (numbers), `accuracy, balanced_accuracy, macro_f1, kappa, mcc, macro_auc,
    macro_average_precision, mean_one_vs_rest_accuracy` (estimates), `one_vs_rest` `{class: {metric: estimate}}` with
    eight metrics each, and `calibration` (`brier, log_loss` as estimates, and what
    `mammolib.calibration.calibration` gives).
    """
    check_predictions(table, classes)
    truth, probabilities, patient = as_arrays(table, classes)
    results = {"n_images": len(table), "n_patients": int(patient.max() + 1)}
    results["correct"] = int((predicted_class(probabilities) == truth).sum())
    overall, by_class = _estimates(truth, probabilities, patient, ordered, ranked=True)
    loss = image_scores(truth, probabilities)["log_loss"]
    scores = {"brier": overall.pop("brier")}
    scores["log_loss"] = mean_estimate(loss, patient, draws, seed, within=truth, limits=(0.0, np.inf))
    results |= overall | {"one_vs_rest": dict(zip(classes, by_class, strict=True))}
    return results | {"calibration": scores | calibration(truth, probabilities, seed, patient)}


def any_mix(table: pd.DataFrame, classes: list[str], draws: int, seed: int) -> dict:
    """Accuracies whose intervals let the mix of classes vary, as published ones do: a patient is left out of all.

    Returns
    -------
    `accuracy, mean_one_vs_rest_accuracy` and `one_vs_rest` `{class: {"accuracy"}}`, as `evaluate` names them.
    """
    truth, probabilities, patient = as_arrays(table, classes)
    predicted, k = predicted_class(probabilities), len(classes)

    def share(right: np.ndarray, lowest: float = 0.0) -> dict:
        values = lowest + (1 - lowest) * right
        return mean_estimate(values, patient, draws, seed, limits=(lowest, 1.0), proportion=True)

    right = predicted == truth
    found = {"accuracy": share(right), MEAN_OVR: share(right, 1 - 2 / k)}
    by_class = {name: {"accuracy": share((predicted == c) == (truth == c))} for c, name in enumerate(classes)}
    return found | {"one_vs_rest": by_class}


def patient_level(table: pd.DataFrame, classes: list[str], ordered: bool, draws: int, seed: int) -> dict:
    """Patients instead of images judged, in two ways.

    A patient whose images have different labels (two cancers) is judged once a label, by the images of that label: each
    is a question of its own. It stays one patient in the intervals.

    Returns
    -------
    `pooled`: what `evaluate` gives for the mean of the probabilities of a patient's images. `vote`: the class that most
    of its images are given, of equals the one with the higher mean probability; a vote has no probabilities, so it
    has no AUC, average precision, Brier score or log loss.
    """
    check_predictions(table, classes)
    columns = [f"p_{name}" for name in classes]
    cases = table.groupby(["patient", "label"], as_index=False)
    means = cases[columns].mean()
    means = means.assign(image_id=means.index.astype(str), split=table["split"].iloc[0], fold=-1)
    answers = np.eye(len(classes))[predicted_class(table[columns].to_numpy(float))]
    votes = table[["patient", "label"]].assign(**dict(zip(columns, answers.T, strict=True)))
    votes = votes.groupby(["patient", "label"])[columns].sum().to_numpy()
    truth, probabilities, patient = as_arrays(means, classes)
    elected = np.eye(len(classes))[np.argmax(votes + probabilities / 2, axis=1)]  # half: less than one vote
    overall, by_class = _estimates(truth, elected, patient, ordered, ranked=False)
    vote = {"n_images": len(means), "n_patients": int(patient.max() + 1)}
    vote["correct"] = int((predicted_class(elected) == truth).sum())
    vote |= overall | {"one_vs_rest": dict(zip(classes, by_class, strict=True))}
    return {"pooled": evaluate(means, classes, ordered, draws, seed), "vote": vote}
