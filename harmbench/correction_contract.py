"""The contract test of volume corrections: what each must hold, tried on simulated volumes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

import numpy as np
from pydantic import BaseModel

from harmbench.contract import Check
from harmbench.discovery import make_settings
from harmbench.errors import MethodError
from harmbench.guard import method_call
from harmbench.volume_correction import VolumeCorrection, Volumes, checked_volumes

__all__ = ["check_correction", "simulated_volumes"]

_SUBJECTS = 16
_RELATIVE = 1e-9


def simulated_volumes(subjects: int, seed: int = 0) -> tuple[Volumes, Volumes]:
    """Simulate volumes of three tissues that two scanners measure with errors of their own.

    Returns:
        Volumes on the source and on the target scanner, shape (subjects, 3), mm3.
    """
    random = np.random.default_rng(seed)
    true = random.normal([3e5, 6e5, 5e5], [4e4, 5e4, 4e4], (subjects, 3))
    source = true + random.normal(0, 3e3, true.shape)
    target = true * [1.1, 0.95, 1.02] + [2e3, 8e3, -5e3] + random.normal(0, 3e3, true.shape)
    return source, target


def check_correction(
    kind: type[VolumeCorrection], settings: Mapping[str, object] | None = None
) -> list[Check]:
    """Try every point of the contract of a volume correction and say how it went.

    Args:
        kind: the correction.
        settings: its settings.

    Raises:
        ConfigError: the settings are not valid.
    """
    trial = _Trial(kind, make_settings(kind, settings or {}, kind.__name__))
    points: tuple[tuple[str, Callable[[], None]], ...] = (
        ("fits and corrects", trial.runs),
        ("gives finite volumes that are not below 0, in the same shape", trial.is_usable),
        ("leaves its inputs untouched", trial.leaves_inputs),
        ("same volumes, same output", trial.repeats),
        ("corrects each subject alone", trial.is_alone),
        ("never sees the target", trial.never_sees_target),
        ("refuses to correct before it is fitted", trial.needs_fit),
    )
    checks: list[Check] = []
    for name, point in points:
        try:
            with method_call():
                point()
        except Exception as error:  # noqa: BLE001 - whatever a correction raises breaks the point
            detail = str(error) or type(error).__name__
            if not isinstance(error, MethodError):
                detail = f"{type(error).__name__}: {detail}"
            checks.append(Check(name, False, detail))
            if trial.output is None:
                break
        else:
            checks.append(Check(name, True))
    return checks


class _Trial:
    """A fitted correction and its output, looked at from all sides."""

    def __init__(self, kind: type[VolumeCorrection], config: BaseModel) -> None:
        self.kind, self.config = kind, config
        self.source, self.target = simulated_volumes(max(_SUBJECTS, kind.least_subjects))
        self.test, _ = simulated_volumes(5, seed=1)
        self.before = [array.copy() for array in (self.source, self.target, self.test)]
        self.output: Volumes | None = None

    def _fitted(self) -> VolumeCorrection:
        correction = self.kind(self.config)
        correction.fit(self.source, self.target)
        return correction

    def _same(self, other: Volumes, what: str) -> None:
        if not np.allclose(other, self.output, rtol=_RELATIVE, atol=0):  # type: ignore[arg-type]  # made by runs
            raise MethodError(f"{what}: outputs differ")

    def runs(self) -> None:
        self.correction = self._fitted()
        self.output = self.correction.correct(self.test)

    def is_usable(self) -> None:
        found = checked_volumes(np.asarray(self.output), "corrected volumes", 3)
        if found.shape != self.test.shape:
            raise MethodError(f"shape {found.shape}, expected {self.test.shape}")

    def leaves_inputs(self) -> None:
        after = (self.source, self.target, self.test)
        if not all(np.array_equal(*pair) for pair in zip(self.before, after, strict=True)):
            raise MethodError("fit or correct changed volumes in place")

    def repeats(self) -> None:
        self._same(self.correction.correct(self.test), "corrected twice")
        self._same(self._fitted().correct(self.test), "fitted twice")

    def is_alone(self) -> None:
        rows = [self.correction.correct(self.test[[i]]) for i in range(len(self.test))]
        self._same(np.concatenate(rows), "corrected together and one by one")

    def never_sees_target(self) -> None:
        names = list(inspect.signature(self.kind.correct).parameters)
        if names != ["self", "volumes", "covariates"]:
            raise MethodError(
                f"correct takes ({', '.join(names)}), expected (self, volumes, covariates)"
            )

    def needs_fit(self) -> None:
        try:
            self.kind(self.config).correct(self.test)
        except Exception:  # noqa: BLE001 - a short correction may leave the error to Python
            return
        raise MethodError("correct gave volumes before fit was called")
