"""Where results go: over nothing else, and from everything that was given."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

from policy import Case, Study, catalogue_of

CASES: list[Case] = []
output = catalogue_of("Outputs", CASES)

SEGMENTER = ("--segmenter", "thresholds")


def _pair(study: Study) -> tuple[Path, Path]:
    return study.scan("a.nii.gz", number=1), study.scan("b.nii.gz", number=1, second=True)


def _folders(study: Study) -> list[str]:
    """Two volumes with their references, and the command that scores them."""
    for number in (1, 2):
        study.scan(f"made/{number}.nii.gz", number=number)
        study.scan(f"real/{number}.nii.gz", number=number, second=True)
    return _score(study.root / "made", study.root / "real")


def _score(volume: Path, reference: Path) -> list[str]:
    shared = ["score", "--volume", str(volume), "--reference", str(reference), "--jobs", "1"]
    return [*shared, "--contrast", "T1w", *SEGMENTER]


@output("labels where nothing is yet", "accepted")
def labels(study: Study) -> list[str]:
    scan, _ = _pair(study)
    new = study.folder / "new" / "labels.nii.gz"
    return ["segment", str(scan), str(new), "--contrast", "T1w", *SEGMENTER]


@output("labels in the place of another scan", "refused", "is no map of tissues")
def labels_over_scan(study: Study) -> list[str]:
    scan, other = _pair(study)
    return ["segment", str(scan), str(other), *SEGMENTER]


@output("labels in the place of the scan itself, by another name", "refused", "is an input")
def labels_over_link(study: Study) -> list[str]:
    scan, _ = _pair(study)
    same = study.folder / "same.nii.gz"
    same.hardlink_to(scan)
    return ["segment", str(scan), str(same), *SEGMENTER]


@output("labels in the place of a folder", "refused", "a folder, expected a file")
def labels_over_folder(study: Study) -> list[str]:
    scan, _ = _pair(study)
    (study.folder / "labels.nii.gz").mkdir()
    return ["segment", str(scan), str(study.folder / "labels.nii.gz"), *SEGMENTER]


@output("labels with a scan's name inside its data set", "refused", "would be taken for scans")
def labels_among_scans(study: Study) -> list[str]:
    study.bids()
    scan, new = (study.root / study.name("01", "A", entity) for entity in ("", "acq-x_"))
    return ["segment", str(scan), str(new), *SEGMENTER]


@output("labels with the suffix `dseg` beside their scan", "accepted")
def labels_beside(study: Study) -> list[str]:
    study.bids()
    scan, new = (study.root / study.name("01", "A", suffix=suffix) for suffix in ("T1w", "dseg"))
    return ["segment", str(scan), str(new), *SEGMENTER]


def _two_scored(folder: Path, out: str) -> None:
    with (folder / "scores.csv").open(newline="") as file:
        assert {row["name"] for row in csv.DictReader(file)} == {"1", "2"}


@output("two folders of volumes, scored into a table", "accepted", result=_two_scored)
def scores(study: Study) -> list[str]:
    return [*_folders(study), "--out", str(study.folder / "scores.csv")]


@output("scores in the place of another table", "refused", "holds no scores")
def scores_over_table(study: Study) -> list[str]:
    table = study.path("scans.csv")
    table.write_text("subject,group,session,path\n")
    return [*_folders(study), "--out", str(table)]


@output("scores in the place of a folder", "refused", "a folder, expected a file")
def scores_over_folder(study: Study) -> list[str]:
    return [*_folders(study), "--out", str(study.root)]


@output("hidden files beside the volumes, as macOS leaves them", "accepted")
def hidden(study: Study) -> list[str]:
    command = _folders(study)
    (study.root / "made" / "._1.nii.gz").write_bytes(b"Mac OS X")
    return command


@output("two volumes that differ in ending only", "refused", "another file has the name 1")
def same_name(study: Study) -> list[str]:
    command = _folders(study)
    for folder in ("made", "real"):
        study.scan(f"{folder}/1.nii", number=1, second=folder == "real")
    return command


@output("a volume whose name ends in .NII.GZ, without a reference", "refused", "3.NII.GZ")
def upper_case(study: Study) -> list[str]:
    command = _folders(study)
    shutil.copy(study.root / "made" / "1.nii.gz", study.root / "made" / "3.NII.GZ")
    return command


@output("a reference that has no volume", "noted", "reference-not-used")
def not_scored(study: Study) -> list[str]:
    command = _folders(study)
    study.scan("real/3.nii.gz", number=3)
    return command


@output("a volume that is its own reference", "noted", "volume-is-reference")
def own_reference(study: Study) -> list[str]:
    scan, _ = _pair(study)
    return _score(scan, scan)
