"""The table of public sets: which labels they have, what is left out, and what a layout doesn't read."""

import json
from pathlib import Path

import pandas as pd
import pytest

from mammolib import layouts
from mammolib.layouts import LAYOUTS, citation, read_layout
from mammolib.rooms import project_root


@pytest.fixture
def stub(monkeypatch):
    """A layout whose reader answers with the label it was asked for, and lacks one in its last image."""

    def reader(source, label):
        registry = pd.DataFrame({"image_path": ["a", "b", "c"], "label": [label, label, ""]})
        return registry, pd.DataFrame({"image_path": ["a", "c", None], "x": 1.0, "y": 2.0, "radius": 3.0})

    monkeypatch.setitem(LAYOUTS, "stub", (reader, "Stub", "A. Nobody", ("pathology", "density")))


def test_the_first_label_is_taken_where_none_is_chosen(stub, tmp_path):
    assert read_layout("stub", tmp_path)[0]["label"].tolist() == ["pathology"] * 2
    assert read_layout("stub", tmp_path, "density")[0]["label"].tolist() == ["density"] * 2


def test_a_label_that_the_set_lacks_is_refused_with_those_it_has(stub, tmp_path):
    with pytest.raises(ValueError, match="public_label: 'subtype' is unknown; allowed are pathology, density"):
        read_layout("stub", tmp_path, "subtype")


def test_an_image_without_the_label_leaves_with_its_circles_and_is_counted(stub, tmp_path, capsys):
    registry, annotations, name = read_layout("stub", tmp_path)
    assert (registry["image_path"].tolist(), annotations["image_path"].tolist(), name) == (["a", "b"], ["a"], "Stub")
    assert capsys.readouterr().out == "Stub: 2 rows with pathology, 1 without; 1 lesion circles\n"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_without_the_set_is_told_with_what_is_expected(layout, tmp_path):
    reader, name, _, labels = LAYOUTS[layout]
    with pytest.raises(
        FileNotFoundError, match=f"of {name} here; expected: .*(doi 10|unpacked from|on request)"
    ) as caught:
        reader(tmp_path, labels[0])
    assert str(tmp_path) in str(caught.value)


def test_a_public_set_is_cited_and_a_registry_is_not():
    assert "Suckling" in citation("mini-mias")
    assert all(name in cited for _, name, cited, _ in LAYOUTS.values())
    assert citation("registry") == ""


def files_of(layout, source=None, registry=None, annotations=None):
    """Registry and annotations that notebook 01 opens, by its own cell."""

    class Room:
        def read(self, notebook, file):
            return Path(notebook) / file

        def read_input(self, path):
            return Path(path)

    cells = json.loads((project_root() / "notebooks/01_data_curation.ipynb").read_text())["cells"]
    (opening,) = ["".join(cell["source"]) for cell in cells if cell["id"] == "registry-open"]
    space = {"layouts": layouts, "room": Room(), "layout": layout, "source": source, "registry": registry}
    space |= {"annotations": annotations, "pathology": None, "public_label": None}
    exec(opening, space)
    return tuple(space[name] and space[name].as_posix() for name in ("path", "lesion_file"))


def test_annotations_of_one_s_own_are_read_with_and_without_a_registry():
    drawn = "00_synthetic_cohort"
    assert files_of("registry") == (f"{drawn}/registry.csv", f"{drawn}/annotations.csv")
    assert files_of("registry", annotations="mine.csv") == (f"{drawn}/registry.csv", "mine.csv")
    assert files_of("registry", registry="r.csv") == ("r.csv", None)
    assert files_of("registry", registry="r.csv", annotations="mine.csv") == ("r.csv", "mine.csv")


@pytest.mark.parametrize(("layout", "name"), [("mini-mias", "annotations"), ("registry", "source")])
def test_a_file_that_a_layout_would_pass_over_is_refused(layout, name):
    with pytest.raises(ValueError, match=f"{name}: 'mine' is not read where layout is {layout}; allowed is null"):
        files_of(layout, **{name: "mine"})


@pytest.mark.parametrize(
    ("layout", "read"),
    [
        ("registry", {"annotations"}),
        ("archive", {"source", "pathology", "annotations"}),
        ("cmmd", {"source", "public_label"}),
    ],
)
def test_each_layout_reads_its_own_parameters_only(layout, read):
    names = {"source", "annotations", "pathology", "public_label"}
    refused = set()
    for name in names:
        try:
            layouts.require_used(layout, **{name: "mine"})
        except ValueError:
            refused.add(name)
    assert refused == names - read
