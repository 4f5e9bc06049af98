"""The recipe beside the report's: which lines differ, and what it does not tell."""

from mammolib.parameters import declared_parameters, read_parameter_file
from mammolib.rooms import project_root
from mammolib.training_plots import UNKNOWN, recipe_table


def table_of(profile, **changed):
    root = project_root()
    declared = declared_parameters(root / "notebooks" / "02_training.ipynb")
    values = {name: parameter.default for name, parameter in declared.items()}
    values |= read_parameter_file(root / "params" / profile / "02_training.yaml") | changed
    return recipe_table(values, (224, 200), root / "params" / "recipes.csv")


def test_every_fact_has_a_value_of_the_run():
    table = table_of("report")
    assert list(table) == ["report", "authors' code", "this run", "as reported"]
    assert not table.isna().any(axis=None)
    assert table.loc["input, pixels", "this run"] == "224 x 200, grey"


def test_the_reports_recipe_differs_nowhere_and_the_authors_where_they_do():
    assert set(table_of("report")["as reported"]) == {"yes", UNKNOWN}
    authors = table_of("authors")
    differs = ["head", "normalisation", "optimiser", "learning rate", "gradient clipping", "rotation, rad"]
    assert authors.index[authors["as reported"] == "no"].tolist() == differs
    assert (authors.loc[differs[:5], "this run"] == authors.loc[differs[:5], "authors' code"]).all()


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
