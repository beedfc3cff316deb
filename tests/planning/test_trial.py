"""Trials: that they train for real, count what they see, and scale what is too long to try."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from harmbench.contract import tiny_pairs
from harmbench.discovery import load_method
from harmbench.errors import MethodError
from harmbench.executors import LocalExecutor
from harmbench.planning import trial as module
from harmbench.planning.plan import Cost
from harmbench.planning.trial import Trial, measure, measure_apart, rough
from harmbench.plugins import Reference
from harmbench.progress import Display
from harmbench.task import Direction


def _trial(name: str, **settings: Any) -> Trial:
    quick = load_method(name).quick_settings
    return Trial(
        uses=Reference.parse(name),
        label=name,
        settings={**quick, **settings},
        pairs=tiny_pairs(3),
        direction=Direction("A", "B"),
        device="cpu",
    )


@pytest.mark.parametrize("name", ["unet", "deepharmony", "pgan", "dm", "flow"])
def test_a_trial_trains_a_method_and_counts_its_slices(name: str, monkeypatch) -> None:
    monkeypatch.setattr(module, "_AIM_S", 0.0)
    cost = measure(_trial(name))
    assert cost.networks == 1
    x, _, _ = tiny_pairs(1)[0].source.shape
    assert 0 < cost.slices <= x
    assert min(cost.step_s, cost.harmonize_s) > 0


@pytest.mark.parametrize(
    ("trainings", "most"),
    [
        (0, module._MOST_STEPS),  # not known: as long as steps tell something
        (8, 24),  # 2 % of 8 trainings of 150 steps
        (1000, module._MOST_STEPS),
    ],
)
def test_short_trainings_are_measured_shortly(trainings: int, most: int, monkeypatch) -> None:
    asked = []

    def known(kind, trial, pairs, steps):
        asked.append(steps)
        return load_method("identity")(), module._Found(0.01, 1, 10.0 * len(pairs), (30, 40), 0.0)

    monkeypatch.setattr(module, "_train", known)
    measure(replace(_trial("unet", iterations=150), trainings=trainings, train_pairs=6))
    assert asked == [module._FIRST_STEPS, most]


def test_every_orientation_is_a_network(monkeypatch) -> None:
    monkeypatch.setattr(module, "_AIM_S", 0.0)
    assert measure(_trial("unet", orientations=[0, 2])).networks == 2


def test_a_rough_trial_scales_pixels_slices_and_batch(monkeypatch) -> None:
    tried = []

    def known(kind, trial, pairs, steps):
        tried.append(pairs[0].source.shape)
        # A constant of half a second, and 1 s for each slice.
        size = trial.settings["batch_size"]
        return kind(), module._Found(0.5 + size, 1, 10.0, (30, 40), 5.0)

    monkeypatch.setattr(module, "_train", known)
    first = tiny_pairs(1)[0]
    extent = max(first.source.shape)
    monkeypatch.setattr(module, "_ROUGH_EXTENT", -(-extent // 2))
    given = {"batch_size": 4, "sampling_steps": 50, "timesteps": 100}
    cost = rough(replace(_trial("dm", **given), zoom=2.0))
    assert all(max(shape) == -(-extent // 2) for shape in tried)
    # Every second voxel of scans twice as coarse as those that are meant: 4 times finer in a plane.
    small = -(-extent // 2)
    pixels = max(30, 4 * min(30, small)) / 30 * (max(40, 4 * min(40, small)) / 40)
    assert cost.step_s == pytest.approx(0.5 + 4 * pixels)
    assert cost.slices == 40
    assert cost.harmonize_s == pytest.approx(40 * 50 * pixels / 3)


def test_a_network_that_pads_its_slices_does_not_grow(monkeypatch) -> None:
    def known(kind, trial, pairs, steps):
        size = trial.settings["batch_size"]
        return kind(), module._Found(0.5 + size, 1, 10.0, (256, 256), 0.0)

    monkeypatch.setattr(module, "_train", known)
    assert rough(replace(_trial("dm", batch_size=4), zoom=2.0)).step_s == pytest.approx(4.5)


def _dies(trial: Trial) -> Cost:
    os._exit(3)


def _breaks(trial: Trial) -> Cost:
    raise ZeroDivisionError("no pairs")


def _ends(trial: Trial) -> Cost:
    raise SystemExit(0)


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (_dies, "a trial failed: its process ended with exit code 3"),
        (_breaks, "a trial failed with ZeroDivisionError: no pairs"),
        (_ends, "a trial failed with SystemExit"),
    ],
)
def test_a_trial_that_goes_wrong_is_an_error_of_the_method(work, message) -> None:
    with pytest.raises(MethodError, match=message):
        module._apart(work, replace(_trial("unet"), pairs=()), 60.0)


def test_trials_are_forked_from_the_server_of_the_run() -> None:
    executor = LocalExecutor(2)
    with Display("cells", 1, Console(quiet=True)) as display:
        (server,) = dict(executor.run(_server, [0], display)).values()
    with pytest.raises(MethodError, match=rf"KeyError: {server}$"):
        module._apart(_says_its_server, replace(_trial("unet"), pairs=()), 60.0, executor)


def _server(_item: int, _progress: object) -> int:
    return os.getppid()


def _says_its_server(_trial: Trial) -> Cost:
    raise KeyError(os.getppid())


def test_a_trial_that_takes_too_long_is_stopped() -> None:
    with pytest.raises(MethodError, match="a trial took longer than 0 s"):
        module._apart(measure, _trial("unet"), 0.0)


def test_a_trial_apart_finds_the_same_slices(monkeypatch) -> None:
    monkeypatch.setattr(module, "_AIM_S", 0.0)
    wanted = measure(_trial("unet"))
    found = measure_apart(_trial("unet"))
    assert (found.networks, found.slices) == (wanted.networks, wanted.slices)
