"""Run folders under faults, in small; `make soak` has the same with hundreds of kills and damaged files."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from folders import (
    KILLED,
    Folder,
    damage,
    doomed,
    fork,
    judge,
    kill_at,
    make_cohort,
    run_once,
    wait,
)

from harmbench.locks import Lock
from harmbench.runner.cell_folder import CellFolder
from harmbench.runner.folder import RunFolder
from harmbench.runner.freeing import free_space
from harmbench.runner.invocation_files import add_invocation
from harmbench.runner.run_record import Invocation, RunRecord
from harmbench.runner.verification import verify_run
from harmbench.storage import atomic

OTHER_SEGMENTER = """
import numpy as np


class Others:
    name, version, contrasts = "others", "1", ("T1w",)

    def __init__(self, *, device="cpu", contrast="T1w"): ...

    def segment(self, volume):
        brain = volume.data[volume.data > 0]
        low, high = float(brain.min()), float(brain.max())
        cuts = [1e-6, 0.8 * low + 0.2 * high, 0.6 * low + 0.4 * high]
        return volume.with_data(np.digitize(volume.data, cuts).astype("uint8"), kind="label")
"""

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="runs are forks of the tests")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path, Folder]]:
    """The manifest, a finished run, and what it holds."""
    place = tmp_path_factory.mktemp("faults")
    manifest = make_cohort(place / "scans")
    run_once(manifest, place / "clean")
    yield manifest, place / "clean", Folder(place / "clean")
    shutil.rmtree(place)


def test_runs_that_are_killed_are_taken_up(made: tuple[Path, Path, Folder], tmp_path: Path) -> None:
    manifest, _, clean = made
    out = tmp_path / "out"
    # One folder, killed again and again: early, in the tables, and in cells.
    for number in (9, 31, 47):
        assert kill_at(number, out, lambda: run_once(manifest, out))
    assert not wait(fork(lambda: run_once(manifest, out)))
    assert clean.differences(out) == []
    assert verify_run(out) == []


@pytest.mark.parametrize("number", [24, 70])
def test_of_two_runs_at_once_one_is_killed(
    made: tuple[Path, Path, Folder], tmp_path: Path, number: int
) -> None:
    manifest, _, clean = made
    out = tmp_path / "out"
    killed = fork(doomed(number, out, lambda: run_once(manifest, out)))
    left = fork(lambda: run_once(manifest, out))
    assert wait(killed) in {0, KILLED}
    assert wait(left) == 0
    assert (out / "results.csv").read_bytes() == clean.results
    assert not wait(fork(lambda: run_once(manifest, out)))
    assert clean.differences(out) == []


@pytest.mark.parametrize("cut", [False, True])
def test_damage_to_one_file_of_each_kind_is_found_and_mended(
    made: tuple[Path, Path, Folder], tmp_path: Path, cut: bool
) -> None:
    manifest, good, clean = made
    root, hit = damage(good, tmp_path / "out", random.Random(5), cut=cut)
    assert len(hit) > 15
    counts, problems = judge(root, hit, clean, manifest)
    assert problems == []
    assert sum(counts.values()) == len(hit)


def test_two_runs_at_once_share_the_cells_out(
    made: tuple[Path, Path, Folder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, _, clean = made
    out, trace = tmp_path / "out", tmp_path / "trace"
    monkeypatch.setenv("HARMBENCH_TEST_TRACE", str(trace))
    runs = [fork(lambda: run_once(manifest, out)) for _ in range(2)]
    assert [wait(pid) for pid in runs] == [0, 0]
    assert clean.differences(out) == []
    done = Counter(trace.read_text().splitlines())
    assert len(done) == 4  # two cells: a fit and a volume each
    assert set(done.values()) == {1}
    assert len(RunFolder(out).read_record().invocations) == 2


def test_two_hundred_simultaneous_starts_lose_no_record(tmp_path: Path) -> None:
    def start(number: int) -> None:
        for own in range(number, number + 10):
            record = RunRecord(invocations=(Invocation(id=f"i{own}"),))
            add_invocation(tmp_path, f"i{own}", record)

    starts = [fork(lambda number=number: start(number)) for number in range(0, 200, 10)]
    assert {wait(pid) for pid in starts} == {0}
    found = {one.id for one in RunFolder(tmp_path).read_record().invocations}
    assert found == {f"i{number}" for number in range(200)}


def test_a_cell_that_another_process_has_is_left_to_it(
    made: tuple[Path, Path, Folder], tmp_path: Path
) -> None:
    manifest, good, _ = made
    out = shutil.copytree(good, tmp_path / "out")
    place = out / "cells/gain/A-to-B/fold-0/seed-0"
    (place / "model" / "gain.json").write_text("{}")
    with Lock(place / "lock.json") as lock:
        assert lock.take() is None
        (own,) = [one for one in verify_run(out) if one.wrong]
        assert (own.piece, own.state) == (place.relative_to(out).as_posix(), "unfinished")
        freed, left = free_space(out, ["models"])
        assert len(left) == 1
        assert (place / "model" / "gain.json").is_file()
    assert freed[0].files == 1
    states = {(one.piece.split("/")[-1], one.state) for one in verify_run(out)}
    assert ("gain.json", "damaged") in states
    assert ("model", "missing") in states or ("gain.json", "missing") in states
    said: list[str] = []
    run_once(manifest, out, said=said)
    assert [line for line in said if "model/gain.json: damaged" in line]
    assert verify_run(out) == []


@pytest.mark.parametrize("dry_run", [False, True])
def test_labels_of_real_scans_stay_while_a_process_may_need_them(
    made: tuple[Path, Path, Folder], tmp_path: Path, dry_run: bool
) -> None:
    out = shutil.copytree(made[1], tmp_path / "out")
    shared = out / "segmentations"
    before = sorted(shared.iterdir())
    for cell in out.glob("cells/*/*/*/*/segmentations"):
        shutil.rmtree(cell)
    with Lock(out / "cells/gain/A-to-B/fold-0/seed-0/lock.json") as lock:
        assert lock.take() is None
        freed, left = free_space(out, ["labels"], dry_run=dry_run)
    assert (freed[0].files, len(left)) == (0, 2)
    assert left[0].startswith("segmentations: process ")
    with atomic(shared / "s9_A_tertiles.nii.gz") as temporary:
        freed, left = free_space(out, ["labels"], dry_run=dry_run)
        assert (freed[0].files, left) == (0, ["segmentations: a process is writing there"])
        assert temporary.is_file()
    (shared / "s9_A_tertiles.nii.gz").unlink()
    assert sorted(shared.iterdir()) == before
    (shared / ".tmp-12345678-999999999-1-x.nii.gz").write_text("another machine may be writing it")
    freed, left = free_space(out, ["labels"], dry_run=dry_run)
    assert (freed[0].files, left) == (len(before), [])
    assert len(list(shared.iterdir())) == (len(before) + 1 if dry_run else 1)
    assert not list(out.glob("**/lock.json"))


def test_verify_and_gc_from_the_command_line(
    made: tuple[Path, Path, Folder], tmp_path: Path, call
) -> None:
    manifest, good, clean = made
    out = shutil.copytree(good, tmp_path / "out")
    code, _, err = call("verify", out)
    assert (code, "all files are as written" in err) == (0, True)
    (out / "cells/gain/A-to-B/fold-0/seed-0/.tmp-12345678-999999999-1-x.nii.gz").write_text("half")
    rows = {row["kind"]: row for row in json.loads(call("gc", out, "--dry-run", "--json")[1])}
    assert rows["leftovers"]["files"] == 0  # of a machine that is not known
    assert rows["volumes"]["files"] == 6
    assert "models" not in rows
    assert clean.differences(out) != []
    call("gc", out, "--kind", "volumes", "--kind", "scores")
    code, table, err = call("verify", out, "--json")
    missing = [row for row in json.loads(table) if row["state"] == "missing"]
    assert (code, len(missing)) == (1, 6 + 8)
    assert call("gc", out, "--kind", "everything")[0] == 2
    assert call("verify", tmp_path)[0] == 2
    run_once(manifest, out)
    assert clean.differences(out) == []


def test_what_was_freed_after_a_change_of_the_segmenter_is_made_again(
    made: tuple[Path, Path, Folder], tmp_path: Path
) -> None:
    manifest, good, _ = made
    out = shutil.copytree(good, tmp_path / "out")
    (tmp_path / "other.py").write_text(OTHER_SEGMENTER)
    other = f"scoring.segmenter={tmp_path}/other.py:Others"
    run_once(manifest, out, other)
    # A record that an earlier harmbench wrote keeps the sums of both.
    cell = CellFolder(out / "cells/gain/A-to-B/fold-0/seed-0")
    record, before = cell.read_record(), CellFolder(good / cell.root.relative_to(out)).read_record()
    assert record is not None
    assert before is not None
    assert {name.split("_")[-1] for name in record.scan_labels} == {"others.nii.gz"}
    both = {**before.scan_labels, **record.scan_labels}
    cell.write_record(record.model_copy(update={"scan_labels": both}))
    assert verify_run(out) == []
    free_space(out)
    states = {one.state for one in verify_run(out)}
    assert states == {"missing"}
    said: list[str] = []
    run_once(manifest, out, other, said=said)
    (line,) = [line for line in said if "removed" in line]
    assert line.startswith("files of ")
    assert "made again" in line
    assert not [line for line in said if line.startswith("damaged")]
    assert verify_run(out) == []


def test_what_was_given_beside_a_volume_is_missed_with_its_folder(
    made: tuple[Path, Path, Folder], tmp_path: Path
) -> None:
    manifest, good, clean = made
    out = shutil.copytree(good, tmp_path / "out")
    places = sorted(out.glob("cells/gain/*/*/*/beside/gain"))
    for place in places:
        shutil.rmtree(place)
    found = {(Path(one.piece).parent, one.state) for one in verify_run(out)}
    assert found == {(place.relative_to(out), "missing") for place in places}
    run_once(manifest, out)
    assert all(place.is_dir() for place in places)
    assert clean.differences(out) == []
    assert verify_run(out) == []


def test_records_of_earlier_versions_are_unverified(
    made: tuple[Path, Path, Folder], tmp_path: Path
) -> None:
    manifest, good, clean = made
    out = shutil.copytree(good, tmp_path / "out")
    for path in out.glob("cells/*/*/*/*/cell.json"):
        values = json.loads(path.read_text())
        for name in ("sha256", "files", "scan_labels", "mended"):
            values.pop(name, None)
        path.write_text(json.dumps(values))
    found = verify_run(out)
    assert {one.state for one in found} == {"unverified"}
    assert not any(one.wrong for one in found)
    run_once(manifest, out)
    assert clean.differences(out) == []
    record = CellFolder(out / "cells/gain/A-to-B/fold-0/seed-0").read_record()
    assert record is not None
    assert record.status == "ok"


def test_a_lock_of_a_machine_that_is_gone_keeps_no_cell(
    made: tuple[Path, Path, Folder], tmp_path: Path
) -> None:
    _, good, _ = made
    out = shutil.copytree(good, tmp_path / "out")
    lock = out / "cells/gain/A-to-B/fold-0/seed-0/lock.json"
    owner = {"host": "elsewhere", "machine": "m", "boot": "b", "space": "", "pid": 1, "born": "1"}
    lock.write_text(json.dumps({**owner, "token": "theirs", "purpose": ""}))
    assert [one for one in verify_run(out) if "works on it" in one.why]
    assert free_space(out, ["models"], dry_run=True)[1] != []
    os.utime(lock, (1e9, 1e9))
    assert [one for one in verify_run(out) if "works on it" in one.why] == []
    for dry_run in (True, False):
        freed, left = free_space(out, ["models"], dry_run=dry_run)
        assert (freed[0].files > 0, left) == (True, [])
