"""The same notebook under JAX: 02 trains there, and its network predicts alike under both backends."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mammolib import rooms

ROOT = Path(__file__).parents[1]
# Rate and scaling of a recipe that learns: the smoke profile's network hardly leaves 1/3 for every image, and any two
# backends agree about that.
LEARNS = ("-p", "02_training.input_scaling=standardise", "-p", "02_training.learning_rate=0.001")
# Largest difference of two probabilities. In bfloat16 each layer rounds to 8 bits, and a backend rounds where its
# fused operations end: networks that are surer of their answer than this one differ by more, as bfloat16 and float32
# do under one backend.
ALLOWED = {"float32": 1e-5, "mixed_bfloat16": 5e-3}
PREDICT = """
import sys, keras, numpy as np
from mammolib import training
backend, out, images, *models = sys.argv[1:]
assert keras.config.backend() == backend
images = np.load(images, mmap_mode="r")
np.save(out, np.stack([training.predict(keras.saving.load_model(model), images) for model in models]))
"""

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None,
    reason="jax is not installed: pip install --require-hashes -r requirements-jax.lock",
)


def python(backend: str, *arguments: str) -> None:
    """Run this Python on a backend, with an error that shows what it printed."""
    environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict[str, Path]:
    """Run 00 and 01 of the smoke profile once, then 02 under JAX in each precision; return their folders."""
    curated = tmp_path_factory.mktemp("backends") / "curated"
    run = ("-m", "mammolib", "run", "smoke", "--outputs")
    python("tensorflow", *run, str(curated), "--to", "01_data_curation")
    folders = {policy: curated.with_name(policy) for policy in ALLOWED}
    only = ("--from", "02_training", "--to", "02_training")
    for policy, folder in folders.items():
        shutil.copytree(curated, folder)
        python("jax", *run, str(folder), *only, *LEARNS, "-p", f"02_training.dtype_policy={policy}")
    return folders


def test_the_training_notebook_runs_under_jax_and_says_so(trained):
    for policy, folder in trained.items():
        result = rooms.read_result(folder / "02_training.json")
        assert result["provenance"]["backend"] == "jax"
        assert result["provenance"]["versions"]["jax"]
        assert result["provenance"]["dtype_policy"] == policy
        assert result["results"]["saved"] == {"model.keras": 0}
        history = (folder / "02_training" / "history.csv").read_text().splitlines()
        assert len(history) == 1 + result["parameters"]["epochs"]
        assert "nan" not in "".join(history)


def test_what_jax_saved_predicts_alike_under_tensorflow(trained, tmp_path):
    images = next(iter(trained.values())) / "01_data_curation" / "images_development.npy"
    models = [str(folder / "02_training" / "model.keras") for folder in trained.values()]
    found = {}
    for backend in ("jax", "tensorflow"):
        out = tmp_path / f"of_{backend}.npy"
        python(backend, "-c", PREDICT, backend, str(out), str(images), *models)
        found[backend] = np.load(out)
    for policy, first, second in zip(trained, found["jax"], found["tensorflow"], strict=True):
        spread, difference = float(np.ptp(first, axis=0).max()), float(np.abs(first - second).max())
        print(f"{policy}: probabilities spread over {spread:.3f} and differ by up to {difference:.2g}")
        assert spread > 0.02, f"{policy}: so flat a network agrees with any other"
        assert difference <= ALLOWED[policy], policy
