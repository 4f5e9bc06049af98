"""The recipe beside the report's: which lines differ, and what it does not tell."""

import json

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from mammolib.network import build_network
from mammolib.parameters import declared_parameters, read_parameter_file
from mammolib.rooms import project_root
from mammolib.training_plots import UNKNOWN, ablation_table, kernel_movement, plot_curves, plot_movement, recipe_table

NOTEBOOKS = ("01_data_curation", "02_training")


def table_of(profile, size=(224, 200), **changed):
    root = project_root()
    declared = declared_parameters(root / "notebooks" / "02_training.ipynb")
    values = {name: parameter.default for name, parameter in declared.items()}
    values |= read_parameter_file(root / "params" / profile / "02_training.yaml") | changed
    return recipe_table(values, size, root / "params" / "recipes.csv")


def test_every_fact_has_a_value_of_the_run():
    table = table_of("report")
    assert list(table) == ["report", "authors' code", "this run", "as reported", "as their code", "switch"]
    assert not table.isna().any(axis=None)
    assert table.loc["input, pixels", "this run"] == "224 x 200, grey"


def test_the_reports_recipe_differs_nowhere_and_the_authors_where_they_do():
    assert set(table_of("report")["as reported"]) == {"yes", UNKNOWN}
    authors = table_of("authors", (500, 500))
    differs = [
        "head",
        "optimiser",
        "learning rate",
        "gradient clipping",
        "rotation, rad",
        "brightness",
    ]
    assert authors.index[authors["as reported"] == "no"].tolist() == differs


def test_the_authors_recipe_differs_from_their_code_in_the_named_deviation_alone_and_the_switch_goes_back():
    table = table_of("authors", (500, 500))
    assert table.index[table["as their code"] == "no"].tolist() == ["held out"]
    assert table.loc["held out", "this run"] == "4 folds by patient"
    assert "folds_by" in table.loc["held out", "switch"]
    assert not (table_of("authors", (500, 500), folds_by="image")["as their code"] == "no").any()


def test_every_switch_is_a_parameter_of_its_notebook():
    declared = {name: set(declared_parameters(project_root() / "notebooks" / f"{name}.ipynb")) for name in NOTEBOOKS}
    for entry in table_of("report")["switch"].drop("convolutions"):
        for part in entry.split("; "):
            notebook = "01_data_curation" if part.startswith("01 ") else "02_training"
            assert set(part.removeprefix("01 ").split(", ")) <= declared[notebook], entry


def test_nobody_held_out_is_not_as_reported_though_the_share_is_not_stated():
    assert table_of("report", validation_share=0.0).loc["held out", "as reported"] == "no"
    assert table_of("report").loc["held out", "as reported"] == UNKNOWN


def test_each_recipe_that_was_tried_has_a_row_and_the_baseline_stands_last():
    records = [project_root() / "benchmarks" / f"{name}.json" for name in ("recipes", "texture_baseline")]
    table, record = ablation_table(*records), json.loads(records[0].read_text())
    films = record["films"]
    assert len(table) == len(films["inner"]) + 2
    assert table.index[0] == "control's recipe"
    assert table.index[-1] == "texture without a network"
    assert table["chosen by folds"].replace("", "0").astype(int).sum() == len(films["chosen"])
    (alike,) = [name for name in table.index if "one answer for all in 2 seeds" in name]
    assert alike.startswith("no normalisation")
    assert table.iloc[-2, -1] == f"{films['outer']['mean']:.3f}"


def test_a_path_is_not_shown():
    shown = table_of("report", weights="/home/someone/ward 3/vgg.keras").loc["initial weights", "this run"]
    assert shown == "vgg.keras"
    assert table_of("report", weights=None).loc["initial weights", "this run"] == "random, he_normal"


def test_held_out_tells_the_part_that_is_and_not_the_share_that_was_asked():
    for share, said in (
        (0.1, "1 in 10 by patient"),
        (0.4, "1 in 2 by patient"),
        (0.3, "1 in 3 by patient"),
        (0, "nobody"),
    ):
        assert table_of("report", validation_share=share).loc["held out", "this run"] == said


def test_movement_is_the_length_of_the_change_over_the_first_length():
    network = build_network((32, 32, 1), 2, width=1 / 64, head="gap", batch_normalization=True, seed=1)
    first = {layer.name: layer.get_weights() for layer in network.layers}
    assert set(kernel_movement(first, network).values()) == {0.0}
    layer = network.get_layer("block1_conv1")
    layer.set_weights([1.5 * first["block1_conv1"][0], first["block1_conv1"][1] + 7])  # the bias does not count
    moved = kernel_movement(first, network)
    assert moved["block1_conv1"] == pytest.approx(0.5)
    assert len(moved) == 14, "13 convolutions and the logits; normalisations have no kernel"
    axes = plot_movement(pd.DataFrame({0: moved, 1: moved}), plt.figure().subplots())
    assert [label.get_text() for label in axes.get_xticklabels()] == list(moved)


def test_the_kept_epoch_is_a_dot_on_validation_or_on_training_where_nobody_is_held_out():
    history = pd.DataFrame(
        {
            "fold": [0] * 3 + [1] * 3,
            "network": 0,
            "epoch": [1, 2, 3] * 2,
            "kept": [False, True, False, False, False, True],
        }
    )
    history = history.assign(loss=1 / history["epoch"], validation_loss=2.0 * history["epoch"])
    for held_out, expected in ((True, [[2, 4.0], [3, 6.0]]), (False, [[2, 0.5], [3, 1 / 3]])):
        rows = history if held_out else history.assign(validation_loss=float("nan"))
        axes = plot_curves(rows, "loss", plt.figure().subplots())
        dots = [line.get_xydata().tolist() for line in axes.lines if line.get_marker() == "o"]
        assert dots == [[pytest.approx(place)] for place in expected]


def test_of_several_networks_a_fold_only_the_first_is_named():
    rows = [(fold, network, epoch, 1.0, 2.0, epoch == 2) for fold in (0, 1) for network in (0, 1) for epoch in (1, 2)]
    history = pd.DataFrame(rows, columns=["fold", "network", "epoch", "loss", "validation_loss", "kept"])
    axes = plot_curves(history, "loss", plt.figure().subplots())
    assert axes.get_legend_handles_labels()[1] == ["fold 0", "fold 1"]
    assert len(axes.lines) == 4 * 3
