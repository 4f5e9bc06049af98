"""McNemar against the binomial test, and clustered DeLong against pairs of images and simulated nulls."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mammolib import paired_tests

KNOWN = {"split": "test", "fold": -1}


def kernel(one, other):
    """1 where an image with the finding scores above one without, 1/2 for equal ones."""
    return float(one > other) + 0.5 * (one == other)


def by_pairs(case, score, patient):
    """Sums over a patient's images (with, without) of Obuchowski's components, less the area times their number."""
    with_it, without = score[case], score[~case]
    area = np.mean([[kernel(a, b) for b in without] for a in with_it])
    components = []
    for one in np.unique(patient):
        mine = patient == one
        x = sum(np.mean([kernel(a, b) for b in without]) - area for a in score[mine & case])
        y = sum(np.mean([kernel(a, b) for a in with_it]) - area for b in score[mine & ~case])
        components.append((x, y))
    return area, np.array(components)


def obuchowski_by_pairs(case, first, second, patient):
    """The paper's variances and covariance of two areas, each from its own sums of squares and products."""
    both = [by_pairs(case, score, patient) for score in (first, second)]
    m, n = case.sum(), (~case).sum()
    i10, i01, i = (len(np.unique(patient[side])) for side in (case, ~case, case | True))

    def covariance(one, other):
        (x, y), (u, v) = one.T, other.T
        s10, s01 = i10 / ((i10 - 1) * m) * (x * u).sum(), i01 / ((i01 - 1) * n) * (y * v).sum()
        s11, s11_turned = (i / (i - 1) * (a * b).sum() for a, b in ((x, v), (u, y)))
        return s10 / m + s01 / n + (s11 + s11_turned) / (m * n)

    (area, a), (other_area, b) = both
    return area - other_area, np.sqrt(covariance(a, a) + covariance(b, b) - 2 * covariance(a, b))


def scores(patients, views, mixed, seed, within=0.8):
    """Two equally good models; `mixed`: a patient has images with and without the finding."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), views)
    case = np.arange(len(patient)) % 2 == 0 if mixed else patient % 3 == 0
    shared = rng.normal(size=patients)[patient]
    own = [rng.normal(size=patients)[patient] * within**0.5 for _ in range(2)]
    return case, *(case + shared + one + rng.normal(size=len(case)) * (1 - within) ** 0.5 for one in own), patient


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("views", [1, 2, 3])
def test_clustered_delong_equals_pairs_of_images(mixed, views):
    case, first, second, patient = scores(18, views, mixed, seed=views)
    first = np.round(first)  # ties
    found = paired_tests.clustered_delong(case, first, second, patient)
    assert found == pytest.approx(obuchowski_by_pairs(case, first, second, patient))


def test_with_one_image_a_patient_it_is_delongs():
    """DeLong's variance from the covariances of the components of each image, by NumPy."""
    case, first, second, patient = scores(40, 1, False, seed=1)
    rows = [[[kernel(a, b) for b in score[~case]] for a in score[case]] for score in (first, second)]
    v10, v01 = (np.mean(rows, axis=axis) for axis in (2, 1))
    matrix = np.cov(v10) / case.sum() + np.cov(v01) / (~case).sum()
    variance = matrix[0, 0] + matrix[1, 1] - 2 * matrix[0, 1]
    areas = np.mean(rows, axis=(1, 2))
    found = paired_tests.clustered_delong(case, first, second, patient)
    assert found == pytest.approx((areas[0] - areas[1], np.sqrt(variance)))


def test_with_correlated_views_only_patients_as_units_err_in_five_of_a_hundred():
    errs = []
    for seed in range(400):
        case, first, second, patient = scores(60, 2, False, seed)
        found = [paired_tests.clustered_delong(case, first, second, unit) for unit in (patient, np.arange(120))]
        errs.append([2 * stats.norm.sf(abs(value) / error) < 0.05 for value, error in found])
    clustered, by_image = np.mean(errs, axis=0)
    assert 0.02 < clustered < 0.083  # 0.05 and three standard errors of 400
    assert by_image > 0.10  # 0.15 in 1,000


def table_of(labels, patients, *models):
    known = pd.DataFrame({"image_id": [f"i{i}" for i in range(len(labels))], "patient": list(patients)})
    known = known.assign(label=list(labels), **KNOWN)
    return [known.assign(p_w=model, p_x=1 - np.array(model)) for model in models]


def test_mcnemar_counts_patients_by_their_mean_probabilities():
    """a: views of one label, pooled. b: two labels, each has to be right. c and d: one view."""
    first, second = table_of("wwwxwx", "aabbcd", [0.9, 0.4, 0.9, 0.1, 0.9, 0.9], [0.6, 0.3, 0.9, 0.6, 0.8, 0.8])
    found = paired_tests.mcnemar_test(first, second, ["w", "x"])
    p = stats.binomtest(2, 2).pvalue
    assert found == {"patients": 4, "both": 1, "first_only": 2, "second_only": 0, "neither": 1, "p": p}
    turned = paired_tests.mcnemar_test(second, first.iloc[::-1], ["w", "x"])
    assert (turned["second_only"], turned["p"]) == (2, p)
    assert paired_tests.mcnemar_test(first, first, ["w", "x"])["p"] == 1


def test_mcnemar_equals_the_binomial_test():
    rng = np.random.default_rng(5)
    labels, names = rng.choice(["w", "x"], 80), [f"p{i}" for i in range(80)]
    skilled = np.where(labels == "w", 0.9, 0.1)
    skilled[:8] = 1 - skilled[:8]
    first, second = table_of(labels, names, skilled, rng.random(80))
    found = paired_tests.mcnemar_test(first, second, ["w", "x"])
    b, c = found["first_only"], found["second_only"]
    assert found["p"] == pytest.approx(stats.binomtest(b, b + c).pvalue)
    assert found["p"] < 0.001, "a model at chance is told from a skilled one"


def test_delong_has_an_estimate_and_holm_for_each_class():
    rng = np.random.default_rng(2)
    truth = np.repeat(np.arange(60) % 3, 2)
    known = pd.DataFrame({"image_id": range(120), "patient": np.repeat(np.arange(60), 2)}).astype(str)
    known = known.assign(label=np.array(["w", "x", "y"])[truth], **KNOWN)
    first, second = known.copy(), known.copy()
    for table, skill in ((first, 2.0), (second, 0.0)):
        values = np.exp(rng.normal(size=(120, 3)) + skill * np.eye(3)[truth])
        table[["p_w", "p_x", "p_y"]] = values / values.sum(1, keepdims=True)
    found = paired_tests.delong_test(first, second, ["w", "x", "y"])
    for entry in found.values():
        assert 0 < entry["low"] < entry["value"] < entry["high"]
        assert entry["p"] <= entry["p_holm"] < 0.001
        assert (entry["n"], entry["patients"]) == (120, 60)
    turned = paired_tests.delong_test(second, first, ["w", "x", "y"])
    assert turned["x"]["value"] == -found["x"]["value"]
    assert turned["x"]["p"] == pytest.approx(found["x"]["p"])
    same = paired_tests.delong_test(first, first, ["w", "x", "y"])["w"]
    assert (same["value"], same["low"], same["p"]) == (0, None, None)
    assert same["note"] == "interval not estimable: all patients agree"
    few = known["label"].ne("y") | known["patient"].eq("2")
    found = paired_tests.delong_test(first[few], second[few], ["w", "x", "y"])
    assert found["y"]["note"] == "not estimable: fewer than two patients with, or without"
    assert found["y"]["p_holm"] is None
