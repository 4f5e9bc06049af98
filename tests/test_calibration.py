"""The calibration's script: what it refuses. Its runs take minutes, so they are not tests."""

import subprocess
import sys

from mammolib.rooms import project_root


def test_the_shipped_seed_may_choose_nothing():
    script = project_root() / "benchmarks/calibrate_conspicuity.py"
    arguments = [sys.executable, script, "--conspicuity", "1", "--seeds", "1", "20210624"]
    ended = subprocess.run(arguments, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "--seeds 20210624: the shipped seed may choose nothing" in ended.stderr
