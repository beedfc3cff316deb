"""Which of several scans and masks are used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from cases_identity import scanners_are
from policy import Case, Study, catalogue_of

CASES: list[Case] = []
selection = catalogue_of("Selection", CASES)


@selection("scans that are excluded by a column", "accepted", result=scanners_are({"A": 2, "B": 2}))
def excluded(study: Study) -> list[str]:
    study.bids(3).participants("participant_id\tqc\nsub-01\tok\nsub-02\tok\nsub-03\tfail\n")
    return study.cohort("--json", "--exclude", "qc == fail")


@selection("the same of a manifest", "accepted", result=scanners_are({"A": 1, "B": 1}))
def excluded_from_manifest(study: Study) -> list[str]:
    study.manifest(2)
    return study.cohort("--json", "--exclude", "subject == 1")


@selection(
    "a manifest, with a setting for BIDS folders", "refused", "only for BIDS folders: data.bids.run"
)
def bids_only(study: Study) -> list[str]:
    return study.manifest().cohort("--runs", "last")


@selection("`--exclude` with an order of values such as `89+`", "refused", "line 2: age is '89+'")
def no_order(study: Study) -> list[str]:
    study.bids().participants("participant_id\tage\nsub-01\t89+\nsub-02\t30\n")
    return study.cohort("--exclude", "age > 80")


@selection("`--exclude` that holds for no scan", "noted", "exclude-unused")
def holds_for_none(study: Study) -> list[str]:
    return study.bids().cohort("--exclude", "subject == 09")


@selection(
    "`--exclude` that misses values for their case", "noted", "exclude-nearly: qc is also 'Fail'"
)
def nearly(study: Study) -> list[str]:
    study.bids(3).participants("participant_id\tqc\nsub-01\tok\nsub-02\tok\nsub-03\tFail\n")
    return study.cohort("--exclude", "qc == fail")


@selection("a manifest's `exclude` with `pass`, `-` or `None`", "noted", "exclude-read")
def exclude_words(study: Study) -> list[str]:
    for row, text in zip(study.manifest().rows, ("pass", "-", "None", "0.0"), strict=True):
        row["exclude"] = text
    return study.cohort()


@selection(
    "a manifest's `exclude` that is neither yes, no nor a reason", "refused", "exclude is '2'"
)
def exclude_number(study: Study) -> list[str]:
    study.manifest().rows[0]["exclude"] = "2"
    return study.cohort()


@selection("two scans of a session that differ in `acq-`", "refused", "acq-high")
def two_fit(study: Study) -> list[str]:
    study.bids()
    study.t1w("02", "B", "acq-high_", second=True)
    return study.cohort()


@selection("the same, chosen for `prepare` by an entity", "accepted")
def chosen(study: Study) -> list[str]:
    study.bids()
    for subject in ("01", "02"):
        for session in "AB":
            here = study.root / study.name(subject, session)
            here.rename(here.with_name(here.name.replace("_T1w", "_acq-high_T1w")))
            study.t1w(subject, session, "acq-low_", second=session == "B")
    return study.prepare("--set", "data.bids.acquisition=high")


@selection("two scans of a session that differ in `rec-`", "refused", "rec-norm")
def reconstructions(study: Study) -> list[str]:
    study.bids()
    study.t1w("01", "A", "rec-norm_")
    return study.cohort()


@selection("several runs of a session: the first counts in a run", "noted", "other-run")
def runs(study: Study) -> list[str]:
    study.bids()
    for subject in ("01", "02"):
        here = study.root / study.name(subject, "B")
        here.rename(here.with_name(here.name.replace("_T1w", "_run-1_T1w")))
        study.t1w(subject, "B", "run-2_", second=True)
    return study.run()


def _masks_are_of_run(folder: Path, out: str) -> None:
    table = pd.read_csv(folder / "out" / "inputs.csv", keep_default_na=False)
    rows = table[table["session"] == "B"]
    assert all("run-2" in path for path in rows["path"])
    assert all("run-2" in mask for mask in rows["mask"])


@selection(
    "a mask for each run: the one of the scan's own run",
    "noted",
    "other-run",
    result=_masks_are_of_run,
)
def masks_of_runs(study: Study) -> list[str]:
    study.bids()
    for subject in ("01", "02"):
        here = study.root / study.name(subject, "B")
        here.rename(here.with_name(here.name.replace("_T1w", "_run-1_T1w")))
        study.t1w(subject, "B", "run-2_", second=True)
        study.brain(study.name(subject, "A", "desc-brain_", "mask"))
        for run in "12":
            study.brain(study.name(subject, "B", f"run-{run}_desc-brain_", "mask"))
    return study.run("--set", "data.bids.run=last")


def _masks_are_anatomical(folder: Path, out: str) -> None:
    table = pd.read_csv(folder / "out" / "inputs.csv", keep_default_na=False)
    assert len(table) == 4
    assert all("/anat/" in mask for mask in table["mask"])


@selection(
    "a mask of another modality beside the scan's own", "accepted", result=_masks_are_anatomical
)
def func_masks(study: Study) -> list[str]:
    study.bids()
    for subject in ("01", "02"):
        for session in "AB":
            study.brain(study.name(subject, session, "desc-brain_", "mask"))
            func = f"sub-{subject}/ses-{session}/func/sub-{subject}_ses-{session}"
            study.brain(f"{func}_task-rest_desc-brain_mask.nii.gz", np.ones_like)
    return study.run()


@selection("two brain masks that fit one scan", "refused", "2 brain masks fit")
def two_masks(study: Study) -> list[str]:
    study.bids()
    study.brain(study.name("01", "A", "desc-brain_", "mask"))
    plain = study.name("01", "A", "desc-brain_", "mask").removesuffix(".gz")
    study.brain(plain)
    return study.cohort()


@selection("brain masks of some scans only", "noted", "mask-missing")
def some_masks(study: Study) -> list[str]:
    study.bids()
    study.made = 0
    study.brain(study.name("01", "A", "desc-brain_", "mask"))
    return study.cohort()


@selection("a brain mask with the entities of no scan", "noted", "mask-without-scan")
def lonely_mask(study: Study) -> list[str]:
    study.bids()
    study.brain(study.name("01", "A", "run-7_desc-brain_", "mask"))
    return study.cohort()


@selection(
    "FLAIR scans, whose tissues have no known order of brightness", "refused", "contrast FLAIR"
)
def flair(study: Study) -> list[str]:
    study.bids()
    for subject in ("01", "02"):
        for session in "AB":
            here = study.root / study.name(subject, session)
            here.rename(here.with_name(here.name.replace("_T1w", "_FLAIR")))
    return study.run("--set", "data.bids.suffix=FLAIR")
