"""The contract test passes good adapters and catches each way to break it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from harmbench.cli.scaffold import new_method
from harmbench.contract import check_method, tiny_pairs
from harmbench.discovery import load_method, usable_methods
from harmbench.method import Method
from harmbench.methods.histogram_matching import HistogramMatching
from harmbench.volume import Volume


@pytest.mark.parametrize("name", sorted(usable_methods()))
def test_every_installed_method_holds_the_contract(name: str) -> None:
    broken = [check for check in check_method(load_method(name)) if not check.passed]
    assert not broken


def test_a_new_adapter_holds_the_contract(tmp_path: Path) -> None:
    adapter, test, cls = new_method("my_method", tmp_path)
    assert all(check.passed for check in check_method(load_method(f"{adapter}:{cls}")))
    assert test.name == "test_my_method.py"


class _Shifts(Method):
    def harmonize(self, source, task):
        return Volume(source.data[1:], source.affine)


class _Escapes(Method):
    def harmonize(self, source, task):
        return source.with_data(source.data * 3 - 1)


class _NotANumber(Method):
    def harmonize(self, source, task):
        return source.with_data(source.data * np.nan)


class _Draws(Method):
    draws: ClassVar = np.random.default_rng(0)

    def harmonize(self, source, task):
        return source.with_data(source.data * self.draws.random())


class _Forgets(HistogramMatching):
    @classmethod
    def load(cls, folder: Path, config=None):
        method = super().load(folder, config)
        method._landmarks = method._landmarks**2
        return method


class _Peeks(Method):
    def harmonize(self, source, task, target=None):
        return source


class _Changes(Method):
    def harmonize(self, source, task):
        source.data.flags.writeable = True
        source.data[:] = 0
        return source


class _DependsOnInterruption(Method):
    gain = 1.0

    def fit(self, pairs, task):
        mark = task.folder / "mark"
        self.gain = 0.5 if mark.exists() else 1.0
        mark.touch()
        for done in range(4):
            task.progress("fit", done, 4)

    def harmonize(self, source, task):
        return source.with_data(source.data * self.gain)


class _Crashes(Method):
    def harmonize(self, source, task):
        raise ZeroDivisionError("by design")


class _Miscounts(Method):
    default_parameters: ClassVar = {"network": 12}

    def harmonize(self, source, task):
        return source

    def parameter_counts(self):
        return {"network": 13}


@pytest.mark.parametrize(
    ("kind", "point"),
    [
        (_Shifts, "keeps shape and affine"),
        (_Escapes, "output is finite float32 in [0, 1]"),
        (_NotANumber, "output is finite float32 in [0, 1]"),
        (_Draws, "same seed, same output"),
        (_Forgets, "saved and loaded gives the same output"),
        (_Peeks, "never sees the target"),
        (_Changes, "leaves its inputs untouched"),
        (_DependsOnInterruption, "interrupted fit resumes to the same place"),
        (_Crashes, "fits and harmonizes"),
        (_Miscounts, "declares its number of parameters"),
    ],
)
def test_each_breach_is_named(kind: type[Method], point: str) -> None:
    broken = {check.name: check.detail for check in check_method(kind) if not check.passed}
    assert point in broken
    assert broken[point]


class _LearnsSilently(_DependsOnInterruption):
    def fit(self, pairs, task):
        self.gain = 0.5


@pytest.mark.parametrize(
    ("kind", "remark"),
    [
        (_LearnsSilently, "not interrupted: fit reports no progress"),
        (load_method("identity"), "nothing to interrupt: the method does not learn"),
        (HistogramMatching, ""),
    ],
)
def test_a_point_that_could_not_be_tried_says_so(kind: type[Method], remark: str) -> None:
    details = {check.name: check.detail for check in check_method(kind)}
    assert details["interrupted fit resumes to the same place"] == remark


def test_tiny_pairs_look_like_a_contrast_change() -> None:
    one, two = tiny_pairs(2)
    assert one.source.same_grid(two.target)
    for pair in (one, two):
        for volume in (pair.source, pair.target):
            assert volume.data.min() == 0
            assert 0.5 < volume.data.max() <= 1
        brain = pair.source.data > 0
        assert np.corrcoef(pair.source.data[brain], pair.target.data[brain])[0, 1] > 0.9
        assert np.abs(pair.source.data - pair.target.data)[brain].mean() > 0.05
