"""A small synthetic run folder: blobs for brains, methods that change intensities by known rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from harmbench.metrics.suite import METRICS
from harmbench.report import make_report
from harmbench.results import table, write_results
from harmbench.runner.folder import Cell, RunFolder
from harmbench.segmentation.base import TISSUES
from harmbench.storage import write_json
from harmbench.task import Direction
from harmbench.volume import Volume, write

SHAPE = (24, 28, 24)
AFFINE = np.diag([1.0, 1.0, 1.5, 1.0])
SEGMENTER = "hmrf"
GAMMAS = {"identity": 1.0, "dm": 0.62, "pgan": 0.66}
"""Each method raises the source to this power; the target is the source to the power 0.6."""


@dataclass(frozen=True)
class Spec:
    """What a synthetic run holds."""

    name: str = "demo"
    subjects: Sequence[str] = ("s1", "s2", "s3", "s4")
    gammas: Mapping[str, float] = field(default_factory=lambda: dict(GAMMAS))
    directions: Sequence[Direction] = (Direction("3T", "1.5T"), Direction("1.5T", "3T"))
    failed: frozenset[tuple[str, int]] = frozenset()
    simulated: bool = True
    cohort: str = "phantom"
    volumes: bool = True
    ceiling: bool = True
    salt: str = ""
    corrections: Mapping[str, float] = field(default_factory=dict)
    """Volume correction to its error in mm3, in every tissue of every subject, give or take 1 mm3."""
    inner: Mapping[str, float] = field(default_factory=dict)
    """Volume correction to its error in mm3 on training subjects."""
    preparation: Mapping[str, Any] | None = None

    def group(self, subject: str) -> str:
        return ("HC", "MS")[self.subjects.index(subject) % 2]

    def fold(self, subject: str) -> int:
        return self.subjects.index(subject) // 2


def brain(subject: str) -> NDArray[np.float32]:
    """Three shells like CSF, GM and WM from outside to inside, with a little texture."""
    number = sum(map(ord, subject))
    rng = np.random.default_rng(number)
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    radius = np.sqrt(sum(part**2 for part in grid)) * (1 + 0.02 * (number % 5))
    data = np.select([radius < 0.45, radius < 0.7, radius < 0.88], [0.85, 0.6, 0.3], 0.0)
    data = data + (data > 0) * rng.normal(0, 0.03, SHAPE)
    return np.clip(data, 0, 1).astype(np.float32)


def segment(data: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Classes by fixed thresholds."""
    return (np.digitize(data, [0.15, 0.55, 0.82]) * (data > 0)).astype(np.uint8)


def scan(subject: str, session: str) -> NDArray[np.float32]:
    return brain(subject) if session in {"3T", "T1w"} else brain(subject) ** np.float32(0.6)


def output(subject: str, direction: Direction, gamma: float) -> NDArray[np.float32]:
    power = gamma if direction.source in {"3T", "T1w"} else 1 / gamma
    return scan(subject, direction.source) ** np.float32(power)


def scores(
    data: NDArray[np.float32], reference: NDArray[np.float32]
) -> list[tuple[str, str, float]]:
    """Metric, tissue, value: exact for those that the tests look at, plausible for the rest."""
    mse = float(((data - reference) ** 2).mean())
    counts, expected = (np.histogram(image, 255, (0, 1))[0] for image in (data, reference))
    ahd = np.abs(counts - expected).sum()
    found = [("mse", "", mse), ("mse_brain", "", 2 * mse), ("ahd", "", float(ahd))]
    found += [("ssim", "", 1 - 10 * mse), ("stripe_index", "", mse)]
    labels, truth = segment(data), segment(reference)
    for tissue, value in TISSUES.items():
        one, other = labels == value, truth == value
        volumes = [float(mask.sum() * 1.5) for mask in (one, other)]
        dice = 2 * float((one & other).sum()) / max(1.0, float(one.sum() + other.sum()))
        found += [
            ("volume_mm3", tissue, volumes[0]),
            ("volume_difference_mm3", tissue, abs(volumes[0] - volumes[1])),
            ("relative_volume_difference", tissue, 100 * (volumes[0] / volumes[1] - 1)),
            ("dice", tissue, dice),
            ("hd", tissue, 10 * (1 - dice)),
            ("hd95", tissue, 5 * (1 - dice)),
            ("assd", tissue, 1 - dice),
        ]
    return found


def build_run(root: Path, spec: Spec) -> Path:
    """Write a run folder as the runner would."""
    folder = RunFolder(root)
    rows: list[dict[str, Any]] = []
    inputs = []
    methods = {**spec.gammas, **({"target": 1.0} if spec.ceiling else {})}
    sessions = sorted({s for d in spec.directions for s in (d.source, d.target)})
    for subject in spec.subjects:
        for session in sessions:
            path = root / "scans" / f"{subject}_{session}.nii.gz"
            data = scan(subject, session)
            if spec.volumes:
                write(Volume(data, AFFINE), path)
                labels = Volume(segment(data), AFFINE, "label")
                write(labels, folder.input_labels(subject, session, SEGMENTER))
            key = f"{subject}{session}{spec.salt}"
            inputs.append([subject, spec.group(subject), session, str(path), "", key, "none"])
    for method, gamma in methods.items():
        for direction in spec.directions:
            for fold in sorted({spec.fold(s) for s in spec.subjects}):
                cell = Cell(method, direction, fold, 0)
                members = [s for s in spec.subjects if spec.fold(s) == fold]
                rows += _cell(folder, spec, cell, gamma, members)
    for name in spec.corrections:
        for direction in spec.directions:
            for fold in sorted({spec.fold(s) for s in spec.subjects}):
                members = [s for s in spec.subjects if spec.fold(s) == fold]
                rows += _volume_cell(folder, spec, Cell(name, direction, fold, 0), members)
    methods |= spec.corrections
    columns = ["subject", "group", "session", "path", "mask", "sha256", "rescale"]
    root.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(inputs, columns=columns).to_csv(folder.inputs, index=False)
    write_results(table(rows), folder.results)
    write_json(folder.record, _record(spec, methods))
    return root


def _cell(
    folder: RunFolder, spec: Spec, cell: Cell, gamma: float, members: Sequence[str]
) -> list[dict[str, Any]]:
    failed = (cell.method, cell.fold) in spec.failed
    rows = []
    for subject in members:
        reference = scan(subject, cell.direction.target)
        data = reference if cell.method == "target" else output(subject, cell.direction, gamma)
        if spec.volumes and not failed and cell.method != "target":
            write(Volume(data, AFFINE), folder.cell(cell).volume(subject))
            labels = Volume(segment(data), AFFINE, "label")
            write(labels, folder.cell(cell).labels(subject, SEGMENTER))
        rows += [
            {
                "method": cell.method,
                "direction": str(cell.direction),
                "fold": cell.fold,
                "seed": 0,
                "subject": subject,
                "group": spec.group(subject),
                "segmenter": SEGMENTER if tissue else "",
                "metric": metric,
                "tissue": tissue,
                "value": float("nan") if failed else value,
                "unit": METRICS[metric].unit,
                "status": "failed" if failed else "ok",
            }
            for metric, tissue, value in scores(data, reference)
        ]
    record = {
        "method": cell.method,
        "source": cell.direction.source,
        "target": cell.direction.target,
        "fold": cell.fold,
        "seed": 0,
        "status": "failed" if failed else "ok",
        "error": "TrainingError: the loss is not finite" if failed else "",
        "subjects": list(members),
        "stages": {}
        if failed
        else {
            "fit": {"wall_s": 10.0, "peak_memory_mb": 500.0, "count": 1},
            "score": {"wall_s": 6.0, "peak_memory_mb": 300.0, "count": 4},
        },
    }
    write_json(folder.cell(cell).record, record)
    return rows


def _volume_cell(
    folder: RunFolder, spec: Spec, cell: Cell, members: Sequence[str]
) -> list[dict[str, Any]]:
    """Write the cell of a volume correction, and return its rows."""
    rows = []
    for subject in members:
        labels = segment(scan(subject, cell.direction.target))
        for tissue, value in TISSUES.items():
            wanted = float((labels == value).sum() * 1.5)
            error = spec.corrections[cell.method] + int(subject[1:]) % 3 - 1
            found = {
                "volume_mm3": wanted + error,
                "volume_difference_mm3": abs(error),
                "relative_volume_difference": 100 * error / wanted,
            }
            rows += [
                {
                    **{"method": cell.method, "direction": str(cell.direction), "fold": cell.fold},
                    **{"seed": 0, "subject": subject, "group": spec.group(subject)},
                    **{"segmenter": SEGMENTER, "metric": metric, "tissue": tissue},
                    **{"value": number, "unit": METRICS[metric].unit, "status": "ok"},
                }
                for metric, number in found.items()
            ]
    inner = spec.inner.get(cell.method)
    record = {
        **{"method": cell.method, "source": cell.direction.source},
        **{"target": cell.direction.target, "fold": cell.fold, "seed": 0, "status": "ok"},
        **{"subjects": list(members), "maps": "volumes"},
        "inner_error_mm3": {} if inner is None else dict.fromkeys(TISSUES, inner),
    }
    write_json(folder.cell(cell).record, record)
    return rows


def _record(spec: Spec, methods: Mapping[str, float]) -> dict[str, Any]:
    titles = {"identity": "Original", "target": "Target (ceiling)", "dm": "DM", "pgan": "pGAN"}
    return {
        "name": spec.name,
        "cohort": {
            "name": spec.cohort,
            "description": "Blobs & shells <for tests>.",
            "simulated": spec.simulated,
            "citation": "" if spec.simulated else "Lesjak et al. 2018",
            "preparation": spec.preparation,
        },
        "directions": [{"source": d.source, "target": d.target} for d in spec.directions],
        "methods": {
            name: {
                "uses": name,
                "title": titles.get(name, name),
                "reference": "",
                "settings": {"gamma": gamma},
                "parameters": {"net": 1234} if name in ("dm", "pgan") else {},
                "maps": "volumes" if name in spec.corrections else "images",
            }
            for name, gamma in methods.items()
        },
        "segmenter": {"name": SEGMENTER, "version": "1"},
        "stacking_axis": 0,
        "folds": {"k": len({spec.fold(s) for s in spec.subjects}), "seed": 0},
        "invocations": [{"started": "2024-01-01T00:00:00", "version": "0.1.0", "device": "cpu"}],
    }


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a synthetic run folder from the fields of `Spec`."""

    def make(folder: str = "run", **fields: Any) -> Path:
        return build_run(tmp_path / folder, Spec(**fields))

    return make


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run with everything in it, pGAN failed in fold 1; read-only."""
    subjects = [f"s{number}" for number in range(8)]
    spec = Spec(subjects=subjects, failed=frozenset({("pgan", 1)}))
    return build_run(tmp_path_factory.mktemp("finished") / "run", spec)


@pytest.fixture(scope="session")
def many_subjects_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run of 24 subjects in 12 folds, without volumes; read-only."""
    subjects = [f"s{number:02d}" for number in range(24)]
    spec = Spec(subjects=subjects, volumes=False)
    return build_run(tmp_path_factory.mktemp("many") / "run", spec)


@pytest.fixture(scope="session")
def finished_report(finished_run: Path) -> Path:
    """The folder of the report on `finished_run`, which lies in that run; read-only."""
    return make_report([finished_run]).parent
