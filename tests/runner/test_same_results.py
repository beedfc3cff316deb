"""A small seeded run of every method gives the numbers that it always gave.

`same_results.csv` has them, as means over subjects. Where a change of results is intended, run this
test with WRITE_RESULTS=1 in the environment, and say in the changelog what changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from harmbench.config import load_experiment
from harmbench.discovery import available_methods, load_method, usable_methods
from harmbench.results import read_results
from harmbench.runner.experiment import run_experiment

KNOWN = Path(__file__).with_name("same_results.csv")
NAMES = ["method", "metric", "tissue", "status"]


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Give torch the threads that the known results were made with: with others, sums round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("thresholds", "two_threads")
def test_a_seeded_run_gives_the_known_results(
    make_manifest: Callable[..., Path], tmp_path: Path
) -> None:
    known = pd.read_csv(KNOWN, keep_default_na=False, na_values={"value": [""]})
    usable = set(usable_methods())
    writes = bool(os.environ.get("WRITE_RESULTS"))
    chosen = usable if writes else usable & set(known["method"])
    methods = {
        name: {"uses": name, **load_method(name).quick_settings}
        for name in available_methods()
        if name in chosen - {"identity", "histogram_matching"}
    }
    changes = {
        "data.path": make_manifest(4),
        "data.direction": "A-to-B",
        "folds.k": 2,
        "folds.run": "0",
        "methods": methods,
    }
    settings = ["scoring.segmenter=thresholds", "device=cpu", "jobs=1", "volume_controls=[]"]
    out = tmp_path / "out"
    summary = run_experiment(load_experiment(None, settings, changes), out, say=lambda _: None)
    assert not summary.failed
    results = read_results(out / "results.csv")
    found = results.groupby(NAMES, as_index=False)["value"].mean()
    if writes:
        found.to_csv(KNOWN, index=False, float_format="%.9g", lineterminator="\n")
        return
    # Methods whose extra is not installed here have no results.
    absent = set(available_methods()) - usable
    known = known[~known["method"].isin(absent)].reset_index(drop=True)
    pd.testing.assert_frame_equal(found[NAMES], known[NAMES])  # type: ignore[arg-type]  # a frame
    # Other processors round otherwise; trained networks carry that on.
    np.testing.assert_allclose(found["value"], known["value"], rtol=1e-3, atol=1e-5)
