"""Mini-MIAS from a small copy of its official layout."""

import json
from pathlib import Path

import pytest

from mammolib import layouts
from mammolib.layouts import citation, mini_mias, read_layout
from mammolib.rooms import project_root

PLACED = {
    1: ["G CIRC B 535 425 197"],
    2: ["F NORM"],
    5: ["F CIRC B 477 133 30", "F CIRC B 500 168 26"],
    216: ["D CALC M *NOTE 3*"],
    59: ["F CIRC B"],
}


@pytest.fixture
def archive(tmp_path):
    folder = tmp_path / "mias"
    folder.mkdir()
    films = {number: PLACED.get(number, ["D NORM "]) for number in range(1, 323)}
    lines = [f"mdb{number:03d} {text}" for number, texts in films.items() for text in texts]
    (folder / "Info.txt").write_text("\n".join(["a preface with G CIRC", "", *lines, "=====", ""]))
    return tmp_path


def test_films_patients_sides_and_densities(archive):
    registry, _, name = read_layout("mini-mias", archive)
    assert name == "mini-MIAS"
    assert len(registry) == 322
    assert registry["patient_id"].value_counts().eq(2).all()
    first, second, third = registry.to_dict("records")[:3]
    assert first["patient_id"] == second["patient_id"] != third["patient_id"]
    assert (first["image_path"], first["label"], first["ImageLaterality"]) == ("mias/mdb001.pgm", "glandular", "L")
    assert (second["label"], second["ImageLaterality"], third["label"]) == ("fatty", "R", "dense")
    assert set(registry["split"]) == {"development"}


def test_circles_count_rows_from_the_top_and_need_a_place(archive):
    _, annotations = mini_mias(archive)
    assert annotations.to_numpy().tolist() == [
        ["mias/mdb001.pgm", 535, 1023 - 425, 197],
        ["mias/mdb005.pgm", 477, 1023 - 133, 30],
        ["mias/mdb005.pgm", 500, 1023 - 168, 26],
    ]


def test_the_archive_may_be_unpacked_without_its_folder(archive):
    registry, annotations = mini_mias(archive / "mias")
    assert registry["image_path"][0] == annotations["image_path"][0] == "mdb001.pgm"


def test_a_missing_archive_says_what_to_download_and_where_to_unpack(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"all-mias\.tar\.gz") as caught:
        mini_mias(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_half_an_archive_is_named(archive):
    text = (archive / "mias" / "Info.txt").read_text()
    (archive / "mias" / "Info.txt").write_text(text.replace("mdb322", "x"))
    with pytest.raises(ValueError, match="321 films listed; 322"):
        mini_mias(archive)


def test_a_public_set_is_cited_and_a_registry_is_not():
    assert "Suckling" in citation("mini-mias")
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
    exec(opening, space := space | {"annotations": annotations})
    return tuple(space[name] and space[name].as_posix() for name in ("path", "lesion_file"))


def test_annotations_of_one_s_own_are_read_with_and_without_a_registry():
    drawn = "00_synthetic_cohort"
    assert files_of("registry") == (f"{drawn}/registry.csv", f"{drawn}/annotations.csv")
    assert files_of("registry", annotations="mine.csv") == (f"{drawn}/registry.csv", "mine.csv")
    assert files_of("registry", registry="r.csv") == ("r.csv", None)
    assert files_of("registry", registry="r.csv", annotations="mine.csv") == ("r.csv", "mine.csv")


@pytest.mark.parametrize(
    ("layout", "name"), [("mini-mias", "annotations"), ("mini-mias", "registry"), ("registry", "source")]
)
def test_a_file_that_a_layout_would_pass_over_is_refused(layout, name):
    with pytest.raises(ValueError, match=f"{name}: 'mine' is not read where layout is {layout}; allowed is null"):
        files_of(layout, **{name: "mine"})
