"""Filter files, exclusions, acquisitions for each scanner, who is who, and manifests' columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from harmbench.cohorts.bids import BidsSettings, read_bids
from harmbench.cohorts.expression import parse_condition
from harmbench.cohorts.manifest import read_manifest
from harmbench.cohorts.pairing import visits_of
from harmbench.errors import CohortError, ConfigError
from harmbench.settings import validated

LayOut = Callable[..., Path]


def scan(subject: str, session: str, entities: str = "", end: str = "T1w.nii.gz") -> str:
    return f"sub-{subject}/ses-{session}/anat/sub-{subject}_ses-{session}_{entities}{end}"


def names(root: Path, **settings: object) -> list[str]:
    cohort = read_bids(root, validated(BidsSettings, settings))
    return [own.path.name.split("_", 1)[1].split("_T1w")[0] for own in cohort.scans.values()]


ROW = {"qc": "fail", "age": "17", "note": "a b", "empty": "n/a", "run": "02", "missing": "NaN"}
ROW |= {"when": "2020-01-02T10:00:00", "subject": "01", "participant_id": "sub-01"}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("qc == fail", True),
        ("qc != fail", False),
        ("qc == 'fail' and age < 18", True),
        ("qc == ok or not age >= 18", True),
        ("not (qc == fail or age == 3)", False),
        ("age in (16, 17.0)", True),
        ("age not in [16, 17]", False),
        ("note == 'a b'", True),
        ("empty == n/a", True),
        ("empty != x", True),
        ("empty < 3", False),
        ("absent == x", False),
        ("age > 16.5 and age <= 17", True),
        ("missing > 3 or missing < 3", False),
        ("when > 2020-01-01", True),
        ("when > 2020-01-02", False),
        ("when >= 2020-01-02 and when < 2020-01-02T11:00:00", True),
        ("when < 2020-01-02T10:00:00.5Z", True),
        ("subject == sub-01 or subject == x", True),
        ("participant_id == 01", True),
        ("run == 2", True),
        ("age==17 and qc in (fail)", True),
    ],
)
def test_conditions(text: str, holds: bool) -> None:
    assert parse_condition(text).holds(ROW.get) is holds


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected a column, found the end"),
        ("qc", "expected one of =="),
        ("qc = fail", "'=' is not understood"),
        ("qc == ", "expected a value, found the end"),
        ("qc == fail fail", "'fail' is not expected there"),
        ("(qc == fail", r"'\)' is missing"),
        ("qc in fail", "expected a list"),
        ("__import__('os')", "expected one of"),
        ("qc == and", "expected a value, found 'and'"),
        ("qc == 'fail", "not understood"),
        ("age > old", "after > expected a number, or a date in ISO 8601"),
        ("acq_time > 01.02.2020", "found '01.02.2020'"),
    ],
)
def test_texts_that_are_no_condition(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse_condition(text)


def test_excluding_by_any_table(lay_out: LayOut, two_by_two: list[str]) -> None:
    root = lay_out(*two_by_two, scan("03", "A"), scan("03", "B"))
    (root / "participants.tsv").write_text("participant_id\tage\n01\t20\nsub-02\t30\nsub-03\t40\n")
    (root / "sub-01" / "sub-01_sessions.tsv").write_text(
        "session_id\tqc\nses-A\tfail\nses-B\tpass\n"
    )
    (root / "sub-02" / "sub-02_scans.tsv").write_text(
        "filename\tqc\tacq_time\nses-A/anat/sub-02_ses-A_T1w.nii.gz\tfail\t2020-01-02T10:00:00\n"
    )
    cohort = read_bids(root, BidsSettings(exclude=("qc == fail", "age > 35")))
    assert list(cohort.scans) == [("sub-01", "B"), ("sub-02", "B")]
    assert [(item.reason, item.where.split("_T1w")[0]) for item in cohort.left_out] == [
        ("excluded by: qc == fail", "sub-01_ses-A"),
        ("excluded by: qc == fail", "sub-02_ses-A"),
        ("excluded by: age > 35", "sub-03_ses-A"),
        ("excluded by: age > 35", "sub-03_ses-B"),
    ]
    assert read_bids(root).scans["sub-02", "A"].when == "2020-01-02T10:00:00"
    assert len(names(root, exclude="subject in (sub-01, sub-02)")) == 2
    assert len(names(root, exclude="not subject == 01")) == 2
    with pytest.raises(CohortError, match="no column 'qcc'; did you mean 'qc'"):
        names(root, exclude="qcc == fail")
    with pytest.raises(CohortError, match="all 6 scans are excluded"):
        names(root, exclude="age > 1")


def test_excluding_by_a_list(lay_out: LayOut, two_by_two: list[str], tmp_path: Path) -> None:
    root = lay_out(*two_by_two, scan("03", "A"), scan("03", "B"))
    file = tmp_path / "out.txt"
    file.write_text("# bad\nsub-01\tses-A\nsub-02_ses-B_T1w.nii.gz\r\n03\nsub-09\n")
    cohort = read_bids(root, BidsSettings(exclude_list=file))
    assert list(cohort.scans) == [("sub-01", "B"), ("sub-02", "A")]
    assert len(cohort.left_out) == 4
    assert [n.text for n in cohort.notes if n.kind == "exclude-list-unused"] == [
        "'sub-09' fits no scan"
    ]


@pytest.mark.parametrize(
    ("part", "kept"),
    [
        ({"acquisition": "a"}, ["ses-A_acq-a_run-1", "ses-B_acq-a"]),
        ({"acquisition": None}, ["ses-A"]),
        ({"acquisition": "*", "session": ["B"]}, ["ses-B_acq-a"]),
        ({"acquisition": ["b", None]}, ["ses-A", "ses-C_acq-b"]),
        ({"acquisition": "Query.NONE"}, ["ses-A"]),
        ({"acquisition": "<Query.ANY: 2>", "run": [1]}, ["ses-A_acq-a_run-1"]),
        ({"acquisition": "^[ab]$", "session": "B|C", "regex_search": True},
         ["ses-B_acq-a", "ses-C_acq-b"]),
        ({"datatype": "anat", "extension": "nii.gz", "session": "ses-C"}, ["ses-C_acq-b"]),
        ({"suffix": "T1w", "acquisition": "b", "run": "Query.OPTIONAL"}, ["ses-C_acq-b"]),
    ],
)  # fmt: skip
def test_filter_files(
    lay_out: LayOut, tmp_path: Path, part: Mapping[str, object], kept: list[str]
) -> None:
    files = [scan("01", "A"), scan("01", "A", "acq-a_run-1_"), scan("01", "B", "acq-a_")]
    root = lay_out(*files, scan("01", "C", "acq-b_"), scan("01", "C", end="T2w.nii.gz"))
    file = tmp_path / "filter.json"
    file.write_text(json.dumps({"bold": {"task": "x"}, "t1w": part}))
    assert names(root, filter_file=file) == kept


def test_filter_files_that_are_wrong(
    lay_out: LayOut, two_by_two: list[str], tmp_path: Path
) -> None:
    root, file = lay_out(*two_by_two), tmp_path / "filter.json"
    for text, why in (
        ('{"t2w": {}}', "no part for T1w"),
        ('{"t1w": {"acquisitoin": "x"}}', "did you mean 'acquisition'"),
        ('{"t1w": {"acquisition": {"a": 1}}}', "expected a label"),
        ('{"t1w": {"acquisition": "x"}}', "no scan with suffix T1w, what .* wants"),
    ):
        file.write_text(text)
        with pytest.raises(CohortError, match=why):
            names(root, filter_file=file)


def test_an_acquisition_for_each_scanner(lay_out: LayOut) -> None:
    files = [scan(s, "GE", f"acq-{a}_") for s in ("01", "02") for a in ("bravo", "cube")]
    files += [scan(s, "SIE", f"acq-{a}_") for s in ("01", "02") for a in ("mprage", "space")]
    root = lay_out(*files)
    with pytest.raises(CohortError, match=r"sub-01, session GE: 2 files fit") as caught:
        names(root)
    # One line for each scanner, not for each scan.
    assert len(str(caught.value).splitlines()) == 3
    assert "--acquisition SIE=LABEL (and 1 more visit on SIE)" in str(caught.value)
    wanted = {"GE": {"acquisition": "bravo"}, "SIE": {"acq": "mprage"}}
    assert names(root, per_scanner=wanted)[:2] == ["ses-GE_acq-bravo", "ses-SIE_acq-mprage"]
    with pytest.raises(CohortError, match="per_scanner: GEE: did you mean 'GE'"):
        names(root, per_scanner={"GEE": {"acq": "x"}})


def test_a_word_after_the_suffix_is_another_suffix(lay_out: LayOut) -> None:
    plain, defaced = (
        [scan(s, v).replace("_T1w", f"_{suffix}") for s in ("01", "02") for v in "AB"]
        for suffix in ("T1w", "T1w_defaced")
    )
    only = lay_out(*defaced, name="only")
    with pytest.raises(CohortError, match="no scan with suffix T1w; allowed: T1w_defaced"):
        read_bids(only)
    assert len(read_bids(only, BidsSettings(suffix="T1w_defaced")).scans) == 4
    both = read_bids(lay_out(*plain, *defaced, name="both"))
    assert {s.path.name for s in both.scans.values()} == {Path(p).name for p in plain}
    assert {note.kind for note in both.notes} == {"file-not-understood"}
    with pytest.raises(CohortError, match="its suffix is 'T1w_defaced', not 'T1w'"):
        read_bids(lay_out(*plain[:3], *defaced, name="one-missing"))


def test_a_bids_folder_inside_the_one_named(lay_out: LayOut, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    lay_out(scan("01", "A"), scan("01", "B"), name="study/rawdata")
    with pytest.raises(
        CohortError, match=r"no dataset_description\.json; rawdata below it has one"
    ):
        read_bids(tmp_path / "study")
    (tmp_path / "study" / "dataset_description.json").write_text('{"Name": "outer"}')
    with pytest.raises(CohortError, match="name the BIDS folder inside it: rawdata"):
        read_bids(tmp_path / "study")


def test_a_column_of_persons_that_is_not_used_is_noted(lay_out: LayOut) -> None:
    root = lay_out(*(scan(s, v) for s in ("01", "02", "03") for v in "AB"))
    lines = ["participant_id\tperson\ttraveller", "01\tp\tyes", "02\tp\tyes", "03\tq\tno"]
    (root / "participants.tsv").write_text("\n".join(lines))
    (note,) = read_bids(root).notes
    assert note.kind == "persons-with-several-labels"
    assert "--subject-by person" in note.text
    cohort = read_bids(root, BidsSettings(subject_by="person"))
    assert cohort.notes == ()
    assert cohort.subjects == ("sub-p", "sub-q")


def test_columns_and_patterns_say_who_is_who(lay_out: LayOut) -> None:
    root = lay_out(*(scan(f"{site}0{n}", "1") for site in ("X", "Y") for n in (1, 2)))
    (root / "participants.tsv").write_text(
        "\ufeffparticipant_id\tperson\tsite\r\nX01\ta\tX\r\nsub-X02\tb\tX\r\n"
        "sub-Y01\tb\tY\r\nsub-Y02\ta\tY\r\n",
        encoding="utf-8",
    )
    by_column = {"subject_by": "person", "session_by": "participants.tsv:site"}
    cohort = read_bids(root, validated(BidsSettings, by_column))
    assert cohort.subjects == ("sub-a", "sub-b")
    assert cohort.scans["sub-a", "Y"].path.name.startswith("sub-Y02")
    by_pattern = {**by_column, "subject_by": r"[XY](?P<subject>\d+)"}
    cohort = read_bids(root, validated(BidsSettings, by_pattern))
    assert cohort.scans["sub-01", "Y"].path.name.startswith("sub-Y01")
    with pytest.raises(CohortError, match="no column 'persons'; did you mean 'person'"):
        read_bids(root, BidsSettings(subject_by="persons", session_by="participants.tsv:site"))
    with pytest.raises(CohortError, match="4 scans are left out: its name does not fit"):
        read_bids(root, BidsSettings(session_pattern="x(?P<scanner>.)"))
    with pytest.raises(ConfigError, match=r"no group \(\?P<scanner>"):
        validated(BidsSettings, {"session_pattern": "(?P<site>.+)"})
    with pytest.raises(ConfigError, match="not a regular expression"):
        validated(BidsSettings, {"session_pattern": "(?P<scanner>"})


def test_two_sub_labels_of_a_person_on_one_scanner_are_visits(lay_out: LayOut) -> None:
    root = lay_out(*(scan(f"{site}0{n}", "1") for site in "XY" for n in (1, 2)))
    rows = "X01\ta\tS\nX02\ta\tS\nY01\ta\tT\nY02\tb\tT\n"
    (root / "participants.tsv").write_text(f"participant_id\tperson\tscanner\n{rows}")
    by = {"subject_by": "person", "session_by": "participants.tsv:scanner"}
    cohort = read_bids(root, validated(BidsSettings, by))
    assert [scan.visit for scan in visits_of(cohort, "S")["sub-a"]] == ["X01", "X02"]


def test_manifests_with_visits_scanners_and_exclusions(make_manifest) -> None:
    path = make_manifest(2)
    a, b = (path.parent / f"s0_{s}.nii.gz" for s in "AB")
    path.write_text(
        "subject,group,scanner,visit,path,exclude\n"
        f"p,HC,X,1,{a.name},\np,HC,X,2,{b.name},no\np,HC,Y,1,s1_A.nii.gz,\n"
        "p,HC,Y,2,gone.nii.gz,motion\nq,HC,Y,1,gone.nii.gz,yes\n"
    )
    cohort = read_manifest(path)
    assert list(cohort.scans) == [("p", "X-1"), ("p", "X-2"), ("p", "Y-1")]
    assert cohort.scanners == ("X", "Y")
    assert cohort.subjects == ("p",)
    assert [item.reason for item in cohort.left_out] == [
        "excluded in the manifest: motion",
        "excluded in the manifest",
    ]
    path.write_text(f"subject,group,session,path,visit\np,HC,X,{a.name},1\np,HC,X,{b.name},2\n")
    assert list(read_manifest(path).scans) == [("p", "X-1"), ("p", "X-2")]


def test_the_part_that_fits_nothing_is_named(lay_out: LayOut, tmp_path: Path) -> None:
    root = lay_out(
        *(scan(s, v, e) for s in ("01", "02") for v in "AB" for e in ("", "ce-gd_", "acq-x_"))
    )

    def refused(**settings: object) -> str:
        with pytest.raises(CohortError) as caught:
            read_bids(root, validated(BidsSettings, settings))
        assert "did you mean" not in str(caught.value)
        return str(caught.value)

    text = refused(entities={"ce": "none"})
    assert "ce 'none' fits none of the 12 scans" in text
    assert "they have no ce- (null), 'gd'" in text
    path = tmp_path / "filter.json"
    path.write_text(json.dumps({"t1w": {"session": ["A", "B"], "ceagent": None, "run": 1}}))
    assert "run '1' fits none of the 12 scans" in refused(filter_file=path)
    path.write_text(json.dumps({"t1w": {"ceagent": "gd", "acquisition": "x"}}))
    assert "each part fits some of the 12 scans" in refused(filter_file=path)
