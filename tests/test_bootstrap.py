"""Every metric's estimate against a slow loop over scikit-learn, and what must hold whatever the table."""

import time

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as oracle

from mammolib import bootstrap, intervals
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


def by_scikit_learn(truth, predicted, probabilities, ordered=False):
    """Overall metrics of one table."""
    k = probabilities.shape[1]
    wanted = np.eye(k)[truth]
    return {
        "accuracy": oracle.accuracy_score(truth, predicted),
        "balanced_accuracy": oracle.balanced_accuracy_score(truth, predicted),
        "macro_f1": oracle.f1_score(truth, predicted, average="macro"),
        "kappa": oracle.cohen_kappa_score(truth, predicted, weights="quadratic" if ordered else None),
        "mcc": oracle.matthews_corrcoef(truth, predicted),
        "macro_auc": oracle.roc_auc_score(wanted, probabilities, average="macro"),
        "macro_average_precision": oracle.average_precision_score(wanted, probabilities, average="macro"),
        "brier": oracle.brier_score_loss(truth, probabilities, labels=range(k), scale_by_half=False),
        "log_loss": oracle.log_loss(truth, probabilities, labels=range(k)),
    }


@pytest.mark.parametrize(("k", "ordered"), [(2, False), (3, True), (4, False)])
def test_estimates_equal_a_slow_loop_over_scikit_learn(k, ordered):
    """Values, and intervals: Wilson's on the variance of the values without each patient in turn."""
    names = [f"c{number}" for number in range(k)]
    table = predictions(patients=8 * k + 1, classes=names).iloc[:-1]
    truth, probabilities, patient = as_arrays(table, names)
    predicted, n = probabilities.argmax(1), patient.max() + 1
    whole = by_scikit_learn(truth, predicted, probabilities, ordered)
    strata = bootstrap.patient_strata(truth, patient)
    left_out = [
        by_scikit_learn(truth[r], predicted[r], probabilities[r], ordered) for r in (patient != p for p in range(n))
    ]
    found = bootstrap.evaluate(table, names, ordered, 200, 5)
    assert found["correct"] == (truth == predicted).sum()
    assert (found["accuracy"]["n"], found["accuracy"]["patients"]) == (16 * k + 1, 8 * k + 1)
    sizes = np.bincount(strata)
    for name, value in whole.items():
        entry = (found | found["calibration"])[name]
        assert entry["value"] == pytest.approx(value, abs=1e-6), name  # rounded to six digits
        if name == "log_loss":
            continue
        bottom, top = {"kappa": (-1, 1), "mcc": (-1, 1), "brier": (0, 2)}.get(name, (0, 1))
        variance = 0
        for c in range(k):
            values = np.array([left_out[p][name] for p in range(n) if strata[p] == c])
            variance += ((values - values.mean()) ** 2).sum() * (len(values) - 1) / len(values)
        place, patients = (value - bottom) / (top - bottom), n
        if name in ("balanced_accuracy", "macro_f1", "macro_auc", "macro_average_precision"):
            patients = k**2 / (1 / sizes).sum()
        unit = variance / (top - bottom) ** 2 * patients
        effect = (unit * patients + 0.25) / (place * (1 - place) * patients + 0.25)
        ends = [bottom + (top - bottom) * end for end in intervals.wilson(place, patients / effect)]
        assert (entry["low"], entry["high"]) == pytest.approx(ends, abs=2e-6), name


def test_draws_of_all_metrics_equal_a_slow_loop_over_scikit_learn():
    table = predictions(patients=24)
    truth, probabilities, patient = as_arrays(table, CLASSES)
    strata = bootstrap.patient_strata(truth, patient)
    weights = np.concatenate(list(bootstrap.patient_weights(strata, 20, 5, len(table))))
    found = bootstrap.metrics_of_weights(truth, probabilities, patient, False)(weights)
    for draw, row in enumerate(weights):
        rows = np.repeat(np.arange(len(truth)), row[patient].astype(int))
        one = by_scikit_learn(truth[rows], probabilities.argmax(1)[rows], probabilities[rows])
        assert {name: found[name][draw] for name in one} == pytest.approx(one)


def test_draws_keep_the_number_of_patients_of_each_class():
    strata = np.repeat([0, 1, 2], [5, 1, 9])
    weights = np.concatenate(list(bootstrap.patient_weights(strata, 50, 1)))
    assert weights.shape == (50, 15)
    for stratum, count in enumerate([5, 1, 9]):
        assert (weights[:, strata == stratum].sum(1) == count).all()


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
    assert list(all_estimates(a)) == list(all_estimates(b))
    shuffled = bootstrap.evaluate(table.sample(frac=1, random_state=1), CLASSES, True, 200, 4)
    for one, other in zip(all_estimates(a), all_estimates(shuffled), strict=True):
        assert one["value"] == pytest.approx(other["value"], abs=1e-6)
        if one["method"] == intervals.WILSON:  # nothing drawn
            assert (one["low"], one["high"]) == pytest.approx((other["low"], other["high"]), abs=2e-6)


def test_a_patient_again_as_another_moves_shares_as_counting_does():
    table = predictions()
    once = table[table["patient"] == "p00003"]
    again = once.assign(patient="other", image_id=once["image_id"] + "b")
    before, after = (bootstrap.evaluate(t, CLASSES, False, 200, 0) for t in (table, pd.concat([table, again])))
    truth, probabilities, _ = as_arrays(once, CLASSES)
    right = int((probabilities.argmax(1) == truth).sum())
    assert after["accuracy"]["value"] == pytest.approx((before["correct"] + right) / 122, abs=1e-6)
    x = [found["one_vs_rest"]["x"]["sensitivity"] for found in (before, after)]
    assert x[1]["value"] == pytest.approx((40 * x[0]["value"] + right) / 42, abs=1e-5)
    assert after["accuracy"]["patients"] == before["accuracy"]["patients"] + 1


def test_the_order_of_classes_turns_only_the_ordered_kappa():
    table = predictions(skill=0.7)
    a, b = (bootstrap.evaluate(table, names, True, 200, 4) for names in (CLASSES, ["y", "x", "z"]))
    assert a["kappa"]["value"] != b["kappa"]["value"]
    for name in ("accuracy", "mcc", "macro_f1", "macro_auc", "macro_average_precision"):
        assert a[name] == b[name]


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
        for name in ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc"):
            assert found[name]["low"] == pytest.approx(intervals.wilson(1.0, 60)[0], abs=1e-6)  # patients, not images
        assert found["mcc"]["low"] == pytest.approx(2 * intervals.wilson(1.0, 60)[0] - 1, abs=2e-6)
        counted = dict.fromkeys(("sensitivity", "ppv", "average_precision"), 20) | dict.fromkeys(("f1", "auc"), 160 / 3)
        for name, patients in counted.items():  # of 20 cases and 40 others: 4 x 20 x 40 / 60
            low = intervals.wilson(1.0, patients)[0]
            assert found["one_vs_rest"]["x"][name]["low"] == pytest.approx(low, abs=1e-6)
    if case == "class without a case":
        assert found["one_vs_rest"]["z"]["sensitivity"]["value"] is None
        assert found["macro_auc"]["value"] is None
    if case == "two patients":  # a class's value is gone with its only patient
        note = "each patient counts as one: all of 1 must stay for a value"
        assert found["one_vs_rest"]["x"]["sensitivity"]["note"] == note


@pytest.mark.parametrize("k", [2, 3, 4])
def test_a_constant_answer_is_surer_the_more_patients_there_are(k):
    """Drawn within classes its accuracy is known; that the next patient gets the same answer is not."""
    names = [f"c{number}" for number in range(k)]
    widths = []
    for patients in (3 * k, 30 * k):
        table = predictions(patients, classes=names).iloc[:-1]  # one patient with a single image
        table[[f"p_{name}" for name in names]] = 0.2 + np.eye(k)[0] * (1 - 0.2 * k)
        found = bootstrap.evaluate(table, names, False, 200, 0)
        assert found["accuracy"] == bootstrap.accuracy_estimate(table, names, 200, 0)
        assert found["accuracy"]["low"] < 1 / k < found["accuracy"]["high"]
        assert found["kappa"]["low"] < 0 < found["kappa"]["high"], "as the accuracy, it does not exclude chance"
        widths.append(found["accuracy"]["high"] - found["accuracy"]["low"])
    # one patient of whom nothing is known, a share of one half, moves the mean of n by about 1 / n
    assert widths[1] == pytest.approx(2 * 1.96 * 0.5 / (30 * k), rel=0.2)
    assert widths[0] > 3 * widths[1]


def test_mean_one_vs_rest_accuracy_tells_what_the_accuracy_does():
    found = bootstrap.evaluate(predictions(66).iloc[:-1], CLASSES, False, 200, 0)
    for end in ("value", "low", "high"):
        mean = found["mean_one_vs_rest_accuracy"][end]
        assert mean == pytest.approx(1 - 2 * (1 - found["accuracy"][end]) / 3, abs=2e-6)


def test_with_any_mix_of_classes_the_accuracy_is_less_sure_where_classes_differ():
    table = predictions(60, skill=0.0)
    truth = as_arrays(table, CLASSES)[0]
    table[[f"p_{name}" for name in CLASSES]] = np.eye(3)[np.where(truth == 0, 1, truth)]  # one class is never found
    within, free = bootstrap.evaluate(table, CLASSES, False, 200, 0), bootstrap.any_mix(table, CLASSES, 200, 0)
    assert free["accuracy"]["value"] == within["accuracy"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    low, high = intervals.wilson(2 / 3, 60)  # each patient counts as one: both of its images are right, or none is
    assert (free["accuracy"]["low"], free["accuracy"]["high"]) == pytest.approx(
        (low, high), abs=0.002
    )  # one is unknown
    assert within["accuracy"]["high"] - within["accuracy"]["low"] < 0.2 * (high - low), "certain within its classes"
    for end in ("value", "low", "high"):
        mean = free["mean_one_vs_rest_accuracy"][end]
        assert mean == pytest.approx(1 - 2 * (1 - free["accuracy"][end]) / 3, abs=2e-6)
    assert free["one_vs_rest"]["z"]["accuracy"]["value"] == 1


def test_every_estimate_says_how_its_interval_was_made():
    found = list(all_estimates(bootstrap.evaluate(predictions(66).iloc[:-1], CLASSES, False, 200, 0)))
    assert len(found) == 8 + 3 * 8 + 2
    assert {entry["method"] for entry in found} == {intervals.WILSON, intervals.LOG_T}
    assert not any("note" in entry for entry in found)
    good = bootstrap.evaluate(predictions(66, skill=5.0), CLASSES, False, 200, 0)
    assert good["macro_auc"]["value"] > 0.9
    assert good["macro_auc"]["note"] == good["one_vs_rest"]["y"]["auc"]["note"] == bootstrap.CAUTIOUS
    assert "note" not in good["accuracy"]


def few(labels="xxyyz"):
    """Patient a: one view right, one wrong, on average right; b: one of each, on average wrong; c: one view, right."""
    table = pd.DataFrame({"patient": list("aabbc"), "label": list(labels), "image_id": list("12345")})
    table[["p_x", "p_y", "p_z"]] = [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.9, 0.1, 0], [0.4, 0.6, 0], [0, 0, 1]]
    return table.assign(split="test", fold=-1)


def test_views_of_a_patient_are_averaged_and_vote():
    found = bootstrap.patient_level(few(), CLASSES, False, 100, 0)
    for judged in found.values():  # ties are broken by the mean, so two views say the same either way
        assert judged["accuracy"]["value"] == judged["balanced_accuracy"]["value"] == pytest.approx(2 / 3, abs=1e-6)
        assert judged["accuracy"]["n"] == judged["accuracy"]["patients"] == 3
    three = pd.concat([few(), few().iloc[[0]].assign(image_id="6", p_x=0.45, p_y=0.5, p_z=0.05)])
    found = bootstrap.patient_level(three, CLASSES, False, 100, 0)
    assert found["pooled"]["correct"] == 2, "a: means of 0.52, 0.40"
    assert found["vote"]["correct"] == 1, "a: two of three views say y"
    assert not {"macro_auc", "macro_average_precision", "calibration"} & set(found["vote"])
    assert not {"auc", "average_precision"} & set(found["vote"]["one_vs_rest"]["x"])
    assert {"kappa", "mcc", "macro_f1"} <= set(found["vote"])


def test_a_patient_with_two_labels_is_judged_once_a_label():
    found = bootstrap.patient_level(few("xyyyz"), CLASSES, False, 100, 0)
    for judged in found.values():
        assert (judged["n_images"], judged["n_patients"], judged["correct"]) == (4, 3, 3)


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


def test_a_mean_says_by_its_limits_how_its_interval_was_made():
    rng, patients = np.random.default_rng(3), np.repeat(np.arange(300), 2)
    values = rng.gamma(4, size=600)
    how = {"draws": 2000, "seed": 1}
    free = bootstrap.mean_estimate(values, patients, **how, limits=(0.0, np.inf))
    between = bootstrap.mean_estimate(values / 100, patients, **how)
    share = bootstrap.mean_estimate(values > 4, patients, **how, proportion=True)
    assert [found["method"] for found in (free, between, share)] == [intervals.LOG_T, intervals.BCA, intervals.WILSON]
    error = values.reshape(300, 2).mean(1).std(ddof=1) / np.sqrt(300)
    for found, scale in ((free, 1), (between, 100)):
        # 300 patients are many, so both are near the normal interval; 2,000 draws leave 5 % of a half-width open
        ends = (scale * found["low"], scale * found["high"])
        assert ends == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.2 * error)


@pytest.mark.parametrize(("limits", "known"), [((0.0, 1.0), True), ((-1.0, 1.0), True), ((0.0, np.inf), False)])
def test_a_mean_whose_draws_all_agree_is_wilsons_or_has_no_interval(limits, known):
    found = bootstrap.mean_estimate(np.full(20, 0.5), np.arange(20), 200, 0, limits=limits)
    assert found["value"] == 0.5
    assert "all draws agree" in found["note"]
    if known:
        bottom, top = limits
        ends = intervals.wilson((0.5 - bottom) / (top - bottom), 20)
        expected = [bottom + (top - bottom) * end for end in ends]
        assert (found["low"], found["high"]) == pytest.approx(expected, abs=1e-6)
    else:
        assert found["low"] is found["high"] is None


def test_one_accuracy_alone_is_that_of_all_metrics():
    table = predictions()
    assert (
        bootstrap.accuracy_estimate(table, CLASSES, 500, 3)
        == bootstrap.evaluate(table, CLASSES, False, 500, 3)["accuracy"]
    )


def test_131_images_are_quick():
    table = predictions(patients=66).iloc[:131]
    start = time.process_time()
    bootstrap.evaluate(table, CLASSES, False, 5000, 0)
    bootstrap.patient_level(table, CLASSES, False, 5000, 0)
    assert time.process_time() - start < 2  # seen: 0.1 s
