"""Covariates as a correction gets them: filled in from training subjects alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmbench.correction_contract import simulated_volumes
from harmbench.methods.volume_combat import VolumeCombat
from harmbench.study.choice import inner_errors
from harmbench.study.covariates import NO_COVARIATES, CovariateTable

TABLE = CovariateTable(
    {
        "age": {"a": 20.0, "b": 40.0, "c": None, "d": 90.0},
        "sex": {"a": "f", "b": "m", "c": "m", "d": "x"},
        "site": {"a": "one", "b": "one", "c": "one", "d": "two"},
    }
)


def test_missing_values_come_from_training_subjects() -> None:
    found = TABLE.of(["a", "b", "c"], ["a", "c", "d"])
    # Mean of 20 and 40; x is unknown, m is the most frequent; all training subjects are of one site.
    assert found == {"age": [20.0, 30.0, 90.0], "sex": ["f", "m", "m"]}


def test_nothing_is_left_of_constants() -> None:
    assert TABLE.of(["a"], ["b"]) is None
    assert NO_COVARIATES.of(["a", "b"], ["c"]) is None


@given(age=st.floats(0, 120), sex=st.sampled_from(["f", "m", "x"]))
def test_test_subjects_fill_in_nothing(age: float, sex: str) -> None:
    values = {name: dict(own) for name, own in TABLE.columns.items()}
    values["age"]["d"], values["sex"]["d"] = age, sex
    changed = CovariateTable(values)
    assert changed.of(["a", "b", "c"], ["a", "b", "c"]) == TABLE.of(
        ["a", "b", "c"], ["a", "b", "c"]
    )


def test_inner_folds_need_subjects_and_not_visits() -> None:
    source, target = (np.concatenate([own, own]) for own in simulated_volumes(4))
    names = [f"s{number}" for number in range(4)] * 2
    table = CovariateTable({"age": {f"s{i}": float(i * i) for i in range(4)}})
    # Three subjects with two visits each are left for a fit with age, which needs four.
    assert np.isnan(inner_errors(VolumeCombat, source, target, names, covariates=table)).all()
    assert np.isfinite(inner_errors(VolumeCombat, source, target, names)).all()


def test_inner_folds_get_their_own_covariates() -> None:
    source, target = simulated_volumes(9)
    names = [f"s{number}" for number in range(9)]
    table = CovariateTable({"age": {name: float(i * i) for i, name in enumerate(names)}})
    found = inner_errors(VolumeCombat, source, target, names, covariates=table)
    out = np.arange(9) == 4
    learned = [name for name in names if name != "s4"]
    method = VolumeCombat()
    method.fit(source[~out], target[~out], table.of(learned, learned))
    expected = np.abs(method.correct(source[out], {"age": [16.0]}) - target[out])
    np.testing.assert_allclose(found[4], expected[0])
    assert found[4] != pytest.approx(inner_errors(VolumeCombat, source, target, names)[4])
