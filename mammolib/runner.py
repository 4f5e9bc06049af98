"""Run a profile: its notebooks in order, headless, through papermill.

Everything a user can get wrong is checked before anything runs. A notebook has passed only when papermill raised
nothing *and* the JSON of its last cell is there: papermill calls a notebook finished whose kernel was killed, or
whose cell called `sys.exit(0)`.
"""

import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from mammolib import execution, parameters, rooms

# Parameters that name a file or folder which has to be there
INPUTS = ("source", "pathology", "registry", "annotations", "label_map", "claims")
INPUTS += ("predictions", "compare_with", "weights")


class NotebookFailedError(Exception):
    """A notebook did not finish; the text is one line with notebook, cell and error."""


def profiles() -> list[str]:
    """Return the profiles that exist: the folders of params/ with a YAML file in them."""
    return sorted({path.parent.name for path in (rooms.project_root() / "params").glob("*/*.yaml")})


def plan(profile: str, overrides: list[str], outputs: str | None) -> dict[str, dict[str, Any]]:
    """Return the parameters to inject, by notebook in order; nothing is run, and only the outputs' folder is made.

    Parameters
    ----------
    overrides
        Texts of the form `NN_name.parameter=value`; the value is read as YAML.
    outputs
        The folder to write to; None for outputs/<profile>. Relative paths start at the project's folder.

    Raises
    ------
    ValueError
        One line a problem; all of them together.
    """
    if profile not in profiles():
        raise ValueError(f"no profile is called {profile!r}; there are {', '.join(profiles()) or 'none'}")
    if outputs is not None and not outputs.strip():
        raise ValueError(f"--outputs {outputs!r}: empty; allowed is a folder")
    project, planned, problems, declared = rooms.project_root(), {}, [], {}
    for file in sorted((project / "params" / profile).glob("[!.]*")):
        shown, notebook = file.relative_to(project), project / "notebooks" / f"{file.stem}.ipynb"
        if file.suffix != ".yaml" or not notebook.is_file():
            problems.append(f"{shown}: only NN_name.yaml of a notebook is allowed here; there are {_stems(notebook)}")
            continue
        try:
            declared[file.stem] = parameters.declared_parameters(notebook)
            planned[file.stem] = parameters.read_parameter_file(file)
        except ValueError as error:
            problems.append(str(error).replace(f"{project}/", ""))
            continue
        problems += parameters.problems_with(planned[file.stem], declared[file.stem], str(shown))
        if "outputs" in planned[file.stem]:
            problems.append(f"{shown}: outputs is set by the runner; use --outputs")
    problems += _apply(overrides, planned, declared)
    problems += writable_problems(rooms.resolve(outputs or f"outputs/{profile}"))
    if problems:
        raise ValueError("\n".join(problems))
    return {name: {"outputs": outputs or f"outputs/{profile}", **values} for name, values in planned.items()}


def _stems(notebook: Path) -> str:
    return ", ".join(sorted(path.stem for path in notebook.parent.glob("*.ipynb"))) or "none"


def is_day(text: str) -> bool:
    """Tell whether a value is a bare day: the shell takes the quotes away that would keep YAML from reading a date."""
    return bool(re.fullmatch(r"\s*\d{4}-\d{1,2}-\d{1,2}\s*", text))


def _apply(overrides: list[str], planned: dict, declared: dict) -> list[str]:
    """Put `-p` values into the plan; return the problems."""
    problems = []
    for text in overrides:
        key, equals, value = text.partition("=")
        name, dot, parameter = key.strip().partition(".")
        if not (equals and dot and parameter):
            problems.append(f"-p {text}: allowed is NN_name.parameter=value")
        elif name not in declared:
            problems.append(f"-p {text}: {name} is not run here; allowed are {', '.join(declared)}")
        elif parameter == "outputs":
            problems.append(f"-p {text}: outputs is set by the runner; use --outputs")
        else:
            try:
                new = {parameter: value.strip() if is_day(value) else yaml.safe_load(value)}
            except parameters.YAML_ERRORS as error:
                problems.append(f"-p {text}: not valid YAML ({' '.join(str(error).split())})")
                continue
            problems += parameters.problems_with(new, declared[name], f"-p {text}")
            planned.setdefault(name, {}).update(new)
    return problems


def writable_problems(folder: Path) -> list[str]:
    """Try to write in a folder (made here when missing); return the problem, if any."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return []
    except OSError as error:
        return [f"{folder}: cannot be written ({error.strerror}); give another folder with --outputs"]


def earlier_problems(outputs: Path, names: list[str]) -> list[str]:
    """Check what `--from` builds on: each earlier notebook's JSON, its files, and the inputs that it read."""
    problems = []
    for name in names:
        try:
            facts = rooms.read_result(outputs / f"{name}.json").get("provenance")
        except (FileNotFoundError, ValueError) as error:
            problems.append(str(error))
            continue
        if not isinstance(facts, dict) or not all(isinstance(facts.get(part), dict) for part in ("files", "inputs")):
            problems.append(f"{outputs / name}.json: provenance has no files and inputs; run from {name} again")
            continue
        expected = {outputs / name / file: digest for file, digest in facts["files"].items()}
        for key, digest in facts["inputs"].items():
            if not key.startswith("(outside)"):
                inside = outputs / key
                expected[inside if inside.exists() else rooms.resolve(key)] = digest
        for path, digest in expected.items():
            if not path.exists():
                problems.append(f"{path}: missing since {name} ran; run from {name} again")
            elif rooms.file_sha256(path) != digest:
                problems.append(f"{path}: changed since {name} ran; run from {name} again")
    return problems


def run(profile: str, start: str | None, overrides: list[str], outputs: str | None, end: str | None = None) -> int:
    """Run a profile, from `start` to `end` (None: all), and return the exit status.

    0 is success, 1 a notebook that failed, 2 bad input or another run in this folder (nothing was run). Results of the
    notebooks after `end` are removed, for they would be of another run.
    """
    try:
        planned = plan(profile, overrides, outputs)
        names = list(planned)
        for option, name in (("--from", start), ("--to", end)):
            if name is not None and name not in names:
                raise ValueError(f"{option} {name}: not in profile {profile}; allowed are {', '.join(names)}")
        folder = rooms.resolve(next(iter(planned.values()))["outputs"])
        first, last = names.index(start) if start else 0, names.index(end) + 1 if end else len(names)
        if last <= first:
            raise ValueError(f"--to {end}: comes before --from {start}")
        with execution.locked(folder):
            if problems := earlier_problems(folder, names[:first]) or missing_inputs(planned, names[first:last]):
                raise ValueError("\n".join(problems))
            return run_planned(profile, planned, folder, first, last)
    except (ValueError, OSError) as error:
        print("\n".join(f"error: {line}" for line in str(error).splitlines()), file=sys.stderr)
        return 2


def missing_inputs(planned: dict[str, dict[str, Any]], names: list[str]) -> list[str]:
    """What the notebooks `names` would not find, one line each: known before results of a run before are removed."""
    problems = []
    for name in names:
        declared = parameters.declared_parameters(rooms.project_root() / "notebooks" / f"{name}.ipynb")
        values = {key: parameter.default for key, parameter in declared.items()} | planned[name]
        wanted = {key: values.get(key) for key in INPUTS}
        if values.get("layout", "registry") != "registry":
            wanted.pop("registry")
        if values.get("layout", "registry") not in ("registry", "archive"):
            wanted["source"] = wanted["source"] or f"data/{values['layout']}"
        if wanted["weights"] == "imagenet":
            wanted.pop("weights")
        if values.get("cohort"):
            wanted["cohort"] = f"{values['cohort']}/01_data_curation.json"
        problems += [
            f"{name}: {key} = {value!r}: no such file or folder; relative paths start at the folder of pyproject.toml"
            for key, values in wanted.items()
            for value in (values.split(",") if values and key == "compare_with" else [values])
            if value and not rooms.resolve(value.strip()).exists()
        ]
    return problems


def run_planned(profile: str, planned: dict[str, dict[str, Any]], folder: Path, first: int, last: int) -> int:
    """Run the notebooks `first` to `last` - 1 of a plan that was checked, and return the exit status, 0 or 1."""
    names = list(planned)
    for name in names[first:]:
        remove_stale(folder, name)
    begun = time.monotonic()
    for number, name in enumerate(names[first:last], start=1):
        print(f"[{number}/{last - first}] {name} ...", flush=True)
        clock = time.monotonic()
        try:
            noise = run_notebook(profile, name, planned[name], folder)
        except NotebookFailedError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        kept_out = f"; {noise} lines of stderr kept out of the copy" if noise else ""
        print(f"[{number}/{last - first}] {name}: {time.monotonic() - clock:.0f} s{kept_out}", flush=True)
    print(f"{profile}: {time.monotonic() - begun:.0f} s. To read:")
    for name in names[first:last]:
        print(f"  {rooms.short(folder / f'{name}.ipynb')}")
    return 0


def remove_stale(folder: Path, name: str) -> None:
    """Remove executed copy, JSON and failed copy of a run before; the room's own files stay (a key, a checkpoint)."""
    for ending in (".ipynb", ".json", ".failed.ipynb", ".failed.log"):
        (folder / f"{name}{ending}").unlink(missing_ok=True)


def run_notebook(profile: str, name: str, values: dict[str, Any], folder: Path) -> int:
    """Execute one notebook into a partial file and rename it when its JSON has appeared.

    Returns the number of stderr lines that were kept out of the copy; raises NotebookFailedError otherwise. An
    interrupt leaves nothing under a final name.
    """
    partial, result = folder / f".{name}.partial.ipynb", folder / f"{name}.json"
    log = partial.with_suffix(".log")
    partial.unlink(missing_ok=True)
    error = "interrupted"
    try:
        try:
            with execution.kernel_stderr(log):
                failure = execution.execute(profile, name, values, partial) or result_problem(result)
            if failure is None:
                noise = execution.tidy(partial)
                partial.replace(folder / f"{name}.ipynb")
                error = None
                return noise
        except (OSError, ValueError) as problem:  # a full disk, a copy that was cut short by it
            failure = f"{type(problem).__name__}: {execution.one_line(str(problem))}"
        error = f"{name}, {execution.describe_stop(partial)}: {failure}"
        if partial.exists():
            failed = partial.replace(folder / f"{name}.failed.ipynb")
            error += f" (kept: {rooms.short(failed)}"
            if log.stat().st_size:
                error += f" and {log.replace(folder / f'{name}.failed.log').name}"
            error += ")"
    finally:
        partial.unlink(missing_ok=True)
        log.unlink(missing_ok=True)
        if error is not None:
            result.unlink(missing_ok=True)
            hidden = (folder / name).glob(".*")  # scratch and partial files
            for file in filter(Path.is_file, hidden):
                file.unlink()
    raise NotebookFailedError(error)


def result_problem(result: Path) -> str | None:
    """Return what is wrong with the JSON that a notebook's last cell writes, None where it is there and complete."""
    try:
        rooms.read_result(result)
    except (FileNotFoundError, ValueError):
        return "ended before its last cell wrote its JSON (sys.exit in a cell, or no room.finish?)"
    return None
