"""Participants, sidecars and descriptions of BIDS folders, and manifests, as people write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harmbench.cohorts.bids import BidsSettings, read_bids
from harmbench.cohorts.manifest import read_manifest
from harmbench.config import load_experiment
from harmbench.errors import CohortError
from harmbench.report import make_report
from harmbench.results import read_results
from harmbench.runner.experiment import run_experiment

LayOut = Callable[..., Path]
FIELD = "MagneticFieldStrength"


def _kinds(root: Path, **settings: Any) -> list[str]:
    return [note.kind for note in read_bids(root, BidsSettings(**settings)).notes]


@pytest.mark.parametrize("value", ["NA", "null", "nan", "-", "unknown", "1e3", "007", "True", "é"])
def test_groups_are_text(lay_out: LayOut, two_by_two: list[str], value: str) -> None:
    root = lay_out(*two_by_two)
    (root / "participants.tsv").write_text(f"participant_id\tgroup\n01\t{value}\nsub-02\tHC\t\n")
    cohort = read_bids(root)
    assert cohort.groups == {"sub-01": value, "sub-02": "HC"}
    # It may stand for no group: the note says how to write that.
    noted = {"group-like-missing"} if value in ("NA", "null", "nan", "-", "unknown") else set()
    assert {note.kind for note in cohort.notes} == noted


def test_a_missing_group_is_noted(lay_out: LayOut, two_by_two: list[str]) -> None:
    root = lay_out(*two_by_two)
    (root / "participants.tsv").write_text("participant_id\tgroup\nsub-01\tn/a\nsub-02\n")
    cohort = read_bids(root)
    assert set(cohort.groups.values()) == {"all"}
    assert [(n.kind, n.where) for n in cohort.notes] == [
        ("group-missing", "subject sub-01"),
        ("group-missing", "subject sub-02"),
    ]


@pytest.mark.parametrize("column", ["Group", "diagnosis", "DX", "Patient Group"])
def test_columns_like_groups_are_offered(
    lay_out: LayOut, two_by_two: list[str], column: str
) -> None:
    root = lay_out(*two_by_two)
    (root / "participants.tsv").write_text(f"participant_id\t{column}\nsub-01\tMS\nsub-02\tHC\n")
    (note,) = read_bids(root).notes
    assert note.kind == "group-column-offered"
    assert f"data.bids.group_column={column}" in note.text
    assert read_bids(root, BidsSettings(group_column=column)).groups["sub-01"] == "MS"
    with pytest.raises(CohortError, match=f"group_column is 'nope'.*{column}"):
        read_bids(root, BidsSettings(group_column="nope"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_encodings(lay_out: LayOut, two_by_two: list[str], encoding: str) -> None:
    root = lay_out(*two_by_two)
    table = "participant_id\tgroup\r\nsub-01\tgesünd\r\nsub-02\tMS\r\n"
    (root / "participants.tsv").write_bytes(table.encode(encoding))
    (root / "dataset_description.json").write_bytes('{"Name": "Zürich"}'.encode(encoding))
    cohort = read_bids(root)
    assert cohort.groups["sub-01"] == "gesünd"
    assert cohort.title == "Zürich"
    assert {n.kind for n in cohort.notes} == (
        {"encoding-guessed"} if encoding == "cp1252" else set()
    )


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "participants.tsv",
            "subject\tgroup\n01\tHC\n",
            "no column participant_id; it has subject",
        ),
        ("participants.tsv", "participant_id\tgroup\n\tHC\n", "line 2: participant_id is empty"),
        ("participants.tsv", "participant_id\tgroup\n01\tHC\tx\n", "line 2 has 3 values"),
        ("participants.tsv", "", "the table is empty"),
        ("dataset_description.json", '{"Name": "x",\n}', "not valid JSON, line 2"),
        ("dataset_description.json", '["x"]', "expected a JSON object"),
    ],
)
def test_unusable_files_are_named(
    lay_out: LayOut, two_by_two: list[str], file: str, text: str, message: str
) -> None:
    root = lay_out(*two_by_two)
    (root / file).write_text(text)
    with pytest.raises(CohortError, match=message) as caught:
        read_bids(root)
    assert str(root / file) in str(caught.value)


@pytest.mark.parametrize("name", [["x"], 7, None, {"a": 1}, ""])
def test_odd_descriptions_are_no_exceptions(
    lay_out: LayOut, two_by_two: list[str], name: object
) -> None:
    root = lay_out(*two_by_two)
    described = {"Name": name, "HowToAcknowledge": [1], "DatasetDOI": None, "Preparation": "x"}
    (root / "dataset_description.json").write_text(json.dumps(described))
    assert len(read_bids(root).scans) == 4


def _by_field(lay_out: LayOut, files: list[str], values: list[object], field: str = FIELD) -> Path:
    sidecars = [file.replace(".nii.gz", ".json") for file in files]
    pairs = zip(sidecars, values, strict=True)
    return lay_out(*files, fields={s: {} if v == "absent" else {field: v} for s, v in pairs})


@pytest.mark.parametrize(
    "values",
    [["1.5T", "3T"] * 2, [1.5, 3, 1.494, 2.8936], [[1.5], "3.0 Tesla", "1,5", 30000]],
)
def test_field_strengths_mean_what_they_mean(
    lay_out: LayOut, two_by_two: list[str], values: list[object]
) -> None:
    cohort = read_bids(_by_field(lay_out, two_by_two, values), BidsSettings(session_by=FIELD))
    assert cohort.sessions == ("1.5T", "3T")
    assert len(cohort.scans) == 4
    kinds = ["field-strength-in-gauss"] if 30000 in values else []
    assert [note.kind for note in cohort.notes] == kinds


@pytest.mark.parametrize("field", [FIELD, "ManufacturersModelName"])
@pytest.mark.parametrize("value", ["n/a", None, "", True, [1, 2], {"a": 1}, "absent"])
def test_unusable_fields_are_one_line_with_the_file(
    lay_out: LayOut, two_by_two: list[str], value: object, field: str
) -> None:
    root = _by_field(lay_out, two_by_two, ["1", value, "1", "3"], field)
    with pytest.raises(CohortError) as caught:
        read_bids(root, BidsSettings(session_by=field))
    (problem,) = caught.value.problems
    assert problem.startswith("sub-01_ses-B_T1w.nii.gz: ")
    assert field in problem


def test_sidecars_are_inherited_unless_damaged(lay_out: LayOut, two_by_two: list[str]) -> None:
    root = lay_out(*two_by_two, fields={"T1w.json": {FIELD: 1.5}, "ses-B_T1w.json": {FIELD: 3}})
    assert read_bids(root, BidsSettings(session_by=FIELD)).sessions == ("1.5T", "3T")
    bad = root / two_by_two[1].replace(".nii.gz", ".json")
    bad.write_text('{"a": 1,\n "b"}')
    assert _kinds(root) == ["sidecar-unreadable"]
    with pytest.raises(CohortError, match=r"sub-01_ses-B_T1w\.json: not valid JSON, line 2"):
        read_bids(root, BidsSettings(session_by=FIELD))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t", " , "])
def test_manifests(make_manifest, encoding: str, separator: str) -> None:
    path = make_manifest(2)
    text = path.read_text().replace("MS", "gesünd").replace(",", separator)
    path.write_bytes(text.replace("\n", separator + "\r\n").encode(encoding))
    cohort = read_manifest(path)
    assert cohort.groups == {"s0": "HC", "s1": "gesünd"}
    kinds = {n.kind for n in cohort.notes}
    assert ("encoding-guessed" in kinds) == (encoding == "cp1252")
    assert ("table-separator" in kinds) == (separator in ";\t")


def test_names_that_look_like_numbers_or_nothing_stay_text(
    make_manifest, thresholds, blank_figures, tmp_path: Path
) -> None:
    names = ["007", "1e3", "NA", "null", "nan", "True"]
    path = make_manifest(len(names))
    text = path.read_text().replace(",A,", ",null,").replace(",B,", ",1.0,").replace("MS", "NA")
    for number, name in enumerate(names):
        text = text.replace(f"s{number},", f"{name},")
    path.write_text(text)
    overrides = ["scoring.segmenter=thresholds", "folds.k=2", "device=cpu", "ceiling=false"]
    overrides += ["controls=[identity]", "volume_controls=[volume_combat]"]
    experiment = load_experiment(None, overrides, {"data.path": path})
    lines: list[str] = []
    for _ in range(2):
        run_experiment(experiment, tmp_path / "out", say=lines.append)
    assert load_experiment(tmp_path / "out" / "config.yaml") == experiment
    results = read_results(tmp_path / "out" / "results.csv")
    assert set(results["subject"]) == set(names)
    assert set(results["group"]) == {"HC", "NA"}
    assert set(results["direction"]) == {"1.0-to-null", "null-to-1.0"}
    assert make_report([tmp_path / "out"]).is_file()


def _sessions_table(root: Path, subject: str, *rows: str) -> None:
    text = "\n".join(["session_id\tscanner\tqc\tperson", *rows]) + "\n"
    (root / subject / f"{subject}_sessions.tsv").write_text(text)


def test_a_session_without_row_has_no_value_of_another(
    lay_out: LayOut, two_by_two: list[str]
) -> None:
    root = lay_out(*two_by_two)
    _sessions_table(root, "sub-01", "ses-A\tGE\tfail\tp1")
    _sessions_table(root, "sub-02", "ses-A\tGE\tpass\tp2", "ses-B\tSiemens\tpass\tp2")
    with pytest.raises(CohortError) as caught:
        read_bids(root, BidsSettings(session_by="sessions.tsv:scanner"))
    (problem,) = caught.value.problems
    assert problem.startswith("sub-01_ses-B_T1w.nii.gz: it has no scanner in sessions.tsv")
    assert "no row for ses-B of sub-01; it has rows for ses-A" in problem
    cohort = read_bids(root, BidsSettings(session_by="label", exclude=("qc == fail",)))
    assert set(cohort.scans) == {("sub-01", "B"), ("sub-02", "A"), ("sub-02", "B")}
    (note,) = (n for n in cohort.notes if n.kind == "session-without-row")
    assert note.where == "subject sub-01, session B"
    # Who a person is holds for all sessions.
    people = read_bids(root, BidsSettings(session_by="label", subject_by="sessions.tsv:person"))
    assert people.subjects == ("sub-p1", "sub-p2")


def test_rows_of_whole_subjects_and_scans_without_session(
    lay_out: LayOut, two_by_two: list[str]
) -> None:
    root = lay_out(*two_by_two)
    (root / "participants.tsv").write_text("participant_id\tqc\nsub-01\tfail\nsub-02\tpass\n")
    cohort = read_bids(root, BidsSettings(exclude=("qc == fail",)))
    assert cohort.subjects == ("sub-02",)
    assert "session-without-row" not in {note.kind for note in cohort.notes}
    bare = [f"sub-0{n}/anat/sub-0{n}_acq-{a}_T1w.nii.gz" for n in (1, 2) for a in "ab"]
    root = lay_out(*bare, name="bare")
    _sessions_table(root, "sub-01", "ses-1\tGE\tfail\tp1")
    cohort = read_bids(root, BidsSettings(session_by="acq", exclude=("qc == fail",)))
    assert cohort.subjects == ("sub-02",)


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        (("1", "2"), "does not list sub-01; 'sub-1' in it is another spelling"),
        (("Sub-01", "sub_02"), "does not list sub-01; 'Sub-01' in it is another spelling"),
        (("sub_01", "x"), "does not list sub-01; 'sub_01' in it is another spelling"),
        (("p1", "p2"), "does not list sub-01; it lists 'sub-p1', 'sub-p2'"),
        (("a", "b", "c", "d", "e"), "it lists 'sub-a', 'sub-b', 'sub-c' and 2 more"),
    ],
)
def test_what_a_table_lists_in_the_place_of_a_subject(
    lay_out: LayOut, two_by_two: list[str], listed: tuple[str, ...], said: str
) -> None:
    root = lay_out(*two_by_two)
    rows = "\n".join(f"{label}\tHC" for label in listed)
    (root / "participants.tsv").write_text(f"participant_id\tgroup\n{rows}\n")
    with pytest.raises(CohortError) as caught:
        read_bids(root)
    assert said in caught.value.problems[0]


def test_millitesla_need_their_unit(lay_out: LayOut, two_by_two: list[str]) -> None:
    root = _by_field(lay_out, two_by_two, [1500, 3, 1.5, 3])
    with pytest.raises(CohortError, match=r"needs the unit: '1500 mT'"):
        read_bids(root, BidsSettings(session_by=FIELD))
