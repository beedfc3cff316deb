"""CPU time of a run per scored volume, as the number of subjects grows; and what of it is bookkeeping.

    python benchmarks/many_subjects.py                                  # 50 and 500 subjects
    python benchmarks/many_subjects.py --subjects 100 1000
    python benchmarks/many_subjects.py --subjects 1000 --methods 8 --directions 2 --report
    python benchmarks/many_subjects.py --subjects 24 --spacing 2        # the share of real work at 2 mm
    python benchmarks/many_subjects.py --subjects 8 --spacing 2 --unet  # the same, with a method that trains
    python benchmarks/many_subjects.py --subjects 100 1000 --bookkeeping

A cohort of shells in place of brains is made, and a whole run is measured in a process of its own: scans
read and checked, folds, cells, results brought together; then `status`, `verify`, and with `--report` the
report. Methods raise intensities to a power, so that a method itself takes next to no time; with `--unet`
the demo's U-Net, as it is configured there, comes beside them. What is left beside its fits and volumes,
segmentation and metrics, reading and writing of volumes included, is counted as the run's own. With
`--bookkeeping` segmentation and metrics have stand-ins: the run's own time is the same, and the whole is
shorter.

Times are of the processors, of all threads of the process. Volumes are tiny by default, which makes the
run's own share larger than it is for real scans.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import yaml
from pydantic import BaseModel
from tabulate import tabulate

from harmbench.arrays import Array
from harmbench.config import load_experiment
from harmbench.method import Method
from harmbench.methods.unet import UNet
from harmbench.processes import worker_pool
from harmbench.report import make_report
from harmbench.results import ScoreRow
from harmbench.runner import experiment as running
from harmbench.runner.scoring import missing_rows
from harmbench.runner.stages import score as scoring
from harmbench.runner.status import run_status
from harmbench.runner.verification import verify_run
from harmbench.runner.warm_up import warm_up
from harmbench.segmentation import stored
from harmbench.storage import write_text
from harmbench.task import Task
from harmbench.volume import Volume, write

SESSIONS = {"3T": 1.0, "1.5T": 0.7}
"""Session to the power that it raises intensities to."""

DEMO = Path(__file__).parents[1] / "configs" / "demo.yaml"
BRAIN_MM = (150.0, 180.0, 150.0)
WORK = ("U-Net", "segmentation", "metrics")
TABLES = ("inputs.csv", "folds.csv", "scores.csv", "cell.json", "run.json", "results.csv")


class Power(Method):
    """Raises intensities to a power: the least that a method can do."""

    class Config(BaseModel):
        """Settings."""

        power: float = 0.7

    config: Config

    def harmonize(self, source: Volume, task: Task) -> Volume:
        """Return the scan with other intensities."""
        return source.with_data(np.power(source.data, self.config.power).astype(np.float32))


class Thresholds:
    """Labels by thresholds: the least that a segmenter can do."""

    name, version, contrasts = "thresholds", "1", ("T1w",)

    def __init__(self, *, device: str = "cpu", contrast: str = "T1w") -> None:
        self.contrast = contrast

    def segment(self, volume: Volume) -> Volume:
        """Return labels: 0 background, 1 CSF, 2 GM, 3 WM."""
        brain = volume.data[volume.data > 0]
        low, extent = float(brain.min()), float(np.ptp(brain))
        labels = np.digitize(volume.data, [1e-6, low + 0.35 * extent, low + 0.65 * extent])
        return volume.with_data(labels.astype(np.uint8), kind="label")


def canned_rows(*_: object, **__: object) -> list[ScoreRow]:
    """Stand for the metrics of a volume."""
    return [
        ScoreRow(**{**row, "value": 1 / (number + 3)})
        for number, row in enumerate(missing_rows("ok"))
    ]


@dataclass(frozen=True)
class Design:
    """What is run."""

    subjects: int
    methods: int
    directions: int
    spacing_mm: float
    folds: int
    report: bool
    bookkeeping: bool
    unet: bool


@dataclass
class Clock:
    """CPU seconds of parts of a run, and how often files were opened to be read."""

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    calls: Counter[str] = field(default_factory=Counter)
    reads: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self.seconds[name] += time.process_time() - start
        self.calls[name] += 1

    def time_in(
        self,
        module: ModuleType | type[Method],
        function: str,
        name: str,
        stand_in: Callable[..., Any] | None = None,
    ) -> None:
        """Put a function that is timed in place of one of a module or a class, or of its stand-in."""
        work = stand_in or getattr(module, function)

        def measured(*arguments: object, **named: object) -> object:
            with self.part(name):
                return work(*arguments, **named)

        setattr(module, function, measured)

    def watch(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and arguments[1] in {"r", "rb", None}:
            name = str(arguments[0]).rpartition("/")[2]
            if name in TABLES:
                self.reads[name] += 1


@dataclass(frozen=True)
class Measured:
    """What a run took."""

    design: Design
    volumes: int
    seconds: dict[str, float]
    reads: dict[str, int]
    peak_mib: float
    sizes: dict[str, int]

    @property
    def own_s(self) -> float:
        """CPU seconds of the run that are neither the U-Net, nor segmentation, nor metrics."""
        return self.seconds["run"] - sum(self.seconds[part] for part in WORK)


def shells(number: int, spacing_mm: float) -> Array:
    """Three shells like CSF, GM and WM from outside to inside, with texture."""
    shape = tuple(round(size / spacing_mm) for size in BRAIN_MM)
    rng = np.random.default_rng(number)
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    radius = np.sqrt(sum(part**2 for part in grid)) * (1 + 0.01 * (number % 5))
    data = np.select([radius < 0.45, radius < 0.7, radius < 0.88], [0.85, 0.6, 0.3], 0.0)
    data += (data > 0) * rng.normal(0, 0.03, shape)
    return np.clip(data, 0, 1).astype(np.float32)


def make_cohort(root: Path, design: Design) -> Path:
    affine = np.diag([design.spacing_mm] * 3 + [1.0])
    lines = ["subject,group,session,path"]
    for number in range(design.subjects):
        brain = shells(number, design.spacing_mm)
        for session, power in SESSIONS.items():
            path = root / f"sub-{number:05d}_{session}.nii.gz"
            write(Volume(brain ** np.float32(power), affine), path)
            group = "HC" if number % 2 else "MS"
            lines.append(f"sub-{number:05d},{group},{session},{path.name}")
    write_text(root / "scans.csv", "\n".join(lines) + "\n")
    return root / "scans.csv"


def settings_of(scans: Path, design: Design) -> list[str]:
    powers = np.linspace(0.7, 1.3, design.methods)
    demo = yaml.safe_load(DEMO.read_text(encoding="utf-8"))["methods"]
    trained = demo["unet"] if design.unet else {}
    return [
        f"data.path={scans}",
        f"data.direction={'both' if design.directions == 2 else '3T-to-1.5T'}",
        f"folds.k={design.folds}",
        f"scoring.segmenter={f'{__file__}:Thresholds' if design.bookkeeping else 'hmrf'}",
        "device=cpu",
        "controls=[identity]",
        "ceiling=false",
        *(f"methods.power_{n}.uses={__file__}:Power" for n in range(1, design.methods)),
        *(f"methods.power_{n}.power={powers[n]:.3f}" for n in range(1, design.methods)),
        *(f"methods.unet.{name}={value}" for name, value in trained.items()),
    ]


def measure(design: Design) -> Measured:
    clock = Clock()
    clock.time_in(scoring, "score_rows", "metrics", canned_rows if design.bookkeeping else None)
    clock.time_in(stored, "try_segment", "segmentation")
    clock.time_in(stored, "segment_batch", "segmentation")
    clock.time_in(UNet, "fit", "U-Net")
    clock.time_in(UNet, "harmonize", "U-Net")
    clock.time_in(running, "open_run", "scans and folds")
    clock.time_in(running, "correct_volumes", "real scans and corrections")
    clock.time_in(running, "conclude", "results")
    warm_up(segmentation=not design.bookkeeping, training=design.unet)
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "run"
        scans = make_cohort(Path(place), design)
        asked = load_experiment(None, settings_of(scans, design))
        running.torch_device("cpu")  # imports torch
        sys.addaudithook(clock.watch)
        with clock.part("run"):
            running.run_experiment(asked, out, lambda _: None)
        reads = dict(clock.reads)
        with clock.part("status"):
            run_status(out)
        with clock.part("verify"):
            assert not [one for one in verify_run(out) if one.wrong]
        if design.report:
            with clock.part("report"):
                make_report([out])
        sizes = sizes_of(out)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    volumes = clock.calls["metrics"]
    seconds = dict.fromkeys(WORK, 0.0) | clock.seconds
    return Measured(design, volumes, seconds, reads, peak, sizes)


def sizes_of(out: Path) -> dict[str, int]:
    """Return the bytes of each table of a run, those of cells of images summed."""
    cells = [p for p in out.glob("cells/*/*/*/*") if not p.parts[-4].startswith("volume_")]
    found = {
        name: sum((cell / name).stat().st_size for cell in cells)
        for name in ("cell.json", "scores.csv")
    }
    tables = [out / name for name in ("inputs.csv", "results.csv", "results.parquet")]
    return found | {path.name: path.stat().st_size for path in tables if path.is_file()}


def print_tables(found: Sequence[Measured]) -> None:
    rows = [
        [
            one.design.subjects,
            one.volumes,
            one.seconds["run"],
            1000 * one.seconds["run"] / one.volumes,
            *(1000 * one.seconds[part] / one.volumes for part in WORK),
            1000 * one.own_s / one.volumes,
            f"{one.own_s / one.seconds['run']:.1%}",
            one.peak_mib,
        ]
        for one in found
    ]
    heads = [
        *["subjects", "scored volumes", "CPU (s)", "ms per volume", *WORK],
        *["run's own", "share", "peak (MiB)"],
    ]
    print(tabulate(rows, heads, floatfmt=".3g"))
    parts = ["scans and folds", "real scans and corrections", "results", "status", "verify"]
    parts += ["report"] if found[0].design.report else []
    rows = [[p, *(1000 * one.seconds[p] / one.volumes for one in found)] for p in parts]
    many = [f"{one.design.subjects} subjects" for one in found]
    print("\nCPU ms per scored volume; the first three are parts of the run:\n")
    print(tabulate(rows, ["", *many], floatfmt=".3g"))
    print("\nReads of a file per scored volume, in the run:\n")
    rows = [[name, *(one.reads.get(name, 0) / one.volumes for one in found)] for name in TABLES]
    print(tabulate(rows, ["", *many], floatfmt=".3g"))
    print("\nBytes per scored volume; results also hold those of volume corrections:\n")
    rows = [[name, *(one.sizes[name] / one.volumes for one in found)] for name in found[0].sizes]
    print(tabulate(rows, ["", *many], floatfmt=".0f"))
    first, last = found[0], found[-1]
    ratio = (last.seconds["run"] / last.volumes) / (first.seconds["run"] / first.volumes)
    print(
        f"\nfrom {first.design.subjects} to {last.design.subjects} subjects a scored volume takes "
        f"{ratio:.2f} times the CPU time"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--subjects", type=int, nargs="+", default=[50, 500])
    parser.add_argument("--methods", type=int, default=1, help="the first is the untreated source")
    parser.add_argument("--directions", type=int, choices=[1, 2], default=1)
    parser.add_argument("--spacing", type=float, default=10.0, help="of the volumes, in mm")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--report", action="store_true", help="make a report too")
    parser.add_argument("--unet", action="store_true", help="train the demo's U-Net too")
    parser.add_argument("--bookkeeping", action="store_true", help="no real work")
    options = parser.parse_args()
    sizes = (options.methods, options.directions, options.spacing, options.folds)
    rest = (*sizes, options.report, options.bookkeeping, options.unet)
    found = []
    for count in options.subjects:
        with worker_pool(1) as pool:
            found.append(pool.submit(measure, Design(count, *rest)).result())
        print(f"{count} subjects: {found[-1].seconds['run']:.0f} s", file=sys.stderr)
    print_tables(found)


if __name__ == "__main__":
    main()
