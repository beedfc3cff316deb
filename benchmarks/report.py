"""Time, memory and size of a report: figures drawn in one process, beside several.

    python benchmarks/report.py                          # 40 subjects x 8 methods x 2 directions
    python benchmarks/report.py --subjects 8 --methods 4 --spacing 2
    python benchmarks/report.py --scanners 8 --methods 3 --subjects 12
    python benchmarks/report.py --run runs/dm            # of a run that is there

Without `--run`, a run folder is made first, as the runner writes it: shells in place of brains, methods
that change intensities by known rules, and random scores. Each report is made in a process of its own.
Seconds of CPU are those of all processes; with one job, stages follow each other and are listed.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path

import numpy as np
from tabulate import tabulate

from harmbench.arrays import Array
from harmbench.metrics.lesion_declarations import ALL_METRICS
from harmbench.processes import worker_pool
from harmbench.report import make_report
from harmbench.results import ResultRow, table, write_results
from harmbench.runner.cell_record import CellRecord, StageCost
from harmbench.runner.folder import Cell, RunFolder
from harmbench.runner.inputs import InputScan, InputScans, inputs_text
from harmbench.runner.invocation_files import add_invocation
from harmbench.runner.run_record import CohortRecord, FoldsRecord, MethodRecord, RunRecord
from harmbench.runner.run_record import SegmenterRecord as Segmenter
from harmbench.runner.scoring import missing_rows
from harmbench.storage import write_text
from harmbench.task import Direction
from harmbench.volume import Volume, write

FOLDS = 4
SEGMENTER = "hmrf"
BRAIN_MM = (150.0, 180.0, 150.0)


@dataclass(frozen=True)
class Design:
    """What a run folder holds; with two scanners, they are those of the paper."""

    subjects: int = 40
    methods: int = 8
    scanners: int = 2
    spacing_mm: float = 4.0
    volumes: bool = True

    @property
    def names(self) -> list[str]:
        return [f"sub-{number:03d}" for number in range(self.subjects)]

    @property
    def directions(self) -> list[Direction]:
        few = self.scanners <= 2
        scanners = ["3T", "1.5T"] if few else [f"SITE-{n + 1}" for n in range(self.scanners)]
        return [Direction(*pair) for pair in permutations(scanners, 2)]

    @property
    def gammas(self) -> dict[str, float]:
        """Method to the power that it raises intensities to; the target's is 0.7."""
        named = {f"method_{n + 1}": 0.7 + 0.03 * n for n in range(self.methods)}
        return {"identity": 1.0, **named}


def build(root: Path, design: Design) -> Path:
    folder = RunFolder(root)
    rng = np.random.default_rng(0)
    rows: list[ResultRow] = []
    scanners = dict.fromkeys(way.source for way in design.directions)
    for place, subject in enumerate(design.names):
        brain = shells(design, place)
        for number, scanner in enumerate(scanners):
            if design.volumes:
                data = brain ** (1 - 0.3 * (number % 2))
                put(data, folder.root / "scans" / f"{subject}_{scanner}.nii.gz", design)
                put(tissues(data), folder.input_labels(subject, scanner, SEGMENTER), design)
        for way in design.directions if design.volumes else ():
            for name, gamma in design.gammas.items():
                own = folder.cell(Cell(name, way, place % FOLDS, 0))
                put(brain**gamma, own.volume(subject), design)
                put(tissues(brain**gamma), own.labels(subject, SEGMENTER), design)
    for way in design.directions:
        for number, name in enumerate(design.gammas):
            for fold in range(FOLDS):
                rows += cell_rows(folder, design, Cell(name, way, fold, 0), number, rng)
    write_results(table(rows), folder.results)
    scans = InputScans(root, scans_of(design, root, [*scanners]))
    write_text(folder.inputs, inputs_text(scans))
    add_invocation(root, "run", record_of(design))
    return root


def shells(design: Design, place: int) -> Array:
    """Three shells like CSF, GM and WM from outside to inside, with texture."""
    shape = tuple(round(size / design.spacing_mm) for size in BRAIN_MM)
    rng = np.random.default_rng(place)
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    radius = np.sqrt(sum(part**2 for part in grid)) * (1 + 0.01 * (place % 5))
    data = np.select([radius < 0.45, radius < 0.7, radius < 0.88], [0.85, 0.6, 0.3], 0.0)
    data += (data > 0) * rng.normal(0, 0.03, shape)
    return np.clip(data, 0, 1).astype(np.float32)


def tissues(data: Array) -> Array:
    labels: Array = (np.digitize(data, [0.15, 0.55, 0.82]) * (data > 0)).astype(np.uint8)
    return labels


def put(data: Array, path: Path, design: Design) -> None:
    affine = np.diag([design.spacing_mm] * 3 + [1.0])
    write(Volume(data, affine, "label" if data.dtype == np.uint8 else "intensity"), path)


def cell_rows(
    folder: RunFolder, design: Design, cell: Cell, number: int, rng: np.random.Generator
) -> list[ResultRow]:
    members = [name for place, name in enumerate(design.names) if place % FOLDS == cell.fold]
    record = CellRecord(
        method=cell.method,
        source=cell.direction.source,
        target=cell.direction.target,
        fold=cell.fold,
        seed=0,
        subjects=tuple(members),
        stages={"fit": StageCost(wall_s=10.0, peak_memory_mb=500.0, count=1)},
    )
    folder.cell(cell).write_record(record)
    folder.cell(cell).log.write_text("\n".join(f"line {line} of a log" for line in range(40)))
    if number and design.volumes:
        curve = "\n".join(f"{step},{1 / step:.6f}" for step in range(1, 2001))
        folder.cell(cell).training.mkdir(parents=True, exist_ok=True)
        (folder.cell(cell).training / "loss.csv").write_text(f"step,loss\n{curve}\n")
    return [
        ResultRow(
            method=cell.method,
            direction=str(cell.direction),
            fold=cell.fold,
            seed=0,
            subject=subject,
            group="HC" if design.names.index(subject) % 2 else "MS",
            segmenter=SEGMENTER if row["tissue"] else "",
            metric=row["metric"],
            tissue=row["tissue"],
            value=value_of(row["metric"], number, rng),
            unit=row["unit"],
            status="ok",
        )
        for subject in members
        for row in missing_rows("ok")
    ]


def value_of(metric: str, number: int, rng: np.random.Generator) -> float:
    """A score: the first methods are the best, but for noise."""
    share = 0.3 + 0.03 * (number or 9) + 0.08 * float(rng.normal())
    declared = ALL_METRICS[metric]
    share = 1 - share if declared.better == "higher" else share
    size = 4e4 if declared.unit == "mm3" else 1.0
    return float(np.clip(size * share, declared.lower, declared.upper))


def scans_of(
    design: Design, root: Path, scanners: Sequence[str]
) -> dict[tuple[str, str], InputScan]:
    return {
        (subject, scanner): InputScan(
            subject=subject,
            group="HC" if place % 2 else "MS",
            session=scanner,
            path=root / "scans" / f"{subject}_{scanner}.nii.gz",
            mask=None,
            sha256=f"{subject}{scanner}",
            mask_sha256="",
            rescale="none",
        )
        for place, subject in enumerate(design.names)
        for scanner in scanners
    }


def record_of(design: Design) -> RunRecord:
    return RunRecord(
        name=f"{design.subjects} subjects, {design.methods} methods, {len(design.directions)} directions",
        cohort=CohortRecord(name="benchmark", description="Shells, no brains", simulated=True),
        directions=tuple(design.directions),
        methods={
            name: MethodRecord(title="" if name == "identity" else name.replace("_", " ").title())
            for name in design.gammas
        },
        segmenter=Segmenter(name=SEGMENTER, version="1"),
        stacking_axis=0,
        folds=FoldsRecord(k=FOLDS, seed=0),
    )


@dataclass
class Clock:
    """A progress reporter that keeps when each stage was last heard of."""

    start: float = field(default_factory=time.perf_counter)
    ends: dict[str, float] = field(default_factory=dict)

    def __call__(self, stage: str, done: int, total: int, **values: float) -> None:
        self.ends[stage] = time.perf_counter() - self.start

    def stages(self, whole: float) -> Iterator[tuple[str, float]]:
        before = 0.0
        for stage, end in {**self.ends, "page": whole}.items():
            yield stage.removeprefix("report: "), end - before
            before = end


@dataclass(frozen=True)
class Measured:
    """What one report took: seconds, MiB of one process, and megabytes of its page."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    page_mb: float
    stages: dict[str, float]


def measure(run: Path, out: Path, jobs: int) -> Measured:
    clock = Clock()
    page = make_report([run], out, clock, jobs=jobs)
    wall = time.perf_counter() - clock.start
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = [resource.getrusage(kind) for kind in kinds]
    return Measured(
        wall,
        sum(one.ru_utime + one.ru_stime for one in used),
        max(one.ru_maxrss for one in used) / 1024,
        page.stat().st_size / 1e6,
        dict(clock.stages(wall)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", type=Path, help="a run folder, in place of one that is made")
    parser.add_argument("--subjects", type=int, default=40)
    parser.add_argument("--methods", type=int, default=8)
    parser.add_argument("--scanners", type=int, default=2)
    parser.add_argument("--spacing", type=float, default=4.0, help="of the volumes, in mm")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, os.cpu_count() or 1])
    options = parser.parse_args()
    sizes = (options.subjects, options.methods, options.scanners, options.spacing)
    with tempfile.TemporaryDirectory() as place:
        run = options.run or build(Path(place) / "run", Design(*sizes))
        found: dict[int, Measured] = {}
        for jobs in dict.fromkeys(options.jobs):
            with worker_pool(1) as pool:
                found[jobs] = pool.submit(measure, run, Path(place) / str(jobs), jobs).result()
    first = next(iter(found.values()))
    rows = [
        [jobs, one.wall_s, first.wall_s / one.wall_s, one.cpu_s, one.peak_mib, one.page_mb]
        for jobs, one in found.items()
    ]
    heads = ["jobs", "wall (s)", "times as fast", "CPU (s)", "peak of a process (MiB)", "page (MB)"]
    print(tabulate(rows, heads, floatfmt=("d", ".1f", ".2f", ".1f", ".0f", ".2f")))
    if 1 in found:
        print(tabulate(found[1].stages.items(), ["stage, one job", "wall (s)"], floatfmt=".1f"))


if __name__ == "__main__":
    main()
