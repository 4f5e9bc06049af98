"""The runner on a tiny project of its own, through real papermill and real kernels."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from mammolib import execution, rooms, runner
from mammolib.__main__ import print_report
from mammolib.training import HISTORY, epoch_line

ROOT = Path(__file__).parents[1]
PARAMETERS = (
    'outputs: str = "outputs/smoke"\nseed: int = 1\nmode: str = "pass"\nweights: str | None = None\n'
    "claims: str | None = None"
)
SETUP = 'import os, signal, sys, time\nfrom mammolib.rooms import open_room\nroom = open_room("{name}", globals())'
ACT = """
print("working", mode, os.getpid(), flush=True)
if mode != "pass":
    room.path(".scratch.npy").touch()
if mode == "raise":
    raise ValueError("epochs = 0;\\nat least 1")
if mode == "exit":
    sys.exit(0)
if mode == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if mode == "noise":
    print("a warning", file=sys.stderr)
    os.write(2, b"a start-up line past Python")
if mode == "wait":
    time.sleep(60)
"""
FIRST = 'with room.writing("a.csv") as partial:\n    partial.write_text(f"seed {seed}")'
SECOND = 'print(room.read("01_first", "a.csv").read_text())'
LAST = 'if mode != "silent":\n    room.finish({}, cohort={"kind": "public", "name": "none"})'


def write_notebook(folder: Path, name: str, body: str) -> None:
    sources = [PARAMETERS, SETUP.format(name=name), ACT, body, LAST]
    book = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "a-name-missing-here", "display_name": "x"}})
    book.cells = [nbformat.v4.new_code_cell(source, id=f"c{k}") for k, source in enumerate(sources)]
    book.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(book, folder / f"{name}.ipynb")


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "params" / "tiny").mkdir(parents=True)
    for name, body in (("01_first", FIRST), ("02_second", SECOND)):
        write_notebook(tmp_path / "notebooks", name, body)
        (tmp_path / "params" / "tiny" / f"{name}.yaml").write_text("seed: 5\n")
    monkeypatch.setenv("MAMMOLIB_PROJECT", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    return tmp_path


def run(*overrides, start=None, outputs=None, profile="tiny", end=None):
    return runner.run(profile, start, list(overrides), outputs, end)


def left(project) -> set[str]:
    """Return what stands in the profile's folder, rooms aside."""
    return {path.name for path in (project / "outputs/tiny").iterdir() if path.is_file()}


DONE = {"01_first.ipynb", "01_first.json", "02_second.ipynb", "02_second.json"}


def test_a_profile_runs_in_order_and_its_copies_hold_no_stderr_and_no_folder(project, capfd):
    environment = dict(os.environ)
    assert run("02_second.mode=noise") == 0
    assert os.environ == environment
    shown = capfd.readouterr()
    assert shown.out.index("working pass") < shown.out.index("seed 5") < shown.out.index("To read:")
    assert "1 lines of stderr kept out of the copy" in shown.out
    assert "a warning" in shown.err
    assert "unknown parameter" not in shown.err
    assert "start-up line" not in shown.err
    assert left(project) == DONE
    text = (project / "outputs/tiny/02_second.ipynb").read_text()
    assert "a warning" not in text.replace('print(\\"a warning', "")
    assert str(project) not in text
    assert '"seed 5' in text
    book = nbformat.reads(text, as_version=4)
    assert [cell.execution_count for cell in book.cells if cell.cell_type == "code"] == [1, 2, 3, 4, 5, 6]
    result = json.loads((project / "outputs/tiny/02_second.json").read_text())
    assert result["profile"] == "tiny"
    given = {"outputs": "outputs/tiny", "seed": 5, "mode": "noise"}
    assert result["parameters"] == given | {"weights": None, "claims": None}

    # --from: everything fits, then a file of an earlier room is altered, then its JSON is gone
    assert run(start="02_second") == 0
    (project / "outputs/tiny/01_first/a.csv").write_text("seed 6")
    assert run(start="02_second") == 2
    assert "01_first/a.csv: changed since 01_first ran" in capfd.readouterr().err
    assert left(project) == DONE, "a refused run removes nothing"
    (project / "outputs/tiny/01_first.json").unlink()
    assert run(start="02_second") == 2
    assert "01_first has not finished here" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("raise", "02_second, cell c2 [4]: ValueError: epochs = 0; at least 1"),
        ("exit", "02_second, cell c2 [4]: ended before its last cell wrote its JSON"),
        ("kill", "02_second, cell c2"),
        ("silent", "02_second, cell c4 [6]: ended before its last cell wrote its JSON"),
    ],
)
def test_a_failure_is_kept_beside_and_named_in_one_line(project, capfd, mode, words):
    stale = project / "outputs/tiny"
    stale.mkdir(parents=True)
    (stale / "02_second.json").write_text("{}")
    (stale / "02_second.ipynb").write_text("{}")
    assert run(f"02_second.mode={mode}") == 1
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert words in lines[0]
    assert left(project) - {"02_second.failed.log"} == {"01_first.ipynb", "01_first.json", "02_second.failed.ipynb"}
    assert list((project / "outputs/tiny/02_second").iterdir()) == [], "the scratch file went with the failure"


def test_all_bad_input_is_reported_together_and_nothing_runs(project, capfd):
    (project / "params/tiny/01_first.yaml").write_text("sed: 5\nmode: NO\noutputs: here\n")
    (project / "params/tiny/03_third.yaml").touch()
    blocked = project / "file"
    blocked.touch()
    wrong = ["02_second.seed=many", "04_none.seed=1", "seed=1", "02_second.mode=[1", "02_second.outputs=x"]
    assert run(*wrong, outputs=str(blocked / "inside")) == 2
    errors = capfd.readouterr().err.splitlines()
    expected = [
        "params/tiny/01_first.yaml: no parameter is called 'sed' (value 5); the nearest is seed",
        "params/tiny/01_first.yaml: mode = False is bool, allowed is str",
        "params/tiny/01_first.yaml: outputs is set by the runner",
        "params/tiny/03_third.yaml: only NN_name.yaml of a notebook is allowed here; there are 01_first, 02_second",
        "-p 02_second.seed=many: seed = 'many' is str, allowed is int",
        "-p 04_none.seed=1: 04_none is not run here; allowed are 01_first, 02_second",
        "-p seed=1: allowed is NN_name.parameter=value",
        "-p 02_second.mode=[1: not valid YAML",
        "-p 02_second.outputs=x: outputs is set by the runner",
        f"{blocked}/inside: cannot be written",
    ]
    assert len(errors) == len(expected)
    for error, words in zip(errors, expected, strict=True):
        assert words in error
    assert not (project / "outputs").exists()


@pytest.mark.parametrize("content", ["[]", '"x"', '{"status": "complete"}', "provenance null"])
def test_from_an_earlier_json_that_is_no_result_is_refused_in_one_line(project, capfd, content):
    if content == "provenance null":
        whole = {"status": "complete", "cohort": {}, "parameters": {}, "results": {}, "provenance": None}
        content = json.dumps(whole)
    (project / "outputs/tiny").mkdir(parents=True)
    (project / "outputs/tiny/01_first.json").write_text(content)
    assert run(start="02_second") == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert re.match(r"error: .*01_first\.json: .*; run (from )?01_first again", line)


@pytest.mark.parametrize("content", ["[]", '{"status": "complete", "cohort": {}, "parameters": {}, "results": {}}'])
def test_a_report_on_a_json_that_is_no_result_is_one_line(project, capsys, content):
    (project / "outputs/tiny").mkdir(parents=True)
    (project / "outputs/tiny/03_evaluation.json").write_text(content)
    shutil.copy(ROOT / "params/claims.csv", project / "params")
    assert print_report("tiny", None) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "03_evaluation.json: " in line
    assert print_report("tinny", None) == 2
    assert "no profile is called 'tinny'; there are tiny" in capsys.readouterr().err


def test_a_project_without_pyproject_is_one_line(project, capsys):
    (project / "pyproject.toml").unlink()
    assert run() == print_report("tiny", None) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == second == f"error: {project}: no pyproject.toml here; install with `pip install -e .` or run make"


def test_folders_dot_files_and_an_empty_outputs_among_the_parameters(project, capfd):
    (project / "params/tiny/.DS_Store").touch()
    assert list(runner.plan("tiny", [], None)) == ["01_first", "02_second"]
    assert run(outputs="") == 2
    assert "--outputs '': empty" in capfd.readouterr().err
    (project / "params/tiny/02_second.yaml").unlink()
    (project / "params/tiny/02_second.yaml").mkdir()
    assert run() == 2
    assert "02_second.yaml: cannot be read (Is a directory)" in capfd.readouterr().err


def test_a_second_run_in_a_folder_is_refused_and_a_dead_ones_lock_is_gone(project, capfd):
    folder = project / "outputs/tiny"
    folder.mkdir(parents=True)
    (folder / "01_first.json").write_text("{}")
    hold = f"import os, fcntl; fcntl.flock(os.open({str(folder)!r}, 0), fcntl.LOCK_EX); print(flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    other.stdout.readline()
    assert run() == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert f"{folder}: another run is at work here" in line
    assert left(project) == {"01_first.json"}, "nothing is removed, nothing is left"
    other.kill()
    other.communicate()
    with execution.locked(folder):
        pass


@pytest.mark.parametrize(("networks", "kept"), [(2, 50), (3, 12)])
def test_the_copy_of_a_long_training_has_every_tenth_epoch(tmp_path, networks, kept):
    lines = [
        epoch_line(f"model_{name}", dict.fromkeys(HISTORY, float("nan")) | {"epoch": epoch}, 25, 0.0)
        for name in range(networks)
        for epoch in range(1, 26)
    ]
    outputs = [nbformat.v4.new_output("stream", text="\n".join([*lines, "model_x: goes on after epoch 3 of a run\n"]))]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("train()", outputs=outputs)])
    book.metadata["papermill"] = {"parameters": {}, "duration": 1.0, "version": "2"}
    nbformat.write(book, tmp_path / "02_training.ipynb")
    execution.tidy(tmp_path / "02_training.ipynb")
    text = nbformat.read(tmp_path / "02_training.ipynb", as_version=4).cells[0].outputs[0].text
    shown = [line for line in text.splitlines() if " epoch " in line and "/25" in line]
    assert len(shown) == kept
    assert {line.split()[0] for line in shown} == {f"model_{name}" for name in range(networks)}
    assert set(lines[:1] + lines[9:10] + lines[24:25]) <= set(shown)
    assert "goes on after epoch 3" in text
    assert ("every tenth" in text) == (kept < 25 * networks)


def test_a_full_disk_is_a_failure_in_one_line(project, capfd, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(execution, "tidy", full)
    assert run(end="01_first") == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: 01_first, ")
    assert "No space left on device" in line
    # a kernel on a busy machine may have warned on stderr, which is kept beside the failed copy
    assert left(project) - {"01_first.failed.log"} == {"01_first.failed.ipynb"}


def test_an_input_that_is_not_there_costs_no_earlier_result(project, capfd):
    assert run() == 0
    assert run("02_second.claims=params/mine.csv") == 2
    assert "02_second: claims = 'params/mine.csv': no such file or folder" in capfd.readouterr().err
    assert left(project) == DONE


@pytest.mark.parametrize("value", ["2024-12-31", " 2024-1-5 "])
def test_a_day_needs_no_quotes_that_the_shell_would_eat(project, value):
    assert runner.plan("tiny", [f"01_first.weights={value}"], None)["01_first"]["weights"] == value.strip()


def test_a_python_without_the_packages_is_told_which_has_them():
    bare = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})"]
    bare[-1] += "; from mammolib.__main__ import main; sys.exit(main(['run', 'smoke']))"
    ended = subprocess.run(bare, capture_output=True, text=True)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert re.fullmatch(r"error: this Python has no \w+; use \.venv/bin/python, which make setup makes", line)


def test_an_outputs_folder_that_no_home_has_is_named(project, capfd):
    assert run(outputs="~nobody-of-that-name/x") == 2
    assert "~nobody-of-that-name/x: " in capfd.readouterr().err


def test_to_stops_there_and_removes_what_would_be_of_another_run(project, capfd):
    (project / "outputs/tiny").mkdir(parents=True)
    (project / "outputs/tiny/02_second.json").write_text("{}")
    assert run(end="01_first") == 0
    assert left(project) == {"01_first.ipynb", "01_first.json"}
    assert run(start="02_second", end="01_first") == 2
    assert "--to 01_first: comes before --from 02_second" in capfd.readouterr().err


def test_unknown_profile_and_start_list_what_there_is(project, capfd):
    assert run(profile="tinny") == 2
    assert "no profile is called 'tinny'; there are tiny" in capfd.readouterr().err
    assert run(profile="../params/tiny") == 2
    assert run(start="02_secnod") == 2
    assert "allowed are 01_first, 02_second" in capfd.readouterr().err


def test_a_kernel_that_does_not_start_is_tried_once_more(project, capfd, monkeypatch):
    import papermill

    real, calls = papermill.execute_notebook, []

    def collide_once(*arguments, **options):
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("Address already in use")
        return real(*arguments, **options)

    monkeypatch.setattr(papermill, "execute_notebook", collide_once)
    assert execution.execute("tiny", "01_first", {"outputs": "outputs/tiny"}, project / "copy.ipynb") is None
    assert len(calls) == 2
    assert "trying once more" in capfd.readouterr().err


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interrupted_run_leaves_nothing_under_a_final_name_and_no_kernel(project, sent, status):
    command = [sys.executable, "-m", "mammolib", "run", "tiny", "-p", "02_second.mode=wait", "--outputs", "elsewhere"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # A shell lets background jobs ignore Ctrl-C, and nohup a hang-up; a job of CI may be either, a user's run is not.
    attend = lambda: signal.signal(sent, signal.SIG_DFL)  # noqa: E731
    process = subprocess.Popen(command, cwd=ROOT, preexec_fn=attend, **pipes)
    while not (line := process.stdout.readline()).startswith("working wait"):  # streamed while it runs
        assert process.poll() is None
    process.send_signal(sent)
    begun = time.monotonic()
    _, errors = process.communicate(timeout=30)
    assert process.returncode == status, errors
    assert errors.startswith("interrupted; nothing half-written") == (sent != signal.SIGHUP)
    assert time.monotonic() - begun < 20
    with pytest.raises(ProcessLookupError):
        os.kill(int(line.split()[-1]), 0)  # asks whether the kernel lives
    assert {path.name for path in (project / "elsewhere").iterdir()} == {
        "01_first",
        "01_first.ipynb",
        "01_first.json",
        "02_second",
    }
    assert rooms.read_result(project / "elsewhere/01_first.json")["profile"] == "tiny"


def test_the_command_line_refuses_what_it_does_not_know(project):
    done = subprocess.run([sys.executable, "-m", "mammolib", "run"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "profile" in done.stderr
