"""Metrics against scikit-learn and by hand; predictions.csv checked line by line."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as oracle

from mammolib import metrics
from mammolib.predictions import (
    cautions,
    check_predictions,
    predict_cohort,
    read_predictions,
    require_own_cohort,
    same_cohort,
)


def made_up(n=200, classes=3, skill=1.0, seed=0):
    """Truth, probabilities and integer weights; `skill` 0 is a model at chance."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    scores = np.exp(rng.normal(size=(n, classes)).round(1) + skill * np.eye(classes)[truth])
    return truth, scores / scores.sum(1, keepdims=True), rng.integers(0, 4, n).astype(float)


def weighted_confusion(truth, predicted, weights, k):
    matrix = np.zeros((k, k))
    np.add.at(matrix, (truth, predicted), weights)
    return matrix


@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize("ordered", [False, True])
def test_every_metric_equals_scikit_learn_with_weights(k, ordered):
    truth, probabilities, weights = made_up(classes=k, seed=k)
    predicted = metrics.predicted_class(probabilities)
    found = metrics.confusion_metrics(weighted_confusion(truth, predicted, weights, k)[None], ordered)
    w = {"sample_weight": weights}
    assert found["accuracy"][0] == pytest.approx(oracle.accuracy_score(truth, predicted, **w))
    assert found["balanced_accuracy"][0] == pytest.approx(oracle.balanced_accuracy_score(truth, predicted, **w))
    assert found["macro_f1"][0] == pytest.approx(oracle.f1_score(truth, predicted, average="macro", **w))
    kappa = oracle.cohen_kappa_score(truth, predicted, weights="quadratic" if ordered else None, **w)
    assert found["kappa"][0] == pytest.approx(kappa)
    assert found["mcc"][0] == pytest.approx(oracle.matthews_corrcoef(truth, predicted, **w))
    ranked = metrics.ranking_metrics(truth, probabilities, np.stack([weights, np.ones_like(weights)]))
    areas, precisions = ranked["class_auc"], ranked["class_average_precision"]
    for c in range(k):
        is_class, says = truth == c, predicted == c
        assert found["class_accuracy"][0, c] == pytest.approx(oracle.accuracy_score(is_class, says, **w))
        assert found["class_sensitivity"][0, c] == pytest.approx(oracle.recall_score(is_class, says, **w))
        assert found["class_specificity"][0, c] == pytest.approx(oracle.recall_score(~is_class, ~says, **w))
        assert found["class_ppv"][0, c] == pytest.approx(oracle.precision_score(is_class, says, **w))
        assert found["class_npv"][0, c] == pytest.approx(oracle.precision_score(~is_class, ~says, **w))
        assert found["class_f1"][0, c] == pytest.approx(oracle.f1_score(is_class, says, **w))
        assert areas[0, c] == pytest.approx(oracle.roc_auc_score(is_class, probabilities[:, c], **w))
        assert areas[1, c] == pytest.approx(oracle.roc_auc_score(is_class, probabilities[:, c]))
        for row, weighted in enumerate((w, {})):
            area = oracle.average_precision_score(is_class, probabilities[:, c], **weighted)
            assert precisions[row, c] == pytest.approx(area)
    assert ranked["macro_auc"] == pytest.approx(areas.mean(1))
    assert ranked["macro_average_precision"] == pytest.approx(precisions.mean(1))
    assert found["mean_one_vs_rest_accuracy"][0] == pytest.approx(1 - 2 * (1 - found["accuracy"][0]) / k)


def test_by_hand():
    found = metrics.confusion_metrics(np.array([[3.0, 1, 0], [1, 2, 1], [0, 2, 2]]))
    assert found["accuracy"] == pytest.approx(7 / 12)
    assert found["class_accuracy"] == pytest.approx([10 / 12, 7 / 12, 9 / 12])
    assert found["class_ppv"] == pytest.approx([3 / 4, 2 / 5, 2 / 3])
    assert found["kappa"] == pytest.approx((7 / 12 - 4 * 12 / 144) / (1 - 4 * 12 / 144))


def test_the_published_triple_fits_62_of_131():
    """A matrix with 62 of 131 right and the false alarms dealt out so that 92, 83 and 80 answers to yes or no are."""
    found = metrics.confusion_metrics(np.array([[20.0, 9, 10], [9, 21, 15], [11, 15, 21]]))
    assert found["accuracy"] * 131 == pytest.approx(62)
    assert found["class_accuracy"] * 131 == pytest.approx([92, 83, 80])
    assert found["mean_one_vs_rest_accuracy"] == pytest.approx(1 - 2 * (1 - 62 / 131) / 3)


def test_a_model_at_chance_shows_none_of_it():
    truth, probabilities, _ = made_up(n=6000, skill=0.0)
    found = metrics.confusion_metrics(weighted_confusion(truth, metrics.predicted_class(probabilities), 1.0, 3))
    assert found["accuracy"] == pytest.approx(1 / 3, abs=0.02)  # 3 standard errors of 6,000 are 0.018
    assert found["kappa"] == pytest.approx(0, abs=0.03)
    assert found["mcc"] == pytest.approx(0, abs=0.03)
    ranked = metrics.ranking_metrics(truth, probabilities)
    assert ranked["macro_auc"] == pytest.approx(0.5, abs=0.03)
    assert ranked["macro_average_precision"] == pytest.approx(1 / 3, abs=0.03), "the share of the class"


def test_mcc_by_hand_and_of_a_constant_answer():
    """Gorodkin's formula: (n * right - 48) / (n^2 - 48) where truth and answers have four of each class."""
    found = metrics.confusion_metrics(np.array([[3.0, 1, 0], [1, 2, 1], [0, 1, 3]]))
    assert found["mcc"] == pytest.approx((12 * 8 - 48) / (144 - 48))
    constant = metrics.confusion_metrics(np.array([[4.0, 0, 0], [4, 0, 0], [4, 0, 0]]))
    assert (constant["mcc"], constant["kappa"]) == (0, 0)
    assert np.isnan(metrics.confusion_metrics(np.array([[4.0, 1], [0, 0]]))["mcc"]), "one class: nothing to correlate"


def test_draws_of_patients_equal_draws_of_their_images():
    truth, probabilities, _ = made_up(seed=7)
    patient = np.random.default_rng(8).integers(0, 60, len(truth))
    weights = np.random.default_rng(9).integers(0, 3, (5, 60)).astype(float)
    by_patient = metrics.ranking_metrics(truth, probabilities, weights, patient)
    by_image = metrics.ranking_metrics(truth, probabilities, weights[:, patient])
    for name, values in by_patient.items():
        assert values == pytest.approx(by_image[name]), name


def test_missing_and_unpredicted_classes_are_not_estimable():
    found = metrics.confusion_metrics(np.array([[3.0, 1, 0], [2, 2, 0], [0, 0, 0]]))
    assert np.isnan(found["class_sensitivity"][2])
    assert np.isnan(found["class_ppv"][2])
    assert found["balanced_accuracy"] == pytest.approx((0.75 + 0.5) / 2)
    one_class = metrics.ranking_metrics(np.array([0, 0]), np.array([[0.6, 0.4], [0.5, 0.5]]))
    assert all(np.isnan(values).all() for values in one_class.values())


@pytest.mark.parametrize("k", [2, 3])
def test_image_scores_average_to_scikit_learns(k):
    truth, probabilities, _ = made_up(classes=k)
    scores = metrics.image_scores(truth, probabilities)
    assert scores["brier"].mean() == pytest.approx(oracle.brier_score_loss(truth, probabilities, scale_by_half=False))
    assert scores["log_loss"].mean() == pytest.approx(oracle.log_loss(truth, probabilities))


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "image_id": ["a1", "a2", "b1"],
            "patient": ["a", "a", "b"],
            "split": "test",
            "fold": -1,
            "label": ["x", "x", "y"],
            "p_x": [0.7, 0.4, 0.2],
            "p_y": [0.3, 0.6, 0.8],
        }
    )


@pytest.mark.parametrize(
    ("column", "row", "value", "says"),
    [
        ("p_x", 0, 1.3, "a1 are"),
        ("p_x", 1, float("nan"), "a2 are"),
        ("p_y", 2, 0.1, "b1 are .*sum to 1"),
        ("label", 0, "z", "label: 'z' is unknown; allowed are x, y"),
        ("split", 1, "validation", "split: 'validation' is unknown; allowed are test, out_of_fold"),
        ("image_id", 1, "a1", "a1 stands there twice"),
        ("patient", 2, "a", "one patient only"),
        ("patient", 2, None, "column patient has empty cells"),
    ],
)
def test_bad_predictions_are_named(table, tmp_path, column, row, value, says):
    table.loc[row, column] = value
    table.to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(ValueError, match=rf"p\.csv: .*{says}"):
        read_predictions(tmp_path / "p.csv", ["x", "y"])


@pytest.mark.parametrize("fold", ["0.5", "inf", "1e300", "-2", "first"])
def test_a_fold_that_is_no_whole_number_is_named(table, tmp_path, fold):
    table.astype({"fold": object}).assign(fold=[fold, *[0] * (len(table) - 1)]).to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(ValueError, match=r"p\.csv: fold is '.*'; allowed is a whole number from 0"):
        read_predictions(tmp_path / "p.csv", ["x", "y"])


@pytest.mark.parametrize("content", ["", "image_id,patient\n1,2\n3,4,5\n", "image_id\n\u786c\n"])
def test_a_file_that_is_no_csv_is_named_in_one_line(tmp_path, content):
    (tmp_path / "p.csv").write_bytes(content.encode("cp932"))
    with pytest.raises(ValueError, match=r"p\.csv: not ") as caught:
        read_predictions(tmp_path / "p.csv", ["x", "y"])
    assert len(str(caught.value).splitlines()) == 1


def test_bad_columns_and_other_cohorts_are_named(table, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv: no such file"):
        read_predictions(tmp_path / "none.csv", ["x", "y"])
    with pytest.raises(ValueError, match="no column p_z"):
        check_predictions(table, ["x", "y", "z"])
    with pytest.raises(ValueError, match="p_y belongs to no class"):
        check_predictions(table.assign(p_x=1.0), ["x"])
    with pytest.raises(ValueError, match="split has both test and out_of_fold"):
        check_predictions(table.assign(split=["test", "test", "out_of_fold"]), ["x", "y"])
    cohort = table[["image_id", "patient", "label", "split"]]
    same_cohort(table, cohort)
    same_cohort(table.assign(split="out_of_fold"), cohort.assign(split="development"))
    for column, value in {"label": "x", "split": "development", "patient": "c", "image_id": "c1"}.items():
        other = cohort.copy()
        other.loc[2, column] = value
        with pytest.raises(ValueError, match=r"image b1 .*another cohort"):
            same_cohort(table, other)


@pytest.mark.parametrize(
    ("training", "part", "as_authors", "words"),
    [
        ({}, "development", False, []),
        ({"folds_by": "image", "keep": "best"}, "test", False, []),
        ({"folds_by": "image"}, "development", False, ["too good: the folds were dealt by image"]),
        ({"keep": "best"}, "development", False, ["too good: each network's epoch was chosen"]),
        ({}, "test", True, ["distorted: "]),
        ({"shuffle_labels": True}, "test", False, ["a control: "]),
    ],
)
def test_what_flatters_or_distorts_a_number_is_said(training, part, as_authors, words):
    notes = cautions({"folds_by": "patient", "keep": "last", "shuffle_labels": False} | training, part, as_authors)
    assert len(notes) == len(words)
    assert all(note.startswith(word) for note, word in zip(notes, words, strict=True))


def test_each_image_is_predicted_by_models_that_did_not_see_it(tmp_path, monkeypatch):
    """Stand-in models return their own number; a real one is run by the smoke profile."""
    outputs = {0: [0.9, 0.1], 1: [0.5, 0.5]}
    monkeypatch.setattr(
        "mammolib.predictions._predict",
        lambda path, images, rows, drawn_by: np.tile(outputs[int(path)], (len(rows), 1)),
    )
    cohort = pd.DataFrame({"image_id": list("abcde"), "patient": list("11234"), "label": list("xxyxy")})
    folds = pd.DataFrame({"image_id": list("abc"), "fold": [0, 0, 1]})
    np.save(tmp_path / "three.npy", np.zeros((3, 2, 2), np.uint16))
    np.save(tmp_path / "two.npy", np.zeros((2, 2, 2), np.uint16))
    three, two, models, classes = tmp_path / "three.npy", tmp_path / "two.npy", [(0, "0"), (1, "1")], ["x", "y"]
    cohort["split"] = ["development"] * 3 + ["test"] * 2
    tested = predict_cohort(models, cohort, folds, "test", two, classes)
    assert tested["image_id"].tolist() == ["d", "e"]
    assert tested["p_x"].tolist() == pytest.approx([0.7, 0.7])
    held_out = predict_cohort(models, cohort, folds, "development", three, classes)
    assert held_out["p_x"].tolist() == pytest.approx([0.9, 0.9, 0.5])
    two_of_fold_0 = predict_cohort([*models, (0, "1")], cohort, folds, "development", three, classes)
    assert two_of_fold_0["p_x"].tolist() == pytest.approx([0.7, 0.7, 0.5])
    assert held_out["split"].unique().tolist() == ["out_of_fold"]
    with pytest.raises(ValueError, match="nothing to evaluate"):
        predict_cohort(models, cohort, folds.assign(fold=-1), "development", three, classes)
    with pytest.raises(ValueError, match="3 images, but"):
        predict_cohort(models, cohort, folds, "test", three, classes)


def test_saved_predictions_of_another_cohort_are_told_by_its_hash(tmp_path):
    path = tmp_path / "outputs" / "demo" / "03_evaluation" / "predictions.csv"
    path.parent.mkdir(parents=True)
    curation = {"provenance": {"files": {"cohort.csv": "a" * 64}}}
    require_own_cohort(path, curation)  # nothing beside it, so nothing is known
    result = {"status": "complete", "cohort": {}, "parameters": {}, "results": {}}
    for name in ("01_data_curation/cohort.csv", "outputs/demo/01_data_curation/cohort.csv"):
        inputs = {name: "a" * 64, "params/claims.csv": "c" * 64}
        beside = path.parents[1] / "03_evaluation.json"
        beside.write_text(json.dumps(result | {"provenance": {"inputs": inputs}}))
        require_own_cohort(path, curation)
        beside.write_text(json.dumps(result | {"provenance": {"inputs": inputs | {name: "b" * 64}}}))
        with pytest.raises(ValueError, match=r"another cohort \(its cohort.csv has hash b{12}, this one a{12}\)"):
            require_own_cohort(path, curation)
