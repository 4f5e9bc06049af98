"""Are the probabilities right? How far they are off, what a perfect model would show at this n, and a remedy.

The remedy is temperature scaling (Guo et al. 2017, ICML, PMLR 70:1321-1330): one number that divides all logits,
fitted on images that neither trained the network nor are judged here. The answers stay the same.
"""

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from mammolib.metrics import image_scores, predicted_class
from mammolib.predictions import as_arrays

BINS = 5  # of confidence: 131 images give 26 each
FEWEST = 20  # held-out patients: fewer say little about a temperature
TEMPERATURES = (0.05, 20.0)  # searched between: twenty times as sure, or a twentieth


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


def perfect_errors(confidence: np.ndarray, bins: np.ndarray, patient: np.ndarray, seed: int) -> np.ndarray:
    """Calibration errors `(500,)` of a model whose confidence is exactly right: outcomes drawn from it.

    `patient` `(n,) int` has those whose images are right together and wrong together, as far as their confidence
    allows: a number of its own for each image makes them independent.
    """
    drawn = np.random.default_rng(seed).random((500, patient.max() + 1))
    return calibration_error(confidence, drawn[:, patient] < confidence, bins)


def calibration(truth: np.ndarray, probabilities: np.ndarray, seed: int, patient: np.ndarray | None = None) -> dict:
    """ECE of a table, with the one that a perfectly calibrated model would show at this n.

    Parameters
    ----------
    truth, probabilities, patient
        As `predictions.as_arrays` gives them; without `patient` images count as independent. With it, there is at
        most one bin for every ten patients.
    seed
        Of the simulated outcomes.

    Returns
    -------
    `ece`, `bins`, `binning`, and of 500 simulated outcomes `ece_if_perfect`, the mean where images are independent,
    `ece_if_perfect_at_most`, the mean where a patient's images are as alike as can be, and `ece_if_perfect_p`, the
    share of these that show an error as large as ours. No dependence between views gives a larger mean: comonotone
    sums are the largest in convex order (Dhaene et al. 2002, Insur. Math. Econ. 31:3-33).
    """
    images, confidence = np.arange(len(truth)), probabilities.max(axis=1)
    patient = images if patient is None else patient
    bin_of = confidence_bins(probabilities, len(np.unique(patient)) // 10)
    ece = float(calibration_error(confidence, predicted_class(probabilities) == truth, bin_of))
    apart, alike = (perfect_errors(confidence, bin_of, who, seed) for who in (images, patient))
    return {
        "ece": ece,
        "ece_if_perfect": float(apart.mean()),
        "ece_if_perfect_at_most": float(max(apart.mean(), alike.mean())),  # where all are sure, 500 draws may cross
        "ece_if_perfect_p": float((alike >= ece).mean()),
        "bins": int(bin_of.max() + 1),
        "binning": "equal counts of the highest probability",
    }


def _logits(probabilities: np.ndarray) -> np.ndarray:
    # up to a constant; a softmax output of 0 was one below float32's smallest
    return np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))


def fit_temperature(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Temperature with the least log loss; above 1 the model was too sure of itself, below 1 not sure enough.

    Parameters
    ----------
    truth
        `(n,) int`.
    probabilities
        `(n, classes)` softmax outputs, so their logarithms are the logits up to a constant.
    """
    logits, chosen = _logits(probabilities), (np.arange(len(truth)), truth)

    def loss(log_temperature: float) -> float:
        return -log_softmax(logits / np.exp(log_temperature), axis=1)[chosen].mean()

    return float(np.exp(minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded").x))


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities `(n, classes)` of the logits divided by the temperature; the most probable class stays."""
    return softmax(_logits(probabilities) / temperature, axis=1)


def scale_temperature(
    table: pd.DataFrame, classes: list[str], held_out: pd.DataFrame | None, seed: int
) -> tuple[pd.DataFrame, dict]:
    """Scale the probabilities of a predictions table by a temperature that its own images did not fit.

    Parameters
    ----------
    table
        As `predictions.read_predictions` gives it. Images of a fold get the temperature of the other folds' patients.
    held_out
        For a test part: predictions of the development images that no network trained on, or None.
    seed
        Of the calibration error's simulation.

    Returns
    -------
    The table, scaled, and `{"value", "fitted_on": {"n", "patients"}, "before", "after"}` with `ece, log_loss, brier`
    before and after. Out of fold the value is the geometric mean of the folds' and `by_fold` has each. A `note` says
    what is amiss; with fewer than `FEWEST` patients to fit on it stands alone and the table is as it was.

    Raises
    ------
    ValueError
        A patient of the test part is among the held-out ones.
    """
    if (table["split"] == "out_of_fold").all():
        held_out, folds = table, table["fold"].to_numpy()
        fits = [table[~table["patient"].isin(table["patient"][folds == k])] for k in np.unique(folds)]
    else:
        folds, held_out = np.full(len(table), -1), table[:0] if held_out is None else held_out
        if (both := table["patient"].isin(held_out["patient"])).any():
            name = table["patient"][both].iloc[0]
            raise ValueError(f"held-out predictions: patient {name} is in the test part too; allowed are others")
        fits = [held_out]
    if (fewest := min(fit["patient"].nunique() for fit in fits)) < FEWEST:
        return table, {"note": f"not fitted: {fewest} held-out patients to fit it on; {FEWEST} or more are needed"}
    truth, probabilities, patient = as_arrays(table, classes)
    found = {k: fit_temperature(*as_arrays(fit, classes)[:2]) for k, fit in zip(np.unique(folds), fits, strict=True)}
    scaled = apply_temperature(probabilities, np.array([found[k] for k in folds])[:, None])
    entry = {"value": float(np.exp(np.mean(np.log(list(found.values()))))), "fitted_on": {"n": len(held_out)}}
    entry["fitted_on"]["patients"] = int(held_out["patient"].nunique())
    for name, values in {"before": probabilities, "after": scaled}.items():
        scores = {metric: float(score.mean()) for metric, score in image_scores(truth, values).items()}
        entry[name] = {"ece": calibration(truth, values, seed, patient)["ece"]} | scores
    if len(found) > 1:
        entry["by_fold"] = {int(k): value for k, value in found.items()}
    elif (models := held_out["fold"].nunique()) > 1:
        entry["note"] = f"fitted on single networks, applied to the mean of {models}, which is less sure than they are"
    if not all(1.01 * TEMPERATURES[0] < value < 0.99 * TEMPERATURES[1] for value in found.values()):
        entry["note"] = f"at an end of what was searched, {TEMPERATURES[0]:g} to {TEMPERATURES[1]:g}: not to be used"
    return table.assign(**{f"p_{name}": scaled[:, c] for c, name in enumerate(classes)}), entry
