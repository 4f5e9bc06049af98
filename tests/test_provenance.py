"""Provenance, on small repositories made here."""

import os
import subprocess
import sys
from hashlib import sha256
from importlib import metadata
from pathlib import Path

import pytest

from mammolib import provenance


@pytest.fixture
def checkout(tmp_path) -> Path:
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.invalid", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True)

    (tmp_path / "requirements.lock").write_text("a==1")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    return tmp_path


def test_dirty_means_anything_but_outputs(checkout):
    state = provenance.git_state(checkout)
    assert len(state["commit"]) == 40
    assert state["dirty"] is False
    (checkout / "outputs").mkdir()
    (checkout / "outputs" / "a.json").touch()
    assert provenance.git_state(checkout)["dirty"] is False
    (checkout / "notebook.ipynb").touch()
    assert provenance.git_state(checkout)["dirty"] is True


def test_an_unpacked_archive_has_no_commit_even_inside_another_repository(checkout):
    (checkout / "archive").mkdir()
    assert provenance.git_state(checkout / "archive") == {"commit": None, "dirty": None}


def test_lock_hash_and_versions_without_an_import(checkout):
    assert provenance.lock_hash(checkout) == sha256(b"a==1").hexdigest()
    assert provenance.lock_hash(checkout / "none") is None
    assert provenance.versions()["numpy"] == metadata.version("numpy")
    script = "import sys; from mammolib import provenance as p; from pathlib import Path; p.collect(Path.cwd());"
    script += "assert not {'tensorflow', 'keras', 'numpy', 'jax'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[1])


def test_device_and_threads_are_told():
    assert provenance.device().partition(": ")[0] in ("CPU", "GPU")
    script = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    script += "from mammolib import provenance; print(provenance.threads()['cores'])"
    if hasattr(os, "sched_setaffinity"):  # as taskset and SLURM do
        done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
        assert done.stdout.strip() == "1"
    assert 1 < provenance.peak_memory_mb() < 1e6
