"""Every error that harmbench raises on purpose.

```
HarmbenchError
├── ConfigError            a setting is unknown, of the wrong type or out of range
├── VolumeError            a file is not a readable 3D image, or two volumes do not fit together
├── CohortError            a cohort is incomplete or inconsistent; lists every problem found
├── FoldError              the folds cannot be made, or a subject would be on both sides
├── MethodError            a method is unknown, cannot be loaded or breaks the contract
│   └── TrainingError      training cannot go on (loss is not finite, checkpoint does not fit)
├── PreparationError       a scan cannot be prepared
├── SegmentationError      a volume has no usable segmentation
│   ├── SegmenterError     the segmenter failed, whatever the volume: trying again may help
│   └── UnsegmentableError it follows from the volume itself: trying again gives the same
│       └── ImplausibleLabelsError  the labels cannot be a brain's tissues
├── ProgramError           a program of another project failed
├── UnavailableError       the software or weights of a step are not installed
├── MetricError            arrays that cannot be scored together
├── RunError               a run folder cannot be used
│   └── LockError          a lock cannot be read, and nobody knows whether its owner lives
└── ReportError            there is nothing to report, or a run folder is unreadable
    └── DamagedRecordError a record of a run or a cell cannot be read
```

A message says what is wrong, where, and what is allowed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

__all__ = [
    "CohortError",
    "ConfigError",
    "DamagedRecordError",
    "FoldError",
    "HarmbenchError",
    "ImplausibleLabelsError",
    "LockError",
    "MethodError",
    "MetricError",
    "PreparationError",
    "ProgramError",
    "ReportError",
    "RunError",
    "SegmentationError",
    "SegmenterError",
    "TrainingError",
    "UnavailableError",
    "UnsegmentableError",
    "VolumeError",
    "describe",
    "suggest",
]


_MOST_PROBLEMS = 20
_SHOWN_OF_A_KIND = 3
_NAMES = re.compile(r"(?<=subject )\S+|(?<=session )\S+|'[^']*'|\S*[0-9/]\S*")


class HarmbenchError(Exception):
    """Base of all errors that harmbench raises on purpose."""


class ConfigError(HarmbenchError):
    """A setting is unknown, of the wrong type or out of range."""


class VolumeError(HarmbenchError):
    """A file is not a readable 3D image, or two volumes do not fit together."""


class CohortError(HarmbenchError):
    """A cohort is incomplete or inconsistent.

    The message lists every problem. Where there are many, it has the first of each kind and says how
    many more are like them.

    Attributes:
        problems: every problem found, one sentence each.
    """

    def __init__(self, summary: str, problems: Sequence[str] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__("\n  - ".join([summary, *_condensed(self.problems)]))


def _condensed(problems: Sequence[str]) -> list[str]:
    """Keep the first problems of each kind: sentences that differ in names, numbers and paths only."""
    if len(problems) <= _MOST_PROBLEMS:
        return list(problems)
    kinds: dict[str, list[str]] = {}
    for problem in problems:
        kinds.setdefault(_NAMES.sub("#", problem), []).append(problem)
    lines: list[str] = []
    for own in kinds.values():
        lines += own[:_SHOWN_OF_A_KIND]
        more = len(own) - _SHOWN_OF_A_KIND
        lines += [f"and {more} more like this"] if more > 0 else []
    return lines


class FoldError(HarmbenchError):
    """The folds cannot be made, or a subject would be on both sides of a split."""


class MethodError(HarmbenchError):
    """A method is unknown, cannot be loaded or breaks the contract."""


class TrainingError(MethodError):
    """Training cannot go on: the loss is not finite or a checkpoint does not fit."""


class PreparationError(HarmbenchError):
    """A scan cannot be prepared: no brain, no known orientation, or it does not fit the grid."""


class SegmentationError(HarmbenchError):
    """A volume has no usable segmentation."""


class SegmenterError(SegmentationError):
    """The segmenter itself failed: it was killed, left no output, or found no room for its files."""


class UnsegmentableError(SegmentationError):
    """A volume cannot be segmented, and the reason is the volume itself."""


class ImplausibleLabelsError(UnsegmentableError):
    """A segmentation cannot be a brain's tissues."""


class ProgramError(HarmbenchError):
    """A program of another project could not be started, or did not end with success.

    Attributes:
        code: its exit code, or the negative number of the signal that ended it; `None` where it
            never ended by itself.
        timed_out: whether it took too long.
    """

    def __init__(self, message: str, code: int | None = None, *, timed_out: bool = False) -> None:
        self.code, self.timed_out = code, timed_out
        super().__init__(message)


class UnavailableError(HarmbenchError):
    """The software, or the weights, of a segmenter or skull stripper are not installed."""


class MetricError(HarmbenchError):
    """Arrays that cannot be scored together."""


class RunError(HarmbenchError):
    """A run folder cannot be used."""


class LockError(RunError):
    """A lock cannot be read, and nobody knows whether its owner lives; the message names the file."""


class ReportError(HarmbenchError):
    """There is nothing to report, or a run folder is unreadable."""


class DamagedRecordError(ReportError):
    """A record of a run or a cell is not what harmbench writes."""


def describe(error: Exception) -> str:
    """Say what an error says, after its class where it is none of harmbench's or has no words.

    Python's own errors may have few words: those of a `KeyError` are the key.
    """
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the class may be foreign code, and as faulty as what raised it
        text = ""
    if not text:
        return name
    return text if isinstance(error, HarmbenchError | OSError) else f"{name}: {text}"


def suggest(name: str, allowed: Iterable[str]) -> str:
    """Say which names are allowed, the nearest one first: `did you mean 'dm'? allowed: ...`."""
    names = sorted(allowed)
    if not names:
        return "there is nothing to choose from"
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"{hint}allowed: {', '.join(names)}"
