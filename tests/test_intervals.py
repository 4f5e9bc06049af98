"""Intervals against SciPy, closed forms and slow loops; what holds the truth how often is in benchmarks/coverage.py."""

import numpy as np
import pytest
from scipy import stats

from mammolib import intervals


@pytest.mark.parametrize(("right", "n"), [(0, 7), (62, 131), (22, 22)])
def test_wilson_equals_scipys(right, n):
    other = stats.binomtest(right, n).proportion_ci(method="wilson")
    assert intervals.wilson(right / n, n) == pytest.approx((other.low, other.high))


def leave_out(values):
    return (values.sum() - values) / (len(values) - 1)


def test_jackknife_of_a_mean_is_the_textbook_variance():
    values = np.random.default_rng(0).normal(size=30)
    found = intervals.jackknife_variance(leave_out(values), np.zeros(30, int))
    assert found == pytest.approx(values.var(ddof=1) / 30)


def test_jackknife_within_classes_equals_a_slow_loop():
    values, strata = np.random.default_rng(1).normal(size=12), np.repeat([0, 1, 2], [3, 4, 5])
    left_out, variance = leave_out(values), 0
    for c, n in enumerate((3, 4, 5)):
        rest = left_out[strata == c]
        variance += sum((one - rest.mean()) ** 2 for one in rest) * (n - 1) / n
    assert intervals.jackknife_variance(left_out, strata) == pytest.approx(variance)


def test_the_only_patient_of_a_class_is_measured_from_all():
    left_out = np.array([0.5, 0.6, 0.4])
    of_two, alone = 2 * (0.05 / 2) ** 2 * 2, (0.1 * 2 / 3) ** 2  # a mean of 0.55, and of 0.5
    found = intervals.jackknife_variance(left_out, np.array([0, 0, 1]))
    assert found == pytest.approx(of_two + alone)
    assert np.isnan(intervals.jackknife_variance(np.array([0.5, np.nan, 0.5]), np.array([0, 0, 0])))


@pytest.mark.parametrize("views", [1, 2, 4])
def test_copies_of_views_count_once_and_independent_ones_each(views):
    """2,000 patients: the effective number is that of patients where views are copies, of images where they are not."""
    rng = np.random.default_rng(views)
    single = (rng.random(2000) < 0.7).astype(float)
    apart = (rng.random((2000, views)) < 0.7).mean(1)
    for values, expected in ((single, 2000), (apart, 2000 * views)):
        variance = intervals.jackknife_variance(leave_out(values), np.zeros(2000, int))
        *_, n = intervals.effective_wilson(values.mean(), variance, 2000)
        assert n == pytest.approx(expected, rel=0.1)  # the standard error of a variance of 2,000 is 3 %


def test_without_an_error_each_patient_counts_as_one():
    low, high, n = intervals.effective_wilson(1.0, 0.0, 40)
    assert (low, high, n) == pytest.approx((*intervals.wilson(1.0, 40), 40))
    low, high, n = intervals.effective_wilson(0.5, np.nan, 40, (-1.0, 1.0))
    assert (low, high) == pytest.approx([2 * end - 1 for end in intervals.wilson(0.75, 40)])


def test_one_error_more_moves_the_interval_by_little():
    """No switch: from no error to a few the lower end falls by steps like those of Wilson's on as many patients."""
    n, ends = 100, []
    for errors in range(5):
        values = (np.arange(n) >= errors).astype(float)
        variance = intervals.jackknife_variance(leave_out(values), np.zeros(n, int))
        ends.append(intervals.effective_wilson(values.mean(), variance, n)[0])
    plain = [intervals.wilson(1 - errors / n, n)[0] for errors in range(5)]
    assert ends == pytest.approx(plain, abs=0.002)  # a jackknife's variance is n / (n - 1) that of a share


@pytest.mark.parametrize("samples", [1, 2])
def test_bca_equals_scipys(samples):
    rng = np.random.default_rng(5)
    data = [rng.gamma(1.5, size=n) for n in (40, 25)[:samples]]

    def statistic(*parts, axis=-1):
        return sum(np.mean(part**2, axis=axis) for part in parts)

    other = stats.bootstrap(data, statistic, method="BCa", n_resamples=9999, rng=6, vectorized=True)
    strata = np.repeat(np.arange(samples), [len(part) for part in data])
    left_out = [
        statistic(*(np.delete(part, i) if own == number else part for own, part in enumerate(data)))
        for number, sample in enumerate(data)
        for i in range(len(sample))
    ]
    found = intervals.bca(statistic(*data), other.bootstrap_distribution, np.array(left_out), strata)
    assert found == pytest.approx(tuple(other.confidence_interval), rel=1e-6)  # the same draws
    assert found != pytest.approx(intervals.percentile(other.bootstrap_distribution), rel=0.01)


def test_ratio_and_error_equal_a_slow_loop():
    rng = np.random.default_rng(1)
    strata, above, below = np.repeat([0, 1], [6, 9]), rng.random(15), rng.random(15) + 0.5
    weights = rng.multinomial(15, np.full(15, 1 / 15), 4)
    ratios, errors = intervals.ratio_and_error(weights.astype(float), above, below, strata)
    for row, ratio, error in zip(weights, ratios, errors, strict=True):
        a, b, s = (np.repeat(part, row) for part in (above, below, strata))
        assert ratio == pytest.approx(a.sum() / b.sum())
        # as a sample with the numbers of each class that the strata have, which a draw within classes keeps
        size = {0: 6, 1: 9}
        rest = a - ratio * b
        variance = 0
        for c in (0, 1):
            inside = rest[s == c]
            variance += ((inside**2).sum() - inside.sum() ** 2 / size[c]) * size[c] / (size[c] - 1)
        assert error == pytest.approx(np.sqrt(max(variance, 0)) / b.sum())


def test_log_bootstrap_t_of_ordinary_draws_is_near_the_normal_interval_of_the_logarithm():
    rng = np.random.default_rng(2)
    error = 0.05
    found = intervals.log_bootstrap_t(1.0, error, np.exp(rng.normal(0, error, 20_000)), np.full(20_000, error))
    expected = np.exp([-1.96 * error, 1.96 * error])
    assert found == pytest.approx(expected, rel=0.01)  # draws' errors do not grow with them here: skewed by error^2


def test_an_estimate_without_a_value_says_why():
    assert intervals.estimate(np.nan, None, 0, 0, "")["note"] == "not estimable: no case"
    found = intervals.estimate(0.5, (0.6, 0.7), 3, 2, "m")
    assert (found["low"], found["value"], found["high"], found["method"]) == (0.5, 0.5, 0.7, "m")
