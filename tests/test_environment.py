"""One set of versions for pip and conda users, and nothing of a hospital's run within reach of `git add .`."""

import importlib.util
import re
import shutil
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK, JAX_LOCK = "requirements.lock", "requirements-jax.lock"  # the second goes on top of the first
PYTHONS = ("3.11", "3.12", "3.13")
needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None,
    reason=f"jax is not installed: pip install --require-hashes -r {JAX_LOCK}",
)


def locked(lock: str = LOCK) -> list[tuple[Requirement, int]]:
    """Return each requirement of a lock with the number of its hashes."""
    entries = re.split(r"\n(?=[a-zA-Z0-9])", (ROOT / lock).read_text().strip())
    entries = [entry for entry in entries if not entry.startswith("#")]
    return [(Requirement(entry.partition("\\")[0].strip()), entry.count("--hash=sha256:")) for entry in entries]


def pinned(python: str, *locks: str) -> dict[str, str]:
    """Return the version of each package that the locks give to a Python of this machine's kind."""
    environment = {"python_version": python, "python_full_version": f"{python}.1"}
    return {
        canonicalize_name(pin.name): next(iter(pin.specifier)).version
        for lock in locks
        for pin, _ in locked(lock)
        if pin.marker is None or pin.marker.evaluate(environment)
    }


def require_pins(wanted: list[str], python: str, *locks: str) -> None:
    """Fail where a requirement that holds for `python` has no pin in the locks, or one that it does not allow."""
    pins = pinned(python, *locks)
    environment = {"python_version": python, "python_full_version": f"{python}.1", "extra": ""}
    for requirement in map(Requirement, wanted):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            version = pins.get(canonicalize_name(requirement.name))
            assert version is not None, f"{requirement} is not in {' or '.join(locks)} for Python {python}"
            assert version in requirement.specifier, f"{requirement}, locked {version}"


@pytest.mark.parametrize("lock", [LOCK, JAX_LOCK])
def test_the_lock_pins_and_hashes_everything_and_holds_no_address(lock):
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert locked(lock)
    for requirement, hashes in locked(lock):
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), requirement
        assert hashes, requirement


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_covers_what_pyproject_asks_for_on_each_python(python):
    extras = PROJECT["optional-dependencies"]
    require_pins(PROJECT["dependencies"] + extras["dev"], python, LOCK)
    require_pins(extras["jax"], python, JAX_LOCK)


@pytest.mark.parametrize("python", PYTHONS)
def test_the_second_lock_leaves_the_first_one_s_versions_alone(python):
    assert not set(pinned(python, LOCK)) & set(pinned(python, JAX_LOCK)), "two pins of one package could differ"
    assert "jax" not in pinned(python, LOCK), "who does not ask for JAX does not get it"


@needs_jax
@pytest.mark.parametrize("python", PYTHONS)
def test_what_jax_asks_for_is_in_one_of_the_locks(python):
    for pin, _ in locked(JAX_LOCK):
        require_pins(metadata.requires(pin.name) or [], python, LOCK, JAX_LOCK)


@pytest.mark.parametrize("lock", [LOCK, pytest.param(JAX_LOCK, marks=needs_jax)])
def test_this_environment_is_the_locked_one(lock):
    for pin, _ in locked(lock):
        if pin.marker is None or pin.marker.evaluate():
            assert metadata.version(pin.name) in pin.specifier, pin


def test_conda_users_get_the_same_lock():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    python, pip, section = dependencies
    assert re.fullmatch(r"python=3\.\d+", python)
    assert python.partition("=")[2] in SpecifierSet(PROJECT["requires-python"])
    assert pip == "pip"
    assert section == {"pip": ["-r requirements.lock"]}, "a version outside the lock would differ from pip's"


def test_citation_and_package_say_the_same():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["references"][0]["doi"] == "10.1007/s11604-020-01070-9"
    assert "Apache License" in (ROOT / "LICENSE").read_text()


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        ("outputs/demo/03_evaluation.ipynb", False),
        ("outputs/mini-mias/03_evaluation.json", False),
        ("outputs/control/03_evaluation/predictions.csv", False),
        ("outputs/demo-best/03_evaluation/roc.png", False),
        ("outputs/demo/03_evaluation.failed.ipynb", True),
        ("outputs/demo/.03_evaluation.partial.ipynb", True),
        ("outputs/demo/run.html", True),
        ("outputs/demo/03_evaluation/claim.md", True),
        ("outputs/demo/02_training/model.keras", True),
        ("outputs/demo/01_data_curation/cohort.csv", True),
        ("outputs/demo/01_data_curation/private/key.csv", True),
        ("outputs/demo/00_synthetic_cohort/images/1.png", True),
        ("outputs/smoke/03_evaluation.json", True),
        ("outputs/report/03_evaluation.json", True),
        ("outputs/our-hospital/03_evaluation/predictions.csv", True),
        ("data/mini-mias/mdb001.pgm", True),
        ("notebooks/01_data_curation.ipynb", False),
    ],
)
@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_ignores_all_outputs_but_those_the_readme_shows(tmp_path, path, ignored):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    shutil.copy(ROOT / ".gitignore", tmp_path)
    done = subprocess.run(["git", "-C", tmp_path, "check-ignore", "-q", "--no-index", path])
    assert done.returncode == (0 if ignored else 1)
