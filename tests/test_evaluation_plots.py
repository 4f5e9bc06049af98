"""What the figures of the evaluation say: each level with its n, bands that hold, cases under their pseudonyms."""

import time

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from mammolib import evaluation_plots, plots
from mammolib.bootstrap import evaluate, patient_strata, patient_weights
from mammolib.calibration import calibration
from mammolib.predictions import as_arrays


def predictions(patients=66, k=3, skill=1.0, seed=0):
    rng, classes = np.random.default_rng(seed), list("wxyz"[:k])
    truth = np.repeat(np.arange(patients) % k, 2)
    scores = np.exp(rng.normal(size=(2 * patients, k)).round(1) + skill * np.eye(k)[truth])
    table = pd.DataFrame(scores / scores.sum(1, keepdims=True), columns=[f"p_{name}" for name in classes])
    ids = {"image_id": [f"I{i}" for i in range(len(truth))], "patient": [f"P{i // 2}" for i in range(len(truth))]}
    return table.assign(**ids, split="test", fold=-1, label=np.array(classes)[truth]), classes


def texts(ax):
    return [text.get_text() for text in ax.texts]


def levels():
    known = {"value": 0.6, "low": 0.5, "high": 0.7, "n": 40, "patients": 22, "note": "", "p": 0.03, "p_holm": 0.06}
    few = {"value": np.nan, "low": np.nan, "high": np.nan, "n": 7, "patients": 4, "note": "too few: 4 patients"}
    rows = [{"variable": "view", "level": "CC"} | known, {"variable": "view", "level": "MLO"} | known | {"n": 41}]
    rows += [{"variable": "vendor", "level": "a"} | known | {"p": np.nan, "n": 80, "patients": 44}]
    return pd.DataFrame([*rows, {"variable": "vendor", "level": "b"} | few])


def test_the_forest_has_each_level_with_its_n_and_the_overall_accuracy():
    overall = {"value": 0.55, "low": 0.45, "high": 0.65, "n": 87, "patients": 48}
    axes = evaluation_plots.plot_forest(levels(), overall, Figure().subplots())
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["all images", "view", "CC", "MLO", "vendor", "a", "b"]
    beside = dict(zip(names, [text for text in texts(axes) if "few" not in text], strict=False))
    assert [beside[name] for name in ("all images", "CC", "MLO", "a", "b")] == [
        "87 (48)",
        "40 (22)",
        "41 (22)",
        "80 (44)",
        "7 (4)",
    ]
    assert (beside["view"], beside["vendor"]) == ("p = 0.03, Holm 0.06", "not compared")
    assert " too few" in texts(axes)
    assert len(axes.containers) == 4, "a bar for each level with enough patients, and for all"
    assert [line.get_xdata() for line in axes.lines if line.get_linestyle() == ":"] == [[0.55, 0.55]]
    assert axes.yaxis_inverted()
    assert axes.get_xlim() == pytest.approx((0.38, 1.02)), "from the tenth below the lowest end, 0.45"


def test_a_forest_without_levels_still_has_the_overall_accuracy():
    overall = {"value": 0.55, "low": 0.45, "high": 0.65, "n": 87, "patients": 48}
    axes = evaluation_plots.plot_forest(levels()[:0], overall, Figure().subplots())
    assert texts(axes) == ["87 (48)", "images (patients)"]


def test_the_band_is_that_of_a_slow_loop_over_scikit_learn():
    table, classes = predictions(30)
    truth, probabilities, patient = as_arrays(table, classes)
    strata = patient_strata(truth, patient)
    grid, low, high = evaluation_plots.roc_band(truth == 1, probabilities[:, 1], patient, strata, 100, 5)
    curves = []
    for weights in np.concatenate(list(patient_weights(strata, 100, 5, len(table)))):
        false, true, _ = roc_curve(
            truth == 1, probabilities[:, 1], sample_weight=weights[patient], drop_intermediate=False
        )
        curves.append([np.interp(x, false, true) for x in grid])
    expected_low, expected_high = np.percentile(curves, [2.5, 97.5], axis=0)
    assert low == pytest.approx(expected_low)
    assert high == pytest.approx(expected_high)


def test_the_band_holds_the_curve_and_chance_alone_where_there_is_no_skill():
    for skill in (0.0, 3.0):
        table, classes = predictions(100, skill=skill)
        truth, probabilities, patient = as_arrays(table, classes)
        strata = patient_strata(truth, patient)
        grid, low, high = evaluation_plots.roc_band(truth == 0, probabilities[:, 0], patient, strata, 500, 0)
        false, true, _ = roc_curve(truth == 0, probabilities[:, 0], drop_intermediate=False)
        curve = np.interp(grid, false, true)
        assert ((low <= curve + 1e-9) & (curve <= high + 1e-9)).mean() > 0.97
        middle = slice(40, 160)
        chance_inside = ((low <= grid) & (grid <= high))[middle].mean()
        assert chance_inside > 0.9 if skill == 0 else chance_inside == 0


@pytest.mark.parametrize("k", [2, 3, 4])
def test_two_thousand_draws_of_131_images_have_quick_bands(k):
    table, classes = predictions(k=k)
    table = table[:131]
    areas = evaluate(table, classes, False, 50, 0)["one_vs_rest"]
    start = time.process_time()
    axes = evaluation_plots.plot_roc(table, classes, areas, Figure().subplots(), 2000, 0)
    assert time.process_time() - start < 2  # seen: 0.3 s
    assert len(axes.collections) == k
    assert axes.get_legend().get_title().get_text() == "bands: 95 % at each specificity"
    assert axes.get_title() == "131 images, 66 patients"
    plain = evaluation_plots.plot_roc(table, classes, areas, Figure().subplots())
    assert not plain.collections


def test_a_class_without_a_case_has_neither_curve_nor_band():
    table, classes = predictions()
    table = table[table["label"] != "y"]
    areas = evaluate(table, classes, False, 50, 0)["one_vs_rest"]
    axes = evaluation_plots.plot_roc(table, classes, areas, Figure().subplots(), 50, 0)
    assert len(axes.collections) == 2
    assert "y: not estimable" in [text.get_text() for text in axes.get_legend().get_texts()]


def test_the_error_stands_beside_that_of_a_perfect_model():
    table, classes = predictions()
    truth, probabilities, patient = as_arrays(table, classes)
    found = calibration(truth, probabilities, 0, patient)
    axes = evaluation_plots.plot_reliability(table, classes, Figure().subplots(), found)
    assert len(axes.containers) == found["bins"] == 5
    (text,) = texts(axes)
    assert text.startswith(f"ECE {found['ece']:.3f}\nperfect model: {found['ece_if_perfect']:.3f} to ")


def test_cases_have_their_pseudonym_truth_and_answer_and_empty_axes_nothing():
    table, _ = predictions(3, skill=9)
    axes = Figure().subplots(2, 2)
    images = np.full((3, 8, 8), 40000, np.uint16)
    evaluation_plots.plot_cases(table[:3], images, axes)
    first = axes[0, 0].get_title().split("\n")
    assert first[0] == "I0"
    assert first[1] == f"true: w, p = {table['p_w'][0]:.2f}"
    assert first[-1] == "(right)"
    assert [len(ax.images) for ax in axes.flat] == [1, 1, 1, 0]
    assert not any(ax.axison for ax in axes.flat)
    with pytest.raises(ValueError, match="zip"):
        evaluation_plots.plot_cases(table[:3], images[:2], axes)


def test_a_saved_figure_is_opaque_and_white_behind_dark_text(tmp_path):
    """On a dark page a transparent figure loses its axes."""
    with mpl.rc_context():
        plots.notebook_style()
        figure, axes = plt.subplots()
        evaluation_plots.plot_forest(levels(), {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9, "patients": 5}, axes)
        figure.savefig(tmp_path / "forest.png")
        inks = [text.get_color() for text in [*axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels()]]
        plt.close(figure)
    pixels = plt.imread(tmp_path / "forest.png")
    assert (pixels[..., 3] == 1).all() if pixels.shape[2] == 4 else True
    assert (pixels[0, 0, :3] == 1).all()
    assert all(max(mpl.colors.to_rgb(ink)) < 0.4 for ink in inks)
