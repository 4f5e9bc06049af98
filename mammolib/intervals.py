"""Intervals of 95 % for metrics of correlated images: patients, not images, are the independent units.

benchmarks/coverage.py decided which is used. What lies between two limits has Wilson's interval on the effective number
of patients; what can grow without end (log loss, an enrichment) the bootstrap-t of its logarithm; a mean of anything
else BCa. Patients are drawn, and left out, within classes, so all are conditional on the mix of classes.
"""

import numpy as np
from scipy.stats import norm

Z = norm.ppf(0.975)
UNKNOWN = 0.25  # variance of a patient of whom nothing is known: a share of one half
WILSON, BCA, LOG_T = "Wilson, effective patients", "BCa, patients drawn", "bootstrap-t of the logarithm, patients drawn"


def wilson(share: float, n: float, quantile: float = Z) -> tuple[float, float]:
    """Wilson's 95 % interval of a share in [0, 1]; `n` may be an effective number. Wilson 1927, JASA 22:209."""
    centre = (share + quantile**2 / (2 * n)) / (1 + quantile**2 / n)
    half = quantile / (1 + quantile**2 / n) * np.sqrt(share * (1 - share) / n + quantile**2 / (4 * n**2))
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def stratified_deviations(left_out: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """How far the metric without each patient `(patients,)` lies from their stratum's mean, times `(n - 1) / n`.

    The only patient of a stratum is measured from the mean of all (as R's survey does by `lonely.psu = "adjust"`).
    """
    n = np.bincount(strata)[strata]
    mean = np.bincount(strata, left_out)[strata] / n
    mean, n = np.where(n > 1, mean, left_out.mean()), np.where(n > 1, n, len(left_out))
    return (mean - left_out) * (n - 1) / n


def jackknife_variance(left_out: np.ndarray, strata: np.ndarray) -> float:
    """Variance of a metric from its values without each patient in turn, within strata; NaN where one is.

    Parameters
    ----------
    left_out
        `(patients,)`.
    strata
        `(patients,) int`, the class that a patient is drawn within. Source: Wolter 2007, Introduction to Variance
        Estimation, chapter 4.5.
    """
    n = np.bincount(strata)[strata]
    return float((stratified_deviations(left_out, strata) ** 2 * n / np.maximum(n - 1, 1)).sum())


def effective_wilson(
    value: float, variance: float, patients: float, limits: tuple[float, float] = (0.0, 1.0), quantile: float = Z
) -> tuple[float, float, float]:
    """Low, high and the effective number of patients of Wilson's interval, for a metric between two limits.

    The design effect is the variance over that of a share (the value's place between its limits) of so many
    independent patients. One more patient of whom nothing is known is added to both: without an error to be seen every
    patient counts as one, and the more there are, the less it tells. A NaN variance counts every patient as one.
    Effective numbers: Korn and Graubard 1998, Survey Methodology 24:193; Dean and Pagano 2015, J. Surv. Stat.
    Methodol. 3:484.
    """
    bottom, top = limits
    place = min(1.0, max(0.0, (value - bottom) / (top - bottom)))
    unit = 0.0 if np.isnan(variance) else patients * variance / (top - bottom) ** 2
    binomial = place * (1 - place)
    effect = 1.0 if np.isnan(variance) else (unit * patients + UNKNOWN) / (binomial * patients + UNKNOWN)
    low, high = wilson(place, patients / effect, quantile)
    return bottom + (top - bottom) * low, bottom + (top - bottom) * high, patients / effect


def percentile(drawn: np.ndarray) -> tuple[float, float]:
    """Percentile interval of the draws `(draws,)`; NaN is left out."""
    return tuple(np.nanpercentile(drawn, [2.5, 97.5]))


def bca(value: float, drawn: np.ndarray, left_out: np.ndarray, strata: np.ndarray) -> tuple[float, float]:
    """Bias-corrected and accelerated interval. Efron 1987, JASA 82:171; within strata as scipy.stats.bootstrap.

    `drawn` `(draws,)`, NaN left out; `left_out, strata` as in `jackknife_variance`.
    """
    drawn = drawn[~np.isnan(drawn)]
    rank = ((drawn < value).mean() + (drawn <= value).mean()) / 2
    bias = norm.ppf(np.clip(rank, 0.5 / len(drawn), 1 - 0.5 / len(drawn)))
    deviations = np.nan_to_num(stratified_deviations(left_out, strata))
    spread = (deviations**2).sum()
    skew = (deviations**3).sum() / (6 * spread**1.5) if spread > 0 else 0.0
    wanted = bias + np.array([-Z, Z])
    return tuple(np.quantile(drawn, norm.cdf(bias + wanted / (1 - skew * wanted))))


def ratio_and_error(
    weights: np.ndarray, above: np.ndarray, below: np.ndarray, strata: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Ratio of two sums over patients, and its linearised standard error within strata, for each draw `(draws,)`.

    `weights` `(draws, patients)`, how often each was drawn; `above, below, strata` `(patients,)`. NaN where nothing
    stands below the line. Source: Wolter 2007, chapter 6.
    """
    parts = np.stack([above, below, above**2, above * below, below**2], axis=1)
    members = [strata == number for number in np.unique(strata)]
    sums = [(weights[:, own] @ parts[own]).T for own in members]
    top, bottom = sum(sums)[:2]
    bottom = np.where(bottom > 0, bottom, np.nan)
    ratio, variance = top / bottom, np.zeros(len(weights))
    for own, (a, b, aa, ab, bb) in zip(members, sums, strict=True):
        n = own.sum()
        variance += (aa - 2 * ratio * ab + ratio**2 * bb - (a - ratio * b) ** 2 / n) * n / max(n - 1, 1)
    return ratio, np.sqrt(np.maximum(variance, 0)) / bottom


def log_bootstrap_t(value: float, error: float, drawn: np.ndarray, errors: np.ndarray) -> tuple[float, float]:
    """Studentised bootstrap interval of the logarithm of a positive value, back on its scale.

    `drawn, errors` `(draws,)`: each draw's value and standard error; those whose error is rounding are left out.
    DiCiccio and Efron 1996, Stat. Sci. 11:189.
    """
    known = (drawn > 0) & (errors > 1e-6 * error)
    studentised = np.log(drawn[known] / value) * drawn[known] / errors[known]
    return tuple(value * np.exp(-np.quantile(studentised, [0.975, 0.025]) * error / value))


def estimate(
    value: float, ends: tuple[float, float] | None, n: int, patients: int, method: str, note: str = ""
) -> dict:
    """Value with its interval, as every table and JSON holds it.

    Parameters
    ----------
    value
        Of the whole table; NaN = not estimable.
    ends
        Low and high; None = no interval, for the reason in `note`.
    n, patients
        Images and patients behind the value.

    Returns
    -------
    `{"value", "low", "high", "n", "patients", "method"}`, and a `note` where there is something to say.
    """
    found = {"value": None, "low": None, "high": None, "n": int(n), "patients": int(patients), "method": ""}
    if np.isnan(value):
        return found | {"note": note or "not estimable: no case"}
    found["value"] = round(float(value), 6)
    if ends is not None:
        # an interval from few draws can miss the value itself by a little
        low, high = min(ends[0], value), max(ends[1], value)
        found |= {"low": round(float(low), 6), "high": round(float(high), 6), "method": method}
    return found | ({"note": note} if note else {})


def wilson_estimate(
    value: float,
    left_out: np.ndarray,
    strata: np.ndarray,
    n: int,
    patients: int,
    limits: tuple[float, float] = (0.0, 1.0),
    counted: float | None = None,
    note: str = "",
) -> dict:
    """Value between two limits with Wilson's interval on the effective number of patients.

    Parameters
    ----------
    left_out, strata
        As in `jackknife_variance`.
    counted
        Patients that the value would rest on were it a share of them; default: `patients`.
    """
    variance = jackknife_variance(left_out, strata)
    if np.isnan(value):
        return estimate(value, None, n, patients, WILSON)
    low, high, _ = effective_wilson(value, variance, max(1.0, counted or patients), limits)
    if np.isnan(variance):
        note = f"each patient counts as one: all of {counted or patients:.3g} must stay for a value"
    return estimate(value, (low, high), n, patients, WILSON, note)
