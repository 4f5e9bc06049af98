"""The dry run of an archive: what the headers and the list tell, in the words of the full run, and nothing written."""

import re

import pandas as pd
import pytest

from mammolib.__main__ import main
from mammolib.phantom_archive import plan_archive, write_archive

SEED, PATIENTS = 5, 47
# Only pixels, or another file of the cohort, tell these
BY_PIXELS = {
    *("unreadable", "no_breast", "spacing_implausible", "laterality_unknown", "laterality_contradictory"),
    *("same_exposure", "repeated_take", "duplicate_uid", "duplicate_same_patient", "duplicate_other_patient"),
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """A profile's folder with the drawn archive where notebook 00 puts it."""
    outputs = tmp_path_factory.mktemp("outputs")
    plan, lesions = plan_archive(SEED, PATIENTS, [1, 1, 1])
    write_archive(outputs / "00_synthetic_cohort", plan, lesions, SEED, 2.0, 1, 0.75, workers=2)
    return outputs


def test_headers_and_list_give_the_planned_reasons(outputs, capsys):
    assert main(["preview", "archive", "--outputs", str(outputs)]) == 0
    said = capsys.readouterr().out
    told = {reason: int(n) for n, reason in re.findall(r"^  (\d+) out: .* \((\w+)\)$", said, re.MULTILINE)}
    truth = pd.read_csv(outputs / "00_synthetic_cohort" / "truth.csv", keep_default_na=False)
    planned = truth["reason"].value_counts()
    by_header = planned.drop("").drop(list(BY_PIXELS), errors="ignore").to_dict()
    assert {reason: n for reason, n in told.items() if reason not in BY_PIXELS} == by_header
    left = int(re.search(r"would leave at most (\d+) images", said)[1])
    assert left == len(truth) - sum(told.values())
    written = [path.relative_to(outputs) for path in outputs.iterdir() if path.name != "00_synthetic_cohort"]
    assert [str(path) for path in written] == ["01_data_curation"]
    assert [path.name for path in (outputs / "01_data_curation").iterdir()] == ["private"]


def test_words_that_no_table_has_are_told_with_their_count(outputs, tmp_path, capsys):
    source = outputs / "00_synthetic_cohort" / "pathology.csv"
    text = source.read_text(encoding="cp932")
    assert text.count("硬癌") > 1
    (tmp_path / "list.csv").write_text(text.replace("硬癌", "謎癌"), encoding="cp932")
    override = f"01_data_curation.pathology={tmp_path / 'list.csv'}"
    assert main(["preview", "archive", "--outputs", str(outputs), "-p", override]) == 0
    said = capsys.readouterr().out
    assert re.search(r"not in the label map.*'謎癌' \(\d+\)", said)
    assert re.search(r"scirrhous [1-9]", said), "硬性型 and a3 are known still"


def test_what_a_preview_lacks_is_named(tmp_path, capsys):
    assert main(["preview", "demo", "--outputs", str(tmp_path)]) == 2
    assert "layout = 'registry'; a preview needs archive" in capsys.readouterr().err
    assert main(["preview", "archive", "--outputs", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "pathology.csv" in said
    assert "archive'" in said
    assert "no such file or folder" in said
