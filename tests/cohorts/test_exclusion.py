"""Scans that a user takes out: what conditions, lists and the column `exclude` do, and what is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harmbench.cohorts.bids import BidsSettings, read_bids
from harmbench.cohorts.data import DataSettings, read_cohort
from harmbench.cohorts.exclude_column import read_exclude
from harmbench.cohorts.expression import parse_condition
from harmbench.cohorts.manifest import read_manifest
from harmbench.errors import CohortError, ConfigError
from harmbench.settings import validated

LayOut = Callable[..., Path]


def scan(subject: str, session: str) -> str:
    return f"sub-{subject}/ses-{session}/anat/sub-{subject}_ses-{session}_T1w.nii.gz"


def names(root: Path, **settings: object) -> list[str]:
    """Sessions of the scans that stay, in order of subjects."""
    cohort = read_bids(root, validated(BidsSettings, settings))
    return [f"ses-{own.session}" for own in cohort.scans.values()]


@pytest.mark.parametrize("own", ["89+", ">90", "50,5", "4O", "a b", "2020-01-01"])
def test_an_order_of_values_that_are_no_numbers_is_refused(own: str) -> None:
    with pytest.raises(CohortError, match=r"age is '.*', which cannot be compared with 80"):
        parse_condition("age > 80").holds({"age": own}.get)


@pytest.mark.parametrize("own", ["31.05.2020", "2020-09-31", "May 2020", "2020"])
def test_an_order_of_values_that_are_no_dates_is_refused(own: str) -> None:
    with pytest.raises(CohortError, match="expected a date in ISO 8601"):
        parse_condition("when < 2021-01-01").holds({"when": own}.get)


def _noted(root: Path, *conditions: str) -> list[tuple[str, str]]:
    cohort = read_bids(root, BidsSettings(exclude=conditions))
    return [(note.kind, note.text) for note in cohort.notes]


def test_conditions_that_do_less_than_they_seem_to_are_noted(
    lay_out: LayOut, two_by_two: list[str]
) -> None:
    root = lay_out(*two_by_two, scan("03", "A"), scan("03", "B"))
    (root / "participants.tsv").write_text(
        "participant_id\tqc\tage\nsub-01\tFail\t30\nsub-02\tfail\t40\nsub-03\tpass\t89+\n"
    )
    assert _noted(root, "qc == fail") == [
        (
            "exclude-nearly",
            "qc is also 'Fail', which is not 'fail' in the condition \"qc == fail\"; did you mean "
            "it too?",
        )
    ]
    assert _noted(root, "qc in (fail, Fail)") == []
    assert _noted(root, "qc == bad") == [
        ("exclude-unused", 'the condition "qc == bad" holds for no scan')
    ]
    # Held for a scan that another condition takes out first is not unused.
    assert _noted(root, "qc == pass", "subject == 03") == []
    table = root / "participants.tsv"
    with pytest.raises(CohortError, match=f"{table}, line 4: age is '89\\+'") as caught:
        names(root, exclude="age > 80")
    assert len(caught.value.problems) == 1
    assert len(names(root, exclude="qc != pass and age > 35")) == 4


def test_subjects_and_sessions_by_the_names_of_tables(
    lay_out: LayOut, two_by_two: list[str]
) -> None:
    root = lay_out(*two_by_two)
    for text in ("participant_id == 01", "participant_id == sub-01 and session_id in (A, ses-B)"):
        assert names(root, exclude=text) == ["ses-A", "ses-B"]
    assert names(root, exclude="subject == 01 and session == ses-A") == ["ses-B", "ses-A", "ses-B"]


def test_rows_of_scans_that_fit_no_file_are_noted(lay_out: LayOut, two_by_two: list[str]) -> None:
    root = lay_out(*two_by_two, "sub-01/ses-A/func/sub-01_ses-A_task-rest_bold.nii.gz")
    table = root / "sub-01" / "ses-A" / "sub-01_ses-A_scans.tsv"
    table.write_text(
        "filename\tqc\nanat/sub-01_ses-A_T1w.nii.gz\tok\nfunc/sub-01_ses-A_task-x_bold.nii.gz\tok\n"
        "anat/sub-01_ses-A_T1w.nii\tfail\nanat\\sub-01_ses-A_T1w.nii.gz\tfail\n"
        "sub-01/ses-A/anat/sub-01_ses-A_T1w.nii.gz\tfail\n"
    )
    notes = [note for note in read_bids(root).notes if note.kind == "table-row-without-file"]
    assert [note.where.split(":")[0] for note in notes] == [f"{table}, line {n}" for n in (4, 5, 6)]


def test_rows_about_sessions_that_are_not_there_are_noted(
    lay_out: LayOut, two_by_two: list[str]
) -> None:
    root = lay_out(*two_by_two, "sub-01/ses-C/func/sub-01_ses-C_task-rest_bold.nii.gz")
    (root / "sub-02" / "ses-D").mkdir()
    people, all_sessions = root / "participants.tsv", root / "sessions.tsv"
    own = root / "sub-01" / "sub-01_sessions.tsv"
    people.write_text(
        "participant_id\tsession_id\nsub-01\tA\nsub-01\tE\nsub-02\tA\nsub-02\tn/a\nsub-04\tA\n"
    )
    all_sessions.write_text(
        "participant_id\tsession_id\nsub-02\tses-A\nsub-02\tses-D\nsub-2\tses-B\nsub-02\tses-a\n"
    )
    own.write_text("session_id\nses-A\nses-B\nses-C\nses-02\n")
    notes = [note for note in read_bids(root).notes if note.kind == "table-row-without-session"]
    assert sorted(note.where for note in notes) == [
        f"{people}, line 3: sub-01 E",
        f"{people}, line 6: sub-04 A",
        f"{all_sessions}, line 4: sub-2 B",
        f"{all_sessions}, line 5: sub-02 a",
        f"{own}, line 5: sub-01 02",
    ]


@pytest.mark.parametrize("label", ["x" * 300, "..", "A/B"])
@pytest.mark.parametrize("table", ["participants.tsv", "sessions.tsv"])
def test_labels_that_no_folder_can_have_are_noted(
    lay_out: LayOut, two_by_two: list[str], table: str, label: str
) -> None:
    root = lay_out(*two_by_two)
    (root / table).write_text(
        f"participant_id\tsession_id\nsub-{label}\tn/a\nsub-01\tses-{label}\nsub-{label}\tA\n"
    )
    found = [note.where for note in read_bids(root).notes if note.kind.endswith("-without-session")]
    assert [where.split(":")[0].rpartition(" ")[2] for where in found][-2:] == ["3", "4"]


def test_dates_that_cannot_be_read_are_noted(lay_out: LayOut, two_by_two: list[str]) -> None:
    root = lay_out(*two_by_two)
    table = root / "sub-01" / "sub-01_sessions.tsv"
    table.write_text("session_id\tacq_time\nses-A\t15.01.2019\nses-B\t2019-01-15T10:00:00.5Z\n")
    other = root / "sub-02" / "sub-02_sessions.tsv"
    other.write_text("session_id\tacq_time\nses-A\tunknown\nses-B\tn/a\n")
    (note,) = [note for note in read_bids(root).notes if note.kind == "date-not-read"]
    assert note.text.startswith("acq_time is not in ISO 8601, such as 2024-05-31")
    assert note.where == f"'15.01.2019' in {table}, line 2"


def _kept(path: Path, **settings: object) -> list[tuple[str, str]]:
    values = {"path": path, "bids": settings}
    return list(read_cohort(validated(DataSettings, values)).scans)


def test_excluding_from_a_manifest(make_manifest: Callable[[int], Path], tmp_path: Path) -> None:
    path = make_manifest(3)
    a, b = ("s1", "A"), ("s1", "B")
    assert _kept(path, exclude="group == HC") == [a, b]
    assert _kept(path, exclude="subject != s1 or session == B") == [a]
    assert _kept(path, exclude=("participant_id in (s0, sub-s2)", "scanner == A")) == [b]
    cohort = read_manifest(path, conditions=("subject == s0", "group == hc"))
    assert [item.reason for item in cohort.left_out] == ["excluded by: subject == s0"] * 2
    assert [note.kind for note in cohort.notes] == ["exclude-unused", "exclude-nearly"]
    file = tmp_path / "out.txt"
    file.write_text("s0\ns1_A.nii.gz\ns2 A\ns9\n")
    cohort = read_manifest(path, exclude_list=file)
    assert list(cohort.scans) == [b, ("s2", "B")]
    assert [note.text for note in cohort.notes] == ["'s9' fits no scan"]
    with pytest.raises(CohortError, match="no column 'qc'"):
        _kept(path, exclude="qc == fail")
    with pytest.raises(CohortError, match="every scan is excluded"):
        _kept(path, exclude="group in (HC, MS)")
    with pytest.raises(CohortError, match=f"{path}, line 2: group is 'HC'"):
        _kept(path, exclude="group > 3")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"session_by": "MagneticFieldStrength"}, r"session_by \(--session-by\).*columns: scanner"),
        ({"session_pattern": "(?P<scanner>.*)"}, "session_pattern.*scanner"),
        ({"subject_by": "person"}, "subject_by.*subject"),
        ({"group_column": "dx"}, r"group_column \(--group-by\).*group"),
        ({"run": "last"}, r"run \(--runs\).*exclude"),
        ({"suffix": "T2w"}, "suffix.*exclude"),
        ({"acquisition": "high"}, "acquisition.*exclude"),
        ({"per_scanner": {"A": {"acq": "x"}}}, "per_scanner.*exclude"),
        ({"entities": {"rec": None}}, "entities; use"),
        ({"filter_file": "f.json"}, "filter_file.*exclude"),
    ],
)
def test_settings_for_bids_are_refused_elsewhere(
    make_manifest: Callable[[int], Path], settings: dict[str, object], says: str
) -> None:
    path = make_manifest(1)
    with pytest.raises(ConfigError, match=f"{path}: only for BIDS folders: data.bids.{says}"):
        _kept(path, **settings)
    values = {"bids": settings}
    with pytest.raises(ConfigError, match=r"the simulated cohort: only for BIDS folders"):
        read_cohort(validated(DataSettings, values), folder=path.parent)


def test_settings_for_bids_that_say_nothing_are_no_fault(
    make_manifest: Callable[[int], Path],
) -> None:
    settings = BidsSettings().model_dump()
    assert len(_kept(make_manifest(1), **settings)) == 2
    assert len(_kept(make_manifest(1), **{**settings, "session_by": "label"})) == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        *((t, "") for t in ("", "0", "0.0", "no", "N", "FALSE", "n/a", "0.00")),
        *(
            (t, "excluded in the manifest")
            for t in ("1", "1.0", "Yes", "y", "TRUE", "x", "exclude")
        ),
        ("motion", "excluded in the manifest: motion"),
        ("too much motion, 3 mm", "excluded in the manifest: too much motion, 3 mm"),
    ],
)
def test_values_of_the_column_exclude(text: str, reason: str) -> None:
    assert read_exclude(text) == (reason, None)


@pytest.mark.parametrize("text", ["-", "NaN", "None", "keep", "Pass", "ok", "not excluded"])
def test_unusual_words_for_no_are_said_aloud(text: str) -> None:
    reason, note = read_exclude(text)
    assert reason == ""
    assert note is not None
    assert note.text == f"exclude is '{text}', read as no: the scan stays"


@pytest.mark.parametrize("text", ["2", "0.5", "?", "-1", "q", "i9"])
def test_values_of_the_column_exclude_that_say_nothing(text: str) -> None:
    with pytest.raises(CohortError, match="allowed: no or 0, yes or 1, or the reason"):
        read_exclude(text)
