"""Public data sets in their official layouts: each function gives a registry and its annotations."""

from pathlib import Path

import pandas as pd

DENSITIES = {"F": "fatty", "G": "glandular", "D": "dense"}
FILMS = 322
HEIGHT = 1024  # pixels of every mini-MIAS film; y counts from its lower edge


def mini_mias(source: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mini-MIAS (Suckling et al. 1994): 322 films at 0.2 mm, density as the label, one patient a pair of films.

    Films 2k-1 and 2k are one patient's left and right breast (the markers on the films say so; Info.txt has the sides
    the other way round). A film has as many rows in Info.txt as findings; those without a place give no annotation.

    Parameters
    ----------
    source
        Folder with mdb001.pgm to mdb322.pgm and Info.txt, or one that holds it as `mias`.

    Returns
    -------
    registry, annotations : DataFrame
        Paths relative to `source`; every film is development, for the set has no test part. Circles in source pixels,
        origin top left.

    Raises
    ------
    FileNotFoundError
        Says what to download and where to unpack it.
    """
    folder = next((folder for folder in (source, source / "mias") if (folder / "Info.txt").is_file()), None)
    if folder is None:
        raise FileNotFoundError(
            f"{source}: no Info.txt of mini-MIAS here; download all-mias.tar.gz from the page of the mini-MIAS "
            "database of mammograms (Mammographic Image Analysis Society, research only) and unpack it there"
        )
    text = (folder / "Info.txt").read_text(encoding="latin-1")
    lines = [line.split() for line in text.splitlines() if line.startswith("mdb")]
    findings = pd.DataFrame(
        [(fields + [""] * 7)[:7] for fields in lines]
    )  # film, density, kind, severity, x, y, radius
    films = findings.drop_duplicates(0)[[0, 1]].set_axis(["film", "density"], axis=1).reset_index(drop=True)
    films["number"] = films["film"].str[3:].astype(int)
    if len(films) != FILMS or not films["density"].isin(list(DENSITIES)).all():
        raise ValueError(f"{folder / 'Info.txt'}: {len(films)} films listed; {FILMS} of density F, G or D are allowed")
    relative = folder.relative_to(source)
    registry = pd.DataFrame(
        {
            "patient_id": ((films["number"] + 1) // 2).astype(str),
            "image_path": [(relative / f"{film}.pgm").as_posix() for film in films["film"]],
            "diagnosis_date": "",
            "label": films["density"].map(DENSITIES),
            "ImageLaterality": ["L" if number % 2 else "R" for number in films["number"]],
            "ViewPosition": "MLO",
            "pixel_spacing_mm": "0.2",
            "split": "development",
        }
    )
    circles = findings[[4, 5, 6]].apply(pd.to_numeric, errors="coerce").dropna()
    annotations = pd.DataFrame(
        {
            "image_path": [(relative / f"{film}.pgm").as_posix() for film in findings.loc[circles.index, 0]],
            "x": circles[4],
            "y": HEIGHT - 1 - circles[5],
            "radius": circles[6],
        }
    )
    return registry, annotations.reset_index(drop=True)


# layout -> reader, the name that stands above every result, and what to cite wherever an image is shown
LAYOUTS = {
    "mini-mias": (
        mini_mias,
        "mini-MIAS",
        "Films: mini-MIAS, J Suckling et al. (1994), Excerpta Medica, International Congress Series 1069, 375-378",
    )
}


def require_used(layout: str, source: str | None, registry: str | None, annotations: str | None) -> None:
    """Raise ValueError for a file or folder that this layout would pass over without a word."""
    given = {"source": source} if layout == "registry" else {"registry": registry, "annotations": annotations}
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name}: {value!r} is not read where layout is {layout}; allowed is null")


def read_layout(layout: str, source: Path) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Registry, annotations and name of a public set."""
    reader, name, _ = LAYOUTS[layout]
    return *reader(source), name


def citation(layout: str) -> str:
    """What to cite below an image of a public set; "" for a registry."""
    return LAYOUTS[layout][2] if layout in LAYOUTS else ""
