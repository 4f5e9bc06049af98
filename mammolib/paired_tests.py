"""The classical tests of two models on the same patients, beside those of `mammolib.comparison`: McNemar and DeLong."""

import numpy as np
import pandas as pd
from scipy.stats import norm, rankdata
from statsmodels.stats.contingency_tables import mcnemar

from mammolib.comparison import add_holm, paired
from mammolib.metrics import predicted_class


def right_patients(truth: np.ndarray, probabilities: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """Whether a patient is judged right, `(patients,) bool`, by the mean probabilities of its images.

    With images of several labels, means are taken by label, and each has to be right.
    """
    means = pd.DataFrame(probabilities).groupby([patient, truth]).mean()
    right = pd.Series(predicted_class(means.to_numpy()) == means.index.get_level_values(1), means.index)
    return right.groupby(level=0).all().to_numpy()


def mcnemar_test(first: pd.DataFrame, second: pd.DataFrame, classes: list[str]) -> dict:
    """McNemar's exact test on patients (1947, Psychometrika 12:153): is one of the two right more often?

    Returns
    -------
    `patients, both, first_only, second_only, neither` (patients that they judge right) and the two-sided `p`.
    """
    truth, pair, patient = paired(first, second, classes)
    ours, theirs = (right_patients(truth, one, patient) for one in pair)
    cells = {"both": ours & theirs, "first_only": ours & ~theirs, "second_only": ~ours & theirs}
    counts = {name: int(cell.sum()) for name, cell in (cells | {"neither": ~ours & ~theirs}).items()}
    p = mcnemar(np.reshape(list(counts.values()), (2, 2)), exact=True).pvalue
    return {"patients": len(ours)} | counts | {"p": float(p)}


def clustered_delong(
    case: np.ndarray, first: np.ndarray, second: np.ndarray, patient: np.ndarray
) -> tuple[float, float]:
    """Difference of two areas under ROC curves on the same images, and its standard error.

    Obuchowski 1997, Biometrics 53:567-578: patients are the units, and one may have images with and without the
    finding. With one image a patient it is the form of DeLong et al. 1988, Biometrics 44:837-845.

    Parameters
    ----------
    case
        `(n,) bool`, images with the finding.
    first, second
        `(n,)` scores of the two models; equal ones count half.
    patient
        `(n,) int`, numbered from 0.

    Returns
    -------
    Area of `first` minus that of `second`, and its standard error; NaN both where fewer than two patients have images
    with the finding, or without.
    """
    sides = [case, ~case]
    patients, images = [len(np.unique(patient[side])) for side in sides], [side.sum() for side in sides]
    if min(patients) < 2:
        return np.nan, np.nan

    def placements(score: np.ndarray) -> np.ndarray:
        """Share of the other side that an image stands on the right side of (Sun and Xu 2014: by ranks)."""
        place = rankdata(score)
        for side in sides:
            place[side] -= rankdata(score[side])
        return np.where(case, place / images[1], 1 - place / images[0])

    gain = placements(first) - placements(second)
    value = gain[case].mean()
    # sums of a patient's placements, less what they would be at the mean, for each side and for both
    x, y = (np.bincount(patient, (gain - value) * side) / n for side, n in zip(sides, images, strict=True))
    a, b, c = (units / (units - 1) for units in (*patients, len(x)))
    return float(value), float(np.sqrt(a * x @ x + b * y @ y + 2 * c * x @ y))


def delong_test(first: pd.DataFrame, second: pd.DataFrame, classes: list[str]) -> dict:
    """One-vs-rest AUC of `first` minus that of `second` for each class, by `clustered_delong`.

    Returns
    -------
    `{class: estimate}` with `p` (two-sided, normal) and `p_holm` over the classes. No interval and no p where it can't
    be told: the note says why.
    """
    truth, pair, patient = paired(first, second, classes)
    found = {label: {"value": None, "low": None, "high": None, "n": len(truth)} for label in classes}
    for c, entry in enumerate(found.values()):
        entry |= {"patients": int(patient.max() + 1), "p": None, "method": "DeLong, clustered (Obuchowski)"}
        value, error = clustered_delong(truth == c, *(one[:, c] for one in pair), patient)
        if np.isnan(value):
            entry["note"] = "not estimable: fewer than two patients with, or without"
        elif error < 1e-9:
            entry |= {"value": round(value, 6), "note": "interval not estimable: all patients agree"}
        else:
            low, high = value + error * norm.ppf([0.025, 0.975])
            numbers = {"value": value, "low": max(-1.0, low), "high": min(1.0, high)}
            entry |= {name: round(float(number), 6) for name, number in numbers.items()}
            entry["p"] = float(2 * norm.sf(abs(value) / error))
    add_holm(found.values())
    return found
