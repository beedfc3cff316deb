"""What lies in folders beside scans, and names that are read twice."""

from __future__ import annotations

import unicodedata

from cases_identity import subjects_are
from policy import Case, Study, catalogue_of

CASES: list[Case] = []
identity = catalogue_of("Identity", CASES)
selection = catalogue_of("Selection", CASES)


@identity(
    "accents written as one sign in folders and as two in names",
    "accepted",
    result=subjects_are({"sub-01", "sub-02", "sub-Zo\N{LATIN SMALL LETTER E WITH ACUTE}"}),
)
def accents(study: Study) -> list[str]:
    study.bids()
    name = "Zo\N{LATIN SMALL LETTER E WITH ACUTE}"
    one, two = unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)
    for session in "AB":
        name = f"sub-{two}_ses-{session}_T1w.nii.gz"
        study.scan(f"sub-{one}/ses-{session}/anat/{name}", second=session == "B")
    table = "participant_id\tgroup\nsub-01\tHC\nsub-02\tHC\n"
    study.participants(f"{table}sub-{two}\tHC\n")
    return study.cohort("--json")


@identity("a subject's folder that is a link which leads nowhere", "noted", "which is not there")
def dangling_subject(study: Study) -> list[str]:
    study.bids()
    (study.root / "sub-03").symlink_to("../elsewhere/sub-03")
    return study.cohort()


@identity("a folder that has the name of a session's scan", "refused", "a folder")
def folder_as_scan(study: Study) -> list[str]:
    study.bids()
    path = study.root / study.name("02", "B")
    path.unlink()
    path.mkdir()
    return study.cohort()


@identity("a subject's scans with the ending .nii.gz.gz", "refused", "T1w.nii.gz.gz")
def twice_compressed(study: Study) -> list[str]:
    study.bids(3)
    for session in "AB":
        path = study.root / study.name("03", session)
        path.rename(path.with_name(f"{path.name}.gz"))
    return study.cohort()


@identity("a subject's scans in Philips' format", "refused", "T1w.PAR")
def par_files(study: Study) -> list[str]:
    study.bids(3)
    for session in "AB":
        path = study.root / study.name("03", session)
        path.rename(path.with_name(path.name.replace(".nii.gz", ".PAR")))
    return study.cohort()


@selection("run-1 and run-01 of one session", "refused", "zeros of run-")
def same_run(study: Study) -> list[str]:
    study.bids()
    here = study.root / study.name("01", "A")
    here.rename(here.with_name(here.name.replace("_T1w", "_run-1_T1w")))
    study.t1w("01", "A", "run-01_")
    return study.cohort()


@identity(
    "a folder and a subject that `.bidsignore` names: they are left out, and counted",
    "noted",
    "3 images are left out by it",
    result=subjects_are({"sub-01", "sub-02"}),
)
def bidsignore(study: Study) -> list[str]:
    study.bids(3)
    study.scan("extra/sub-09_ses-A_T1w.nii.gz")
    study.path(".bidsignore").write_text("sub-03/\nextra/\n")
    return study.cohort("--json")


def _renamed(study: Study, *ends: str) -> Study:
    """Give the scans of a manifest, two sessions of each subject, names that end so."""
    study.manifest()
    for place, row in enumerate(study.rows):
        new = row["path"].replace(".nii.gz", f"{ends[place % len(ends)]}.nii.gz")
        (study.root / row["path"]).rename(study.root / new)
        row["path"] = new
    return study


@selection("a contrast named inside a file's name, as `_FLAIR_brain`", "refused", "contrast FLAIR")
def flair_inside(study: Study) -> list[str]:
    return _renamed(study, "_FLAIR_brain").run()


@selection("a contrast as a word in camel case, as `PatFlair`", "refused", "contrast FLAIR")
def flair_in_camel_case(study: Study) -> list[str]:
    return _renamed(study, "PatFlair").run()


@selection("names of scans without any contrast", "noted", "contrast-assumed")
def no_contrast(study: Study) -> list[str]:
    return study.manifest().run()


@selection("`T1` and `T2` in the names of one cohort", "refused", "if T1 and T2 are time points")
def two_contrasts(study: Study) -> list[str]:
    return _renamed(study, "_T1", "_T2").run()


@selection("a bare `T2` in the names of scans to segment", "noted", "contrast-from-word")
def bare_t2(study: Study) -> list[str]:
    scan = study.scan("patient_T2.nii.gz")
    return ["segment", str(scan), str(study.folder / "labels.nii.gz")]
