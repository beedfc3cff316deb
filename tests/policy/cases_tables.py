"""Manifests, participants files and sidecars."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
from policy import Case, Study, catalogue_of

CASES: list[Case] = []
table = catalogue_of("Tables and sidecars", CASES)

BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"


def _groups(expected: dict[str, str]):
    def look(folder: Path, out: str) -> None:
        assert {row["subject"]: row["group"] for row in json.loads(out)["scans"]} == expected

    return look


def _sessions(*expected: str):
    def look(folder: Path, out: str) -> None:
        assert {row["session"] for row in json.loads(out)["scans"]} == set(expected)

    return look


def _takes_part(*expected: str):
    def look(folder: Path, out: str) -> None:
        rows = json.loads(out)["scans"]
        assert {f"{row['subject']} {row['session']}" for row in rows} == set(expected)

    return look


TWO = {"sub-01": "HC", "sub-02": "MS"}
LISTED = "participant_id\tgroup\nsub-01\tHC\nsub-02\tMS\n"


@table("participants.tsv with a byte-order mark", "accepted", result=_groups(TWO))
def bom(study: Study) -> list[str]:
    study.bids().participants(BOM + LISTED)
    return study.cohort("--json")


@table("participants.tsv in UTF-16", "accepted", result=_groups(TWO))
def utf16(study: Study) -> list[str]:
    study.bids().participants(LISTED, "utf-16")
    return study.cohort("--json")


@table("participants.tsv in Latin-1", "noted", "participants.tsv", result=_groups(TWO))
def latin1(study: Study) -> list[str]:
    study.bids().participants(
        "participant_id\tgroup\tsite\nsub-01\tHC\tZürich\nsub-02\tMS\tZürich\n", "latin-1"
    )
    return study.cohort("--json")


@table("participants.tsv with Windows line ends", "accepted", result=_groups(TWO))
def crlf(study: Study) -> list[str]:
    study.bids().participants(LISTED.replace("\n", "\r\n"))
    return study.cohort("--json")


@table("participants.tsv with old Macintosh line ends", "accepted", result=_groups(TWO))
def carriage_returns(study: Study) -> list[str]:
    study.bids().participants(LISTED.replace("\n", "\r"))
    return study.cohort("--json")


@table("participants.tsv with a tab at the end of its lines", "accepted", result=_groups(TWO))
def trailing_tab(study: Study) -> list[str]:
    study.bids().participants("participant_id\tgroup\nsub-01\tHC\t\nsub-02\tMS\t\n")
    return study.cohort("--json")


@table("participant_id without `sub-`", "accepted", result=_groups(TWO))
def bare_ids(study: Study) -> list[str]:
    study.bids().participants(LISTED.replace("sub-", ""))
    return study.cohort("--json")


@table("a covariate that some subjects lack", "noted", "covariate-missing")
def covariate_missing(study: Study) -> list[str]:
    study.bids().participants("participant_id\tgroup\tage\nsub-01\tHC\t31\nsub-02\tMS\tn/a\n")
    return study.cohort("--covariates", "age", "--json")


@table("ages that differ in the rows of one person: the mean", "noted", "covariate-averaged")
def covariate_averaged(study: Study) -> list[str]:
    rows = "sub-01\t30\nsub-01\t90\nsub-02\t40\n"
    study.bids().participants("participant_id\tage\n" + rows)
    return study.cohort("--covariates", "age", "--json")


@table("a sex that is `M` and `male`: two categories", "noted", "categories-alike")
def categories_alike(study: Study) -> list[str]:
    study.bids().participants("participant_id\tsex\nsub-01\tM\nsub-02\tmale\n")
    return study.cohort("--covariates", "sex", "--json")


@table(
    "a group that is `NaN`, `unknown` or `-`: a group like others", "noted", "group-like-missing"
)
def group_like_missing(study: Study) -> list[str]:
    study.bids(3).participants(LISTED.replace("MS", "NaN") + "sub-03\t-\n")
    return study.cohort()


@table("a covariate with numbers and words", "refused", "numbers and also '60+'")
def covariate_mixed(study: Study) -> list[str]:
    study.bids().participants("participant_id\tgroup\tage\nsub-01\tHC\t31\nsub-02\tMS\t60+\n")
    return study.cohort("--covariates", "age", "--json")


@table("a date in a manifest that is not in ISO 8601", "refused", "not in ISO 8601")
def date_of_manifest(study: Study) -> list[str]:
    study.manifest()
    study.rows[0]["date"] = "31.5.2024"
    for row in study.rows[1:]:
        row["date"] = "2024-05-31"
    return study.cohort("--json")


@table("several rows for a subject that agree", "accepted", result=_groups(TWO))
def several_rows(study: Study) -> list[str]:
    study.bids().participants(f"{LISTED}sub-01\tHC\nsub-02\tn/a\n")
    return study.cohort("--json")


@table("several rows for a subject with two groups", "refused", "'HC' (line 2) and 'MS' (line 4)")
def rows_that_differ(study: Study) -> list[str]:
    study.bids().participants(f"{LISTED}sub-01\tMS\n")
    return study.cohort()


@table("groups in a column `Group` or `diagnosis`", "noted", "data.bids.group_column")
def other_column(study: Study) -> list[str]:
    study.bids().participants(LISTED.replace("group", "diagnosis"))
    return study.cohort()


@table("a subject that participants.tsv does not list", "refused", "sub-02")
def not_listed(study: Study) -> list[str]:
    study.bids().participants("participant_id\tgroup\nsub-01\tHC\n")
    return study.cohort()


@table(
    "subjects `007` and `1e3`, groups `NA` and `null` in a manifest",
    "noted",
    "group-like-missing",
    result=_groups({"007": "NA", "1e3": "null"}),
)
def texts(study: Study) -> list[str]:
    study.manifest()
    for row in study.rows:
        row["subject"], row["group"] = ("007", "NA") if row["subject"] == "1" else ("1e3", "null")
    return study.cohort("--json")


def _texts_in_tables(folder: Path, out: str) -> None:
    for name in ("results.csv", "inputs.csv", "folds.csv"):
        frame = pd.read_csv(folder / "out" / name, dtype=str, keep_default_na=False)
        assert set(frame["subject"]) == {"nan", "NA"}, name
        assert set(frame["group"]) == {"None"}, name


@table(
    "subjects `nan` and `NA`, and a group `None`, in a run's own tables",
    "noted",
    "group-like-missing",
    result=_texts_in_tables,
)
def texts_of_a_run(study: Study) -> list[str]:
    study.manifest()
    for row in study.rows:
        row["subject"] = "nan" if row["subject"] == "1" else "NA"
        row["group"] = "None"
    return study.run("--set", "scoring.contrast=T1w")


@table(
    "a manifest in UTF-16 with Windows line ends",
    "accepted",
    result=_groups({"1": "HC", "2": "HC"}),
)
def manifest_utf16(study: Study) -> list[str]:
    study.manifest().table("utf-16", "\r\n")
    return study.cohort("--json")


@table("a damaged dataset_description.json", "refused", "dataset_description.json")
def bad_json(study: Study) -> list[str]:
    study.bids().path("dataset_description.json").write_text('{"Name": "x",')
    return study.cohort()


@table("a dataset_description.json with a byte-order mark", "accepted")
def json_bom(study: Study) -> list[str]:
    path = study.bids().path("dataset_description.json")
    path.write_text(BOM + path.read_text(), encoding="utf-8")
    return study.cohort()


def _strengths(study: Study, *values: object) -> list[str]:
    study.bids(len(values) // 2)
    for place, value in enumerate(values):
        name = study.name(f"0{place // 2 + 1}", "AB"[place % 2])
        study.sidecar(name.replace(".nii.gz", ".json"), {"MagneticFieldStrength": value})
    return study.cohort("--json", "--set", "data.bids.session_by=MagneticFieldStrength")


@table("field strengths `1.494` and `2.89362`", "accepted", result=_sessions("1.5T", "3T"))
def nominal(study: Study) -> list[str]:
    return _strengths(study, 1.494, 2.89362, 1.5, 3)


@table("field strengths as texts, `3T` and `1.5 T`", "accepted", result=_sessions("1.5T", "3T"))
def strength_text(study: Study) -> list[str]:
    return _strengths(study, "1.5 T", "3T", 1.5, 3)


@table("field strengths as lists", "accepted", result=_sessions("1.5T", "3T"))
def strength_list(study: Study) -> list[str]:
    return _strengths(study, [1.5], [3], 1.5, 3)


@table("a field strength `n/a`", "refused", "MagneticFieldStrength")
def no_strength(study: Study) -> list[str]:
    return _strengths(study, "n/a", 3, 1.5, 3)


@table("a participant without a folder", "noted", "participant-without-scan")
def absent_participant(study: Study) -> list[str]:
    study.bids().participants(f"{LISTED}sub-99\tHC\n")
    return study.cohort()


@table("a group that is `n/a`", "noted", "group-missing")
def missing_group(study: Study) -> list[str]:
    study.bids().participants("participant_id\tgroup\nsub-01\tHC\nsub-02\tn/a\n")
    return study.cohort()


@table("a manifest with semicolons", "noted", "table-separator")
def semicolons(study: Study) -> list[str]:
    study.manifest().table(separator=";")
    return study.cohort()


@table("a column that stands in a table twice", "refused", "is there twice")
def column_twice(study: Study) -> list[str]:
    study.bids().participants("participant_id\tgroup\tgroup\nsub-01\tHC\tMS\nsub-02\tMS\tMS\n")
    return study.cohort()


@table("a field strength in gauss", "noted", "field-strength-in-gauss")
def gauss(study: Study) -> list[str]:
    return _strengths(study, 15000, 3, 1.5, 3)


@table("a field strength of 3000", "refused", "MagneticFieldStrength")
def no_unit(study: Study) -> list[str]:
    return _strengths(study, 1.5, 3000, 1.5, 3)


@table("a sidecar that is no JSON", "noted", "sidecar-unreadable")
def bad_sidecar(study: Study) -> list[str]:
    study.bids().path(study.name("01", "A").replace(".nii.gz", ".json")).write_text("{not JSON")
    return study.cohort()


@table("participants.tsv that is a link which leads nowhere", "refused", "git annex get")
def dangling_participants(study: Study) -> list[str]:
    path = study.bids().path("participants.tsv")
    path.symlink_to(".git/annex/objects/Xx/Yy/MD5E-s42--abc.tsv/MD5E-s42--abc.tsv")
    return study.cohort()


@table("a Git LFS pointer in the place of participants.tsv", "refused", "git lfs pull")
def pointer(study: Study) -> list[str]:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:" + 64 * "0" + "\nsize 42\n"
    study.bids().participants(text)
    return study.cohort()


@table("participants.csv, and no participants.tsv", "noted", "table-not-read")
def other_table(study: Study) -> list[str]:
    study.bids().path("participants.csv").write_text(LISTED.replace("\t", ","))
    return study.cohort()


@table("groups that differ in case only", "noted", "groups-alike")
def groups_alike(study: Study) -> list[str]:
    study.bids().participants(LISTED.replace("MS", "hc"))
    return study.cohort()


@table("two spellings of one person in a manifest: `1` and `01`", "noted", "subjects-alike")
def people_alike(study: Study) -> list[str]:
    study.manifest()
    for row in study.rows:
        row["subject"] = {"1": "1", "2": "01"}[row["subject"]]
    return study.cohort()


@table("two spellings of one scanner: `B` and `b`", "noted", "scanners-alike")
def scanners_alike(study: Study) -> list[str]:
    study.manifest()
    study.rows[-1]["session"] = "b"
    return study.cohort()


@table("a group that is `N/A`", "noted", "group-missing")
def missing_group_upper(study: Study) -> list[str]:
    study.bids().participants(LISTED.replace("MS", "N/A"))
    return study.cohort()


@table("a sidecar beside a manifest's scan that leads nowhere", "noted", "sidecar-unreadable")
def dangling_sidecar(study: Study) -> list[str]:
    study.manifest()
    study.path("1_A.json").symlink_to(".git/annex/objects/Xx/Yy/MD5E-s42--abc.json")
    return study.cohort()


@table("`Simulated` as text or number in one sidecar", "noted", "partly-simulated")
def simulated_as_text(study: Study) -> list[str]:
    study.manifest()
    study.sidecar("1_A.json", {"Simulated": "yes"})
    study.sidecar("1_B.json", {"Simulated": 1})
    study.sidecar("2_A.json", {"Simulated": "False"})
    return study.cohort()


@table("a field strength `+1.5`", "accepted", result=_sessions("1.5T", "3T"))
def signed(study: Study) -> list[str]:
    return _strengths(study, "+1.5", 3, 1.5, 3)


@table("a manifest that begins with a comment", "refused", "line 1 begins with #")
def comment(study: Study) -> list[str]:
    path = study.manifest().table()
    path.write_text("# my scans\n" + path.read_text())
    return study.cohort()


@table("a quotation mark that none closes", "refused", "line 3: a value begins with a quotation")
def open_quotation(study: Study) -> list[str]:
    study.bids()
    study.participants('participant_id\tgroup\nsub-01\tHC\nsub-02\t"HC\n')
    return study.cohort()


@table("`~` and `$HOME` in a manifest", "refused", "are not replaced here")
def shell_paths(study: Study) -> list[str]:
    study.manifest().rows[0]["path"] = "$HOME/1_A.nii.gz"
    return study.cohort()


@table("a configuration in Latin-1", "refused", "save the file as UTF-8")
def latin_configuration(study: Study) -> list[str]:
    study.bids()
    path = study.path("c.yaml")
    path.write_bytes("# Größe\n".encode("latin-1"))
    return study.cohort("--config", str(path))


@table("a name twice in a configuration", "refused", "line 3, column 3")
def name_twice(study: Study) -> list[str]:
    study.bids()
    path = study.path("c.yaml")
    path.write_text("data:\n  rescale: none\n  rescale: percentile\n")
    return study.cohort("--config", str(path))


@table("a manifest whose first line is `sep=;`, as Excel reads it", "accepted")
def excel(study: Study) -> list[str]:
    table = study.manifest().table(separator=";")
    table.write_text(f"sep=;\n{table.read_text()}")
    return study.cohort()


@table(
    "a session without a row in a sessions.tsv that lists others of its subject",
    "noted",
    "session-without-row",
    result=_takes_part("sub-01 B", "sub-02 A", "sub-02 B"),
)
def session_without_row(study: Study) -> list[str]:
    study.bids()
    study.path("sub-01/sub-01_sessions.tsv").write_text("session_id\tqc\nses-A\tfail\n")
    study.path("sub-02/sub-02_sessions.tsv").write_text("session_id\tqc\nses-A\tok\nses-B\tok\n")
    return study.cohort("--json", "--exclude", "qc == fail")


@table("the same, where the table says the scanner", "refused", "no row for ses-B of sub-01")
def session_without_scanner(study: Study) -> list[str]:
    study.bids()
    study.path("sub-01/sub-01_sessions.tsv").write_text("session_id\tscanner\nses-A\tGE\n")
    return study.cohort("--session-by", "sessions.tsv:scanner")


@table("a row of scans.tsv that fits no file", "noted", "table-row-without-file")
def row_without_file(study: Study) -> list[str]:
    study.bids()
    study.path("sub-01/ses-A/sub-01_ses-A_scans.tsv").write_text(
        "filename\tqc\nanat/sub-01_ses-A_T1w.nii\tfail\n"
    )
    return study.cohort()


@table(
    "a row of sessions.tsv about a session that is not there", "noted", "table-row-without-session"
)
def row_without_session(study: Study) -> list[str]:
    study.bids()
    study.path("sessions.tsv").write_text(
        "participant_id\tsession_id\tqc\nsub-01\tses-A\tok\nsub-01\tses-1\tfail\n"
    )
    return study.cohort()


@table(
    "an `acq_time` that is not in ISO 8601", "noted", "date-not-read: acq_time is not in ISO 8601"
)
def odd_date(study: Study) -> list[str]:
    study.bids()
    study.path("sub-01/sub-01_sessions.tsv").write_text("session_id\tacq_time\nses-A\t31.05.2024\n")
    return study.cohort()
