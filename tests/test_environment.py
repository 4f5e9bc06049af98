"""One set of versions for pip and conda users, and nothing of a hospital's run within reach of `git add .`."""

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


def locked() -> list[tuple[Requirement, int]]:
    """Return each requirement of the lock with the number of its hashes."""
    entries = re.split(r"\n(?=[a-zA-Z0-9])", (ROOT / "requirements.lock").read_text().strip())
    entries = [entry for entry in entries if not entry.startswith("#")]
    return [(Requirement(entry.partition("\\")[0].strip()), entry.count("--hash=sha256:")) for entry in entries]


def test_the_lock_pins_and_hashes_everything_and_holds_no_address():
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    for requirement, hashes in locked():
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), requirement
        assert hashes, requirement


def test_the_lock_covers_what_pyproject_asks_for_on_each_python():
    wanted = [Requirement(text) for text in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]]
    for python in ("3.11", "3.12", "3.13"):
        environment = {"python_version": python, "python_full_version": f"{python}.1"}
        pins = {
            canonicalize_name(pin.name): next(iter(pin.specifier)).version
            for pin, _ in locked()
            if pin.marker is None or pin.marker.evaluate(environment)
        }
        for requirement in wanted:
            version = pins.get(canonicalize_name(requirement.name))
            assert version is not None, f"{requirement} is not in the lock for Python {python}"
            assert version in requirement.specifier, f"{requirement}, locked {version}"


def test_this_environment_is_the_locked_one():
    for pin, _ in locked():
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
