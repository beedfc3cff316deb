"""A file is what its whole name and its folders say; nothing is cut, dropped or guessed unseen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harmbench.cohorts.bids import BidsSettings, read_bids
from harmbench.errors import CohortError, ConfigError
from harmbench.settings import validated

LayOut = Callable[..., Path]


def scan(subject: str, session: str, entities: str = "", end: str = "T1w.nii.gz") -> str:
    """Path of a scan: `scan("01", "A", "acq-x_")`."""
    return f"sub-{subject}/ses-{session}/anat/sub-{subject}_ses-{session}_{entities}{end}"


def _kinds(root: Path, **settings: object) -> list[tuple[str, str]]:
    cohort = read_bids(root, validated(BidsSettings, settings))
    return [(note.kind, note.where.removeprefix(f"{root}/")) for note in cohort.notes]


def _names(root: Path, **settings: object) -> dict[tuple[str, str], str]:
    cohort = read_bids(root, validated(BidsSettings, settings))
    return {key: own.path.name for key, own in cohort.scans.items()}


@pytest.mark.parametrize("label", ["NYU-001", "C.3", "a+b", "x y", "é", "1.5T", "007", "null"])
def test_labels_are_taken_whole(lay_out: LayOut, two_by_two: list[str], label: str) -> None:
    twin = f"{label[:-1]}{'x' if label[-1] != 'x' else 'y'}"
    root = lay_out(*two_by_two, scan(label, "A"), scan(label, "B"), scan(twin, "A"))
    cohort = read_bids(root)
    assert set(cohort.subjects) == {"sub-01", "sub-02", f"sub-{label}", f"sub-{twin}"}
    assert len(cohort.scans) == 7
    root = lay_out(scan("01", label), scan("01", "B"), name="sessions")
    assert set(read_bids(root).sessions) == {label, "B"}


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (scan("N_1", "A"), "'1' in its name is not KEY-LABEL; a label has no underscore"),
        ("sub-03/ses-A/anat/sub-04_ses-A_T1w.nii.gz", "name has sub-04, its folder is sub-03"),
        ("sub-03/ses-B/anat/sub-03_ses-A_T1w.nii.gz", "name has ses-A, its folder is ses-B"),
        ("sub-03/ses-A/anat/sub-03_T1w.nii.gz", "name has no ses-, its folder is ses-A"),
        ("sub-03/anat/sub-03_ses-A_T1w.nii.gz", "name has ses-A, its folder is no ses- folder"),
        ("sub-03/ses-A/anat/T1w.nii.gz", "name has no sub-, its folder is sub-03"),
        ("sub-03/ses-A/anat/sub-03_ses-A_acq-a_acq-b_T1w.nii.gz", "has acq- twice"),
        ("sub-03/ses-A/old/sub-03_ses-A_T1w.nii.gz", "lies in the folder old"),
        ("sub-03/ses-A/anat/sub-03_ses-A_T1w.mgz", r"does not end in \.nii or \.nii\.gz"),
        ("sub-03/ses-A/anat/sub-03_ses-A_T1w.nii.GZ", r"does not end in \.nii"),
        ("sub-03/ses-A/anat/sub-03_ses-A_T1w.img", r"does not end in \.nii"),
        ("sub-03/ses-A/anat/sub-03_ses-A_T1w.old.nii.gz", "ends in 'T1w.old'"),
        ("sub-03/ses-A/anat/sub-03_ses-A_t1w.nii.gz", "its suffix is 't1w', not 'T1w'"),
        ("sub-03/ses-A/anat/sub-03_ses-A_T1.nii.gz", "its suffix is 'T1', not 'T1w'"),
        ("Sub-03/ses-A/anat/Sub-03_ses-A_T1w.nii.gz", "it lies in no sub- folder"),
        ("sub-03_ses-A_T1w.nii.gz", "it lies in no sub- folder"),
    ],
)
def test_a_scan_that_would_be_lost_is_a_problem(
    lay_out: LayOut, two_by_two: list[str], file: str, reason: str
) -> None:
    root = lay_out(*two_by_two, file)
    with pytest.raises(CohortError, match=reason) as caught:
        read_bids(root)
    assert str(root / file) in str(caught.value)


def test_other_files_that_are_not_understood_are_noted(
    lay_out: LayOut, two_by_two: list[str]
) -> None:
    odd = ["sub-01/ses-A/anat/sub-01_ses-A_t1w.nii.gz", "sub-01/ses-A/anat/mprage.nii.gz"]
    odd += ["extra/T1.mgz", "sub-01/ses-A/anat/sub-01_ses-A_T1w.mgz"]
    fine = ["derivatives/x/sub-01/bad.nii.gz", "sourcedata/a.nii", ".git/annex/a_T1w.nii.gz"]
    fine += [
        "sub-01/ses-A/anat/._sub-01_ses-A_T1w.nii.gz",
        "sub-01/ses-A/anat/sub-01_ses-A_T2w.nii",
    ]
    assert sorted(_kinds(lay_out(*two_by_two, *odd, *fine))) == sorted(
        ("file-not-understood", file) for file in odd
    )


def test_who_is_without_scan_is_noted(lay_out: LayOut, two_by_two: list[str]) -> None:
    root = lay_out(*two_by_two, scan("03", "A", end="T2w.nii.gz"), scan("03", "B", end="bold.nii"))
    (root / "participants.tsv").write_text("participant_id\tgroup\n01\tHC\nsub-02\tHC\n04\tHC\n")
    assert _kinds(root) == [
        ("subject-without-scan", "subject sub-03"),
        ("participant-without-scan", "subject sub-04"),
    ]


def test_a_circle_of_links_ends(lay_out: LayOut, two_by_two: list[str]) -> None:
    root = lay_out(*two_by_two)
    (root / "sub-01" / "ses-A" / "anat" / "again").symlink_to(root / "sub-01")
    assert len(read_bids(root).scans) == 4


def test_no_scan_at_all_names_what_is_there(lay_out: LayOut) -> None:
    root = lay_out("sub-01/ses-A/anat/sub-01_ses-A_T1w.mgz", scan("01", "A", end="T2w.nii"))
    with pytest.raises(CohortError, match=r"no scan with suffix T1w.*T2w.*1 images") as caught:
        read_bids(root)
    assert "T1w.mgz" in caught.value.problems[0]


@pytest.mark.parametrize(
    "entity",
    ["acq-x", "ce-gd", "rec-n", "part-mag", "echo-1", "inv-2", "mod-T1w", "res-2", "run-2"],
)
def test_what_differs_inside_a_session_is_noted(lay_out: LayOut, entity: str) -> None:
    files = [scan("01", "A"), scan("02", "A"), scan("03", "A")]
    root = lay_out(*files, scan("01", "B", f"{entity}_"), scan("02", "B"), scan("03", "B"))
    (note,) = read_bids(root).notes
    key, label = entity.split("-")
    assert (note.kind, note.where) == ("entities-differ", "session B")
    assert note.text == f"scans differ in {key}-: {label} in 1, absent in 2"


@pytest.mark.parametrize(
    ("one", "two", "setting", "choice"),
    [
        ("acq-high_", "acq-std_", "acq", "high"),
        ("", "rec-norm_", "rec", None),
        ("", "ce-gd_", "ceagent", "gd"),
        ("echo-1_", "echo-2_", "echo", 2),
        ("part-mag_", "part-phase_", "part", "mag"),
        ("run-5F_", "run-6F_", "run", "6F"),
        ("space-MNI_", "", "space", None),
        ("desc-a_", "desc-b_", "desc", "b"),
        ("inv-01_", "inv-02_", "inv", 1),
    ],
)
def test_any_entity_chooses(
    lay_out: LayOut, one: str, two: str, setting: str, choice: str | int | None
) -> None:
    root = lay_out(*(scan(s, v, e) for s in ("01", "02") for v in "AB" for e in (one, two)))
    if not one.startswith("run"):
        with pytest.raises(CohortError, match=r"choose with data\.bids\.entities"):
            read_bids(root)
    found = _names(root, entities={setting: choice})
    kept = two if str(choice) in two and choice is not None else one
    kept = next(e for e in (one, two) if not e) if choice is None else kept
    assert found["sub-02", "B"] == f"sub-02_ses-B_{kept}T1w.nii.gz"
    assert len(found) == 4


def test_a_session_without_an_entity_is_not_chosen_by_it(lay_out: LayOut) -> None:
    files = [scan(s, "B", e) for s in ("01", "02") for e in ("acq-high_", "acq-std_")]
    root = lay_out(scan("01", "A"), scan("02", "A"), *files)
    found = _names(root, acquisition="high")
    assert found["sub-01", "A"] == "sub-01_ses-A_T1w.nii.gz"
    assert found["sub-01", "B"] == "sub-01_ses-B_acq-high_T1w.nii.gz"
    assert _kinds(root, acquisition="high") == [
        ("entity-not-there", "subject sub-01, session A"),
        ("entity-not-there", "subject sub-02, session A"),
    ]


def test_run_chooses_among_runs_of_one_scan_only(lay_out: LayOut) -> None:
    root = lay_out(scan("01", "A"), scan("01", "B", "acq-a_run-1_"), scan("01", "B", "acq-b_"))
    with pytest.raises(CohortError, match=r"entities\.acq \(a, b\)"):
        read_bids(root)
    both = lay_out(scan("01", "A"), scan("01", "A", end="T1w.nii"), name="endings")
    with pytest.raises(CohortError, match=r"2 files fit .* differ in folder or ending"):
        read_bids(both)


def test_sessions_by_field_and_ses(lay_out: LayOut) -> None:
    files = [scan("01", v) for v in ("v1", "v2", "v3")]
    strengths = {f.replace("nii.gz", "json"): {"MagneticFieldStrength": t} for f, t in
                 zip(files, (1.5, 3, 3), strict=True)}  # fmt: skip
    root = lay_out(*files, fields=strengths)
    found = _names(root, session_by="MagneticFieldStrength")
    assert list(found) == [("sub-01", "1.5T-v1"), ("sub-01", "3T-v2"), ("sub-01", "3T-v3")]
    (root / files[1]).rename(root / files[1].replace("_T1w", "_acq-x_T1w"))
    assert _names(root, session_by="ses-") == _names(root)
    with pytest.raises(CohortError, match="it has no acq- label"):
        read_bids(root, BidsSettings(session_by="acq"))


def test_wrong_entities_are_refused(lay_out: LayOut, two_by_two: list[str]) -> None:
    with pytest.raises(CohortError, match=r"data\.bids\.entities\.acg: .*allowed: ses, sub"):
        read_bids(lay_out(*two_by_two), BidsSettings(entities={"acg": "x"}))
    with pytest.raises(ConfigError, match="give one of them"):
        validated(BidsSettings, {"desc": "a", "entities": {"desc": "b"}})


MASK = "desc-brain_mask.nii.gz"


def test_masks_are_the_scans_own(lay_out: LayOut) -> None:
    files = [scan("01", "A", "desc-preproc_"), scan("01", "A", end=MASK)]
    files += ["sub-01/ses-A/func/sub-01_ses-A_task-rest_desc-brain_mask.nii.gz"]
    files += [scan("01", "B", "run-1_"), scan("01", "B", "run-1_", MASK), scan("01", "B", "run-2_")]
    files += [scan("01", "C", "space-M_res-2_"), scan("01", "C", end=MASK)]
    files += [scan("01", "D"), scan("01", "D", "mod-T1w_", MASK), scan("01", "D", "mod-T2w_", MASK)]
    root = lay_out(*files)
    cohort = read_bids(root, BidsSettings(run="last"))
    masks = {
        s: own.mask and str(own.mask.relative_to(root)) for (_, s), own in cohort.scans.items()
    }
    assert masks == {
        "A": scan("01", "A", end=MASK),
        "B": None,
        "C": None,
        "D": scan("01", "D", "mod-T1w_", MASK),
    }
    kinds = sorted((n.kind, n.where.removeprefix(f"{root}/")) for n in cohort.notes)
    assert kinds == [
        ("mask-missing", "subject sub-01, session B"),
        ("mask-missing", "subject sub-01, session C"),
        ("mask-without-scan", scan("01", "C", end=MASK)),
        ("mask-without-scan", scan("01", "D", "mod-T2w_", MASK)),
    ]
    assert read_bids(root).scans["sub-01", "B"].mask == root / scan("01", "B", "run-1_", MASK)


def test_two_fitting_masks_are_refused(lay_out: LayOut) -> None:
    files = [scan("01", "A"), scan("01", "A", end=MASK), scan("01", "A", "mod-T1w_", MASK)]
    with pytest.raises(CohortError, match=r"2 brain masks fit .*mod-T1w"):
        read_bids(lay_out(*files))


def test_bidsignore(lay_out: LayOut, two_by_two: list[str]) -> None:
    stray = ["extra/sub-09_ses-A_T1w.nii.gz", "extra/T1w.nii.gz", scan("01", "A", "acq-x_")]
    root = lay_out(*two_by_two, *stray)
    (root / "participants.tsv").write_text("participant_id\tgroup\nsub-01\tHC\nsub-02\tHC\n")
    (root / ".bidsignore").write_bytes(
        b"# not of the study\r\nsub-02/\r\nextra/\r\nsub-01_*\r\n!sub-01_ses-?_T1w.nii.gz\r\n"
    )
    cohort = read_bids(root)
    assert set(cohort.scans) == {("sub-01", "A"), ("sub-01", "B")}
    (note,) = cohort.notes
    assert (note.kind, note.where) == ("bidsignore", str(root / ".bidsignore"))
    assert note.text.startswith("5 images")
    (root / ".bidsignore").write_text("sub-*\nextra/")
    with pytest.raises(CohortError, match=r"\.bidsignore leaves out 7 images"):
        read_bids(root)
    (root / ".bidsignore").write_text("!")
    with pytest.raises(CohortError, match=r"\.bidsignore: "):
        read_bids(root)
