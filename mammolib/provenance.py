"""What made a result: commit, lock file, versions, backend, threads and device; never a path, a user or a host."""

import os
import platform
import resource
import subprocess
import sys
from contextlib import suppress
from hashlib import sha256
from importlib import metadata
from pathlib import Path

from mammolib.parallel import usable_cores

PACKAGES = [
    *("keras", "tensorflow", "jax", "numpy", "scipy", "pandas", "scikit-learn", "scikit-image", "pillow", "pydicom"),
    *("pylibjpeg-openjpeg", "pylibjpeg-rle", "python-gdcm", "tf-keras-vis", "matplotlib", "seaborn", "papermill"),
]


def collect(project: Path) -> dict:
    """Return the facts as a flat dictionary that JSON can hold; nothing is imported that is not loaded already."""
    facts = git_state(project) | {"lock_sha256": lock_hash(project), "versions": versions(), "backend": backend()}
    return facts | {"threads": threads(), "device": device(), "peak_memory_mb": peak_memory_mb()}


def git_state(project: Path) -> dict:
    """Return commit and dirty flag (outputs/ aside), both None where the project is no git checkout of its own."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", project, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    with suppress(OSError, subprocess.CalledProcessError):
        # else an unpacked archive inside somebody else's repository
        if Path(git("rev-parse", "--show-toplevel")).resolve() == project.resolve():
            changes = git("status", "--porcelain", "--", ".", ":(exclude)outputs")
            return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changes)}
    return {"commit": None, "dirty": None}


def lock_hash(project: Path) -> str | None:
    """Return the SHA-256 of requirements.lock, None where there is none."""
    lock = project / "requirements.lock"
    return sha256(lock.read_bytes()).hexdigest() if lock.is_file() else None


def versions() -> dict[str, str]:
    """Return the versions of Python and of the key packages that are installed, without importing them."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def backend() -> str | None:
    """Return Keras' backend, None where Keras is not loaded: in a notebook without networks."""
    keras = sys.modules.get("keras")
    return keras and keras.backend.backend()


def threads() -> dict:
    """Return what bit-equal repetition hangs on: the cores in use, and limits set by environment or TensorFlow."""
    found = {"cores": usable_cores(), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS")}
    if backend() == "tensorflow" and "tensorflow" in sys.modules:  # Keras on JAX imports it too, when it saves
        found["intra_op"] = sys.modules["tensorflow"].config.threading.get_intra_op_parallelism_threads()
    return found


def device() -> str:
    """Return the accelerator's name where the backend has one in use, else the processor's."""
    if backend() == "tensorflow" and "tensorflow" in sys.modules:
        config = sys.modules["tensorflow"].config
        for gpu in config.list_physical_devices("GPU"):
            return f"GPU: {config.experimental.get_device_details(gpu).get('device_name', 'unknown')}"
    if backend() == "jax" and sys.modules["jax"].default_backend() != "cpu":
        return f"{sys.modules['jax'].default_backend().upper()}: {sys.modules['jax'].devices()[0].device_kind}"
    return f"CPU: {processor_name()}"


def processor_name() -> str:
    """Return the processor's model, from Linux' cpuinfo where it is, else what Python knows."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def peak_memory_mb() -> int:
    """Return the process' peak resident memory in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3))  # macOS counts bytes, Linux kilobytes
