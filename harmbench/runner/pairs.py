"""Pairs of scans as a run names them: by the labels of their sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harmbench.cohorts.pairing import ScanPair
from harmbench.folds import nested_subsets

__all__ = ["CellSplit", "Rescan", "SessionPair"]


@dataclass(frozen=True, slots=True, order=True)
class SessionPair:
    """A source and a target scan of one subject, by their labels.

    Attributes:
        subject: the person.
        visit: on the source scanner; empty where each subject has one scan on it.
        source, target: labels of the sessions.
    """

    subject: str
    visit: str
    source: str
    target: str

    @property
    def name(self) -> str:
        """What files and keys of a tested pair are named by: the subject, and the visit if any."""
        return f"{self.subject}_{self.visit}" if self.visit else self.subject

    @classmethod
    def of(cls, pair: ScanPair) -> SessionPair:
        """Return the labels of a pair of scans."""
        return cls(pair.subject, pair.visit, pair.source.session, pair.target.session)


@dataclass(frozen=True, slots=True)
class CellSplit:
    """What a cell learns from and what it is tested on.

    Attributes:
        train: pairs to learn from.
        test: pairs to test on; one for each subject and visit.
        simple: whether both follow from the list of test subjects: every subject of the study is on
            one side, and sessions are scanners.
    """

    train: tuple[SessionPair, ...]
    test: tuple[SessionPair, ...]
    simple: bool = False

    @property
    def train_subjects(self) -> tuple[str, ...]:
        """Subjects with training pairs, each once."""
        return _subjects(self.train)

    @property
    def test_subjects(self) -> tuple[str, ...]:
        """Subjects with test pairs, each once."""
        return _subjects(self.test)

    def reduced(self, size: int, groups: Mapping[str, str], seed: int) -> CellSplit:
        """Return the split with fewer training subjects and the same tests.

        A smaller number takes a subset of what a larger one takes (see `nested_subsets`).

        Args:
            size: number of training subjects.
            groups: subject to group.
            seed: of the choice.

        Raises:
            FoldError: there are not so many training subjects.
        """
        own = {subject: groups[subject] for subject in self.train_subjects}
        chosen = set(nested_subsets(own, [size], seed)[size])
        train = tuple(pair for pair in self.train if pair.subject in chosen)
        return CellSplit(train, self.test)


def _subjects(pairs: Sequence[SessionPair]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(pair.subject for pair in pairs))


@dataclass(frozen=True, slots=True, order=True)
class Rescan:
    """Two scans of one subject on the target scanner of a direction.

    Attributes:
        subject: a test subject.
        target: session that methods are scored against.
        rescan: session of the nearest other scan on the same scanner.
    """

    subject: str
    target: str
    rescan: str
