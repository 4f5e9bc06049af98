"""The page of a run: one file that works offline, holds every finished notebook, and names no folder of a machine."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from mammolib import html_export
from mammolib.__main__ import print_html
from mammolib.html_export import run_page, title_of, write_html
from mammolib.rooms import project_root

ROOT = project_root()
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def write_run(outputs: Path, name: str, title: str, kind="synthetic", done=True, files=()) -> None:
    """An executed notebook with a figure, a folded and two open cells; and its JSON where it has finished."""
    figure = v4.new_output("display_data", {"image/png": PIXEL, "text/plain": "<Figure>"})
    cells = [
        v4.new_markdown_cell(f"# {title}\n\nSee [the next](../outputs/x/02_training.ipynb)."),
        v4.new_code_cell("seed: int = 20210624  # declared", metadata={"tags": ["parameters"]}, execution_count=1),
        v4.new_code_cell("seed = 7  # injected", metadata={"tags": ["injected-parameters"]}, execution_count=2),
        v4.new_code_cell("hidden_code(1)", outputs=[figure], metadata={"tags": ["other"]}, execution_count=3),
    ]
    outputs.mkdir(parents=True, exist_ok=True)
    nbformat.write(v4.new_notebook(cells=cells), outputs / f"{name}.ipynb")
    if done:
        content = {"status": "complete", "cohort": {"kind": kind, "name": "phantoms"}, "parameters": {}, "results": {}}
        content["provenance"] = {"files": dict.fromkeys(files, "0" * 64)}
        (outputs / f"{name}.json").write_text(json.dumps(content))


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "params" / "tiny").mkdir(parents=True)
    (tmp_path / "params" / "tiny" / "01_data_curation.yaml").touch()
    (tmp_path / "params" / "reporting").mkdir()
    shutil.copy(ROOT / html_export.STYLE, tmp_path / "params" / "reporting")
    monkeypatch.setenv("MAMMOLIB_PROJECT", str(tmp_path))
    return tmp_path


@pytest.fixture
def outputs(project):
    folder = project / "outputs" / "tiny"
    write_run(folder, "03_evaluation", "Evaluation & more", files=["claim.md", "gone.md", "predictions.csv"])
    write_run(folder, "01_data_curation", "Data curation")
    write_run(folder, "02_training", "Training", done=False)
    (folder / "03_evaluation").mkdir()
    report = "**drawn**\n\n# CLAIM\n\n| item | this run |\n| --- | --- |\n| 7 | phantoms |\n"
    (folder / "03_evaluation" / "claim.md").write_text(report)
    (folder / "03_evaluation" / "older.md").write_text("# Of a run before\n")
    return folder


def test_it_holds_the_finished_notebooks_in_order_and_the_reports_of_that_run_at_the_end(outputs):
    page = run_page("tiny", outputs)
    titles = ["01 Data curation", "03 Evaluation &amp; more", "CLAIM"]
    assert re.findall(r'<li><a href="#[^"]+">([^<]+)</a></li>', page) == titles
    targets = re.findall(r'<li><a href="#([^"]+)">', page)
    assert targets == re.findall(r'<section id="([^"]+)"', page) == ["01_data_curation", "03_evaluation", "claim"]
    assert [page.count(f">{title}<") for title in ("Data curation", "Training")] == [1, 0]
    assert page.count(f"data:image/png;base64,{PIXEL}") == 2
    assert "<td>phantoms</td>" in page
    assert "Of a run before" not in page
    assert "SYNTHETIC phantoms: drawn, not patients" in page
    assert '<a href="../outputs/x/02_training.ipynb">' in page, "links between notebooks stay as they are"


def test_parameters_are_open_and_other_code_is_folded(outputs):
    page = run_page("tiny", outputs)
    folded = "".join(re.findall(r"<details>.*?</details>", page, re.DOTALL))
    text = re.sub(r"<[^>]+>", "", folded)
    assert text.count("hidden_code") == 2
    assert "declared" not in text
    assert "injected" not in text
    assert page.count("# declared") == page.count("# injected") == 2


@pytest.mark.parametrize("profile", ["demo", "mini-mias"])
def test_a_committed_run_becomes_one_small_file_that_needs_no_net(profile, tmp_path):
    copies = sorted((ROOT / "outputs" / profile).glob("0[23]_*.ipynb"))
    for path in copies:
        shutil.copy(path, tmp_path)
        shutil.copy(path.with_suffix(".json"), tmp_path)
    page = write_html(profile, tmp_path).read_text()
    figures = 0
    for path in copies:
        book = nbformat.read(path, as_version=4)
        assert f">{title_of(book.cells[0].source, '')}<" in page
        for output in (output for cell in book.cells for output in cell.get("outputs", [])):
            if "image/png" in output.get("data", {}):
                figures += 1
                assert output.data["image/png"].replace("\n", "") in page.replace("\n", "")
    assert figures >= 4
    assert not re.search(r"<(script|link|iframe|base|object)\b", page)
    assert page.count("<img") == len(re.findall(r'<img\b[^>]*\bsrc="data:', page)), "all is in the file"
    assert not re.search(r"@import|url\(|srcset", page)
    assert page.count("<html") == page.count("<h1>Run of") == 1
    for folder in (str(ROOT), str(Path.home()), str(tmp_path), "site-packages"):
        assert folder not in page
    assert len(page.encode()) <= 8_000_000


def test_unknown_profiles_and_empty_folders_are_one_line_and_exit_2(project, outputs, capsys):
    assert print_html("tiny", None) == 0
    assert capsys.readouterr().out == "outputs/tiny/run.html\n"
    assert print_html("tinny", None) == 2
    assert capsys.readouterr().err == "error: no profile is called 'tinny'; there are tiny\n"
    assert print_html("tiny", "outputs/other") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: outputs/other: no finished notebook here")
    (outputs / "01_data_curation.json").write_text("{}")
    assert print_html("tiny", None) == 2
    assert "status None, allowed is 'complete'" in capsys.readouterr().err


def test_a_failed_export_leaves_the_page_before(outputs, monkeypatch):
    before = write_html("tiny", outputs).read_text()
    monkeypatch.setattr(html_export, "notebook_section", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_html("tiny", outputs)
    assert (outputs / "run.html").read_text() == before
    assert not list(outputs.glob(".*"))


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_hospital_s_page_goes_only_where_git_does_not_take_it_up(project):
    subprocess.run(["git", "init", "-q", project], check=True)
    folder = project / "outputs" / "tiny"
    write_run(folder, "01_data_curation", "Data curation", kind="hospital")
    with pytest.raises(ValueError, match=r"outputs/tiny/run.html: git does not ignore it"):
        write_html("tiny", folder)
    assert not (folder / "run.html").exists()
    (project / ".gitignore").write_text("/outputs/*\n")
    assert "research only" in write_html("tiny", folder).read_text()


def test_the_command_loads_no_network_library(outputs):
    script = (
        "import sys\nfrom mammolib.__main__ import main\n"
        "assert main(['html', 'tiny']) == 0\nassert not {'tensorflow', 'keras', 'jax'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (outputs / "run.html").is_file()
