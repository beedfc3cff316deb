"""The choice of a volume correction on training subjects, and what image methods are worth beside it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from harmbench.correction_contract import simulated_volumes
from harmbench.errors import MethodError
from harmbench.methods.volume_linear import VolumeLinear
from harmbench.methods.volume_offset import VolumeOffset
from harmbench.results import table
from harmbench.statistics.claims import holm
from harmbench.statistics.intervals import estimate
from harmbench.study.choice import inner_errors
from harmbench.study.worth import CHOSEN, choose, with_chosen, worth


def test_leaving_one_out_on_paper() -> None:
    source = np.array([[10.0], [20.0], [30.0]])
    target = np.array([[12.0], [24.0], [36.0]])
    # Differences 2, 4, 6; those of the others have the means 5, 4, 3.
    np.testing.assert_allclose(inner_errors(VolumeOffset, source, target), [[3], [0], [3]])


def test_more_subjects_than_folds_are_left_out_together() -> None:
    source, target = simulated_volumes(25)
    found = inner_errors(VolumeOffset, source, target)
    out = np.arange(25) % 10 == 3
    offset = (target - source)[~out].mean(axis=0)
    np.testing.assert_allclose(found[out], np.abs(source + offset - target)[out])


def test_a_fit_that_needs_more_subjects_gives_no_error() -> None:
    source, target = simulated_volumes(3)
    assert np.isnan(inner_errors(VolumeLinear, source, target)).all()
    assert np.isnan(inner_errors(VolumeOffset, source[:1], target[:1])).all()
    with pytest.raises(MethodError, match="shape"):
        inner_errors(VolumeOffset, source[:0], target[:0])


def test_the_smallest_error_is_chosen_by_place() -> None:
    choices = choose(
        {
            ("ratio", "A-to-B", 0): {"GM": 2.0, "WM": 1.0},
            ("offset", "A-to-B", 0): {"GM": 1.0, "WM": 1.0},
            ("offset", "A-to-B", 1): {"GM": 5.0},
            ("line", "A-to-B", 1): {},
        }
    )
    assert choices == {
        ("A-to-B", 0, "GM"): "offset",
        ("A-to-B", 0, "WM"): "offset",
        ("A-to-B", 1, "GM"): "offset",
    }


def _results(errors: dict[str, list[float]], folds: int = 2) -> pd.DataFrame:
    """Absolute GM errors of subjects in two folds, or in as many as `folds` says."""
    return table(
        {
            **{"method": method, "direction": "A-to-B", "fold": subject % folds, "seed": 0},
            **{"subject": f"s{subject}", "group": "HC", "segmenter": "x", "tissue": "GM"},
            **{"metric": "volume_difference_mm3", "value": value, "unit": "mm3", "status": "ok"},
        }
        for method, values in errors.items()
        for subject, value in enumerate(values)
    )


def test_each_fold_is_compared_with_its_own_choice() -> None:
    results = _results({"net": [5.0] * 8, "ratio": [1.0, 9.0] * 4, "offset": [8.0, 2.0] * 4})
    choices = {("A-to-B", 0, "GM"): "ratio", ("A-to-B", 1, "GM"): "offset"}
    chosen = with_chosen(results, choices)
    own = chosen[chosen["method"] == CHOSEN].sort_values("subject")["value"]
    assert own.tolist() == [1.0, 2.0] * 4
    found = worth(results, choices).set_index("method")
    assert found["n_pairs"]["net"] == 8
    assert found["error_mm3"]["net"] == 5
    assert found["correction_mm3"]["net"] == 1.5
    assert found["difference_mm3"]["net"] == 3.5
    # Two folds judge nothing.
    assert found["folds"]["net"] == 2
    assert found[["low_mm3", "high_mm3", "p", "p_adjusted"]].isna().all(axis=None)


def test_intervals_and_p_values_are_the_verdict_s() -> None:
    random = np.random.default_rng(0)
    errors = {name: list(random.gamma(2, size=12)) for name in ("a", "b", "ratio")}
    choices = {("A-to-B", fold, "GM"): "ratio" for fold in range(4)}
    found = worth(_results(errors, 4), choices, ["a", "b"]).set_index("method")
    own = np.array([errors["a"], errors["b"]]).T - np.array([errors["ratio"]]).T
    known = estimate(own, np.arange(12) % 4)
    np.testing.assert_allclose(found.loc[["a", "b"], "difference_mm3"], known.value)
    np.testing.assert_allclose(found.loc[["a", "b"], ["low_mm3", "high_mm3"]].T, known.interval())
    np.testing.assert_allclose(found.loc[["a", "b"], "p"], known.p_different())
    np.testing.assert_allclose(found.loc[["a", "b"], "p_adjusted"], holm(known.p_different()))
    # Nothing is claimed of a correction, which is not corrected for either.
    assert np.isnan(found["p_adjusted"]["ratio"])


def test_subjects_of_one_fold_are_not_independent() -> None:
    # A network that is bad in one fold of four: over subjects the difference would look sure.
    net = [9.0 if subject % 4 == 0 else 3.0 for subject in range(16)]
    choices = {("A-to-B", fold, "GM"): "ratio" for fold in range(4)}
    found = worth(_results({"net": net, "ratio": [2.0] * 16}, 4), choices).set_index("method")
    assert found["difference_mm3"]["net"] == pytest.approx(2.5)
    assert found["low_mm3"]["net"] < 0 < found["high_mm3"]["net"]


def test_means_are_over_the_same_subjects() -> None:
    results = _results({"net": [5.0] * 7 + [np.nan], "ratio": [1.0] * 7 + [99.0]})
    choices = {("A-to-B", fold, "GM"): "ratio" for fold in (0, 1)}
    found = worth(results, choices).set_index("method")
    assert found["n_pairs"]["net"] == 7
    assert found["correction_mm3"]["net"] == 1
    assert found["difference_mm3"]["net"] == 4


def test_without_a_choice_there_is_no_comparison() -> None:
    assert worth(_results({"net": [5.0] * 8}), {}).empty
