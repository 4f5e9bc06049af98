"""How long the result table takes: every metric with its interval, of images and of patients twice.

`table_seconds` is `evaluate` and `patient_level` in full, with the draws asked for. `draws_seconds` is every metric of
so many draws of patients; `loop_seconds` is the usual loop over scikit-learn on the same draws, timed on the first few
of them and scaled. What the loop computes is checked to be the same. The last line is JSON.

    python benchmarks/evaluation.py
"""

import argparse
import json
import time

import numpy as np
import pandas as pd
from sklearn import metrics as usual

from mammolib.bootstrap import evaluate, metrics_of_weights, patient_level, patient_strata, patient_weights
from mammolib.predictions import as_arrays
from mammolib.provenance import peak_memory_mb, processor_name, versions

CLASSES = ["tubule_forming", "solid", "scirrhous"]


def made_up(images: int) -> pd.DataFrame:
    """Predictions table of so many images, two a patient, three classes, half of them right."""
    rng, patient = np.random.default_rng(0), np.arange(images) // 2
    truth = patient % 3
    scores = np.exp(rng.normal(size=(images, 3)) + rng.normal(size=(patient[-1] + 1, 3))[patient] + np.eye(3)[truth])
    table = pd.DataFrame({"image_id": [f"I{n:05d}" for n in range(images)], "patient": [f"P{n:05d}" for n in patient]})
    table = table.assign(split="test", fold=-1, label=np.array(CLASSES)[truth])
    table[[f"p_{name}" for name in CLASSES]] = scores / scores.sum(axis=1, keepdims=True)
    return table


def by_loop(truth: np.ndarray, probabilities: np.ndarray, rows: np.ndarray) -> list[float]:
    """All metrics of one draw, one call of scikit-learn each."""
    truth, probabilities = truth[rows], probabilities[rows]
    predicted, values = probabilities.argmax(axis=1), []
    for metric, how in (
        (usual.accuracy_score, {}),
        (usual.balanced_accuracy_score, {}),
        (usual.f1_score, {"average": "macro"}),
        (usual.cohen_kappa_score, {}),
        (usual.matthews_corrcoef, {}),
    ):
        values.append(metric(truth, predicted, **how))
    for c in range(probabilities.shape[1]):
        own, says, score = truth == c, predicted == c, probabilities[:, c]
        values += [usual.accuracy_score(own, says), usual.recall_score(own, says), usual.recall_score(~own, ~says)]
        values += [usual.precision_score(own, says), usual.precision_score(~own, ~says), usual.f1_score(own, says)]
        values += [usual.roc_auc_score(own, score), usual.average_precision_score(own, score)]
    brier = usual.brier_score_loss(truth, probabilities, labels=range(probabilities.shape[1]), scale_by_half=False)
    return [*values, brier, usual.log_loss(truth, probabilities)]


def in_order(found: dict) -> np.ndarray:
    """The same values from the vectorised metrics, `(draws, values)`."""
    names = ["accuracy", "balanced_accuracy", "macro_f1", "kappa", "mcc"]
    each = ["accuracy", "sensitivity", "specificity", "ppv", "npv", "f1", "auc", "average_precision"]
    columns = [found[name] for name in names]
    columns += [found[f"class_{name}"][:, c] for c in range(len(CLASSES)) for name in each]
    return np.stack([*columns, found["brier"], found["log_loss"]], axis=1)


def timed(function) -> tuple[float, object]:
    """Seconds, and what came out."""
    start = time.perf_counter()
    found = function()
    return time.perf_counter() - start, found


def one_size(images: int, draws: int, looped: int) -> dict:
    """Seconds of one table, and the ratio to the loop."""
    table = made_up(images)
    truth, probabilities, patient = as_arrays(table, CLASSES)
    whole = timed(lambda: evaluate(table, CLASSES, False, draws, 0))[0]
    patients = timed(lambda: patient_level(table, CLASSES, False, draws, 0))[0]
    metrics, strata = metrics_of_weights(truth, probabilities, patient, False), patient_strata(truth, patient)

    def all_draws() -> np.ndarray:
        return np.concatenate([in_order(metrics(block)) for block in patient_weights(strata, draws, 0, images)])

    seconds, found = timed(all_draws)
    weights = next(patient_weights(strata, draws, 0, images))[:looped].astype(int)
    rows = [np.repeat(np.arange(images), row[patient]) for row in weights]
    loop, values = timed(lambda: np.array([by_loop(truth, probabilities, own) for own in rows]))
    np.testing.assert_allclose(found[: len(values)], values, rtol=1e-9)
    loop *= draws / len(values)
    return {
        "images": images,
        "patients": int(patient.max() + 1),
        "draws": draws,
        "table_seconds": round(whole + patients, 2),
        "draws_seconds": round(seconds, 2),
        "loop_seconds": round(loop, 1),
        "looped_draws": len(values),
        "ratio": round(loop / seconds, 1),
    }


def main() -> None:
    """Time the study's size and a large one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=5000)
    chosen = parser.parse_args()
    result = {"small": one_size(131, chosen.draws, 40)}
    print(result["small"], flush=True)
    result["large"] = one_size(10_000, chosen.draws, 10)
    result |= {"peak_memory_mb": peak_memory_mb(), "machine": {"processor": processor_name()} | versions()}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
