"""The parameters cell, the YAML files, and the one check that both go through."""

import json
import re
from pathlib import Path

import pytest

from mammolib import parameters, runner

ROOT = Path(__file__).parents[1]
YAMLS = sorted((ROOT / "params").glob("*/*.yaml"))
GOOD = """
epochs: int = 3  # passes
learning_rate: float = 1e-5
clip: str = "global"
weights: str | None = None
classes: list[str] = ["a", "b"]
shares: list[float] = [0.5, 1]
flip: bool = True
spacing_range_mm: list[float] = [0.01, 2.0]
storage_classes: list[str] = ["mammography"]
"""


def notebook(folder: Path, source: str, name: str = "01_x") -> Path:
    """Write a notebook that holds one parameters cell."""
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": source.splitlines(keepends=True)}
    path = folder / f"{name}.ipynb"
    path.write_text(json.dumps({"cells": [cell]}))
    return path


def test_run_all_in_jupyterlab_is_the_smoke_profile():
    for path in (ROOT / "params" / "smoke").glob("*.yaml"):
        assert parameters.read_parameter_file(path) == {}, f"{path.name}: make it the notebook's default"


def test_declared_parameters_keep_annotation_and_default(tmp_path):
    declared = parameters.declared_parameters(notebook(tmp_path, GOOD))
    assert declared["weights"] == ("str | None", None)
    assert declared["learning_rate"] == ("float", 1e-5)
    assert list(declared)[:2] == ["epochs", "learning_rate"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("epochs = 3", "only `name: type = literal`"),
        ("epochs: int", "only `name: type = literal`"),
        ("import os", "only `name: type = literal`"),
        ("x: tuple = (1, 2)", "annotated tuple"),
        ("x: list = []", "annotated list"),
        ("x: dict[str, int] = {}", "annotated dict[str, int]"),
        ("x: str = str(1)", "no literal"),
        ("x: int = True", "True is bool"),
        ("x: float = 'a'", "'a' is str, allowed is float"),
    ],
)
def test_a_cell_that_breaks_the_law_is_named(tmp_path, line, words):
    with pytest.raises(ValueError, match=r"01_x\.ipynb, parameters cell, line 1") as caught:
        parameters.declared_parameters(notebook(tmp_path, line))
    assert words in str(caught.value)


def test_exactly_one_tagged_cell_is_allowed(tmp_path):
    path = tmp_path / "01_x.ipynb"
    path.write_text(json.dumps({"cells": []}))
    with pytest.raises(ValueError, match="0 cells tagged"):
        parameters.declared_parameters(path)


@pytest.mark.parametrize(
    ("value", "annotation", "fits"),
    [
        (1, "float", True),
        (True, "int", False),
        (True, "float", False),
        (1, "bool", False),
        (1.0, "int", False),
        (float("nan"), "float", False),
        (None, "str | None", True),
        (None, "str", False),
        ([1, 2.5], "list[float]", True),
        ([1, 2.5], "list[int]", False),
        (["a", None], "list[str | None]", True),
        ("ab", "list[str]", False),
    ],
)
def test_matches(value, annotation, fits):
    assert parameters.matches(value, annotation) is fits


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("seed", 0, -1),
        ("workers", 0, -1),
        ("folds", 1, 0),
        ("examples", 1, 0),
        ("batch_size", 1, 0),
        ("bootstrap_draws", 100, 99),
        ("image_height", 32, 31),
        ("image_width", 4096, 4097),
        ("development_images", 16, 15),
        ("visibility", 0, -0.1),
        ("conspicuity", 10.0, 10.1),
        ("test_share", 0.99, 1.0),
        ("near_duplicate", 1, 1.1),
        ("validation_share", 0.5, 0.51),
        ("rotation", 3.14, 3.15),
        ("shift", 0.99, 1.0),
        ("brightness", 0.99, -0.1),
        ("learning_rate", 1e-5, 0.0),
        ("head_learning_rate", 1e-3, 1e6),
        ("clip_norm", 0.001, 1e-60),
        ("dropout", 0.99, 1.0),
        ("width", 0.001, 0.0),
        ("operation_threads", 0, -1),
        ("shufflings", 1, 0),
        ("epochs", 1, 0),
    ],
)
def test_numbers_keep_to_their_range(name, inside, outside):
    declared = {name: parameters.Declared("float", 1.0)}
    assert parameters.problems_with({name: inside}, declared, "here") == []
    (problem,) = parameters.problems_with({name: outside}, declared, "here")
    assert problem.startswith(f"here: {name} = {outside}; allowed is ")


def test_a_choice_outside_its_list_fails_before_anything_runs(tmp_path):
    said = r"^-p 04_explainability\.method=gradcm: method = 'gradcm'; allowed are gradcam, layercam$"
    with pytest.raises(ValueError, match=said):
        runner.plan("smoke", ["04_explainability.method=gradcm"], str(tmp_path))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("weights=''", "weights = ''; allowed is a text that is not empty"),
        ("channels=2", "channels = 2; allowed are 1, 3"),
    ],
)
def test_an_empty_text_and_two_channels_are_refused_before_anything_runs(tmp_path, value, said):
    with pytest.raises(ValueError, match=f"^-p 02_training.{value}: {said}$"):
        runner.plan("smoke", [f"02_training.{value}"], str(tmp_path))


def test_choices_are_what_the_modules_take():
    from mammolib import explain, layouts, network, recipe

    taken = {"initializer": network.INITIALIZERS, "optimizer": recipe.OPTIMIZERS, "clip": recipe.CLIPS}
    taken |= {"method": explain.METHODS, "layout": ["registry", "archive", *layouts.LAYOUTS]}
    assert {name: tuple(allowed) for name, allowed in taken.items()} == {
        name: parameters.CHOICES[name] for name in taken
    }


def test_every_range_and_choice_belongs_to_a_parameter_whose_comment_lists_it():
    sources = [parameters.parameters_source(path) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    lines = {line.partition(":")[0]: line for source in sources for line in source.splitlines()}
    assert set(parameters.RANGES) | set(parameters.CHOICES) <= set(lines)
    for name, allowed in parameters.CHOICES.items():
        assert set(map(str, allowed)) <= set(re.findall(r"[\w-]+", lines[name].partition("=")[2])), name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epoch: 3", "no parameter is called 'epoch' (value 3); the nearest is epochs"),
        ("epochs: many", "epochs = 'many' is str, allowed is int"),
        ("learning_rate: 1e-4", "to YAML this is text: write 1.0e-4"),
        ("learning_rate: 1.5e4", "to YAML this is text: write 1.5e+4"),
        ("learning_rate: '0.1'", "drop the quotes: 0.1"),
        ("clip: NO", "YAML reads a bare yes, no, on or off as true or false"),
        ("clip: 3", "quote it"),
        ("flip: 1", "flip = 1 is int, allowed is bool"),
        ("classes: a", "allowed is list[str]"),
        ("classes: [a, b, a]", "classes = ['a', 'b', 'a']; allowed is each name once"),
        ("learning_rate: .nan", "learning_rate = nan is no finite number, allowed is float"),
        ("epochs: 0", "epochs = 0; allowed is 1 to 100000"),
        ("spacing_range_mm: [0.1, 20]", "spacing_range_mm = [0.1, 20]; allowed is 0.001 to 10"),
        ("spacing_range_mm: [0.2, 0.1]", "allowed are two numbers, the lower one first"),
        ("spacing_range_mm: [0.2]", "allowed are two numbers, the lower one first"),
        ("storage_classes: [mammography, pet]", "storage_classes = ['mammography', 'pet']; allowed are mammography, "),
    ],
)
def test_a_wrong_key_or_value_names_file_key_value_and_cure(tmp_path, text, words):
    file = tmp_path / "01_x.yaml"
    file.write_text(text)
    declared = parameters.declared_parameters(notebook(tmp_path, GOOD))
    (problem,) = parameters.problems_with(parameters.read_parameter_file(file), declared, "params/p/01_x.yaml")
    assert problem.startswith("params/p/01_x.yaml: ")
    assert words in problem


@pytest.mark.parametrize(
    ("text", "words"),
    [("a: [1", "not valid YAML"), ("- a\n- b", "holds a list"), ("a: 1\nb: 2\na: 3", "a stands there twice")],
)
def test_a_bad_file_is_named(tmp_path, text, words):
    file = tmp_path / "01_x.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"01_x\.yaml") as caught:
        parameters.read_parameter_file(file)
    assert words in str(caught.value)


def test_an_empty_file_means_the_defaults(tmp_path):
    file = tmp_path / "01_x.yaml"
    file.write_text("# nothing differs\n")
    assert parameters.read_parameter_file(file) == {}


@pytest.mark.parametrize("file", YAMLS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_shipped_file_fits_its_notebook(file):
    path = ROOT / "notebooks" / f"{file.stem}.ipynb"
    if not path.exists():
        pytest.fail(f"{file}: no notebook {path.name}")
    declared = parameters.declared_parameters(path)
    values = parameters.read_parameter_file(file)
    assert parameters.problems_with(values, declared, file.name) == []
    assert "outputs" not in values, "the runner sets outputs"
    same = [name for name, value in values.items() if value == declared[name].default]
    assert not same, "a file holds only what differs from the notebook's defaults"


@pytest.mark.parametrize("text", ["0x_", "2026-13-45", "!!float x", "!!timestamp x", "[" * 3000, "9" * 5000])
def test_what_yaml_s_own_constructors_refuse_names_the_file(tmp_path, text):
    (tmp_path / "03_evaluation.yaml").write_text(f"seed: {text}\n")
    with pytest.raises(ValueError, match=r"03_evaluation\.yaml: not valid YAML"):
        parameters.read_parameter_file(tmp_path / "03_evaluation.yaml")
