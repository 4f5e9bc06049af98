"""Where a notebook reads and writes: its own room, the rooms of earlier ones, and the JSON that says it has finished.

A room is `outputs/<profile>/NN_name/`. Its notebook writes nowhere else, reads only earlier rooms, and ends with
`room.finish(results)`: without that JSON the run did not finish.
"""

import hashlib
import json
import math
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mammolib import parameters, provenance

OWN_FILES = ("source", "pathology", "registry", "annotations")  # of a hospital, by parameter
COHORT_KINDS = ("synthetic", "public", "hospital")


def project_root() -> Path:
    """Return the folder of pyproject.toml (or MAMMOLIB_PROJECT, which the tests' tiny projects use)."""
    root = Path(os.environ.get("MAMMOLIB_PROJECT") or Path(__file__).parents[1]).resolve()
    if not (root / "pyproject.toml").is_file():
        raise FileNotFoundError(f"{root}: no pyproject.toml here; install with `pip install -e .` or run make")
    return root


def resolve(path: str | Path) -> Path:
    """Return an absolute path; relative ones start at the project's folder, in papermill and JupyterLab alike."""
    try:
        return project_root() / Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path}: {error}") from None


def short(path: Path) -> Path:
    """Return a path as a reader in the project's folder would type it."""
    return path.relative_to(project_root()) if path.is_relative_to(project_root()) else path


@contextmanager
def writing(path: str | Path) -> Iterator[Path]:
    """Yield a partial path beside `path` (same suffix), renamed over it at the end, removed when the block raises."""
    path = resolve(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        error.filename = error.filename or str(short(path))  # a write that failed names no file
        raise
    finally:
        partial.unlink(missing_ok=True)


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file, or of a folder's names and files in sorted order; `private` folders are passed."""
    path = resolve(path)
    if path.is_dir():
        digest = hashlib.sha256()
        for inner in sorted(path.rglob("*")):
            relative = inner.relative_to(path)
            if inner.is_file() and "private" not in relative.parts:
                digest.update(os.fsencode(f"{relative.as_posix()} {file_sha256(inner)}\n"))
        return digest.hexdigest()
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def folder_hashes(folder: Path) -> dict[str, str]:
    """Hash what stands directly in a room (a folder in it gets one hash), but for `private` and partial files."""
    shown = [path for path in sorted(folder.iterdir()) if path.name != "private" and not path.name.startswith(".")]
    return {path.name: file_sha256(path) for path in shown}


def read_result(path: Path) -> dict:
    """Read a notebook's JSON; FileNotFoundError or ValueError say what to do where it is missing or not complete."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing, so {path.stem} has not finished here; run it first")
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); run {path.stem} again") from None
    if not isinstance(result, dict):
        raise ValueError(f"{path}: holds a {type(result).__name__}, no result; run {path.stem} again")
    if result.get("status") != "complete":
        raise ValueError(f"{path}: status {result.get('status')!r}, allowed is 'complete'; run {path.stem} again")
    if lost := [part for part in ("cohort", "parameters", "results") if not isinstance(result.get(part), dict)]:
        raise ValueError(f"{path}: {', '.join(lost)} missing or no mapping; run {path.stem} again")
    return result


def shown_by_git(paths: list[Path]) -> list[str]:
    """Names of those files that git would add: in a work tree, and not ignored; none where there is no git."""
    folder = next(parent for parent in paths[0].parents if parent.is_dir())
    try:
        done = subprocess.run(
            ["git", "-C", folder, "check-ignore", "--verbose", "--non-matching", "-z", "--stdin"],
            input="\0".join(map(str, paths)), capture_output=True, text=True, encoding="utf-8",
        )  # fmt: skip
    except OSError:
        return []
    if done.returncode > 1:  # no repository
        return []
    fields = done.stdout.split("\0")
    rules, names = fields[2::4], fields[3::4]
    return [Path(name).name for rule, name in zip(rules, names, strict=True) if not rule or rule.startswith("!")]


def plain(value: Any) -> Any:
    """Turn NumPy scalars, arrays and paths into what JSON holds; a number that is not finite becomes null."""
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.as_posix() if isinstance(value, Path) else value


@dataclass
class Room:
    """What a notebook knows of its place; made by `open_room`."""

    name: str
    profile: str
    outputs: Path
    parameters: dict[str, Any]
    inputs: dict[str, str] = field(default_factory=dict)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    clock: float = field(default_factory=time.monotonic)

    @property
    def folder(self) -> Path:
        """The notebook's own folder."""
        return self.outputs / self.name

    def path(self, file: str) -> Path:
        """Return the path of a file in the own folder."""
        return self.folder / file

    def writing(self, file: str):
        """Write a file of the own folder: beside, then renamed."""
        return writing(self.path(file))

    def read(self, notebook: str, file: str) -> Path:
        """Return the path of a file (or folder) in an earlier room whose notebook has finished; record its hash."""
        outputs = self.outputs_of(notebook)
        path = outputs / notebook / file
        if not path.exists():
            profile = self.profile if outputs == self.outputs else outputs.name
            raise FileNotFoundError(f"{path}: missing; run {notebook} first (make run PROFILE={profile})")
        read_result(outputs / f"{notebook}.json")
        return self._recorded(path)

    def read_input(self, path: str | Path) -> Path:
        """Return the path of a file from outside the rooms (registry, claims, weights), and record its hash.

        Provenance has the bare name of what lies outside the project; the parameter itself stands in copy and JSON as
        it was given, so a path that names a person is for private outputs only.
        """
        path = resolve(path)
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file; relative paths start at the folder of pyproject.toml")
        return self._recorded(path)

    def earlier(self, notebook: str) -> dict:
        """Return the JSON of an earlier notebook; an error where that one has not finished."""
        return read_result(self.outputs_of(notebook) / f"{notebook}.json")

    @property
    def cohort(self) -> dict[str, str]:
        """Kind and name of the cohort, as 01 found them in the files."""
        if self.name.startswith("00_"):
            return {"kind": "synthetic", "name": "phantoms"}
        return self.earlier("01_data_curation")["cohort"]

    def banner(self, cohort: dict[str, str] | None = None) -> str:
        """Return the line that stands above every result: what kind of images it is about (01 passes `cohort`).

        ValueError where a hospital's results would go where git shows them, see `require_private`.
        """
        cohort = cohort or self.cohort
        self.require_private(cohort)
        return caution(cohort)

    def require_private(self, cohort: dict[str, str]) -> None:
        """Raise ValueError where `git add .` would take up what a hospital's run writes."""
        if cohort.get("kind") != "hospital":
            return
        files = [self.outputs / f"{self.name}{ending}" for ending in (".json", ".ipynb")]
        if shown := shown_by_git([*files, self.path("images_test.npy"), self.path("predictions.csv")]):
            raise ValueError(
                f"outputs = {self.parameters['outputs']!r}: git does not ignore {', '.join(shown)} there, and the "
                "cohort is a hospital's; allowed: a folder that git ignores, such as outputs/hospital, or outside git"
            )

    def finish(self, results: dict, cohort: dict[str, str] | None = None, dtype_policy: str | None = None) -> Path:
        """Write the notebook's JSON (results, parameters, provenance) and return its path; the last call of a notebook.

        01 passes `cohort`; ValueError where its kind is none of synthetic, public, hospital. `dtype_policy` is that of
        the networks: they are built with it layer by layer, so Keras' global policy does not tell.
        """
        cohort = cohort or self.cohort
        if cohort.get("kind") not in COHORT_KINDS or "name" not in cohort:
            raise ValueError(f"{self.name}: cohort {cohort!r}; a name and a kind of {', '.join(COHORT_KINDS)} are due")
        self.require_private(cohort)
        facts = provenance.collect(project_root())
        facts |= {"dtype_policy": dtype_policy, "inputs": self.inputs}
        facts |= {"started": self.started.isoformat(timespec="seconds")}
        facts |= {"files": folder_hashes(self.folder), "seconds": round(time.monotonic() - self.clock, 1)}
        content = {"notebook": self.name, "status": "complete", "profile": self.profile, "cohort": cohort}
        content |= {
            "seed": self.parameters.get("seed"),
            "parameters": shown_parameters(self.parameters),
            "results": results,
            "provenance": facts,
        }
        with writing(self.outputs / f"{self.name}.json") as partial:
            text = json.dumps(plain(content), indent=1, ensure_ascii=False, allow_nan=False)
            partial.write_text(text + "\n", encoding="utf-8")
        return self.outputs / f"{self.name}.json"

    def outputs_of(self, notebook: str) -> Path:
        """Return the profile's folder that holds a notebook's room; 00 and 01 may be another profile's (`cohort`)."""
        if notebook[:3] not in ("00_", "01_") or self.name[:3] in ("00_", "01_"):
            return self.outputs
        trained, cohort = self.outputs / "02_training.json", self.parameters.get("cohort")
        if cohort is None and trained.is_file():
            cohort = read_result(trained)["parameters"].get("cohort")
        return self.outputs if cohort is None else resolve(cohort)

    def _recorded(self, path: Path) -> Path:
        self.inputs[input_key(path, self.outputs)] = file_sha256(path)
        return path


def caution(cohort: dict[str, str]) -> str:
    """What has to be read before the numbers of a cohort."""
    return {
        "synthetic": f"SYNTHETIC {cohort['name']}: drawn, not patients; these numbers test the pipeline "
        "and say nothing about any patient.",
        "public": f"Public data set {cohort['name']}: real mammograms, another task than the study's.",
        "hospital": f"Hospital cohort ({cohort['name']}): research only, not for clinical use.",
    }[cohort["kind"]]


def input_key(path: Path, outputs: Path) -> str:
    """Name an input without the machine's folders: from the profile's folder, the project's, or by its bare name."""
    for base in (outputs, project_root()):
        if path.is_relative_to(base):
            return path.relative_to(base).as_posix()
    return f"(outside) {path.name}"


def shown_parameters(values: dict[str, Any]) -> dict[str, Any]:
    """Parameters as an executed notebook and its JSON may have them: no folder of a file outside the project.

    Such a folder can hold a person's name. Only what nobody reads from the JSON again is shortened.
    """
    own = {name: Path(os.path.normpath(resolve(values[name]))) for name in OWN_FILES if values.get(name)}
    outside = {name: path for name, path in own.items() if not path.is_relative_to(project_root())}
    return values | {name: f"(outside) {path.name}" for name, path in outside.items()}


def open_room(name: str, namespace: dict[str, Any]) -> Room:
    """Open a notebook's room: check its parameters, make its folder, remove the JSON of the run before.

    The JSON of every later notebook goes as well: a result of files that are about to change is no longer complete,
    and in JupyterLab nothing else would say so.

    Parameters
    ----------
    name
        The notebook's, such as "02_training".
    namespace
        `globals()` of the notebook, which holds the declared parameters, `outputs` among them.

    Raises
    ------
    ValueError
        Where a parameter has another type than annotated; all of them are named.
    """
    declared = parameters.declared_parameters(project_root() / "notebooks" / f"{name}.ipynb")
    missing = [key for key in ("outputs", *declared) if key not in namespace]
    if missing:
        raise ValueError(f"{name}: not set: {', '.join(missing)}; run the parameters cell first")
    values = {key: namespace[key] for key in declared}
    problems = parameters.problems_with(values, declared, name)
    if problems:
        raise ValueError("; ".join(problems))
    outputs = resolve(values["outputs"])
    room = Room(name, os.environ.get("MAMMOLIB_PROFILE") or outputs.name, outputs, values)
    room.folder.mkdir(parents=True, exist_ok=True)
    for notebook in (project_root() / "notebooks").glob("*.ipynb"):
        if notebook.stem >= name:
            (outputs / f"{notebook.stem}.json").unlink(missing_ok=True)
    return room
