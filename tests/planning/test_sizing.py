"""Sizes and times from costs that are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from harmbench.errors import ConfigError
from harmbench.method import Method
from harmbench.planning.plan import Cost
from harmbench.planning.sizing import FEWEST_STEPS, CellSize, Rest, Sized, cell_s, cells_s, size
from harmbench.settings import Settings

CELL = CellSize(train=6, test=2)
REST = Rest(segment_s=3.0, score_s=1.0)


class WideSettings(Settings):
    width: int = 100
    iterations: int = 10_000


class Wide(Method):
    """A step takes `width` hundredths of a second."""

    Config = WideSettings
    sizes: ClassVar = ({}, {"width": 10, "iterations": 1000}, {"width": 1, "iterations": 100})

    def harmonize(self, source, task):
        return source

    def training_steps(self, slices: int) -> int:
        assert isinstance(self.config, WideSettings)
        return self.config.iterations

    def sized(self, steps: int) -> Mapping[str, Any]:
        return {"iterations": steps}


def _cost(step_s: float) -> Cost:
    return Cost(step_s=step_s, networks=1, slices=70, pair_s=0.5, harmonize_s=1.0)


def _size(seconds: float, given: Mapping[str, Any] | None = None, **options: Any) -> Sized:
    def measured(settings: Mapping[str, Any]) -> Cost:
        measured_widths.append(settings.get("width", 100))
        return _cost(settings.get("width", 100) / 100)

    sizes = options.get("sizes", Wide.sizes)
    return size(Wide, "wide", given or {}, sizes, CELL, REST, lambda: seconds, measured)


measured_widths: list[int] = []


@pytest.fixture(autouse=True)
def _nothing_measured() -> None:
    measured_widths.clear()


def test_a_cell_is_training_and_what_its_test_subjects_cost() -> None:
    # Six pairs of 0.5 s, 100 steps of 0.2 s, two subjects of 1 + 3 + 1 s.
    assert cell_s(_cost(0.2), 100, CELL, REST) == pytest.approx(3 + 20 + 10)


def test_two_networks_train_one_after_the_other() -> None:
    twice = _cost(0.2).model_copy(update={"networks": 2})
    assert cell_s(twice, 100, CELL, REST) == pytest.approx(2 * 23 + 10)


@pytest.mark.parametrize(
    ("seconds", "jobs", "total"),
    [([5, 5, 5], 1, 15), ([5, 5, 5], 2, 10), ([5, 1, 1, 1], 2, 5), ([5], 4, 5), ([], 2, 0)],
)
def test_cells_side_by_side(seconds: list[float], jobs: int, total: float) -> None:
    assert cells_s(seconds, jobs) == total


def test_a_short_time_takes_the_smallest_network_and_the_steps_that_fit() -> None:
    found = _size(13 + 1.5)
    assert found.settings == {"width": 1, "iterations": 150}
    assert found.seconds == pytest.approx(14.5)
    # 150 steps are fewer than half of what the next size asks for: it isn't measured.
    assert measured_widths == [1]


def test_a_larger_network_is_taken_where_it_can_be_trained() -> None:
    found = _size(13 + 60)
    assert found.settings == {"width": 10, "iterations": 600}
    assert measured_widths == [1, 10]


def test_a_network_that_gets_less_than_half_of_its_steps_is_not_taken() -> None:
    found = _size(13 + 40)
    assert found.settings == {"width": 1, "iterations": 4000}


def test_the_largest_training_is_never_longer_than_it_asks_for() -> None:
    assert _size(1e6).settings == {"iterations": 10_000}


def test_no_training_is_shorter_than_the_fewest_steps() -> None:
    assert _size(1.0).settings == {"width": 1, "iterations": FEWEST_STEPS}


@pytest.mark.parametrize("seconds", [1.0, 30.0, 500.0, 1e6])
@pytest.mark.parametrize("given", [{"iterations": 7}, {"width": 3}, {"width": 3, "iterations": 7}])
def test_what_was_given_stays(seconds: float, given: dict[str, int]) -> None:
    found = _size(seconds, given)
    assert {name: found.settings[name] for name in given} == given


def test_given_steps_choose_the_network_that_takes_them_in_time() -> None:
    assert _size(13 + 60, {"iterations": 500}).settings == {"width": 10, "iterations": 500}
    assert _size(1.0, {"iterations": 500}).settings == {"width": 1, "iterations": 500}


def test_settings_that_no_size_takes_are_an_error() -> None:
    with pytest.raises(ConfigError, match=r"methods\.wide\.width"):
        _size(10.0, {"width": "broad"})
