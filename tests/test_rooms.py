"""Rooms: paths, hashes, the JSON, and what a notebook may read."""

import json
import resource
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mammolib import rooms

CELLS = {
    "00_synthetic_cohort": 'outputs: str = "outputs/smoke"\nseed: int = 1',
    "01_data_curation": 'outputs: str = "outputs/smoke"\nseed: int = 1',
    "02_training": 'outputs: str = "outputs/smoke"\nseed: int = 1\ncohort: str | None = None',
    "03_evaluation": 'outputs: str = "outputs/smoke"\nseed: int = 1\ncohort: str | None = None',
}
PUBLIC = {"kind": "public", "name": "mini-MIAS"}


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "notebooks").mkdir()
    for name, source in CELLS.items():
        cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": source}
        (tmp_path / "notebooks" / f"{name}.ipynb").write_text(json.dumps({"cells": [cell]}))
    monkeypatch.setenv("MAMMOLIB_PROJECT", str(tmp_path))
    monkeypatch.delenv("MAMMOLIB_PROFILE", raising=False)
    return tmp_path


def opened(name, outputs="outputs/smoke", **values):
    namespace = {"outputs": outputs, "seed": 1, "cohort": None} | values
    return rooms.open_room(name, namespace)


def curated(outputs="outputs/smoke"):
    room = opened("01_data_curation", outputs)
    with room.writing("cohort.csv") as partial:
        partial.write_text("image_id\n1\n")
    room.finish({"n": 1}, cohort=PUBLIC)
    return room


def test_relative_paths_start_at_the_project_wherever_the_kernel_stands(project, monkeypatch):
    (project / "notebooks" / "deep").mkdir()
    monkeypatch.chdir(project / "notebooks" / "deep")
    assert rooms.resolve("outputs/x") == project / "outputs/x"
    assert rooms.resolve(project / "y") == project / "y"


def test_a_folder_without_pyproject_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("MAMMOLIB_PROJECT", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no pyproject.toml"):
        rooms.project_root()


def test_writing_leaves_the_old_file_and_nothing_else_when_the_block_raises(project):
    path = project / "table.csv"
    path.write_text("old")

    def half_written():
        with rooms.writing(path) as partial:
            partial.write_text("half")
            assert partial.suffix == ".csv"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half_written()
    assert path.read_text() == "old"
    with rooms.writing(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "new"
    assert [file.name for file in project.glob(".*")] == []


def test_sha256_of_a_file_and_of_a_folder(project):
    (project / "folder" / "private").mkdir(parents=True)
    (project / "folder" / "a").write_bytes(b"abc")
    assert rooms.file_sha256(project / "folder/a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    before = rooms.file_sha256(project / "folder")
    (project / "folder" / "private" / "key.csv").write_text("secret")
    assert rooms.file_sha256(project / "folder") == before
    (project / "folder" / "b").touch()
    assert rooms.file_sha256(project / "folder") != before


def test_a_write_that_fails_names_its_file(project):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # a file of more bytes can't be written
    try:
        said = pytest.raises(OSError, match=r"File too large: 'outputs/a/model\.keras'$")
        with said, rooms.writing("outputs/a/model.keras") as partial:
            partial.write_bytes(bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((project / "outputs/a").iterdir()) == []


def test_a_room_removes_the_stale_json_and_writes_what_the_contract_says(project):
    room = curated()
    room = opened("01_data_curation")
    assert not (project / "outputs/smoke/01_data_curation.json").exists()
    results = {"a": np.float32(0.5), "b": np.arange(2), "c": float("nan"), "d": (1, None), "e": Path("x/y")}
    path = room.finish(results, cohort=PUBLIC)
    content = json.loads(path.read_text())
    assert list(content) == ["notebook", "status", "profile", "cohort", "seed", "parameters", "results", "provenance"]
    assert content["results"] == {"a": 0.5, "b": [0, 1], "c": None, "d": [1, None], "e": "x/y"}
    assert content["profile"] == "smoke"
    assert content["status"] == "complete"
    facts = content["provenance"]
    assert facts["files"] == {"cohort.csv": rooms.file_sha256(room.path("cohort.csv"))}
    machine = {"commit", "dirty", "lock_sha256", "versions", "backend", "dtype_policy", "threads", "device"}
    assert set(facts) >= machine | {"started", "seconds", "inputs"}


def test_provenance_has_the_precision_that_the_notebook_says(project):
    path = curated().outputs / "02_training.json"
    for said in ("mixed_bfloat16", None):
        opened("02_training").finish({}, dtype_policy=said)
        assert json.loads(path.read_text())["provenance"]["dtype_policy"] == said


def test_a_notebook_that_runs_again_takes_the_results_of_later_ones_with_it(project):
    curated()
    for name in ("02_training", "03_evaluation"):
        opened(name).finish({})
    curated("outputs/other")
    opened("02_training")
    assert [path.name for path in (project / "outputs/smoke").glob("*.json")] == ["01_data_curation.json"]
    with pytest.raises(FileNotFoundError, match="03_evaluation has not finished here"):
        rooms.read_result(project / "outputs/smoke/03_evaluation.json")
    assert (project / "outputs/other/01_data_curation.json").is_file(), "another folder is another run"


def test_no_folder_user_or_host_of_the_machine_reaches_the_json(project, monkeypatch):
    import getpass
    import socket

    curated()
    (project / "elsewhere").mkdir()
    outside = project.parent / "list_of_patients.csv"
    outside.write_text("x")
    room = opened("02_training")
    room.read("01_data_curation", "cohort.csv")
    room.read_input(outside)
    text = room.finish({}).read_text()
    assert str(project) not in text
    assert str(Path.home()) not in text
    assert socket.gethostname() not in text
    assert f'"{getpass.getuser()}"' not in text
    assert set(json.loads(text)["provenance"]["inputs"]) == {
        "01_data_curation/cohort.csv",
        "(outside) list_of_patients.csv",
    }


def test_wrong_types_are_all_named(project):
    with pytest.raises(ValueError, match=r"seed = 'x'.*cohort = 3"):
        opened("02_training", seed="x", cohort=3)
    with pytest.raises(ValueError, match="not set: seed"):
        rooms.open_room("03_evaluation", {"outputs": "outputs/smoke"})


def test_an_earlier_room_must_be_there_and_complete(project):
    room = opened("02_training")
    with pytest.raises(FileNotFoundError, match="run 01_data_curation first"):
        room.read("01_data_curation", "cohort.csv")
    with pytest.raises(FileNotFoundError, match="01_data_curation has not finished here"):
        room.earlier("01_data_curation")
    (project / "outputs/smoke/01_data_curation.json").write_text('{"status": "running"}')
    with pytest.raises(ValueError, match="status 'running'"):
        room.earlier("01_data_curation")
    with pytest.raises(FileNotFoundError, match="no such file"):
        room.read_input("data/registry.csv")


def test_a_file_of_a_notebook_that_has_not_finished_is_not_read(project):
    room = curated()
    assert opened("02_training").read("01_data_curation", "cohort.csv") == room.path("cohort.csv")
    (project / "outputs/smoke/01_data_curation.json").unlink()
    with pytest.raises(FileNotFoundError, match="01_data_curation has not finished here"):
        opened("02_training").read("01_data_curation", "cohort.csv")


@pytest.mark.parametrize("content", ["[]", '"x"', "null", "{", '{"status": "complete"}', "\x00"])
def test_a_json_that_is_no_result_is_named_in_one_line(tmp_path, content):
    (tmp_path / "02_training.json").write_text(content)
    with pytest.raises(ValueError, match=r"02_training\.json: .*; run 02_training again") as caught:
        rooms.read_result(tmp_path / "02_training.json")
    assert len(str(caught.value).splitlines()) == 1


HOSPITAL = {"kind": "hospital", "name": "set A"}


def test_hospital_results_go_only_where_git_does_not_show_them(project):
    def git(*arguments):
        subprocess.run(["git", "-C", project, *arguments], check=True, capture_output=True)

    (project / ".gitignore").write_text("/outputs/*\n!/outputs/demo/\n/outputs/demo/0*/*\n!predictions.csv\n")
    for outputs in ("results", "outputs/demo", "outputs/hospital"):
        opened("01_data_curation", outputs).banner(HOSPITAL)  # no repository
    git("init")
    for outputs in ("results", "outputs/demo"):
        room = opened("01_data_curation", outputs)
        with pytest.raises(ValueError, match=rf"outputs = '{outputs}': git does not ignore 01_data_curation\.json"):
            room.banner(HOSPITAL)
        with pytest.raises(ValueError, match="such as outputs/hospital, or outside git"):
            room.finish({}, HOSPITAL)
        room.finish({}, PUBLIC)
    opened("01_data_curation", "outputs/hospital").finish({}, HOSPITAL)


def test_a_variant_reads_the_cohort_of_another_profile(project):
    curated("outputs/demo")
    training = opened("02_training", "outputs/demo-best", cohort="outputs/demo")
    assert training.read("01_data_curation", "cohort.csv") == project / "outputs/demo/01_data_curation/cohort.csv"
    assert list(training.inputs) == ["outputs/demo/01_data_curation/cohort.csv"]
    training.finish({})
    evaluation = opened("03_evaluation", "outputs/demo-best")
    assert evaluation.earlier("01_data_curation")["results"] == {"n": 1}
    assert evaluation.earlier("02_training")["profile"] == "demo-best"
    assert evaluation.cohort == PUBLIC


def test_saved_predictions_name_the_profile_of_their_cohort(project):
    curated("outputs/demo")
    alone = opened("03_evaluation", "outputs/rerender", cohort="outputs/demo")
    assert alone.cohort == PUBLIC
    assert alone.read("01_data_curation", "cohort.csv") == project / "outputs/demo/01_data_curation/cohort.csv"


def test_a_cohort_has_a_kind_of_the_closed_list_and_a_banner(project):
    assert opened("00_synthetic_cohort").banner().startswith("SYNTHETIC phantoms")
    room = opened("01_data_curation")
    with pytest.raises(ValueError, match="synthetic, public, hospital"):
        room.finish({}, cohort={"kind": "real", "name": "x"})
    room.finish({}, cohort={"kind": "hospital", "name": "set A"})
    assert "not for clinical use" in opened("02_training").banner()


def test_a_file_outside_the_project_is_shown_by_its_name_alone(tmp_path):
    inside = {
        "registry": "data/registry.csv",
        "source": None,
        "outputs": str(tmp_path),
        "claims": str(tmp_path / "c.csv"),
    }
    assert rooms.shown_parameters(inside) == inside
    given = {"pathology": str(tmp_path / "Ann Lee" / "list.csv"), "source": "~/Ann", "annotations": "../../Ann/a.csv"}
    assert rooms.shown_parameters(given) == {
        **{"pathology": "(outside) list.csv", "source": "(outside) Ann", "annotations": "(outside) a.csv"}
    }
