"""Which images are wrong, how sure of it the network was, and whose they are."""

import pandas as pd

from mammolib.metrics import predicted_class
from mammolib.predictions import as_arrays


def judged(table: pd.DataFrame, classes: list[str], cohort: pd.DataFrame | None = None) -> pd.DataFrame:
    """A predictions table with `predicted` (a class), `confidence` (its probability) and `right`.

    With cohort.csv also `row`, the image's place in the array of its part.
    """
    truth, probabilities, _ = as_arrays(table, classes)
    predicted = predicted_class(probabilities)
    found = table.assign(predicted=[classes[number] for number in predicted], confidence=probabilities.max(axis=1))
    found["right"] = predicted == truth
    if cohort is not None:
        place = cohort.groupby("split").cumcount().set_axis(cohort["image_id"])
        found["row"] = place.loc[table["image_id"]].to_numpy()
    return found


def surest_errors(cases: pd.DataFrame, count: int) -> pd.DataFrame:
    """The errors that the network was surest of, surest first; `cases` as `judged` gives them."""
    return cases[~cases["right"]].nlargest(count, "confidence")


def faintest_hits(cases: pd.DataFrame, count: int) -> pd.DataFrame:
    """The hits that the network was least sure of, least sure first; `cases` as `judged` gives them."""
    return cases[cases["right"]].nsmallest(count, "confidence")


def patients_by_hits(cases: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """Patients by how many of their images are right (columns), a row for each class and number of images.

    A patient with images of two classes counts in both.
    """
    people = cases.groupby(["label", "patient"])["right"].agg(["size", "sum"]).reset_index()
    found = pd.crosstab([people["label"], people["size"]], people["sum"])
    found = found.reindex(columns=range(people["size"].max() + 1), fill_value=0)
    own = [name for name in classes if name in set(people["label"])]
    return found.loc[own].rename_axis(index=["class", "images"], columns="images right")
