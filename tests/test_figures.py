"""What the figures of training and of maps say."""

import matplotlib as mpl

mpl.use("Agg")
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mammolib.evaluation_plots import plot_differences
from mammolib.map_plots import case_titles, show_case, zone_points
from mammolib.training_plots import plot_curves
from mammolib.zones import ZONES


def test_epochs_are_whole_numbers():
    history = pd.DataFrame({"fold": 0, "epoch": [1, 2], "loss": [1.1, 1.0], "validation_loss": np.nan})
    history = history.assign(network=0, kept=history["epoch"] == 2)
    axes = plot_curves(history, "loss", Figure().subplots())
    low, high = axes.get_xlim()
    shown = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert shown == [1, 2]


def test_enrichment_stands_on_a_log_axis_and_outside_the_breast_has_none():
    point = {"value": 2.0, "low": 0.0, "high": 4.0}
    hidden = {"value": None, "low": None, "high": None, "note": "not resolvable: thinner than a cell"}
    size = {"value": 0.2, "n": 44, "patients": 22}
    of_class = {zone: {"energy": size, "enrichment": hidden if zone == "margin" else point} for zone in ZONES}
    axes = zone_points({"a": of_class}, "a", Figure().subplots(), ["a"])
    assert axes.get_yscale() == "log"
    assert len(axes.containers) == 3, "core, surroundings and remote"
    assert [text.get_text() for text in axes.texts] == ["not\nresolvable"]
    shown = [label.get_text() for label in axes.get_xticklabels()]
    assert shown == ["core\n< 0.7 r", "margin\n0.7-1.3", "surround.\n1.3-3", "remote\n> 3 r"]
    assert axes.get_title() == "a\nn = 44 images, 22 patients"
    assert all(label.get_fontsize() >= 9 for label in axes.get_xticklabels() + axes.get_yticklabels())
    assert axes.get_ylim()[0] > 0, "an interval down to 0 ends at the axis"


def test_an_enrichment_without_an_interval_is_a_point():
    """All draws agree where no map of the class has anything in a zone, as in a class that most maps leave empty."""
    sure = {"value": 0.0, "low": None, "high": None, "note": "interval not estimable: all draws agree"}
    size = {"value": 0.0, "n": 3, "patients": 3}
    axes = zone_points(
        {"a": {zone: {"energy": size, "enrichment": sure} for zone in ZONES}}, "a", Figure().subplots(), ["a"]
    )
    assert len(axes.containers) == 4
    assert not axes.texts


def test_an_empty_map_says_so():
    image, empty, full = np.full((32, 32), 9, np.uint16), np.zeros((4, 4)), np.eye(4)
    axes = Figure().subplots(1, 3)
    show_case(image, [(empty, 8, "one"), (full, 8, "other")], axes, "case", [], np.nan)
    assert [[text.get_text() for text in ax.texts] for ax in axes] == [[], ["empty map"], []]


def test_titles_tell_the_probability_of_truth_and_answer():
    cases = pd.DataFrame({"label": ["a", "b"], "p_a": [0.3, 0.2], "p_b": [0.7, 0.8]})
    first, second = case_titles(cases, ["a", "b"])
    assert first == "true: a, p = 0.30\nsaid: b, p = 0.70\n(wrong)"
    assert second == "true: b, p = 0.80\nsaid: b, p = 0.80\n(right)"


def test_a_forest_has_a_row_a_difference_around_zero():
    known = {"value": 0.1, "low": -0.1, "high": 0.2}
    unsure, none = known | {"low": None, "high": None}, dict.fromkeys(known)
    results = dict.fromkeys(("accuracy", "balanced_accuracy", "macro_f1", "kappa", "brier"), known)
    results |= {"macro_auc": none, "n_images": 131, "n_patients": 66}
    results["one_vs_rest"] = {"a_b": {"sensitivity": known, "specificity": unsure, "auc": known}}
    axes = plot_differences(results, Figure().subplots())
    rows = [label.get_text() for label in axes.get_yticklabels()]
    of_class = [f"{name}, a b" for name in ("sensitivity", "specificity", "AUC")]
    assert rows[3:] == ["kappa", "macro AUC", "Brier score (less is better)", *of_class]
    assert len(axes.containers) == 8
    assert [text.get_text().strip() for text in axes.texts] == ["not estimable"]
    assert axes.get_title() == "131 images, 66 patients"
    assert axes.lines[-1].get_xdata() == [0, 0]
