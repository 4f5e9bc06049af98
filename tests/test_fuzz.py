"""Damaged DICOM files: each is read, or left out for a reason of the closed list."""

import json
import runpy
import subprocess
import sys


def test_the_files_that_are_damaged_are_sound_before(tmp_path, request):
    fuzz = runpy.run_path(str(request.config.rootpath / "benchmarks" / "fuzz.py"))
    files = tmp_path / "files"
    files.mkdir()
    sound = fuzz["sound_files"](tmp_path)
    for parts in sound:
        (files / parts["syntax"]).write_bytes(fuzz["whole"](parts, parts["body"]))
    headers, rows = fuzz["through"](files, [parts["syntax"] for parts in sound], 2)
    assert headers["reason"].eq("").all()
    assert rows["reason"].eq("").all()
    assert rows["syntax"].nunique() == len(rows) == 8
    assert rows["digest"].nunique() == 1


def test_damaged_files_are_read_or_left_out_with_a_reason(request):
    script = request.config.rootpath / "benchmarks" / "fuzz.py"
    command = [sys.executable, script, "--files", "300", "--bombs", "1", "--seed", "20210624"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=request.config.rootpath)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["read"] + sum(result["left_out"].values()) == result["files"] == 300
    assert 30 < result["read"] < 200, "too little or too much is damaged to test anything"
    assert len(result["left_out"]) > 4
    assert result["no_memory"] >= 2, "the bomb, in the scan and in the intake"
    assert result["beyond_its_parent_mb"] < 1100
    assert "Planted" not in done.stdout + done.stderr
