"""The shared contract test: what every method adapter must hold, tried on tiny simulated pairs."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harmbench.arrays import count_not_finite, in_unit_range
from harmbench.discovery import make_settings
from harmbench.errors import MethodError
from harmbench.guard import method_call
from harmbench.method import Method
from harmbench.task import Direction, Pair, Task
from harmbench.volume import Volume

__all__ = ["Check", "check_method", "tiny_pairs"]

_SHAPE = (16, 24, 20)
_TOLERANCE = 1e-6
_COUNTS = "declares its number of parameters"
_RESUMES = "interrupted fit resumes to the same place"


@dataclass(frozen=True, slots=True)
class Check:
    """One point of the contract and how it went; `detail` says what broke or was not tried."""

    name: str
    passed: bool
    detail: str = ""


class _InterruptionError(BaseException):
    """Stands for a kill in the middle of `fit`."""


def tiny_pairs(count: int = 3, seed: int = 0) -> list[Pair]:
    """Simulate pairs of small brain-like volumes whose contrasts differ by a monotone curve.

    Returns:
        `count` pairs of shape (16, 24, 20), in [0, 1], background 0, 2 mm, oblique affine.
    """
    random = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in _SHAPE), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    affine = np.array([[2, 0.1, 0, -16], [-0.1, 2, 0, -24], [0, 0, 2, -20], [0, 0, 0, 1]], float)
    pairs = []
    for number in range(count):
        brain = radius < 0.85 + 0.05 * random.random()
        tissue = 0.5 + 0.4 * np.cos(6 * radius + random.random()) * np.cos(3 * axes[1])
        noisy = [np.clip(tissue + 0.02 * random.standard_normal(_SHAPE), 0.02, 1) for _ in "st"]
        source, target = noisy[0] * brain, (noisy[1] ** 1.8) * brain
        group = "HC" if number % 2 else "MS"
        pairs.append(Pair(f"sub-{number}", group, Volume(source, affine), Volume(target, affine)))
    return pairs


def check_method(kind: type[Method], settings: Mapping[str, object] | None = None) -> list[Check]:
    """Try every point of the contract and say how it went.

    Args:
        kind: the method.
        settings: on top of the method's `quick_settings`.

    Raises:
        ConfigError: the settings are not valid.
    """
    config = make_settings(kind, {**kind.quick_settings, **(settings or {})}, kind.__name__)
    train, (held_out,) = tiny_pairs(3), tiny_pairs(1, seed=9)
    checks: list[Check] = []
    with tempfile.TemporaryDirectory(prefix="harmbench-check-") as folder:
        trial = _Trial(kind, config, train, held_out.source, Path(folder))
        for name, point in trial.points():
            try:
                with method_call():
                    point()
            except Exception as error:  # noqa: BLE001 - whatever a method raises breaks the point
                detail = str(error) or type(error).__name__
                if not isinstance(error, MethodError | AssertionError):
                    detail = f"{type(error).__name__}: {detail}"
                checks.append(Check(name, False, detail))
                if trial.output is None:
                    break
            else:
                checks.append(Check(name, True, trial.remarks.get(name, "")))
    return checks


class _Trial:
    """A fitted method and its output, looked at from all sides."""

    def __init__(
        self,
        kind: type[Method],
        config: Any,
        train: Sequence[Pair],
        source: Volume,
        folder: Path,
    ) -> None:
        self.kind, self.config, self.train = kind, config, train
        self.source, self.folder = source, folder
        self.task = Task(direction=Direction("A", "B"), seed=3, folder=folder / "fit")
        self.output: Volume | None = None
        self.remarks: dict[str, str] = {}

    def points(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """The contract, point by point; the first makes what the others look at."""
        yield "fits and harmonizes", self.runs
        yield "keeps shape and affine", self.keeps_grid
        yield "output is finite float32 in [0, 1]", self.is_finite
        yield "leaves its inputs untouched", self.leaves_inputs
        yield "same seed, same output", self.repeats
        yield "saved and loaded gives the same output", self.survives_saving
        yield _RESUMES, self.resumes
        yield "never sees the target", self.never_sees_target
        yield _COUNTS, self.counts_parameters

    def _fitted(self, task: Task) -> Method:
        method = self.kind(self.config)
        assert task.folder is not None
        task.folder.mkdir(parents=True, exist_ok=True)
        method.fit(self.train, task)
        return method

    def _harmonized(self, method: Method) -> Volume:
        return method.harmonize(self.source, replace(self.task, folder=None))

    def _same(self, other: Volume, what: str) -> None:
        assert self.output is not None
        gap = float(np.abs(other.data - self.output.data).max())
        if gap > _TOLERANCE:
            raise MethodError(f"{what}: outputs differ by up to {gap:.3g}")

    def runs(self) -> None:
        self.before = [v.key for p in self.train for v in (p.source, p.target)] + [self.source.key]
        method = self._fitted(self.task)
        output = self._harmonized(method)
        if not isinstance(output, Volume):
            raise MethodError(f"harmonize returned {type(output).__name__}, expected a Volume")
        self.method, self.output = method, output

    def keeps_grid(self) -> None:
        assert self.output is not None
        if not self.output.same_grid(self.source):
            raise MethodError(
                f"shape {self.output.shape}, expected {self.source.shape} and the same affine; "
                "use source.with_data(...)"
            )

    def is_finite(self) -> None:
        assert self.output is not None
        data = self.output.data
        if data.dtype != np.float32 or (bad := count_not_finite(data)):
            raise MethodError(f"{data.dtype} data, {bad} not finite")
        if not in_unit_range(data):
            raise MethodError(f"values from {data.min():.4g} to {data.max():.4g}")

    def leaves_inputs(self) -> None:
        after = [v.key for p in self.train for v in (p.source, p.target)] + [self.source.key]
        if after != self.before:
            raise MethodError("fit or harmonize changed a volume in place")

    def repeats(self) -> None:
        self._same(self._harmonized(self.method), "harmonized twice")
        again = self._fitted(replace(self.task, folder=self.folder / "again"))
        self._same(self._harmonized(again), "fitted twice with one seed")

    def survives_saving(self) -> None:
        saved = self.folder / "saved"
        saved.mkdir()
        self.method.save(saved)
        self._same(self._harmonized(self.kind.load(saved, self.config)), "saved and loaded")
        pickles = [
            p.name for p in saved.rglob("*") if p.suffix in {".pkl", ".pickle", ".pt", ".pth"}
        ]
        if pickles:
            raise MethodError(f"save wrote pickles: {', '.join(pickles)}; use safetensors or JSON")

    def resumes(self) -> None:
        calls = _Counter()
        self._fitted(replace(self.task, folder=self.folder / "count", progress=calls))
        stop = _Counter(stop_at=calls.count // 2 + 1) if calls.count > 1 else None
        task = replace(self.task, folder=self.folder / "resumed")
        if stop is None:
            self.remarks[_RESUMES] = (
                "not interrupted: fit reports no progress"
                if self.kind.fit is not Method.fit
                else "nothing to interrupt: the method does not learn"
            )
        else:
            try:
                self._fitted(replace(task, progress=stop))
            except _InterruptionError:
                pass
            else:
                raise MethodError("fit swallowed the exception of its progress reporter")
        self._same(self._harmonized(self._fitted(task)), "interrupted and resumed")

    def never_sees_target(self) -> None:
        names = list(inspect.signature(self.kind.harmonize).parameters)
        if names != ["self", "source", "task"]:
            raise MethodError(
                f"harmonize takes ({', '.join(names)}), expected (self, source, task)"
            )

    def counts_parameters(self) -> None:
        declared = self.kind.default_parameters
        if declared is None:
            self.remarks[_COUNTS] = "default_parameters is not declared"
            return
        counted = dict(self.kind().parameter_counts())
        if dict(declared) != counted:
            raise MethodError(
                f"default_parameters is {dict(declared)}; parameter_counts() returns {counted}"
            )


class _Counter:
    """Counts progress reports, and interrupts the work at one of them."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.count, self.stop_at = 0, stop_at

    def __call__(self, stage: str, done: int, total: int, **values: float) -> None:
        self.count += 1
        if self.count == self.stop_at:
            raise _InterruptionError
