"""The law of the notebooks, of their executed copies and of the package; and the smoke profile, run for real."""

import ast
import filecmp
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from mammolib import parameters, rooms

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "notebooks").glob("*.ipynb"))
COPIES = sorted(path for path in ROOT.glob("outputs/*/*.ipynb") if re.fullmatch(r"\d\d_\w+", path.stem))
MODULES = sorted(path for path in (ROOT / "mammolib").glob("*.py"))
# may load a backend when imported
NETWORKS = {"network", "augmentation", "recipe", "training", "phases", "training_plots", "explain"}
TEST_PART = r"images_(test|\{)"  # by its name, or by one that is put together
FIGURE = re.compile(r"plt\.(subplots|figure|show)\(")


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def code(book) -> list[str]:
    return [cell.source for cell in book.cells if cell.cell_type == "code"]


def prose(book) -> list[str]:
    return [cell.source for cell in book.cells if cell.cell_type == "markdown"]


def lines(source: str) -> int:
    return sum(bool(line.strip()) for line in source.splitlines())


each_notebook = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)


@each_notebook
def test_a_source_is_valid_and_stripped(path):
    book = read(path)
    nbformat.validate(book)
    assert (book.nbformat, book.nbformat_minor) == (4, 5)
    assert re.fullmatch(r"\d\d_[a-z_]+", path.stem)
    assert book.metadata.kernelspec.name == "python3"
    assert "papermill" not in book.metadata
    for cell in book.cells:
        assert re.fullmatch(r"[a-z][a-z0-9_-]+", cell.id), f"{cell.id}: an id is a readable word"
        assert not re.fullmatch(r"[0-9a-f]{8}", cell.id), f"{cell.id}: an id is no random number"
        if cell.cell_type == "code":
            assert cell.outputs == [], f"{cell.id} has outputs"
            assert cell.execution_count is None, f"{cell.id} has been run"
            assert set(cell.metadata) <= {"tags"}, f"{cell.id}: {dict(cell.metadata)}"
    assert len({cell.id for cell in book.cells}) == len(book.cells)


@each_notebook
def test_it_opens_with_title_parameters_and_set_up_and_closes_with_finish(path):
    book = read(path)
    title, declared, setup = book.cells[:3]
    assert title.cell_type == "markdown"
    assert title.source.startswith("# ")
    for word in ("?", "**Reads", "**Writes", "minute"):
        assert word in title.source, f"the title cell has no {word!r}"
    assert declared.metadata.get("tags") == ["parameters"]
    assert f'open_room("{path.stem}", globals())' in setup.source
    assert book.cells[-1].cell_type == "code"
    assert "room.finish(" in book.cells[-1].source
    assert book.cells[-1].source.endswith(").name")  # the path itself would show the machine's folders
    together = "\n".join(code(book))
    assert together.count("open_room(") == together.count("room.finish(") == 1


@each_notebook
def test_each_parameter_is_annotated_and_explained(path):
    declared = parameters.declared_parameters(path)
    assert declared["outputs"].default == "outputs/smoke", "Run All must never overwrite a committed room"
    assert declared["seed"].annotation == "int"
    for line in parameters.parameters_source(path).splitlines():
        if ":" in line.partition("#")[0]:
            comment = line.partition("#")[2]
            assert comment.strip(), f"no reason or unit: {line}"
            assert "=" not in comment, f"papermill hides a parameter with a second = : {line}"


@each_notebook
def test_code_is_short_and_the_package_holds_the_functions(path):
    cells = code(read(path))
    counts = [lines(cell) for cell in cells[1:]]  # the parameters cell is as long as it has to be
    assert len(cells) <= 30
    assert max(counts) <= 25
    assert statistics.median(counts) <= 5
    for cell in cells:
        assert not re.search(r"^\s*[%!]", cell, re.MULTILINE), f"a magic or shell line: {cell}"
        for node in ast.walk(ast.parse(cell)):
            assert not isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)), ast.unparse(node)
        assert not re.search(r"tqdm|filterwarnings|simplefilter|pickle", cell)


@each_notebook
def test_prose_tells_the_story(path):
    book = read(path)
    words = sum(len(re.findall(r"\w[\w'-]*", text)) for text in prose(book))
    density = words / sum(lines(cell) for cell in code(book))
    assert 4 <= density <= 10, f"{density:.1f} words a line of code; 4 to 10 are allowed"
    headings = re.findall(r"^#{2,4} +(.+)$", "\n".join(prose(book)), re.MULTILINE)
    assert len(headings) >= 2
    for heading in headings:
        assert len(heading.split()) >= 3, f"{heading!r}: a heading reads like a result"
        assert not re.search(r"\d+ ?%|\d\.\d", heading), f"{heading!r}: a heading holds at any scale"
    for cell, after in zip(book.cells, [*book.cells[1:], None], strict=True):
        if cell.cell_type == "code" and FIGURE.search(cell.source):
            assert after is not None, f"{cell.id}: a figure ends the notebook"
            assert after.cell_type == "markdown", f"{cell.id}: say what the figure shows, and a caveat"


def test_no_module_makes_a_figure_so_that_none_escapes_the_law():
    assert [path.name for path in MODULES if FIGURE.search(path.read_text())] == []


@each_notebook
def test_it_reads_only_earlier_rooms_and_the_test_part_from_03_on(path):
    together = "\n".join(code(read(path)))
    for name in re.findall(r"room\.(?:read|earlier)\(\s*[\"'](\w+)", together):
        assert name < path.stem, f"{name} is not earlier"
        assert (ROOT / "notebooks" / f"{name}.ipynb").is_file(), f"{name}: no such notebook"
    if path.stem >= "01":
        assert "room.banner(" in together, "results open with what kind of images they are about"
    if path.stem < "03" and not path.stem.startswith("01"):
        assert not re.search(TEST_PART, together), "the test part is closed"
    assert "outputs/" not in together.replace(code(read(path))[0], ""), "a path comes from the room"


@pytest.mark.parametrize("path", COPIES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_an_executed_copy_is_small_in_order_and_clean(path):
    check_copy(path)
    assert rooms.read_result(path.with_suffix(".json"))["profile"] == path.parent.name


def check_copy(path: Path) -> None:
    book = read(path)
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for output in (output for cell in cells for output in cell.outputs):
        assert output.output_type != "error"
        assert output.get("name") != "stderr"
    assert path.stat().st_size <= 1_000_000, "an executed notebook is at most 1 MB: fewer or smaller images"
    text = path.read_text() + path.with_suffix(".json").read_text()
    assert "site-packages" not in text
    for folder in (f"{ROOT}/", f"{Path.home()}/"):
        assert folder not in text, "a folder of the machine"


def test_the_shown_outputs_are_small_together():
    shown = {"demo", "demo-best", "control", "control-shuffled", "control-seed-2", "control-seed-3", "mini-mias"}
    files = [path for path in COPIES if path.parent.name in shown]
    files += [path.with_suffix(".json") for path in files] + [*ROOT.glob("outputs/*/03_evaluation/predictions.csv")]
    assert sum(path.stat().st_size for path in files) <= 8_000_000


def test_importing_a_module_prints_nothing_and_loads_no_backend_where_none_is_needed():
    names = [path.stem for path in MODULES if path.stem not in ("__init__", "__main__")]
    light = [name for name in names if name not in NETWORKS]
    script = (
        "import importlib, sys, warnings\n"
        "warnings.filterwarnings('error', category=UserWarning, module=r'mammolib\\.')\n"
        f"for name in {light}:\n"
        "    importlib.import_module(f'mammolib.{name}')\n"
        "    assert not {'tensorflow', 'keras', 'jax'} & set(sys.modules), name\n"
        f"for name in {sorted(NETWORKS & set(names))}:\n"
        "    importlib.import_module(f'mammolib.{name}')\n"
    )
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def imported(tree: ast.AST) -> set[str]:
    """Return the top names of all packages imported anywhere in a module."""
    plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    named = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in plain | named}


def test_one_module_alone_touches_tf_keras_vis_and_none_pickle_or_tqdm():
    for path in MODULES:
        names = imported(ast.parse(path.read_text()))
        assert "tf_keras_vis" not in names or path.stem == "explain", path.name
        assert not names & {"pickle", "joblib", "tqdm"}, path.name
    for path in SOURCES:
        assert "tf_keras_vis" not in imported(ast.parse("\n".join(code(read(path))))), path.name


def code_lines(path: Path) -> int:
    """Count the lines of a module that hold code: no docstring, comment or blank line."""
    tree = ast.parse(path.read_text())
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)]
    passed = {line for node in texts for line in range(node.lineno, node.end_lineno + 1)}
    kept = [line.strip() for number, line in enumerate(path.read_text().splitlines(), 1) if number not in passed]
    return sum(bool(line) and not line.startswith("#") for line in kept)


def test_the_package_stays_thin():
    longest = max(MODULES, key=lambda path: len(path.read_text().splitlines()))
    assert len(longest.read_text().splitlines()) <= 320, longest.name
    assert sum(map(code_lines, MODULES)) <= 7100


def run_smoke(outputs: Path, *arguments: str) -> str:
    """Run the smoke profile into a folder and return what it printed."""
    command = [sys.executable, "-m", "mammolib", "run", "smoke", "--outputs", str(outputs), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> tuple[Path, str, float]:
    """Run the smoke profile once; return its folder, what it printed, and its seconds."""
    folder = tmp_path_factory.mktemp("smoke") / "first"
    begun = time.monotonic()
    printed = run_smoke(folder)
    return folder, printed, time.monotonic() - begun


def test_smoke_runs_every_notebook_clean(smoke):
    folder, printed, seconds = smoke
    assert "stderr kept out" not in printed, "a notebook wrote to stderr"
    for path in SOURCES:
        if (ROOT / "params" / "smoke" / f"{path.stem}.yaml").is_file():
            check_copy(folder / path.name)
            result = rooms.read_result(folder / f"{path.stem}.json")
            assert result["profile"] == "smoke"
            assert result["cohort"]["kind"] == "synthetic"
            assert result["provenance"]["dtype_policy"] == ("float32" if path.stem >= "02" else None)
    assert {path.name for path in folder.glob("*.json")} >= {f"{path.stem}.json" for path in SOURCES[:5]}
    assert seconds < 180  # 90 s on two idle cores; the rest is for busy ones


def test_the_same_seed_gives_equal_predictions(smoke, tmp_path):
    run_smoke(tmp_path / "second")
    pair = [folder / "03_evaluation" / "predictions.csv" for folder in (smoke[0], tmp_path / "second")]
    assert filecmp.cmp(*pair, shallow=False)
    first, second = (json.loads((path.parents[1] / "03_evaluation.json").read_text())["results"] for path in pair)
    assert first == second


def test_another_seed_gives_other_predictions_from_a_copied_cohort(smoke, tmp_path):
    shutil.copytree(smoke[0], tmp_path / "third")
    run_smoke(tmp_path / "third", "--from", "02_training", "-p", "02_training.seed=4711")
    pair = [folder / "03_evaluation" / "predictions.csv" for folder in (smoke[0], tmp_path / "third")]
    assert not filecmp.cmp(*pair, shallow=False)


def approximate(value):
    """Let numbers differ in the last of six digits, where another processor sums in another order."""
    if isinstance(value, dict):
        return {key: approximate(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [approximate(entry) for entry in value]
    return pytest.approx(value, abs=2e-6) if isinstance(value, float) else value


def test_committed_predictions_give_the_committed_numbers_where_no_backend_can_be_imported(tmp_path):
    for name in ("tensorflow", "keras", "jax"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('closed for this test')")
    command = [sys.executable, "-m", "mammolib", "run", "rerender", "--outputs", str(tmp_path / "rerender")]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    fresh, committed = (
        json.loads((folder / "03_evaluation.json").read_text())["results"]
        for folder in (tmp_path / "rerender", ROOT / "outputs" / "demo")
    )
    for name in sorted(set(committed) - {"baselines", "subgroups"}):  # these need the cohort table, which git ignores
        assert fresh[name] == approximate(committed[name]), name
