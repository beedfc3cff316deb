"""What `run.json` says of a run folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harmbench.cohorts.splits import SplitChoice
from harmbench.notes import Note
from harmbench.planning.plan import Plan
from harmbench.runner.records import Maps, Part, Record
from harmbench.segmentation import Contrast
from harmbench.task import Direction

__all__ = [
    "CohortRecord",
    "FoldsRecord",
    "Invocation",
    "MethodRecord",
    "RescansRecord",
    "RunRecord",
    "SegmenterRecord",
    "SplitRecord",
]


class CohortRecord(Part):
    """The data set that a run is on.

    Attributes:
        name: the kind of cohort, such as `phantom`.
        description: one sentence for the report.
        simulated: whether the scans were computed.
        citation: how to cite the data; empty where the user gave none.
        subjects: number of subjects.
        preparation: the settings that the scans were prepared with; `None` where that is not known.
    """

    name: str = ""
    description: str = ""
    simulated: bool = False
    citation: str = ""
    subjects: int = 0
    preparation: Mapping[str, Any] | None = None


class MethodRecord(Part):
    """A method as a run describes it.

    Attributes:
        uses: name of the method, or FILE.py:CLASS.
        title: its name in tables.
        reference: where it was published.
        settings: those that it runs with.
        parameters: number of parameters by network.
        maps: what it maps.
    """

    uses: str = ""
    title: str = ""
    reference: str = ""
    settings: Mapping[str, Any] = {}
    parameters: Mapping[str, int] = {}
    maps: Maps = "images"


class SegmenterRecord(Part):
    """The segmenter of a run's last invocation, and the contrast that it takes the scans for."""

    name: str = ""
    version: str = ""
    contrast: Contrast = "T1w"


class FoldsRecord(Part):
    """Number of folds, and the seed of their shuffle; `folds.csv` has the folds themselves."""

    k: int
    seed: int


class SplitRecord(Part):
    """How training and test pairs were chosen, where that is not as usual.

    Attributes:
        choice: the settings.
        words: the same, and what else is particular about folds and pairs, in sentences.
    """

    choice: SplitChoice = SplitChoice()
    words: tuple[str, ...] = ()


class RescansRecord(Part):
    """Several scans of one subject on one scanner: their sessions, in order of visits."""

    subject: str
    scanner: str
    sessions: tuple[str, ...]


class Invocation(Part):
    """One `harmbench run` or `rescore`: what it was made with, and how it ended.

    Attributes:
        id: names the invocation in the records of cells.
        started, finished: time in UTC, ISO 8601; `finished` is empty where it has not ended.
        command: the command line.
        version: of harmbench.
        python, packages: versions.
        host, system, cores: the machine.
        device, device_name: torch device, and what that is.
        git: commit of the checkout that harmbench ran from.
        config: the settings of the run.
        cells, failed, incomplete: how many cells it worked on, and how many of them ended so.
    """

    id: str = ""
    started: str = ""
    finished: str = ""
    command: tuple[str, ...] = ()
    version: str = ""
    python: str = ""
    packages: Mapping[str, str] = {}
    host: str = ""
    system: str = ""
    cores: int | None = None
    device: str = ""
    device_name: str = ""
    git: str = ""
    config: Mapping[str, Any] = {}
    cells: int = 0
    failed: int = 0
    incomplete: int = 0


class RunRecord(Record):
    """What `run.json` says of a run folder: all invocations together.

    Attributes:
        name: title of the report.
        cohort: the data set.
        directions: those of all invocations.
        methods: by label, as last run.
        segmenter: of the last invocation.
        stacking_axis: along which slices are stacked; `None` in a folder that nothing ran in.
        folds: `None` in a folder that nothing ran in.
        split: how training and test pairs were chosen.
        rescans: repeated scans on one scanner, of all invocations.
        notes: what was assumed about the scans, or is odd in them; sorted, without repetitions.
        invocations: in the order of their starts.
        plan: what the runs chose where the user did not.
        tables: file to the SHA-256 that it had when an invocation wrote it, of all invocations.
    """

    name: str = ""
    cohort: CohortRecord = CohortRecord()
    directions: tuple[Direction, ...] = ()
    methods: Mapping[str, MethodRecord] = {}
    segmenter: SegmenterRecord = SegmenterRecord()
    stacking_axis: int | None = None
    folds: FoldsRecord | None = None
    split: SplitRecord = SplitRecord()
    rescans: tuple[RescansRecord, ...] = ()
    notes: tuple[Note, ...] = ()
    invocations: tuple[Invocation, ...] = ()
    plan: Plan | None = None
    tables: Mapping[str, tuple[str, ...]] = {}

    def and_later(self, later: RunRecord) -> RunRecord:
        """Return the record with what a later invocation adds; fields that it did not set stay."""
        others = [way for way in self.directions if way not in later.directions]
        ids = {one.id for one in later.invocations}
        earlier = [one for one in self.invocations if one.id not in ids]
        scans = {(one.subject, one.scanner): one for one in (*self.rescans, *later.rescans)}
        words = dict.fromkeys((*self.split.words, *later.split.words))
        together = {
            "directions": (*others, *later.directions),
            "methods": {**self.methods, **later.methods},
            "split": later.split.model_copy(update={"words": tuple(words)}),
            "rescans": tuple(scans.values()),
            "notes": tuple(sorted({*self.notes, *later.notes})),
            "invocations": (*earlier, *later.invocations),
            "tables": {
                name: tuple(
                    dict.fromkeys((*self.tables.get(name, ()), *later.tables.get(name, ())))
                )
                for name in dict.fromkeys((*self.tables, *later.tables))
            },
        }
        given = {name: getattr(later, name) for name in later.model_fields_set}
        update = {name: together.get(name, value) for name, value in given.items()}
        return self.model_copy(update=update)

    def with_invocation(self, name: str, update: Mapping[str, Any]) -> RunRecord:
        """Return the record with other values in the fields of the invocation with this id."""
        changed = tuple(
            one.model_copy(update=dict(update)) if one.id == name else one
            for one in self.invocations
        )
        return self.model_copy(update={"invocations": changed})
