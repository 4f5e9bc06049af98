"""The public data sets by layout: who reads each, what to cite, and which of its labels can be the class."""

from pathlib import Path

import pandas as pd

from mammolib.parameters import require_choice
from mammolib.public_sets import cbis_ddsm, cdd_cesm, cmmd, inbreast, mini_mias, vindr_mammo

DIAGNOSED = ("pathology", "density", "birads")
GRADED = ("birads", "density")
SUCKLING = "Films: mini-MIAS, J Suckling et al. (1994), Excerpta Medica, International Congress Series 1069, 375-378"
NGUYEN = "Images: VinDr-Mammo, H T Nguyen et al. (2023), Sci Data 10, 277"
# layout -> reader, the name that stands above every result, what to cite wherever an image is shown, and which labels
# can be the class, the first by default
LAYOUTS = {
    "mini-mias": (mini_mias, "mini-MIAS", SUCKLING, ("density",)),
    "cbis-ddsm": (cbis_ddsm, "CBIS-DDSM", "Films: CBIS-DDSM, R S Lee et al. (2017), Sci Data 4, 170177", DIAGNOSED),
    "cdd-cesm": (cdd_cesm, "CDD-CESM", "Images: CDD-CESM, R Khaled et al. (2022), Sci Data 9, 122", DIAGNOSED),
    "inbreast": (inbreast, "INbreast", "Images: INbreast, I C Moreira et al. (2012), Acad Radiol 19, 236", GRADED),
    "vindr-mammo": (vindr_mammo, "VinDr-Mammo", NGUYEN, GRADED),
    "cmmd": (cmmd, "CMMD", "Images: CMMD, C Cui et al. (2021), The Cancer Imaging Archive", ("pathology", "subtype")),
}
READ = {"registry": ("annotations",), "archive": ("source", "pathology", "annotations")}


def require_used(
    layout: str,
    source: str | None = None,
    annotations: str | None = None,
    pathology: str | None = None,
    public_label: str | None = None,
) -> None:
    """Raise ValueError for a file, folder or label that this layout would pass over without a word.

    A registry is a hospital profile's default, so it may stand there beside another layout.
    """
    given = {"source": source, "annotations": annotations, "pathology": pathology}
    for name, value in (given | {"public_label": public_label}).items():
        if value is not None and name not in READ.get(layout, ("source", "public_label")):
            raise ValueError(f"{name}: {value!r} is not read where layout is {layout}; allowed is null")


def read_layout(layout: str, source: Path, public_label: str | None = None) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Registry, annotations and name of a public set; images without the label are left out and counted in a line.

    Parameters
    ----------
    source
        Folder of the unpacked set; the paths in both tables are relative to it.
    public_label
        Which of the set's labels is the class; None takes the first.

    Raises
    ------
    ValueError
        The set has no such label; the message lists those it has.
    FileNotFoundError
        The label file or every image is missing; says what is expected and where the set is had.
    """
    reader, name, _, labels = LAYOUTS[layout]
    require_choice("public_label", label := public_label or labels[0], labels)
    registry, annotations = reader(source, label)
    labelled = registry[registry["label"] != ""].reset_index(drop=True)
    annotations = annotations[annotations["image_path"].isin(labelled["image_path"])].reset_index(drop=True)
    left_out = len(registry) - len(labelled)
    print(f"{name}: {len(labelled)} rows with {label}, {left_out} without; {len(annotations)} lesion circles")
    return labelled, annotations, name


def citation(layout: str) -> str:
    """What to cite below an image of a public set; "" for a registry."""
    return LAYOUTS[layout][2] if layout in LAYOUTS else ""
