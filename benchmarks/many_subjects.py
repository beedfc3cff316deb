"""Bookkeeping per volume in a run of many subjects: read once, beside read anew for each volume.

    python benchmarks/many_subjects.py                     # 10 and 1000 subjects in one cell
    python benchmarks/many_subjects.py --subjects 10 100 1000 --timed 10

Scoring a volume looks up two scans in `inputs.csv`, adds its rows to `scores.csv`, checks them, and
writes `cell.json`. Two ways of doing that are measured in one run, without segmentation and metrics:

- *once*: what harmbench does; a cell reads both tables once, and formats the new rows alone.
- *anew*: both tables are read for each volume, and the table of scores is formatted as a whole.

The last volumes of a cell are timed, when both tables are full. Both ways leave the same bytes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tabulate import tabulate

from harmbench.meter import Meter
from harmbench.results import ResultRow, merge, read_results, table, write_results
from harmbench.runner.cell_folder import CellFolder
from harmbench.runner.cell_record import CellRecord
from harmbench.runner.cell_scores import CellScores
from harmbench.runner.folder import RunFolder
from harmbench.runner.inputs import InputScan, InputScans, inputs_text
from harmbench.runner.scoring import missing_rows
from harmbench.storage import write_text

SESSIONS = ("3T", "1.5T")


def names(count: int) -> list[str]:
    return [f"sub-{number:05d}" for number in range(count)]


def rows_of(subject: str) -> list[ResultRow]:
    value = (sum(map(ord, subject)) % 997) / 997
    return [
        ResultRow(
            method="dm",
            direction="3T-to-1.5T",
            fold=0,
            seed=0,
            subject=subject,
            group="HC",
            segmenter="hmrf",
            metric=row["metric"],
            tissue=row["tissue"],
            value=value,
            unit=row["unit"],
            status="ok",
        )
        for row in missing_rows("failed")
    ]


def full_folder(root: Path, subjects: Sequence[str], timed: int) -> tuple[RunFolder, CellScores]:
    """Write the tables of a run whose last `timed` volumes are not scored yet."""
    folder = RunFolder(root)
    scans = {
        (subject, session): InputScan(
            subject=subject,
            group="HC",
            session=session,
            path=root / "scans" / f"{subject}_{session}.nii.gz",
            mask=None,
            sha256="0" * 64,
            mask_sha256="",
            rescale="none",
        )
        for subject in subjects
        for session in SESSIONS
    }
    write_text(folder.inputs, inputs_text(InputScans(root, scans)))
    scores = CellScores(root / "scores.csv", {})
    done = {subject: rows_of(subject) for subject in subjects[: len(subjects) - timed]}
    scores.put(done)
    return folder, scores


def full_record(subjects: Sequence[str], scores: CellScores) -> CellRecord:
    """Return the record of a cell in which all subjects are scored."""
    keys = {f"{stage} {s}": "0" * 64 for stage in ("harmonize", "score") for s in subjects}
    return CellRecord(
        method="dm",
        source=SESSIONS[0],
        target=SESSIONS[1],
        fold=0,
        seed=0,
        subjects=tuple(subjects),
        keys={"fit": "0" * 64, **keys},
        checksums=scores.checksums,
    )


def read_once(root: Path, subjects: Sequence[str], timed: int) -> list[float]:
    folder, before = full_folder(root, subjects, timed)
    scores = CellScores(root / "scores.csv", before.checksums)
    inputs = folder.input_scans()
    record = full_record(subjects, before)
    seconds: list[float] = []
    # The first volume pays for reading the scores, which a cell does once; the median is another's.
    for subject in subjects[len(subjects) - timed :]:
        with timer(seconds):
            for session in SESSIONS:
                assert inputs.scans[subject, session].path.name
            assert not scores.is_scored(subject)
            scores.put({subject: rows_of(subject)})
            record = written(record, scores, subject, root)
    return seconds


def read_anew(root: Path, subjects: Sequence[str], timed: int) -> list[float]:
    folder, before = full_folder(root, subjects, timed)
    path = root / "scores.csv"
    record = full_record(subjects, before)
    seconds: list[float] = []
    for subject in subjects[len(subjects) - timed :]:
        with timer(seconds):
            for session in SESSIONS:
                assert folder.input_scans().scans[subject, session].path.name
            scores = CellScores(path, record.checksums)
            assert not scores.is_scored(subject)
            kept = read_results(path)
            new = table(rows_of(subject))
            write_results(merge([kept[kept["subject"] != subject], new]), path)
            scores = CellScores(path, record.checksums)
            assert scores.is_scored(subject)
            record = written(record, scores, subject, root)
    return seconds


def written(record: CellRecord, scores: CellScores, subject: str, root: Path) -> CellRecord:
    record = record.with_work("score", Meter(), "benchmark", subject)
    record = record.model_copy(update={"checksums": scores.checksums})
    CellFolder(root).write_record(record)
    return record


@contextmanager
def timer(seconds: list[float]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds.append(time.perf_counter() - start)


def median_ms(
    way: Callable[[Path, Sequence[str], int], list[float]], count: int, timed: int
) -> tuple[float, bytes]:
    with tempfile.TemporaryDirectory() as place:
        seconds = way(Path(place), names(count), timed)
        return 1000 * statistics.median(seconds), (Path(place) / "scores.csv").read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--subjects", type=int, nargs="+", default=[10, 1000])
    parser.add_argument("--timed", type=int, default=5, help="volumes that are timed")
    options = parser.parse_args()
    rows = []
    for count in options.subjects:
        once, text = median_ms(read_once, count, min(options.timed, count))
        anew, other = median_ms(read_anew, count, min(options.timed, count))
        assert text == other, "both ways leave the same table"
        rows.append([count, once, anew, anew / once])
    heads = ["subjects in the cell", "once (ms per volume)", "anew (ms per volume)", "ratio"]
    print(tabulate(rows, heads, floatfmt=".3g"))
    first, last = rows[0], rows[-1]
    print(
        f"from {first[0]} to {last[0]} subjects a volume takes {last[1] / first[1]:.2g} times as long "
        f"read once, {last[2] / first[2]:.2g} times read anew"
    )


if __name__ == "__main__":
    main()
