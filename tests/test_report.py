"""Result tables from made-up results: right cells, honest words, and a README block that can be replaced."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from mammolib import claims, report
from mammolib.baselines import all_baselines
from mammolib.bootstrap import evaluate, patient_level
from mammolib.claims import paper_table, read_claims
from mammolib.evaluation_plots import plot_reliability
from mammolib.rooms import project_root

CLASSES = ["tubule_forming", "solid", "scirrhous"]
CLAIMS = project_root() / "params" / "claims.csv"


def made_up_predictions(right=20, classes=CLASSES):
    """40 patients, one image each, the first `right` of them right."""
    truth = np.arange(40) % len(classes)
    predicted = np.where(np.arange(40) < right, truth, (truth + 1) % len(classes))
    table = pd.DataFrame({"image_id": [f"i{n:02d}" for n in range(40)], "patient": [f"p{n:02d}" for n in range(40)]})
    table = table.assign(split="test", fold=-1, label=np.array(classes)[truth])
    table[[f"p_{name}" for name in classes]] = 0.1 + np.eye(len(classes))[predicted] * (1 - 0.1 * len(classes))
    return table


def evaluation(right=20, classes=CLASSES, kind="synthetic", calibrated=True, profile="demo"):
    """03's JSON of the made-up predictions."""
    table = made_up_predictions(right, classes)
    results = evaluate(table, classes, False, 100, 0)
    results["baselines"] = all_baselines(table, None, classes, False, 100, 0)
    cohort = {"kind": kind, "name": "made up"}
    paper = paper_table(read_claims(CLAIMS), results, cohort, "03_evaluation", calibrated)
    results["paper"] = paper.to_dict("records")
    parameters = {"claims": "params/claims.csv"}
    return {"status": "complete", "profile": profile, "cohort": cohort, "parameters": parameters, "results": results}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with a claims file and demo's committed result, 20 of 40 right."""
    monkeypatch.setenv("MAMMOLIB_PROJECT", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "params").mkdir()
    shutil.copy(CLAIMS, tmp_path / "params")
    write(tmp_path / "outputs" / "demo", evaluation(20))
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "demo"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    return tmp_path


def write(folder, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "03_evaluation.json").write_text(json.dumps(content))


def test_paper_committed_and_this_run_are_kept_apart(project):
    write(project / "outputs" / "demo", evaluation(30))
    (project / "outputs" / "demo" / "03_evaluation.ipynb").touch()
    (project / "outputs" / "demo" / "02_training.failed.ipynb").touch()
    lines = report.result_lines("demo", project / "outputs" / "demo")
    row = next(line for line in lines if line.startswith("accuracy"))
    assert row.split()[1:] == [
        *("0.473", "[0.390,", "0.558]"),
        *shown_accuracy(project, True),
        *shown_accuracy(project, False),
    ]
    assert "0.500" in row
    assert "0.750" in row
    text = "\n".join(lines)
    assert "SYNTHETIC made up: drawn" in text
    assert "set, not found" in text
    assert lines[-1] == "  outputs/demo/03_evaluation.ipynb"
    always_no = next(line for line in lines if line.startswith("baseline: always no"))
    assert always_no.split()[-3:] == ["0.667"] * 3


def shown_accuracy(project, committed):
    return report.cell(report.read_evaluation(project, "demo", committed)["results"], "accuracy").split()


def test_nothing_committed_gives_a_dash(project):
    write(project / "elsewhere", evaluation(30, calibrated=False, profile="control"))
    lines = report.result_lines("control", project / "elsewhere")
    assert next(line for line in lines if line.startswith("accuracy")).split()[4] == "-"
    assert "set, not found" not in "\n".join(lines)


def test_other_labels_stand_beside_no_paper_number(project):
    other = ["fatty", "glandular", "dense"]
    write(project / "films", evaluation(30, other, "public", profile="mini-mias"))
    lines = report.result_lines("mini-mias", project / "films")
    assert next(line for line in lines if line.startswith("accuracy")).split()[1] == "-"
    assert "another task" in "\n".join(lines)


@pytest.mark.parametrize(
    ("kept", "shown"),
    [
        ([], "-----"),
        (["accuracy"], "0--0-"),
        (["mean_one_vs_rest_accuracy"], "-0-0-"),
        (["one_vs_rest.middle.accuracy", "one_vs_rest.lowest.accuracy"], "---0-"),
        (["one_vs_rest.highest.accuracy", "one_vs_rest.lowest.accuracy"], "--00-"),
    ],
)
def test_claims_of_one_s_own_may_have_only_some_numbers_of_the_paper(project, kept, shown):
    claims = pd.read_csv(CLAIMS)
    claims[claims["metric"].isin(kept)].to_csv(project / "mine.csv", index=False)
    run = evaluation(30)
    run["parameters"]["claims"] = "mine.csv"
    write(project / "outputs" / "demo", run)
    paper = report.paper_results(read_claims(project / "mine.csv"))
    rows = [
        "accuracy",
        "mean one-vs-rest accuracy",
        "one-vs-rest accuracies, range",
        "baseline: always no, mean one-vs-rest",
        "macro AUC",
    ]
    assert "".join(report.cell(paper, report.ROWS[name])[0] for name in rows) == shown
    assert any(line.startswith("accuracy") for line in report.result_lines("demo", project / "outputs" / "demo"))


def test_missing_run_is_named(project):
    with pytest.raises(FileNotFoundError, match="03_evaluation"):
        report.result_lines("smoke", project / "outputs" / "smoke")


def test_readme_table_holds_the_runs_numbers(project):
    rows = [[text.strip() for text in line.split("|")[1:-1]] for line in report.readme_table(project).splitlines()]
    assert {len(row) for row in rows} == {len(report.PROFILES) + 3}
    table = {row[0]: row[1:] for row in rows}
    assert table["accuracy"][:3] == ["0.473 [0.390, 0.558]", " ".join(shown_accuracy(project, False)), "-"]
    assert table["one-vs-rest accuracies, range"][0] == "0.61 to 0.70"
    assert table["mean one-vs-rest accuracy"][0] == "0.649 (arithmetic)"
    assert table["baseline: always no, mean one-vs-rest"][:2] == ["0.667", "0.667"]
    assert table["images (patients)"][1:3] == ["40 (40)", "-"]
    assert table["classes"][1] == "tubule forming / solid / scirrhous, drawn"
    assert {row[-1] for row in rows[3:]} == {"not run"}
    assert "(set, not found)" in rows[0][2]
    assert "(set, not found)" not in rows[0][4]


def test_a_difficulty_that_was_not_set_is_not_called_so(project):
    write(project / "outputs" / "demo", evaluation(calibrated=False))
    assert "set, not found" not in report.readme_table(project)


def test_update_readme_replaces_only_the_block(project):
    readme = project / "README.md"
    readme.write_text(f"# Title\n{report.BEGIN}\nold\n{report.END}\nrest\n")
    report.update_readme(readme)
    once = readme.read_text()
    assert once == f"# Title\n{report.BEGIN}\n{report.readme_table(project)}\n{report.END}\nrest\n"
    report.update_readme(readme)
    assert readme.read_text() == once
    readme.write_text("# Title\n")
    with pytest.raises(ValueError, match="results:begin"):
        report.update_readme(readme)


def test_result_table_has_a_row_for_every_estimate():
    results = evaluation()["results"]
    table = report.result_table(results)
    assert len(table) == 10 + 3 * 8
    assert table.loc[0, ["metric", "value"]].tolist() == ["accuracy", results["accuracy"]["value"]]
    assert (table["class"] == "tubule forming").sum() == 8, "a class as people read it"
    assert "kappa" in set(table["metric"])
    assert table["method"].ne("").all()
    patients = patient_level(made_up_predictions(), CLASSES, True, 100, 0)
    ordered = report.result_table(results | {"patient_level": patients}, ordered=True)
    assert not ordered["metric"].str.endswith("kappa").any()
    of_patients = ordered[ordered["metric"].str.startswith("patient_")].set_index(["metric", "class"])
    assert len(of_patients) == len(table) + 6 + 3 * 6, "a vote has no probabilities"
    for how in ("pooled", "vote"):
        for name in ("accuracy", "balanced_accuracy", "kappa_quadratic"):
            assert (
                of_patients.loc[(f"patient_{how}_{name}", ""), "value"] == patients[how][name.split("_q")[0]]["value"]
            )
    assert "patient_vote_macro_auc" not in of_patients.index.get_level_values(0)


def test_wide_tables_show_images_beside_patients_and_class_beside_class():
    results = evaluation()["results"]
    results["patient_level"] = patient_level(made_up_predictions(), CLASSES, True, 100, 0)
    whole, by_class = report.wide_tables(results, ordered=True)
    assert [column.split(" ", 1)[1] for column in whole] == ["images", "patients, pooled", "patients, vote"]
    assert whole.loc["kappa_quadratic"].tolist()[0] == claims.shown(results["kappa"])
    assert whole.loc["macro_auc"].tolist()[2] == "-"
    assert list(by_class) == ["tubule forming", "solid", "scirrhous"]
    assert (
        by_class.loc["npv", "solid"] == f"{claims.shown(npv := results['one_vs_rest']['solid']['npv'])}, n {npv['n']}"
    )


def test_what_is_not_estimable_says_so_in_the_wide_tables():
    table = made_up_predictions()
    results = evaluate(table[table["label"] != "solid"].reset_index(drop=True), CLASSES, False, 100, 0)
    whole, by_class = report.wide_tables(results)
    assert whole.loc["macro_auc"].tolist() == ["not estimable: no case"]
    assert by_class.loc["sensitivity", "solid"] == "not estimable: no case"
    assert "nan" not in whole.to_string() + by_class.to_string()


def test_few_patients_get_few_points_of_reliability():
    for right, size, points in ((20, 40, 4), (5, 15, 1)):
        axes = Figure().subplots()
        plot_reliability(made_up_predictions(right).head(size), CLASSES, axes)
        assert len(axes.containers) == points  # at least ten patients each


def test_saved_predictions_alone_are_evaluated_without_tensorflow(tmp_path):
    """The notebook's own cells, with 01's JSON and a predictions.csv: no cohort.csv, no images, no models."""
    made_up_predictions(25).to_csv(tmp_path / "p.csv", index=False)
    parameters = {"classes": CLASSES, "classes_ordered": False}
    cohort = {"kind": "hospital", "name": "made up"}
    curation = {"status": "complete", "parameters": parameters, "cohort": cohort, "results": {}}
    (tmp_path / "01_data_curation.json").write_text(json.dumps(curation))
    script = f"""
import json, sys
book = json.load(open("notebooks/03_evaluation.ipynb"))
space = {{"display": print}}
given = "outputs, predictions, bootstrap_draws = {str(tmp_path)!r}, {str(tmp_path / "p.csv")!r}, 200"
for cell in (cell for cell in book["cells"] if cell["cell_type"] == "code"):
    exec("".join(cell["source"]), space)
    exec(given if "parameters" in cell["metadata"].get("tags", []) else "", space)
assert not {{"tensorflow", "keras"}} & set(sys.modules)
"""
    root = project_root()
    command = [sys.executable, "-c", script]
    environment = os.environ | {"MPLBACKEND": "agg", "PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "03_evaluation.json").read_text())
    assert written["results"]["correct"] == 25
    assert written["provenance"]["dtype_policy"] is None
    assert written["results"]["accuracy"]["n"] == 40
    assert written["results"]["paper"][0]["verdict"] == "inconclusive"
    again = tmp_path / "03_evaluation" / "predictions.csv"
    pd.testing.assert_frame_equal(pd.read_csv(again), pd.read_csv(tmp_path / "p.csv"))
