"""A simulated raw subject at 4 mm, both sessions, with its truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import prepared
import pytest

from harmbench.cohorts.base import Cohort, Scan
from harmbench.cohorts.data import DataSettings
from harmbench.cohorts.phantom import PhantomSettings, make_phantom
from harmbench.config import load_preparation
from harmbench.preparation.cohort import prepare_cohort
from harmbench.preparation.scan import CleanScan, clean_scan
from harmbench.preparation.settings import PrepareSettings
from harmbench.preparation.strip import make_stripper
from harmbench.preparation.summary import PrepareSummary
from harmbench.settings import validated
from harmbench.volume import Volume

# What makes preparation quick on tiny volumes; masks are the simulation's own.
QUICK = {
    "strip": {"method": "mask"},
    "bias": {"shrink_factor": 2, "iterations": [20, 20]},
    "spacing_mm": 4.0,
    "registration": {"transform": "rigid", "reference": "3T"},
    "crop": {"shape": [48, 60, 56]},
}


def _quick(**changes: object) -> PrepareSettings:
    values: dict[str, Any] = {k: dict(v) if isinstance(v, dict) else v for k, v in QUICK.items()}
    for name, value in changes.items():
        part, _, inner = name.partition("__")
        if inner:
            values.setdefault(part, {})[inner] = value
        else:
            values[name] = value
    return validated(PrepareSettings, values)


@pytest.fixture(scope="session")
def quick() -> Callable[..., PrepareSettings]:
    """Make quick settings; `strip__method="none"` changes one inside a part."""
    return _quick


@pytest.fixture(scope="session")
def raw_cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Two simulated people, raw, at 4 mm."""
    settings = PhantomSettings(subjects=2, spacing_mm=4.0, product="raw")
    return make_phantom(settings, tmp_path_factory.mktemp("raw") / "cohort", jobs=1)


@pytest.fixture(scope="session")
def scans(raw_cohort: Cohort) -> Mapping[str, Scan]:
    """Both sessions of the first person."""
    return {session: raw_cohort.scans["sub-01", session] for session in raw_cohort.sessions}


@pytest.fixture(scope="session")
def clean(scans: Mapping[str, Scan]) -> Mapping[str, CleanScan]:
    """Both sessions, stripped by their true masks, freed of their bias fields."""
    settings = _quick()
    stripper = make_stripper(settings.strip)
    return {session: clean_scan(scan, stripper, settings) for session, scan in scans.items()}


@pytest.fixture
def ball() -> tuple[Volume, np.ndarray]:
    """A bright ball on an oblique, anisotropic grid, and its mask."""
    shape = (30, 40, 20)
    turn = np.deg2rad(10)
    affine = np.array(
        [
            [2 * np.cos(turn), -1.5 * np.sin(turn), 0, -30],
            [2 * np.sin(turn), 1.5 * np.cos(turn), 0, -25],
            [0, 0, 3, -28],
            [0, 0, 0, 1],
        ]
    )
    index = np.indices(shape).reshape(3, -1)
    points = (affine @ np.vstack([index, np.ones(index.shape[1])]))[:3]
    centre = (affine @ [15, 20, 10, 1])[:3, None]
    distance = np.linalg.norm(points - centre, axis=0).reshape(shape)
    data = (100 * np.exp(-((distance / 18) ** 2))).astype(np.float32)
    return Volume(data, affine), distance < 20


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def manifest(raw_cohort: Cohort, tmp_path: Path) -> Callable[..., Path]:
    """Write a manifest of the simulated scans; `change` may edit its rows."""

    def write(change: Callable[[list[prepared.Row]], object] = lambda rows: None) -> Path:
        rows = [
            {
                "subject": subject,
                "group": raw_cohort.groups[subject],
                "session": session,
                "path": str(scan.path),
                "mask": str(scan.mask),
            }
            for (subject, session), scan in raw_cohort.scans.items()
        ]
        change(rows)
        path = tmp_path / "raw.csv"
        pd.DataFrame(rows).to_csv(path, index=False)
        return path

    return write


@pytest.fixture
def prepare(manifest, tmp_path: Path, request) -> Callable[..., PrepareSummary]:
    """Prepare the simulated scans quickly; options are those of `prepare_cohort`.

    Figures are blank, but for tests marked `figures`: drawing takes half of the time.
    """
    if request.node.get_closest_marker("figures") is None:
        request.getfixturevalue("blank_figures")

    def run(*overrides: str, out: str = "out", data: Path | None = None, **settings):
        return prepare_cohort(
            DataSettings(path=data or manifest()),
            tmp_path / out,
            load_preparation(None, [*prepared.QUICK, *overrides]).settings,
            jobs=1,
            say=lambda _: None,
            **settings,
        )

    return run
