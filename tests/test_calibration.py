"""The calibration: what its script refuses, and its record. Its runs take minutes, so they are not tests."""

import json
import runpy
import subprocess
import sys

import yaml

from mammolib.rooms import project_root


def test_the_shipped_seed_may_choose_nothing():
    script = project_root() / "benchmarks/calibrate_conspicuity.py"
    arguments = [sys.executable, script, "--conspicuity", "1", "--seeds", "1", "20210624"]
    ended = subprocess.run(arguments, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "--seeds 20210624: the shipped seed may choose nothing" in ended.stderr


def read_record() -> dict:
    return json.loads((project_root() / "benchmarks/calibrate_conspicuity.json").read_text(encoding="utf-8"))


def test_the_record_is_the_summary_of_its_runs_and_one_seed_has_no_spread():
    script = runpy.run_path(str(project_root() / "benchmarks/calibrate_conspicuity.py"))
    record = read_record()
    assert script["summarise"](record["conspicuity"], record["test_images"], record["runs"]) == record
    alone = script["summarise"](0.5, 1000, record["runs"][:1])
    assert (alone["sd"], alone["half_width"]) == (None, None)


def test_the_difficulty_is_set_to_the_published_accuracy():
    assert abs(read_record()["accuracy"] - 62 / 131) <= 0.03


def test_what_demo_ships_is_what_the_record_says():
    root, record = project_root(), read_record()
    shipped = yaml.safe_load((root / "params/demo/00_synthetic_cohort.yaml").read_text(encoding="utf-8"))
    assert record["conspicuity"] == shipped["conspicuity"]
    evaluation = yaml.safe_load((root / "params/demo/03_evaluation.yaml").read_text(encoding="utf-8"))
    assert evaluation.get("calibrated", False) == record["within_target"]
    assert record["within_target"] == (abs(record["accuracy"] - 62 / 131) <= 0.03)
    assert len(record["runs"]) >= 5
    assert record["test_images"] >= 1000
    assert record["macro_auc"] > 0.5
    assert record["least_answers"] > 0, "no class without a prediction"
    assert 20210624 not in [run["seed"] for run in record["runs"]]
    text = (root / "README.md").read_text(encoding="utf-8")
    assert f"{record['accuracy']:.3f} over {len(record['runs'])} seeds" in text
