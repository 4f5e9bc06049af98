"""The patient bootstrap against a slow loop, SciPy's bootstrap and Wilson's closed form."""

import time

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as oracle

from mammolib import bootstrap
from mammolib.predictions import as_arrays

CLASSES = ["x", "y", "z"]


def predictions(patients=60, views=2, skill=1.5, seed=0, classes=CLASSES):
    """Predictions table with correlated views; `skill` 0 is a model at chance."""
    rng = np.random.default_rng(seed)
    k = len(classes)
    truth = np.repeat(np.arange(patients) % k, views)
    shared = np.repeat(rng.normal(size=(patients, k)), views, axis=0)
    scores = np.exp(shared + rng.normal(size=(len(truth), k)) * 0.5 + skill * np.eye(k)[truth])
    table = pd.DataFrame(scores / scores.sum(1, keepdims=True), columns=[f"p_{name}" for name in classes])
    table.insert(0, "image_id", [f"i{number:05d}" for number in range(len(truth))])
    table.insert(1, "patient", [f"p{number:05d}" for number in np.repeat(np.arange(patients), views)])
    table.insert(2, "label", np.array(classes)[truth])
    return table.assign(split="test", fold=-1)


def test_estimates_equal_a_slow_loop_over_scikit_learn():
    table = predictions(patients=24)
    truth, probabilities, patient = as_arrays(table, CLASSES)
    predicted = probabilities.argmax(1)
    drawn = {"accuracy": [], "balanced_accuracy": [], "macro_f1": [], "kappa": [], "macro_auc": [], "log_loss": []}
    strata = bootstrap.patient_strata(truth, patient)
    for weights in np.concatenate(list(bootstrap.patient_weights(strata, 200, 5, len(table)))):
        rows = np.repeat(np.arange(len(truth)), weights[patient].astype(int))
        drawn["accuracy"].append(oracle.accuracy_score(truth[rows], predicted[rows]))
        drawn["balanced_accuracy"].append(oracle.balanced_accuracy_score(truth[rows], predicted[rows]))
        drawn["macro_f1"].append(oracle.f1_score(truth[rows], predicted[rows], average="macro"))
        drawn["kappa"].append(oracle.cohen_kappa_score(truth[rows], predicted[rows]))
        drawn["macro_auc"].append(oracle.roc_auc_score(truth[rows], probabilities[rows], multi_class="ovr"))
        drawn["log_loss"].append(oracle.log_loss(truth[rows], probabilities[rows]))
    found = bootstrap.evaluate(table, CLASSES, False, 200, 5)
    found |= found["calibration"]
    for name, values in drawn.items():
        low, high = np.percentile(values, [2.5, 97.5])
        assert (found[name]["low"], found[name]["high"]) == pytest.approx((low, high), abs=1e-6), name
    assert found["correct"] == (truth == predicted).sum()
    assert found["accuracy"]["n"] == 48
    assert found["accuracy"]["patients"] == 24


def test_draws_keep_the_number_of_patients_of_each_class():
    strata = np.repeat([0, 1, 2], [5, 1, 9])
    weights = np.concatenate(list(bootstrap.patient_weights(strata, 50, 1)))
    assert weights.shape == (50, 15)
    for stratum, count in enumerate([5, 1, 9]):
        assert (weights[:, strata == stratum].sum(1) == count).all()


def test_one_class_of_single_images_equals_scipys_bootstrap():
    table = predictions(patients=90, views=1, seed=3)
    found = bootstrap.evaluate(table, CLASSES, False, 8000, 1)["one_vs_rest"]["x"]["sensitivity"]
    truth, probabilities, _ = as_arrays(table, CLASSES)
    right = (probabilities.argmax(1) == truth)[truth == 0].astype(float)
    other = stats.bootstrap((right,), np.mean, method="percentile", n_resamples=8000, rng=2).confidence_interval
    # 30 images: a draw's sensitivity moves in steps of 1/30, and two Monte Carlo runs may end one step apart
    assert (found["low"], found["high"]) == pytest.approx((other.low, other.high), abs=1 / 30 + 1e-9)


def test_copies_of_an_image_tell_nothing_new():
    single = predictions(views=1)
    twice = pd.concat([single, single.assign(image_id=single["image_id"] + "b")]).sort_values("image_id")
    one, two = (bootstrap.evaluate(table, CLASSES, False, 300, 4) for table in (single, twice))
    for name in ("accuracy", "kappa", "macro_auc", "macro_f1"):
        assert one[name]["low"] == pytest.approx(two[name]["low"], abs=2e-6)
        assert one[name]["high"] == pytest.approx(two[name]["high"], abs=2e-6)
    assert two["accuracy"]["n"] == 2 * two["accuracy"]["patients"]


def test_class_names_and_row_order_do_not_matter():
    table = predictions()
    names = dict(zip(CLASSES, ["s", "r", "t"], strict=True))
    renamed = table.rename(columns={f"p_{a}": f"p_{b}" for a, b in names.items()}).assign(
        label=table["label"].map(names)
    )
    a = bootstrap.evaluate(table, CLASSES, True, 200, 4)
    b = bootstrap.evaluate(renamed, list(names.values()), True, 200, 4)
    assert a["kappa"] == b["kappa"]
    shuffled = bootstrap.evaluate(table.sample(frac=1, random_state=1), CLASSES, True, 200, 4)
    assert shuffled["kappa"]["value"] == a["kappa"]["value"]


@pytest.mark.parametrize(("right", "n"), [(0, 7), (62, 131), (22, 22)])
def test_wilson_equals_scipys(right, n):
    other = stats.binomtest(right, n).proportion_ci(method="wilson")
    assert bootstrap.wilson(right / n, n) == pytest.approx((other.low, other.high))


def all_estimates(results):
    for value in results.values():
        if isinstance(value, dict):
            yield from [value] if "low" in value else all_estimates(value)


@pytest.mark.parametrize("case", ["perfect", "one class predicted", "class without a case", "two patients"])
def test_no_interval_has_zero_width(case):
    table = predictions()
    columns = [f"p_{name}" for name in CLASSES]
    if case == "perfect":
        table[columns] = np.eye(3)[as_arrays(table, CLASSES)[0]]
    elif case == "one class predicted":
        table[columns] = [0.5, 0.3, 0.2]
    elif case == "class without a case":
        table = table[table["label"] != "z"].reset_index(drop=True)
    else:
        table = table.iloc[[0, 2]].reset_index(drop=True)
    found = bootstrap.evaluate(table, CLASSES, False, 200, 0)
    for entry in all_estimates(found):
        if entry["value"] is None:
            assert "not estimable" in entry["note"]
        elif entry["low"] is None:
            assert "interval not estimable" in entry["note"]
        else:
            assert entry["low"] <= entry["value"] <= entry["high"]
            assert entry["high"] - entry["low"] > 1e-3
    if case == "perfect":
        assert found["accuracy"]["low"] == pytest.approx(bootstrap.wilson(1.0, 60)[0], abs=1e-6)  # patients, not images
        assert found["accuracy"]["note"] == "Wilson interval on 60 patients"
        assert found["kappa"]["note"] == "Wilson interval, as of a share between -1 and 1, on 60 patients"
        assert found["one_vs_rest"]["x"]["auc"]["low"] == pytest.approx(bootstrap.wilson(1.0, 20)[0], abs=1e-6)
    if case == "class without a case":
        assert found["one_vs_rest"]["z"]["sensitivity"]["value"] is None
        assert found["macro_auc"]["value"] is None


@pytest.mark.parametrize(("patients", "classes"), [(66, 3), (9, 3), (20, 2)])
def test_a_constant_answer_is_as_uncertain_as_its_patients_are_few(patients, classes):
    """Drawn within classes, the share of one class hardly varies; one patient with a single image makes it vary."""
    names = CLASSES[:classes]
    table = predictions(patients, classes=names).iloc[:-1]
    table[[f"p_{name}" for name in names]] = 0.2 + np.eye(classes)[0] * (1 - 0.2 * classes)
    found = bootstrap.evaluate(table, names, False, 1000, 0)
    assert found["accuracy"] == bootstrap.accuracy_estimate(table, names, 1000, 0)
    for entry in (found["accuracy"], found["one_vs_rest"]["x"]["accuracy"], found["one_vs_rest"]["x"]["ppv"]):
        ends = bootstrap.wilson(entry["value"], patients)
        assert (entry["low"], entry["high"]) == pytest.approx(ends, abs=1e-5)
        assert entry["note"].startswith(f"Wilson interval on {patients} patients")
    mean = found["mean_one_vs_rest_accuracy"]
    ends = (1 - 2 * (1 - found["accuracy"][end]) / classes for end in ("low", "high"))
    assert (mean["low"], mean["high"]) == pytest.approx(tuple(ends), abs=1e-5)  # the same information
    assert found["kappa"]["low"] < 0 < found["kappa"]["high"], "as the accuracy, it does not exclude chance"


def test_ordinary_intervals_are_the_bootstraps():
    found = bootstrap.evaluate(predictions(66).iloc[:-1], CLASSES, False, 1000, 0)
    assert not any("note" in entry for entry in all_estimates(found))


def test_views_of_a_patient_are_averaged():
    """Patient a: one view right, one wrong, on average right; b: wrong on average; c: one view, right."""
    table = pd.DataFrame({"patient": list("aabbc"), "label": list("xxyyz"), "image_id": list("12345")})
    table[["p_x", "p_y", "p_z"]] = [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.9, 0.1, 0], [0.4, 0.6, 0], [0, 0, 1]]
    found = bootstrap.patient_level(table.assign(split="test", fold=-1), CLASSES, 100, 0)
    assert found["accuracy"]["value"] == found["balanced_accuracy"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    assert found["accuracy"]["n"] == found["accuracy"]["patients"] == 3


def test_intervals_tell_skill_from_chance():
    """At chance the interval of the AUC holds 0.5 and that of kappa 0; with skill neither does."""
    chance, skilled = (bootstrap.evaluate(predictions(200, skill=s), CLASSES, False, 500, 0) for s in (0.0, 1.5))
    for name, nothing in (("macro_auc", 0.5), ("kappa", 0.0), ("accuracy", 1 / 3)):
        assert chance[name]["low"] < nothing < chance[name]["high"]
        assert skilled[name]["low"] > nothing


def test_correlated_views_widen_the_interval():
    table = predictions(patients=150, seed=2)
    alone = table.assign(patient=table["image_id"])
    by_patient, by_image = (bootstrap.evaluate(t, CLASSES, False, 1000, 0)["accuracy"] for t in (table, alone))
    assert by_patient["high"] - by_patient["low"] > 1.15 * (by_image["high"] - by_image["low"])


def test_intervals_resample_patients_not_images():
    """Ten patients of eight equal images: the interval is that of ten values, not of eighty."""
    values = np.repeat(np.random.default_rng(4).random(10), 8)
    patients = np.repeat(np.arange(10), 8)
    found = bootstrap.mean_estimate(values, patients, draws=4000, seed=1)
    half = (found["high"] - found["low"]) / 2
    assert half == pytest.approx(1.96 * values.std() / np.sqrt(10), rel=0.1)
    assert (found["n"], found["patients"]) == (80, 10)
    assert found["low"] < found["value"] < found["high"]


def test_one_accuracy_alone_is_that_of_all_metrics():
    table = predictions()
    assert (
        bootstrap.accuracy_estimate(table, CLASSES, 500, 3)
        == bootstrap.evaluate(table, CLASSES, False, 500, 3)["accuracy"]
    )


def test_two_thousand_draws_of_131_images_are_quick():
    table = predictions(patients=66).iloc[:131]
    start = time.process_time()
    bootstrap.evaluate(table, CLASSES, False, 2000, 0)
    assert time.process_time() - start < 2  # seen: 0.3 s
