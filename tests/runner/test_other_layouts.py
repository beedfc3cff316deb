"""Studies laid out otherwise than those at hand go through `run`; what is tested is counted by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from harmbench.contract import tiny_pairs
from harmbench.results import read_results
from harmbench.runner.folder import RunFolder
from harmbench.volume import write

pytestmark = pytest.mark.usefixtures("thresholds")

Fields = dict[str, str]


@dataclass(frozen=True)
class Layout:
    """A data set.

    Attributes:
        scans: fields of the sidecar by the entities of the name, such as `sub-01_ses-1`.
        participants: lines of participants.tsv.
        options: that say which scanner made which scan.
        tested: (subject, visit) by direction.
    """

    scans: dict[str, Fields]
    participants: tuple[str, ...]
    options: tuple[str, ...]
    tested: dict[str, set[tuple[str, str]]]


def upgrade() -> Layout:
    """One station; sub-01 to sub-03 have the upgrade between their visits, sub-04 before both."""
    old, new = {"StationName": "M", "SoftwareVersions": "B17"}, {"SoftwareVersions": "E11"}
    scans = {
        f"sub-0{n}_ses-{v}": {**old, **(new if v == "2" or n == 4 else {})}
        for n in (1, 2, 3, 4)
        for v in "12"
    }
    tested = {(f"sub-0{n}", v) for n in (1, 2, 3) for v in "12"}
    return Layout(
        scans,
        (),
        ("--session-by", "StationName,SoftwareVersions"),
        {
            "M-B17-to-M-E11": {own for own in tested if own[1] == "1"},
            "M-E11-to-M-B17": {own for own in tested if own[1] == "2"},
        },
    )


def person_for_each_site() -> Layout:
    """Four persons with a label for each of two sites; one was not at the second."""
    labels = {f"{site}{n}": (f"p{(n + place) % 4}", site) for place, site in enumerate("XY")
              for n in range(4 - place)}  # fmt: skip
    rows = [f"{label}\t{person}\t{site}\tHC" for label, (person, site) in labels.items()]
    there = {(f"sub-p{n}", "") for n in (1, 2, 3)}
    return Layout(
        {f"sub-{label}": {} for label in labels},
        ("participant_id\tperson\tsite\tgroup", *rows),
        ("--subject-by", "person", "--session-by", "participants.tsv:site"),
        {"X-to-Y": there, "Y-to-X": there},
    )


def runs() -> Layout:
    """Two runs in each session, but for one."""
    names = {(n, s, r) for n in (1, 2, 3) for s in "AB" for r in (1, 2)} - {(3, "B", 2)}
    visits = {(f"sub-0{n}", s, f"run{r}") for n, s, r in names}
    return Layout(
        {f"sub-0{n}_ses-{s}_run-{r}": {} for n, s, r in sorted(names)},
        (),
        ("--runs", "all"),
        {
            "A-to-B": {(subject, run) for subject, s, run in visits if s == "A"},
            "B-to-A": {(subject, run) for subject, s, run in visits if s == "B"},
        },
    )


def lay_out(root: Path, layout: Layout) -> None:
    """Write scans in [0, 1], sidecars and participants.tsv (with the marks of a spreadsheet)."""
    pairs = tiny_pairs(4)
    for place, (name, fields) in enumerate(layout.scans.items()):
        subject, *rest = name.split("_")
        session = f"/{rest[0]}" if rest and rest[0].startswith("ses-") else ""
        base = root / f"{subject}{session}/anat/{name}_T1w"
        base.parent.mkdir(parents=True, exist_ok=True)
        volume = pairs[place % len(pairs)].source
        different = volume.with_data(volume.data * (1 - 0.01 * place))
        write(different, base.with_name(f"{base.name}.nii.gz"))
        base.with_name(f"{base.name}.json").write_text(json.dumps(fields))
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    if layout.participants:
        text = "\ufeff" + "\r\n".join(layout.participants)
        (root / "participants.tsv").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("make", [upgrade, person_for_each_site, runs])
def test_a_study_runs(
    make: Callable[[], Layout], call: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    layout, root, out = make(), tmp_path / "bids", tmp_path / "out"
    lay_out(root, layout)
    options = ("--direction", "all", "--folds", 2, "--segmenter", "thresholds", "--device", "cpu")
    little = (
        "--set",
        "volume_controls=[]",
        "--set",
        "ceiling=false",
        "--set",
        "controls=[identity]",
    )
    command = ("run", "--data", root, *layout.options, *options, *little, "--out", out)
    code, said, err = call(*command)
    assert code == 0, said + err
    results = read_results(out / "results.csv")
    found = {
        str(way): set(zip(rows["subject"], rows["visit"], strict=True))
        for way, rows in results.groupby("direction")
    }
    assert found == layout.tested
    for _, own in RunFolder(out).cells():
        if own.train_pairs is not None:
            trained = {pair.subject for pair in own.train_pairs}
            assert not trained & {pair.subject for pair in own.tested}
