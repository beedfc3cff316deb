"""Which file is which scan."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import pandas as pd
from policy import Case, Study, catalogue_of

CASES: list[Case] = []
identity = catalogue_of("Identity", CASES)


def subjects_are(expected: set[str]):
    def look(folder: Path, out: str) -> None:
        assert {row["subject"] for row in json.loads(out)["scans"]} == expected

    return look


def _sessions(*expected: str):
    def look(folder: Path, out: str) -> None:
        assert {row["session"] for row in json.loads(out)["scans"]} == set(expected)

    return look


@identity("a BIDS folder of plain names", "accepted", result=subjects_are({"sub-01", "sub-02"}))
def plain(study: Study) -> list[str]:
    return study.bids().cohort("--json")


@identity(
    "a hyphen in a subject's label: it is taken whole",
    "accepted",
    result=subjects_are({"sub-01", "sub-02", "sub-NYU-003"}),
)
def hyphen(study: Study) -> list[str]:
    study.bids()
    study.t1w("NYU-003", "A")
    study.t1w("NYU-003", "B", second=True)
    return study.cohort("--json")


def _takes_no_part(folder: Path, out: str) -> None:
    table = pd.read_csv(folder / "out" / "inputs.csv", keep_default_na=False)
    assert set(table["subject"]) == {"sub-01", "sub-02"}


@identity(
    "a subject without a scan on one of the scanners: it is in no pair",
    "noted",
    "no scan on B (subject sub-03)",
    result=_takes_no_part,
)
def lacks_a_scanner(study: Study) -> list[str]:
    study.bids()
    study.t1w("03", "A")
    return study.run()


@identity(
    "two people whose labels are equal up to a hyphen: neither is the other",
    "noted",
    "sub-NYU-004",
    result=_takes_no_part,
)
def hyphens(study: Study) -> list[str]:
    study.bids()
    study.t1w("NYU-003", "A")
    study.t1w("NYU-004", "B")
    return study.run()


@identity("an underscore in a subject's label", "refused", "sub-a_1")
def underscore(study: Study) -> list[str]:
    study.bids()
    study.t1w("a_1", "A")
    study.t1w("a_1", "B")
    return study.cohort()


@identity(
    "a dot in a subject's label: it is taken whole",
    "accepted",
    result=subjects_are({"sub-01", "sub-02", "sub-C.3"}),
)
def dot(study: Study) -> list[str]:
    study.bids()
    study.t1w("C.3", "A")
    study.t1w("C.3", "B", second=True)
    return study.cohort("--json")


@identity(
    "a dot in a session's label: it is taken whole", "accepted", result=_sessions("1.5T", "3T")
)
def one_dot(study: Study) -> list[str]:
    return study.bids(sessions=("1.5T", "3T")).cohort("--json")


def scanners_are(expected: dict[str, int]):
    def look(folder: Path, out: str) -> None:
        rows = json.loads(out)["scanners"]
        assert {row["scanner"]: row["scans"] for row in rows} == expected

    return look


@identity("labels of ses- that hold the visit too", "refused", "--session-pattern")
def visits_in_labels(study: Study) -> list[str]:
    return study.bids(sessions=("GE1", "GE2", "PH1")).cohort()


@identity(
    "the same, with a pattern",
    "accepted",
    result=scanners_are({"GE": 4, "PH": 2}),
)
def visits_by_pattern(study: Study) -> list[str]:
    study.bids(0)
    for number, subject in enumerate(("01", "02")):
        for place, session in enumerate(("GE1", "GE2", "PH1")):
            study.t1w(subject, session, number=2 * number + place, second=place == 2)
    pattern = r"(?P<scanner>[A-Z]+)(?P<visit>\d)"
    return study.cohort("--json", "--session-pattern", pattern)


@identity(
    "scans without a ses- label whose `acq-` tells the scanners", "refused", "--session-by acq"
)
def no_session(study: Study) -> list[str]:
    study.bids(0)
    for subject in ("01", "02"):
        for scanner in ("ge", "ph"):
            study.scan(f"sub-{subject}/anat/sub-{subject}_acq-{scanner}_T1w.nii.gz")
    return study.cohort()


@identity(
    "one serial number and one software under both labels of ses-", "refused", "--session-by label"
)
def one_device(study: Study) -> list[str]:
    study.bids()
    for subject in ("01", "02"):
        for session in "AB":
            name = study.name(subject, session).replace("nii.gz", "json")
            study.sidecar(name, {"DeviceSerialNumber": "123", "SoftwareVersions": "E11"})
    return study.cohort()


@identity("a file in another subject's folder", "refused", "sub-02_ses-A_T1w.nii.gz")
def wrong_folder(study: Study) -> list[str]:
    study.bids()
    here = study.root / study.name("02", "A")
    here.rename(study.path("sub-01/ses-A/anat/sub-02_ses-A_T1w.nii.gz"))
    return study.cohort()


@identity("a file in another session's folder", "refused", "sub-02_ses-B_T1w.nii.gz")
def wrong_session(study: Study) -> list[str]:
    study.bids()
    (study.root / study.name("02", "B")).rename(
        study.path("sub-02/ses-A/anat/sub-02_ses-B_T1w.nii.gz")
    )
    return study.cohort()


@identity("the same scan under two subjects, compressed again", "refused", "is the same scan as")
def same_scan(study: Study) -> list[str]:
    study.manifest(3)
    loaded = nib.load(study.root / "1_A.nii.gz")
    loaded.header["descrip"] = b"a copy"
    nib.save(loaded, study.root / "3_A.nii.gz")
    return study.cohort()


@identity("the same scan under two subjects, once uncompressed", "refused", "is the same scan as")
def same_scan_plain(study: Study) -> list[str]:
    study.manifest(3)
    nib.save(nib.load(study.root / "1_B.nii.gz"), study.root / "3_B.nii")
    study.rows[-1]["path"] = "3_B.nii"
    return study.cohort()


@identity("the same scan in both sessions of a subject", "refused", "is the same scan as")
def same_sessions(study: Study) -> list[str]:
    study.manifest(2)
    shutil.copy(study.root / "2_A.nii.gz", study.root / "2_B.nii.gz")
    return study.cohort()


@identity("a contrast agent in some scans of a session only", "noted", "scans differ in ce-")
def contrast_agent(study: Study) -> list[str]:
    study.bids()
    (study.root / study.name("01", "B")).rename(study.path(study.name("01", "B", "ce-gadolinium_")))
    return study.cohort()


@identity("another `acq-` for some subjects of a session", "noted", "scans differ in acq-")
def acquisitions(study: Study) -> list[str]:
    study.bids(3)
    (study.root / study.name("03", "A")).rename(study.path(study.name("03", "A", "acq-high_")))
    return study.cohort()


@identity("an output folder inside the data", "refused", "inside")
def output_inside(study: Study) -> list[str]:
    study.bids()
    arguments = study.run()
    arguments[arguments.index("--out") + 1] = str(study.root / "results")
    return arguments


@identity("data inside the output folder", "refused", "inside")
def data_inside(study: Study) -> list[str]:
    study.bids()
    arguments = study.prepare()
    arguments[2] = str(study.folder)
    return arguments


@identity("a subject's folder without a fitting scan", "noted", "subject-without-scan")
def no_fitting_scan(study: Study) -> list[str]:
    study.bids()
    study.scan(study.name("03", "A", suffix="T2w"))
    return study.cohort()


@identity("an image with the suffix `T1W`, where its session has no other", "refused", "T1W")
def near_suffix(study: Study) -> list[str]:
    study.bids()
    (study.root / study.name("02", "B")).rename(study.path(study.name("02", "B", suffix="T1W")))
    return study.cohort()


@identity("an image that is not understood, where nothing is lost", "noted", "file-not-understood")
def stray(study: Study) -> list[str]:
    study.bids()
    shutil.copy(
        study.root / study.name("02", "B"), study.path("sub-02/ses-B/anat/copy of scan.nii.gz")
    )
    return study.cohort()


@identity("an output folder that holds other files", "refused", "none of harmbench's")
def foreign_output(study: Study) -> list[str]:
    study.bids()
    other = study.folder / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    arguments = study.run()
    arguments[arguments.index("--out") + 1] = str(other)
    return arguments
