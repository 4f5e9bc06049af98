"""What scores without looking at the image: the numbers that a network has to beat."""

import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mammolib.bootstrap import evaluate
from mammolib.comparison import accuracy_difference
from mammolib.folds import patient_folds

WORDS = ["Manufacturer", "ViewPosition", "ImageLaterality"]
NUMBERS = ["pixel_spacing_mm", "rows", "columns", "breast_area_mm2"]
SHOWN = ["accuracy", "balanced_accuracy", "mean_one_vs_rest_accuracy", "macro_auc", "kappa"]


def constant_answers(table: pd.DataFrame, classes: list[str], majority: str) -> dict:
    """Majority, always-no and chance on the counts of a predictions table.

    They need no interval: given the counts of the classes, they are arithmetic.

    Parameters
    ----------
    table
        `label` of each image evaluated.
    majority
        The commonest class of the development part.

    Returns
    -------
    `majority` (always that class), `always_no` (each one-vs-rest question answered with no: its mean accuracy is
    1 - 1/k whatever the counts), `chance` (all classes equally often, in expectation).
    """
    share = table["label"].value_counts(normalize=True).reindex(classes, fill_value=0.0)
    one_class = {"class": majority, "accuracy": float(share[majority])}
    one_class["balanced_accuracy"] = 1 / int((share > 0).sum()) if share[majority] else 0.0
    chance = dict.fromkeys(("accuracy", "balanced_accuracy"), 1 / len(classes))
    for answers in (one_class, chance):
        answers["mean_one_vs_rest_accuracy"] = 1 - 2 * (1 - answers["accuracy"]) / len(classes)
    no = {"mean_one_vs_rest_accuracy": float((1 - share).mean())}
    no["one_vs_rest"] = {name: float(1 - share[name]) for name in classes}
    return {"majority": one_class, "always_no": no, "chance": chance | {"macro_auc": 0.5, "kappa": 0.0}}


def header_columns(development: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Header columns, words and numbers, that differ between the development part's images; an empty cell is a value.

    An archive that gives one class's vendor or spacing away by leaving it out is told by that.
    """
    useful = [n for n in WORDS + NUMBERS if n in development and development[n].nunique(dropna=False) > 1]
    return [name for name in useful if name in WORDS], [name for name in useful if name in NUMBERS]


def header_model(words: list[str], numbers: list[str]):
    """Multinomial logistic regression on one-hot words, standardised numbers, and which numbers are missing.

    An unknown word counts as none.
    """
    imputer = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    scaled = make_pipeline(imputer, StandardScaler())
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), words), (scaled, numbers))
    return make_pipeline(columns, LogisticRegression(max_iter=2000))


def header_only(cohort: pd.DataFrame, evaluated: pd.DataFrame, classes: list[str], seed: int) -> pd.DataFrame | None:
    """Predictions from headers and sizes alone, for the same images as `evaluated`.

    Fitted on the development part; images of the development part are predicted out of fold, by patient. A network
    that does not beat it has learnt the archive.

    Parameters
    ----------
    cohort
        cohort.csv: `image_id, patient, label, split` and columns among `WORDS` and `NUMBERS`.
    evaluated
        Predictions table, all rows of the test part or all of the development part.
    seed
        Of the folds.

    Returns
    -------
    A predictions table in the order of `evaluated`; None where no header column differs, or one class stands alone.
    """
    development = cohort[cohort["split"] == "development"].reset_index(drop=True)
    words, numbers = header_columns(development)
    per_class = development.groupby("label")["patient"].nunique()
    if not words + numbers or len(per_class) < 2 or per_class.min() < 2:
        return None
    cohort = cohort.set_index("image_id", drop=False)
    cohort[words] = cohort[words].fillna("").astype(object)
    fitted, target, used = cohort.loc[development["image_id"]], cohort.loc[evaluated["image_id"]], words + numbers
    model, known, labels = header_model(words, numbers), fitted[used], fitted["label"]
    if (target["split"] == "development").any():
        fold = patient_folds(labels, fitted["patient"], min(5, per_class.min()), seed)
        values = cross_val_predict(model, known, labels, cv=PredefinedSplit(fold), method="predict_proba")
    else:
        values = model.fit(known, labels).predict_proba(target[used])
        fitted, fold = target, -1
    # a development part without a class has no column for it
    answers = pd.DataFrame(values, fitted.index, sorted(per_class.index)).reindex(columns=classes, fill_value=0.0)
    answers = answers.add_prefix("p_").assign(fold=fold).loc[evaluated["image_id"]].reset_index(drop=True)
    return evaluated[["image_id", "patient", "split", "label"]].reset_index(drop=True).join(answers)


def all_baselines(
    predictions: pd.DataFrame, cohort: pd.DataFrame | None, classes: list[str], ordered: bool, draws: int, seed: int
) -> dict:
    """Every baseline for the `baselines` of 03's JSON.

    `cohort` None (only predictions.csv was kept): the majority is that of the evaluated images themselves, and the
    header-only model is left out; a `note` says so.
    """
    known = predictions if cohort is None else cohort[cohort["split"] == "development"]
    majority = known["label"].value_counts().reindex(classes, fill_value=0).idxmax()
    found = constant_answers(predictions, classes, majority)
    headers = None if cohort is None else header_only(cohort, predictions, classes, seed)
    if headers is None:
        why = (
            "no cohort.csv, and the majority is that of the images judged"
            if cohort is None
            else "no header column differs, or a class has fewer than two patients"
        )
        return found | {"header_only": {"note": f"not fitted: {why}"}}
    results = evaluate(headers, classes, ordered, draws, seed)
    found["header_only"] = {name: results[name] for name in SHOWN}
    words, numbers = header_columns(cohort[cohort["split"] == "development"])
    found["header_only"]["columns"] = words + numbers
    found["header_only"]["network_minus_headers"] = accuracy_difference(predictions, headers, classes, draws, seed)
    return found
