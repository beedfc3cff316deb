"""The contract test of volume corrections passes good ones and names each breach."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from harmbench.catalogue import describe_installed
from harmbench.cli.scaffold import new_method
from harmbench.config import Experiment, load_experiment, select_methods
from harmbench.correction_contract import check_correction
from harmbench.discovery import (
    available_corrections,
    available_methods,
    is_correction,
    load_correction,
    load_method,
)
from harmbench.errors import ConfigError, MethodError
from harmbench.methods.volume_offset import VolumeOffset
from harmbench.volume_correction import VolumeCorrection


@pytest.mark.parametrize("name", sorted(available_corrections()))
def test_every_installed_correction_holds_the_contract(name: str) -> None:
    assert not [check for check in check_correction(load_correction(name)) if not check.passed]


def test_what_the_scaffold_writes_holds_the_contract(tmp_path: Path) -> None:
    adapter, test, cls = new_method("my_correction", tmp_path, volumes=True)
    checks = check_correction(load_correction(f"{adapter}:{cls}"))
    assert len(checks) == 7
    assert not [check for check in checks if not check.passed]
    assert f'load_correction(f"{{adapter}}:{cls}")' in test.read_text()


class _Together(VolumeOffset):
    def correct(self, volumes, covariates=None):
        return super().correct(volumes) * 0 + np.mean(volumes, axis=0)


class _Negative(VolumeOffset):
    def correct(self, volumes, covariates=None):
        return super().correct(volumes) - 1e9


class _Flat(VolumeOffset):
    def correct(self, volumes, covariates=None):
        return super().correct(volumes)[:, 0]


class _Peeks(VolumeOffset):
    def correct(self, volumes, covariates=None, target=None):
        return super().correct(volumes)


class _Changes(VolumeOffset):
    def correct(self, volumes, covariates=None):
        volumes += self.offset
        return volumes


class _Draws(VolumeOffset):
    draws: ClassVar = np.random.default_rng(0)

    def correct(self, volumes, covariates=None):
        return super().correct(volumes) * self.draws.random()


class _Eager(VolumeOffset):
    def correct(self, volumes, covariates=None):
        return volumes if self.offset is None else super().correct(volumes)


class _Crashes(VolumeOffset):
    def fit(self, source, target, covariates=None):
        raise ZeroDivisionError("by design")


@pytest.mark.parametrize(
    ("kind", "point"),
    [
        (_Together, "corrects each subject alone"),
        (_Negative, "gives finite volumes that are not below 0, in the same shape"),
        (_Flat, "gives finite volumes that are not below 0, in the same shape"),
        (_Peeks, "never sees the target"),
        (_Changes, "leaves its inputs untouched"),
        (_Draws, "same volumes, same output"),
        (_Eager, "refuses to correct before it is fitted"),
        (_Crashes, "fits and corrects"),
    ],
)
def test_each_breach_is_named(kind: type[VolumeCorrection], point: str) -> None:
    broken = {check.name: check.detail for check in check_correction(kind) if not check.passed}
    assert point in broken
    assert broken[point]


def test_names_are_found_without_an_import() -> None:
    listed = {one.name: one for one in describe_installed()}
    assert {name for name, one in listed.items() if one.maps == "volumes"} == {
        *available_corrections()
    }
    assert listed["volume_ratio"].title == "Volume ratio"
    assert listed["volume_linear"].parameters == {}
    assert not set(available_corrections()) & set(available_methods())


def test_which_of_the_two_a_reference_is(tmp_path: Path) -> None:
    volumes, _, first = new_method("of_volumes", tmp_path, volumes=True)
    images, _, second = new_method("of_images", tmp_path)
    assert is_correction("volume_ratio")
    assert is_correction(f"{volumes}:{first}")
    for other in ("identity", "nothing", f"{images}:{second}", f"{volumes}:Other", "gone.py:Gone"):
        assert not is_correction(other)
    with pytest.raises(MethodError, match=r"volume_ratio.* is a volume correction"):
        load_method("volume_ratio")
    with pytest.raises(MethodError, match="unknown volume correction 'identity'"):
        load_correction("identity")


def test_every_experiment_has_them() -> None:
    controls = Experiment().volume_controls
    assert set(controls) == set(available_corrections())
    assert list(Experiment().all_corrections()) == list(controls)
    assert not set(Experiment().all_methods()) & set(controls)
    assert not load_experiment(None, ["volume_controls=[]"]).all_corrections()
    given = load_experiment(None, ["methods.volume_linear.error_ratio=2", "methods.dm={}"])
    assert given.all_corrections()["volume_linear"][1] == {"error_ratio": 2}
    assert "volume_linear" not in given.all_methods()
    chosen = select_methods(load_experiment(None, ["volume_controls=[]"]), ["volume_ratio"])
    assert list(chosen.all_corrections()) == ["volume_ratio"]
    bad = load_experiment(None, ["methods.volume_linear.eror_ratio=2"])
    with pytest.raises(ConfigError, match="error_ratio"):
        select_methods(bad, ["identity"])


def test_commands(call, tmp_path: Path) -> None:
    code, out, _ = call("methods", "--json")
    assert code == 0
    maps = {row["method"]: row["maps"] for row in json.loads(out)}
    assert (maps["identity"], maps["volume_combat"]) == ("images", "volumes")
    code, out, _ = call("methods", "volume_linear", "--json")
    assert json.loads(out)["maps"] == "volumes"
    assert json.loads(out)["settings"][0]["setting"] == "error_ratio"
    assert call("new-method", "mine", "--volumes", "--folder", tmp_path)[0] == 0
    code, out, _ = call("check-method", f"{tmp_path}/mine.py:Mine", "--set", "share=0.5")
    assert code == 0
    assert "corrects each subject alone" in out
    code, out, _ = call("check-method", "volume_combat", "--json")
    assert code == 0
    assert {row["result"] for row in json.loads(out)} == {"passed"}
