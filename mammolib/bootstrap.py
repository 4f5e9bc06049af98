"""Intervals that respect patients: resample patients, not images, within the classes.

Views of a patient are not independent, so a patient is drawn with all its images. Drawing within classes keeps the
class mix near that of the data: the intervals are conditional on it.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from scipy.stats import norm

from mammolib.calibration import calibration
from mammolib.metrics import (
    PER_CLASS,
    confusion_counts,
    confusion_metrics,
    image_scores,
    one_vs_rest_auc,
    predicted_class,
)
from mammolib.predictions import as_arrays, check_predictions

LIMITS = {"kappa": (-1.0, 1.0), "brier": (0.0, 2.0), "log_loss": (0.0, np.inf)}  # all others: 0 to 1
MEAN_OVR = "mean_one_vs_rest_accuracy"  # 1 - 2 (1 - accuracy) / classes, so from 1 - 2 / classes to 1
CELLS = 2_000_000  # draws x images held at once: 16 MB a float64 array


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


def wilson(share: float, n: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share in [0, 1]; `n` may be an effective number. Wilson 1927, JASA 22:209."""
    z = norm.ppf(0.975)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def estimate(
    value: float,
    drawn: np.ndarray,
    n: int,
    patients: int,
    limits: tuple[float, float] = (0.0, 1.0),
    effective: float | None = None,
    proportion: bool = False,
) -> dict:
    """Value with its 95 % percentile interval over the draws.

    Where all draws agree (no error at all, one patient) or more than 5 % of them are undefined, the bootstrap has
    nothing to say: then Wilson's interval on the effective number, the patients behind the value. That is for shares;
    for a metric with other limits (kappa, Brier score) the place between them counts as one, and the note says so.
    So too for a proportion whose draws lie closer than half of Wilson's: a constant answer, drawn within classes,
    hardly varies.

    Parameters
    ----------
    value
        Of the whole table; NaN = not estimable.
    drawn
        `(draws,)` values of the resampled tables, NaN where undefined.
    n, patients
        Images and patients behind the value.
    limits
        Smallest and largest value that the metric can take.
    effective
        Number for Wilson's interval; default: `patients`.
    proportion
        Whether the value is a share of images or a mean of such, so that Wilson's interval tells how narrow its own
        can be.

    Returns
    -------
    `{"value", "low", "high", "n", "patients"}`, and a `note` where the interval is Wilson's or nothing can be said.
    """
    found = {"value": None, "low": None, "high": None, "n": int(n), "patients": int(patients)}
    if np.isnan(value):
        return found | {"note": "not estimable: no case"}
    found["value"] = round(float(value), 6)
    defined = drawn[~np.isnan(drawn)]
    low, high = np.percentile(defined, [2.5, 97.5]) if len(defined) else (value, value)
    (bottom, top), effective, ends = limits, max(1.0, effective or patients), None
    if np.isfinite(top - bottom):
        ends = [bottom + (top - bottom) * end for end in wilson((value - bottom) / (top - bottom), effective)]
    degenerate = high - low < 1e-9 or len(defined) < 0.95 * len(drawn)
    if degenerate and ends is None:
        return found | {"note": "interval not estimable: all draws agree"}
    if degenerate or (proportion and high - low < (ends[1] - ends[0]) / 2):
        low, high = ends
        share = "" if limits == (0.0, 1.0) else f", as of a share between {bottom:.3g} and {top:g},"
        found["note"] = f"Wilson interval{share} on {effective:g} patients"
        found["note"] += "" if degenerate else ": the bootstrap's is less than half as wide"
    # a percentile interval can miss the value itself by a little where patients are few
    return found | {"low": round(float(min(low, value)), 6), "high": round(float(max(high, value)), 6)}


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
    limits, proportion
        As in `estimate`.
    """
    known = ~np.isnan(values)
    if not known.any():
        return estimate(np.nan, np.empty(0), 0, 0)
    over = np.ones(len(values)) if over is None else over
    codes = pd.factorize(np.asarray(patients)[known])[0]
    above, below = (np.bincount(codes, np.asarray(part, float)[known]) for part in (values, over))
    if below.sum() == 0:
        return estimate(np.nan, np.empty(0), known.sum(), len(above)) | {"note": "not estimable: no such area"}
    strata = np.zeros(len(above), int) if within is None else patient_strata(within[known], codes)
    weights = np.concatenate(list(patient_weights(strata, draws, seed)))
    sums = weights @ below
    drawn = np.divide(weights @ above, sums, out=np.full(draws, np.nan), where=sums > 0)
    return estimate(above.sum() / below.sum(), drawn, known.sum(), len(above), limits, proportion=proportion)


def accuracy_estimate(table: pd.DataFrame, classes: list[str], draws: int, seed: int) -> dict:
    """Accuracy of a predictions table alone, as `evaluate` gives it."""
    truth, probabilities, patient = as_arrays(table, classes)
    right = predicted_class(probabilities) == truth
    return mean_estimate(right, patient, draws, seed, within=truth, proportion=True)


def patient_level(table: pd.DataFrame, classes: list[str], draws: int, seed: int) -> dict:
    """`{"accuracy", "balanced_accuracy"}` of patients: the probabilities of a patient's images are averaged first.

    Images of one patient with different labels are averaged by label.
    """
    means = table.groupby(["patient", "label"], as_index=False)[[f"p_{name}" for name in classes]].mean()
    means = means.assign(image_id=means["patient"] + " " + means["label"], split=table["split"].iloc[0], fold=-1)
    results = evaluate(means, classes, False, draws, seed)
    return {name: results[name] for name in ("accuracy", "balanced_accuracy")}


def _metrics_of_weights(
    truth: np.ndarray, probabilities: np.ndarray, patient: np.ndarray, ordered: bool
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """A function of `(draws, patients)` weights that gives every metric: `{name: (draws,) or (draws, classes)}`."""
    confusion = confusion_counts(truth, predicted_class(probabilities), patient, probabilities.shape[1])
    sums = {name: np.bincount(patient, score) for name, score in image_scores(truth, probabilities).items()}
    images = np.bincount(patient).astype(float)

    def metrics(weights: np.ndarray) -> dict[str, np.ndarray]:
        found = confusion_metrics(np.tensordot(weights, confusion, axes=1), ordered)
        found["class_auc"] = one_vs_rest_auc(truth, probabilities, weights[:, patient])
        found["macro_auc"] = found["class_auc"].mean(axis=1)  # NaN where a class has no case
        return found | {name: weights @ total / (weights @ images) for name, total in sums.items()}

    return metrics


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
        Of the patient bootstrap; 2,000 draws or more.

    Returns
    -------
    `n_images, n_patients, correct` (numbers), `accuracy, balanced_accuracy, macro_f1, kappa, macro_auc,
    mean_one_vs_rest_accuracy` (estimates), `one_vs_rest` `{class: {metric: estimate}}` and `calibration`
    (`brier, log_loss` as estimates, and what `mammolib.metrics.calibration` gives).
    """
    check_predictions(table, classes)
    truth, probabilities, patient = as_arrays(table, classes)
    predicted, patients = predicted_class(probabilities), patient.max() + 1
    metrics = _metrics_of_weights(truth, probabilities, patient, ordered)
    whole = {name: values[0] for name, values in metrics(np.ones((1, patients))).items()}
    blocks = [metrics(w) for w in patient_weights(patient_strata(truth, patient), draws, seed, len(table))]
    drawn = {name: np.concatenate([block[name] for block in blocks]) for name in whole}

    def count(chosen: np.ndarray) -> int:
        return len(np.unique(patient[chosen]))

    smallest = [min(count(truth == c), count(truth != c)) for c in range(len(classes))]
    results = {"n_images": len(table), "n_patients": int(patients), "correct": int((predicted == truth).sum())}
    for name in [name for name in whole if not name.startswith("class_")]:
        effective = min(smallest) if name == "macro_auc" else patients
        limits = LIMITS.get(name, (1 - 2 / len(classes) if name == MEAN_OVR else 0.0, 1.0))
        # kappa and F1 follow the accuracy: where its draws hardly vary, theirs don't either
        follows = name in ("kappa", "macro_f1") and "note" in results["accuracy"]
        share = name in ("accuracy", "balanced_accuracy", MEAN_OVR) or follows
        results[name] = estimate(whole[name], drawn[name], len(table), patients, limits, effective, share)
    results["one_vs_rest"] = {label: {} for label in classes}
    for c, entries in enumerate(results["one_vs_rest"].values()):
        behind = dict.fromkeys(PER_CLASS, truth >= 0)  # everyone
        behind |= {"sensitivity": truth == c, "specificity": truth != c, "ppv": predicted == c}
        for name, chosen in behind.items():
            value, values = whole[f"class_{name}"][c], drawn[f"class_{name}"][:, c]
            how = {"effective": smallest[c]} if name == "auc" else {"proportion": True}
            entries[name] = estimate(value, values, chosen.sum(), count(chosen), **how)
    scores = {name: results.pop(name) for name in ("brier", "log_loss")}
    return results | {"calibration": scores | calibration(truth, probabilities, seed, patient)}
