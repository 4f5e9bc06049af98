"""predictions.csv: one row an image, the probability of each class by a model that did not train on that image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mammolib.parameters import require_choice
from mammolib.rooms import read_result, short
from mammolib.tables import read_csv, require_columns

FIXED = ["image_id", "patient", "split", "fold", "label"]
SPLITS = ["test", "out_of_fold"]


def read_predictions(path: str | Path, classes: list[str]) -> pd.DataFrame:
    """Read and check a predictions.csv.

    Parameters
    ----------
    path
        Table with `image_id, patient, split, fold, label` and one `p_<class>` in [0, 1] for each class.
    classes
        The classes, in their order.

    Returns
    -------
    The table; ids and labels as text, `fold` as a whole number (-1 = mean over the models).

    Raises
    ------
    FileNotFoundError, ValueError
        One line that names the file, the column or image, the value and what is allowed.
    """
    text = dict.fromkeys(["image_id", "patient", "split", "label"], "string")
    table = read_csv(path, dtype=text)
    if "fold" in table:
        fold = pd.to_numeric(table["fold"].fillna(-1), errors="coerce")
        if (wrong := ~fold.isin(range(-1, 1000))).any():
            value = table.loc[wrong, "fold"].iloc[0]
            raise ValueError(
                f"{path}: fold is {str(value)!r}; allowed is a whole number from 0, or -1 or empty for all"
            )
        table["fold"] = fold.astype(int)
    check_predictions(table, classes, str(path))
    return table


def check_predictions(table: pd.DataFrame, classes: list[str], where: str = "predictions") -> None:
    """Raise ValueError, naming `where`, when the table can't be evaluated."""
    wanted = [*FIXED, *(f"p_{name}" for name in classes)]
    require_columns(table, wanted, where)
    if unknown := [column for column in table if column.startswith("p_") and column not in wanted]:
        raise ValueError(f"{where}: column {unknown[0]} belongs to no class; the classes are {', '.join(classes)}")
    if table.empty:
        raise ValueError(f"{where}: no rows; at least two patients are needed")
    if table[FIXED].isna().any(axis=None):
        raise ValueError(
            f"{where}: column {table[FIXED].isna().any().idxmax()} has empty cells; every row needs a value"
        )
    if table["image_id"].duplicated().any():
        raise ValueError(
            f"{where}: image_id {table['image_id'][table['image_id'].duplicated()].iloc[0]} stands there twice"
        )
    for column, allowed in (("split", SPLITS), ("label", classes)):
        for value in table[column].unique():
            require_choice(f"{where}: {column}", value, allowed)
    if table["split"].nunique() > 1:
        raise ValueError(f"{where}: split has both test and out_of_fold; allowed is one of them in every row")
    probabilities = table[[f"p_{name}" for name in classes]]
    try:
        values = probabilities.to_numpy(float)
    except ValueError as error:
        raise ValueError(f"{where}: a probability is no number ({error})") from error
    bad = ~((values >= 0) & (values <= 1)).all(axis=1) | ~(np.abs(values.sum(axis=1) - 1) <= 1e-3)  # ~: NaN is bad too
    if bad.any():
        raise ValueError(
            f"{where}: probabilities of image {table['image_id'][bad].iloc[0]} are {values[bad][0].tolist()}; "
            "each must lie in [0, 1] and a row must sum to 1"
        )
    if table["patient"].nunique() < 2:
        raise ValueError(f"{where}: one patient only; intervals by patient need at least two")


def same_cohort(predictions: pd.DataFrame, cohort: pd.DataFrame, where: str = "predictions") -> None:
    """Raise ValueError when a predicted image is not in the cohort, or has another patient, label or part there."""
    columns = ["image_id", "patient", "label", "split"]
    known = pd.MultiIndex.from_frame(cohort[columns].astype(str))
    ours = predictions[columns].astype(str).replace({"split": {"out_of_fold": "development"}})
    if not (same := pd.MultiIndex.from_frame(ours).isin(known)).all():
        raise ValueError(
            f"{where}: image {predictions['image_id'][~same].iloc[0]} is not in cohort.csv with this patient, label "
            "and part; these are predictions of another cohort"
        )


def require_own_cohort(path: Path, curation: dict) -> None:
    """Raise ValueError where the JSON beside a saved predictions.csv says that it is of another cohort.csv.

    Parameters
    ----------
    path
        The saved file; without a 03_evaluation.json beside its folder nothing is known, and nothing is said.
    curation
        01's JSON of the cohort that it is evaluated with.
    """
    if not (beside := path.parents[1] / "03_evaluation.json").is_file():
        return
    read = read_result(beside).get("provenance", {}).get("inputs", {})
    theirs = {digest for name, digest in read.items() if name.endswith("01_data_curation/cohort.csv")}
    ours = curation.get("provenance", {}).get("files", {}).get("cohort.csv")
    if ours and theirs and ours not in theirs:
        raise ValueError(
            f"{short(path)}: predictions of another cohort (its cohort.csv has hash {theirs.pop():.12}, this one "
            f"{ours:.12}); allowed are those of this cohort, or the cohort that they belong to"
        )


def as_arrays(table: pd.DataFrame, classes: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth `(n,) int`, probabilities `(n, classes) float64` and patient `(n,) int`, numbered from 0."""
    truth = pd.Categorical(table["label"], categories=classes).codes.astype(int)
    probabilities = table[[f"p_{name}" for name in classes]].to_numpy(float)
    return truth, probabilities, pd.factorize(table["patient"])[0]


def predict_cohort(
    models: Sequence[tuple[int, Path]],
    cohort: pd.DataFrame,
    folds: pd.DataFrame,
    part: str,
    images: Path,
    classes: list[str],
    drawn_by: dict | None = None,
) -> pd.DataFrame:
    """Predict each image by the models that did not train on it.

    Parameters
    ----------
    models
        `(fold, .keras file)` each; a single model is fold 0, as in folds.csv.
    cohort
        cohort.csv: `image_id, patient, label, split`, rows in the order of the arrays within each split.
    folds
        folds.csv: `image_id, fold`; -1 = held out by no model.
    part
        `test`: the mean of all models' softmax outputs (the public code's sum, divided by the number of models).
        `development`: the mean of the fold's models on that fold, out of fold; images that no model held
        out are left out.
    images
        `.npy` of that part, `(n, height, width) uint16`.
    drawn_by
        Settings of `augmentation.Augmentation`, of which each image is judged as one draw; None judges it as it is.

    Returns
    -------
    A predictions table.

    Raises
    ------
    ValueError
        Images and rows differ in number, or nothing was held out.
    """
    rows = cohort[cohort["split"] == part].reset_index(drop=True)
    pixels = np.load(images, mmap_mode="r")
    if len(pixels) != len(rows):
        raise ValueError(f"{Path(images).name}: {len(pixels)} images, but cohort.csv has {len(rows)} {part} rows")
    testing = part == "test"
    fold = rows["image_id"].map(folds.set_index("image_id")["fold"]).fillna(-1).to_numpy(int)
    total, models_seen = np.zeros((len(rows), len(classes))), np.zeros(len(rows))
    for number, path in models:
        chosen = np.arange(len(rows)) if testing else np.flatnonzero(fold == number)
        if len(chosen):
            total[chosen] += _predict(path, pixels, chosen, drawn_by)
            models_seen[chosen] += 1
    held_out = models_seen > 0
    if not held_out.any():
        raise ValueError("cohort.csv has no test part and folds.csv no held-out fold: there is nothing to evaluate")
    table = rows.loc[held_out, ["image_id", "patient"]].copy()
    table["split"] = "test" if testing else "out_of_fold"
    table["fold"] = -1 if testing else fold[held_out]
    table["label"] = rows.loc[held_out, "label"]
    table[[f"p_{name}" for name in classes]] = total[held_out] / total[held_out].sum(axis=1, keepdims=True)
    return table.reset_index(drop=True)


def cautions(training: dict, part: str, tested_as_authors: bool) -> list[str]:
    """Say what makes a number better or other than that of unseen patients, from the parameters of 02 and 03."""
    held_out, by_image, chosen = part == "development", training["folds_by"] == "image", training["keep"] == "best"
    notes = {
        "too good: the folds were dealt by image, so a patient can stand on both sides": held_out and by_image,
        "too good: each network's epoch was chosen by the loss on the images that it is judged on": held_out and chosen,
        "a control: the networks learned from shuffled labels": training["shuffle_labels"],
        "distorted: images augmented and down-sampled, as the authors' code does": tested_as_authors,
    }
    return [note for note, holds in notes.items() if holds]


def _predict(path: Path, images: np.ndarray, rows: np.ndarray, drawn_by: dict | None) -> np.ndarray:
    # here, not above: evaluating saved predictions needs no TensorFlow
    import keras

    from mammolib.augmentation import Augmentation
    from mammolib.training import predict

    network = keras.saving.load_model(path, compile=False, safe_mode=True)
    return predict(network, images, rows=rows, augmentation=Augmentation(**drawn_by) if drawn_by else None)
