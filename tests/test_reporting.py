"""Reports: what they say stands where they say, phantoms answer nothing about patients, and no result is typed."""

import json
import re
import shutil

import pytest

from mammolib import reporting
from mammolib.reporting import AUTHORS, FIELD, as_text, fill, look_up, read_table, report_lines, write_reports
from mammolib.rooms import Room, project_root

ROOT = project_root()
FOLDER = ROOT / "params" / "reporting"
REPORTS = read_table(FOLDER / "reports.csv", ["report"])
TABLES = {name: read_table(FOLDER / f"{name}.csv", reporting.COLUMNS) for name in REPORTS["report"]}
KEYS = sorted(
    {field for table in TABLES.values() for template in table["template"] for field in FIELD.findall(template)}
)
PROFILES = ["demo", "demo-best", "control", "mini-mias"]
# Chosen by who runs it: null in each committed profile.
CHOSEN = {("02", "parameters.weights")}
OPEN = re.compile(r"95 % intervals|VGG-16")  # numbers that are of no run
HIDDEN = {
    "source",
    "pathology",
    "registry",
    "annotations",
    "predictions",
    "compare_with",
    "outputs",
}  # may name a person


def opened(profile, root=ROOT, **parameters):
    """The room of 03 as its notebook has it before the JSON is written, and the results it has by then."""
    run = json.loads((root / "outputs" / profile / "03_evaluation.json").read_text())
    room = Room("03_evaluation", profile, root / "outputs" / profile, run["parameters"] | parameters)
    return room, run["results"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A copy of the notebooks, the reports and the JSONs of the committed profiles."""
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*"))
    shutil.copytree(FOLDER, tmp_path / "params" / "reporting")
    (tmp_path / "pyproject.toml").touch()
    for profile in PROFILES:
        (tmp_path / "outputs" / profile).mkdir(parents=True)
        for path in (ROOT / "outputs" / profile).glob("0*.json"):
            shutil.copy(path, tmp_path / "outputs" / profile)
    monkeypatch.setenv("MAMMOLIB_PROJECT", str(tmp_path))
    return tmp_path


def rows_of(path):
    """The rows of a written report's tables: item, topic, text, places."""
    lines = [line for line in path.read_text().splitlines() if re.match(r"\| [\d.]+[a-g]? \|", line)]
    cells = [re.split(r"(?<!\\) \| ", line.strip("| ")) for line in lines]
    return [(row[0], row[-3], row[-2], row[-1]) for row in cells]


def change(path, **entries):
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@pytest.mark.parametrize("profile", PROFILES)
def test_each_filled_item_says_what_stands_in_the_file_and_at_the_key_that_it_names(project, profile):
    room, results = opened(profile, project)
    counts = write_reports(room, results)
    for written in counts.itertuples():
        rows = rows_of(room.path(written.file))
        filled = [row for row in rows if row[2] != AUTHORS]
        assert (len(rows), len(filled)) == (written.items, written.filled)
        assert f"{len(filled)} of {len(rows)} items filled" in room.path(written.file).read_text()
        assert all(row[3] == "-" for row in rows if row[2] == AUTHORS)
        for item, _, text, places in filled:
            assert places != "-", item
            for place in re.findall(r"`([^`]+)`", places):
                file, keys = place.split(": ")
                found = project / file if file.startswith("outputs/") else room.outputs / file
                for key in keys.split(", "):
                    said = as_text(look_up(json.loads(found.read_text()), key))
                    assert said is not None, (item, place)
                    assert said in text, (item, place)


def test_estimates_keep_their_intervals_and_three_decimals(project):
    room, results = opened("demo", project)
    results["accuracy"] = {"value": 0.4732, "low": 0.3901, "high": 0.5579, "n": 131, "patients": 66}
    write_reports(room, results)
    text = next(row[2] for row in rows_of(room.path("claim.md")) if row[0] == "37")
    assert "accuracy 0.473 [0.390, 0.558], balanced accuracy" in text


def test_drawn_images_answer_nothing_about_patients_and_say_so_on_the_first_line(project):
    drawn, real = opened("demo", project), opened("mini-mias", project)
    for room, results in (drawn, real):
        write_reports(room, results)
    for name, table in TABLES.items():
        about = table.loc[table["about"] == reporting.PATIENTS, "item"].tolist()
        first = drawn[0].path(f"{name}.md").read_text().splitlines()[0]
        assert "cohort is drawn" in first
        assert "form only" in first
        assert "say nothing about any patient" in first
        texts = {row[0]: row[2] for row in rows_of(drawn[0].path(f"{name}.md"))}
        assert {texts[item] for item in about} == {AUTHORS}
        first = real[0].path(f"{name}.md").read_text().splitlines()[0]
        assert "drawn" not in first
        assert "mini-MIAS" in first
    flow = {row[0]: row[2] for row in rows_of(real[0].path("claim.md"))}["35"]
    assert flow == "322 images listed, 322 of 161 patients included; left out, by reason: none"


def test_a_hospital_s_cohort_fills_the_items_about_patients_and_takes_no_phantom_s_json(project):
    for path in (project / "outputs" / "demo").glob("0[0-2]*.json"):
        change(path, cohort={"kind": "hospital", "name": "ours"})
    room, results = opened("demo", project)
    write_reports(room, results)
    texts = {row[0]: row[2] for row in rows_of(room.path("stard_ai.md"))}
    flow = json.loads((room.outputs / "01_data_curation.json").read_text())["results"]["flow"]
    counted = (
        f"{flow['registry_rows']} images listed, {flow['included']} of {flow['patients']} patients included; left out"
    )
    assert texts["24"].startswith(f"{counted}, by reason: outside period: {flow['excluded']['outside_period']}; ")
    assert "cohort is drawn" not in room.path("stard_ai.md").read_text()
    assert "00_" not in "".join(path.read_text() for path in room.folder.glob("*.md")), "left from a run on phantoms"


def test_saved_predictions_are_not_taken_for_those_of_the_training_that_lies_beside(project):
    room, results = opened("mini-mias", project, predictions="data/predictions.csv")
    write_reports(room, results)
    assert "02_training" not in room.path("model_card.md").read_text()
    texts = {row[0]: row[2] for row in rows_of(room.path("claim.md"))}
    assert texts["9"] == texts["22"] == AUTHORS
    assert texts["37"].startswith(f"accuracy {results['accuracy']['value']:.3f} [")


def test_a_cohort_of_another_profile_is_named_with_its_folder(project):
    room, results = opened("demo-best", project)
    write_reports(room, results)
    places = {row[0]: row[3] for row in rows_of(room.path("claim.md"))}
    assert places["20"].startswith("`outputs/demo/01_data_curation.json: results.leakage.shared_patients")


def test_each_report_says_research_only_and_names_its_source(project):
    room, results = opened("control", project)
    write_reports(room, results)
    for report in REPORTS.itertuples():
        text = room.path(f"{report.report}.md").read_text()
        assert "Research only, not for clinical use." in text
        assert re.search(r"Source: .*(19|20)\d\d", text)
        assert str(project) not in text
        assert f"# {report.title}" in text.splitlines()


def test_a_missing_key_leaves_the_item_to_the_authors_and_an_optional_part_out():
    runs = {"03": ("03_evaluation.json", {"results": {"n": 5, "share": 0.25, "none": None}})}
    assert fill("n {03:results.n}", runs) == ("n 5", ["03_evaluation.json: results.n"])
    assert fill("n {03:results.n}[, {03:results.mcc}]", runs) == ("n 5", ["03_evaluation.json: results.n"])
    assert fill("[{03:results.mcc}][; share {03:results.share}]", runs)[0] == "share 0.25"
    for template in ("n {03:results.n} {03:results.none}", "{02:results.n}", "[{03:results.mcc}]", "no field", ""):
        assert fill(template, runs) == (AUTHORS, [])


@pytest.mark.parametrize(
    ("leaf", "text"),
    [
        (None, None),
        (True, "yes"),
        (7, "7"),
        (0.6667, "0.667"),
        (1e-5, "1e-05"),
        (0.0, "0"),
        ("he_normal", "he_normal"),
        (["tubule_forming", "solid"], "tubule forming, solid"),
        ({"outside_period": 6, "unread": None}, "outside period: 6"),
        ({}, "none"),
        ({"a": None}, None),
        ({"value": 0.5, "low": 0.4, "high": 0.6}, "0.500 [0.400, 0.600]"),
        ({"value": None, "low": None, "high": None, "note": "not estimable: no case"}, "not estimable: no case"),
        ({"value": None, "low": None, "high": None}, None),
        (
            [
                {"variable": "view", "level": "CC", "value": 0.5, "low": 0.4, "high": 0.6, "note": ""},
                {"variable": "view", "level": "MLO", "value": None, "low": None, "high": None, "note": "too few"},
            ],
            "view CC: 0.500 [0.400, 0.600]; view MLO: too few",
        ),
    ],
)
def test_values_are_written_for_people(leaf, text):
    assert as_text(leaf) == text


def test_a_star_gathers_from_all_entries_whatever_their_number_and_names():
    for k in (2, 3, 4):
        run = {"results": {"one_vs_rest": {f"type_{i}": {"auc": i / 10} for i in range(k)}}}
        assert look_up(run, "results.one_vs_rest.*.auc") == {f"type_{i}": i / 10 for i in range(k)}
    rows = {"paper": [{"claim": "a", "verdict": "compatible"}, {"claim": "b", "verdict": "inconclusive"}]}
    assert look_up(rows, "paper.*.verdict") == {"a": "compatible", "b": "inconclusive"}
    assert look_up(rows, "baselines.*.accuracy") is None


@pytest.mark.parametrize(("number", "key"), KEYS, ids=lambda part: part)
def test_each_key_of_a_template_stands_in_a_committed_json_so_none_is_misspelt(number, key):
    if (number, key) in CHOSEN:
        return
    paths = [path for profile in PROFILES for path in (ROOT / "outputs" / profile).glob(f"{number}_*.json")]
    jsons = [json.loads(path.read_text()) for path in paths]
    assert any(as_text(look_up(run, key)) is not None for run in jsons)


def test_templates_take_from_03_only_what_it_has_before_its_json_is_written_and_no_hospital_s_paths():
    assert {key.partition(".")[0] for number, key in KEYS if number == "03"} <= {
        "results",
        "parameters",
        "cohort",
        "seed",
    }
    assert not {key.partition(".")[2] for _, key in KEYS if key.startswith("parameters.")} & HIDDEN


@pytest.mark.parametrize("name", TABLES)
def test_no_result_is_typed_into_a_checklist(name):
    for row in TABLES[name].itertuples():
        typed = OPEN.sub("", FIELD.sub("", row.template))
        assert not re.search(r"\d\.\d|\d{2,}", typed), row.item
        assert not re.search(r"\d\.\d", row.topic), row.item


def test_the_item_numbers_are_those_of_the_guidelines():
    claim = TABLES["claim"]
    assert claim["item"].tolist() == [str(n) for n in range(1, 45)]
    earlier = claim.loc[claim["also"] != "new", "also"].astype(int)
    assert sorted([*earlier, 11]) == list(range(1, 43)), "all of 2020 but item 11, which went"
    mains = [re.sub("[a-z]", "", item) for item in TABLES["tripod_ai"]["item"]]
    assert list(dict.fromkeys(mains)) == [str(n) for n in range(1, 28)]
    assert len(mains) == 52
    stard = TABLES["stard_ai"]
    assert list(dict.fromkeys(re.sub("[a-z]", "", item) for item in stard["item"])) == [str(n) for n in range(1, 41)]
    assert len(stard) == 48
    assert (stard["also"] == "new").sum() == 14
    assert stard["also"].str.contains("changed").sum() == 4
    earlier = stard.loc[stard["also"] != "new", "also"].str.replace(r"[ab]?(, changed)?$", "", regex=True)
    assert sorted(set(earlier), key=int) == [str(n) for n in range(1, 31)]
    assert len(earlier) == 34
    card = TABLES["model_card"]
    assert card["section"].nunique() == 9
    assert all(table["item"].is_unique for table in TABLES.values())


def test_a_bar_or_a_new_line_in_a_value_breaks_no_table():
    table = TABLES["model_card"].head(1).assign(text=["a | b\nc"], places=[["01_data_curation.json: cohort.name"]])
    cohort = {"kind": "hospital", "name": "ours"}
    lines = report_lines(REPORTS.iloc[0].to_dict(), table, cohort)
    assert r"a \| b c" in next(line for line in lines if line.startswith("| 1.1"))
    assert lines[0] == "**Hospital cohort (ours): research only, not for clinical use.**"


def test_a_checklist_without_a_column_is_named(tmp_path):
    (tmp_path / "claim.csv").write_text("item,section\n1,Title\n")
    with pytest.raises(ValueError, match=r"claim.csv: no column also, topic, about, template"):
        read_table(tmp_path / "claim.csv", reporting.COLUMNS)
