"""Multi-scanner studies as they are published go through `run`: pairs counted from their file names."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

from harmbench.report import make_report
from harmbench.results import RESCAN, read_results
from harmbench.runner.folder import RunFolder
from harmbench.runner.inputs import read_inputs
from harmbench.task import Direction

LAYOUTS = Path(__file__).parents[3] / "shared" / "data" / "bids_layouts"

pytestmark = [
    pytest.mark.skipif(not LAYOUTS.is_dir(), reason="the layouts of ../shared/data are not here"),
    pytest.mark.usefixtures("thresholds"),
]


@dataclass(frozen=True)
class Study:
    """A layout: what to type, and how its file names say who was where, and when.

    Attributes:
        options: that say which scanner made which scan.
        target: scanner that all others are mapped to.
        name: expression for a file's name with the groups subject, scanner and visit.
        tested: visits that are tested from each scanner, counted by hand.
        left_out: directions to the target that nobody has a pair in.
    """

    options: tuple[str, ...]
    target: str
    name: str
    tested: dict[str, int]
    left_out: int = 0


STUDIES = {
    "eight_scanners": Study(
        ("--session-pattern", r"(?P<scanner>.*[A-Za-z])(?P<visit>\d+)"),
        "NOT4GEP",
        r"(?P<subject>sub-\d+)_ses-(?P<scanner>.*[A-Z])(?P<visit>\d+)_T1w",
        # Subjects 11 to 20 were scanned after the upgrade of NOT3GEM, one of them at six visits.
        {
            "NOT1ACH": 10,
            "NOT2ING": 15,
            "OXF1PRI": 15,
            "OXF2PRI": 15,
            "OXF3TRI": 0,
            "OXF4GEP": 15,
        },
        left_out=2,
    ),
    "one_row_per_session": Study(
        ("--session-pattern", r"(?P<scanner>.+)x(?P<visit>\d+)"),
        "s1A",
        r"(?P<subject>sub-\w+?)_ses-(?P<scanner>[^_]+)x(?P<visit>\d+)_.*T1w",
        {"s1B": 9, "s2": 4, "s3": 5},
    ),
    "session_repeats_subject": Study(
        (
            "--session-pattern",
            r"sub-(?P<subject>[^_]+)_ses-(?P=subject)(?P<scanner>\D+)(?P<visit>\d+)",
        ),
        "IOWA",
        r"(?P<subject>sub-(\w+?))_ses-\2(?P<scanner>\D+)(?P<visit>\d+)_.*T1w",
        {"CCF": 6, "DART": 5, "JHU": 5, "MGH": 5, "UCI": 5, "UMN": 5, "UW": 5},
    ),
}


def visits_by_name(layout: str, study: Study) -> dict[str, dict[str, set[str]]]:
    """Scanner to subject to visits, from the names of the layout's files alone."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for path in json.loads((LAYOUTS / f"{layout}.json").read_text())["anat_files"]:
        match = re.match(study.name, Path(path).name)
        if match is not None:
            found[match["scanner"]][match["subject"]].add(match["visit"])
    return {scanner: dict(own) for scanner, own in found.items()}


@pytest.mark.parametrize("layout", list(STUDIES))
def test_a_published_study_runs(layout: str, call, few_figures, tmp_path: Path) -> None:
    study = STUDIES[layout]
    root, out = tmp_path / "bids", tmp_path / "out"
    made = (LAYOUTS / "make_tree.py", LAYOUTS / f"{layout}.json", root)
    subprocess.run([sys.executable, *map(str, made)], check=True, capture_output=True)
    code, _, err = call("cohort", "--data", root, *study.options)
    assert code == 0, err
    methods = ("--method", "identity", "--method", "histogram_matching", "--fold", "all")
    where = ("--data", root, *study.options, "--target", study.target, "--out", out)
    options = ["--segmenter", "thresholds", "--device", "cpu", "--folds", "2"]
    options += ["--set", "volume_controls=[volume_offset]"]
    code, said, err = call("run", *methods, *where, *options)
    assert code == 0, said + err

    scanners = visits_by_name(layout, study)
    expected = {
        scanner: {
            (s, v) for s, visits in own.items() if s in scanners[study.target] for v in visits
        }
        for scanner, own in scanners.items()
        if scanner != study.target
    }
    expected = {scanner: own for scanner, own in expected.items() if own}
    assert {s: len(own) for s, own in expected.items()} == {
        s: n for s, n in study.tested.items() if n
    }
    results = read_results(out / "results.csv")
    # Stand-in scans are alike: volume corrections may find nothing to correct, and are rows that say so.
    results = results[~results["method"].str.startswith("volume_")]
    assert set(results["status"]) == {"ok"}
    by_way = results.groupby("direction")
    assert set(by_way.groups) == {f"{scanner}-to-{study.target}" for scanner in expected}
    folds: dict[str, int] = {}
    for (way, method), rows in results.groupby(["direction", "method"]):
        source = str(way).split("-to-")[0]
        tested = set(zip(rows["subject"], rows["visit"], strict=True))
        if method == RESCAN:  # of subjects with a second scan on the target scanner alone
            assert tested <= expected[source]
        else:
            assert tested == expected[source], method
        for subject, fold in zip(rows["subject"], rows["fold"], strict=True):
            assert folds.setdefault(subject, fold) == fold  # the same in all directions

    record = RunFolder(out).read_record()
    assert (
        len([note for note in record.notes if note.kind == "direction-left-out"]) == study.left_out
    )
    inputs = read_inputs(out / "inputs.csv")
    used = [*expected, study.target]
    again = {(r.subject, r.scanner): len(r.sessions) for r in record.rescans}
    taking_part = {s for own in expected.values() for s, _ in own}
    assert again == {
        (subject, scanner): len(visits)
        for scanner in used
        for subject, visits in scanners[scanner].items()
        if len(visits) > 1 and subject in taking_part
    }
    # The real scans are segmented once for all directions.
    assert len(list((out / "segmentations").glob("*.nii.gz"))) <= len(inputs.scans)
    for cell, own in RunFolder(out).cells():
        assert own.train_pairs is not None
        trained = {pair.subject for pair in own.train_pairs}
        assert not trained & {pair.subject for pair in own.tested}
        learned_from = {inputs.scanner(p.subject, p.source) for p in own.train_pairs}
        assert learned_from == (set() if cell.method == RESCAN else {cell.direction.source})

    if layout != "one_row_per_session":
        return  # one report is enough
    page = make_report([out]).read_text()
    assert (
        "A subject&#39;s visits are averaged" in page or "A subject's visits are averaged" in page
    )
    assert (out / "report" / "tables" / "table-29-1-overview-mse.csv").is_file()


def test_preparing_a_study_and_running_on_it(call, tmp_path: Path) -> None:
    raw, bids, prepared, out = (tmp_path / name for name in ("raw", "bids", "prepared", "out"))
    small = ("--set", "data.phantom.subjects=1", "--set", "data.phantom.spacing_mm=4")
    code, said, err = call("cohort", "--set", "data.phantom.product=raw", *small, "--out", raw)
    assert code == 0, said + err
    base, brain = (
        sorted(raw.rglob(name))[0] for name in ("*T1w.nii.gz", "*label-brain*_mask.nii.gz")
    )
    layout = LAYOUTS / "one_row_per_session.json"
    made = (LAYOUTS / "make_tree.py", layout, bids, "--base", base)
    subprocess.run([sys.executable, *map(str, made)], check=True, capture_output=True)
    for subject in ("sub-cIIs09", "sub-cIIs11"):
        for scan in (bids / subject).rglob("*_T1w.nii.gz"):
            mask = scan.with_name(scan.name.replace("_T1w", "_desc-brain_mask"))
            mask.write_bytes(brain.read_bytes())
    study = STUDIES["one_row_per_session"]
    few = ("--exclude", "subject != cIIs09 and subject != cIIs11")
    steps = ["--strip", "mask", "--bias", "none", "--registration", "none", "--spacing", "4"]
    steps += ["--set", "crop.shape=[48, 60, 56]", "--jobs", "1"]
    code, said, err = call("prepare", bids, prepared, *study.options, *few, *steps)
    assert code == 0, said + err
    options = ["--segmenter", "hmrf", "--device", "cpu", "--method", "identity", "--folds", "2"]
    way = ("--direction", "s1A-to-s1B,s3-to-s1B")
    little = ["--set", "controls=[identity]", "--set", "volume_controls=[]"]
    little += ["--set", "ceiling=false"]
    code, said, err = call("run", "--data", prepared, "--out", out, *options, *way, *little)
    assert code == 0, said + err
    results = read_results(out / "results.csv")
    tested = results.groupby("direction")["visit"].nunique()
    assert dict(tested) == {str(Direction("s1A", "s1B")): 2, str(Direction("s3", "s1B")): 1}
