"""What `cell.json` says of a cell, and how that changes from stage to stage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from harmbench.cohorts.base import Rescale
from harmbench.meter import Meter
from harmbench.runner.pairs import SessionPair
from harmbench.runner.records import Maps, Part, Record
from harmbench.task import Direction

__all__ = ["CellRecord", "CellStatus", "MadeBy", "MissingLabels", "Stage", "StageCost"]

CellStatus = Literal["running", "ok", "incomplete", "failed"]
"""How a cell ended; `running` where it has not, `incomplete` where tissues have no scores."""

Stage = Literal["fit", "harmonize", "segment", "score"]


_OF_A_FIT = (
    *("keys", "stages", "clipped", "checksums", "unsegmented", "inner_error_mm3"),
    *("files", "scan_labels"),
)


class StageCost(Part):
    """What a stage of a cell took, over `count` volumes (fits, for a fit).

    Attributes:
        wall_s: seconds, summed.
        peak_memory_mb: highest resident set size, in MiB.
        count: how many times the stage ran.
        peak_device_memory_mb: highest GPU memory, in MiB; `None` where none was used.
    """

    wall_s: float = 0.0
    peak_memory_mb: float = 0.0
    count: int = 0
    peak_device_memory_mb: float | None = None

    def plus(self, meter: Meter) -> StageCost:
        """Add one more measurement."""
        update: dict[str, float] = {
            "wall_s": round(self.wall_s + meter.wall_s, 3),
            "peak_memory_mb": round(max(self.peak_memory_mb, meter.peak_memory_mib), 1),
            "count": self.count + 1,
        }
        if meter.peak_device_memory_mib is not None:
            peak = max(self.peak_device_memory_mb or 0.0, meter.peak_device_memory_mib)
            update["peak_device_memory_mb"] = round(peak, 1)
        return self.model_copy(update=update)


class MissingLabels(Part):
    """Why a tested pair of a cell has no scores of tissues.

    Attributes:
        what: what has no labels: `reference`, `volume`, or, for a volume correction, `source`.
        reason: the segmenter and what it said.
        status: of the rows without a value.
        lasting: whether it follows from the volume; otherwise the next run tries again.
    """

    what: str
    reason: str
    status: str = "segmentation_failed"
    lasting: bool = True


class MadeBy(Part):
    """The invocation that made each output of a cell: its id, by tested pair but for the fit."""

    fit: str = ""
    harmonize: Mapping[str, str] = {}
    segment: Mapping[str, str] = {}
    score: Mapping[str, str] = {}

    def with_output(self, stage: Stage, invocation: str, pair: str = "") -> MadeBy:
        """Return the record with the invocation that made one more output."""
        if stage == "fit":
            return self.model_copy(update={"fit": invocation})
        known: Mapping[str, str] = getattr(self, stage)
        return self.model_copy(update={stage: {**known, pair: invocation}})

    def outputs(self) -> Iterator[tuple[str, Stage]]:
        """Go through all outputs: the invocation, and the stage."""
        if self.fit:
            yield self.fit, "fit"
        by_pair: tuple[Stage, ...] = ("harmonize", "segment", "score")
        for stage in by_pair:
            known: Mapping[str, str] = getattr(self, stage)
            yield from ((invocation, stage) for invocation in known.values())


class CellRecord(Record):
    """What `cell.json` says of a cell.

    Tested pairs go by their names (`SessionPair.name`): the subject, and the visit if there is one.

    Attributes:
        method, source, target, fold, seed: which cell it is.
        reduced_to: number of training subjects, where it learns from fewer than the fold has; else 0.
        subjects: those that the cell tests on; `None` where the record does not say.
        train_pairs, test_pairs: what it learns from and is tested on; `None` where that follows from
            the subjects, since every subject of the study has one scan on each scanner.
        segmenter: name of the segmenter.
        device: torch device name.
        rescale: how intensities were brought into [0, 1].
        mask_background: whether volumes are 0 outside the brain of their source.
        status, error: how the cell ended, and why it failed.
        maps: what the method maps; a volume correction has rows for volumes alone.
        uses, settings: the method and its settings, as fitted; `None` before a fit.
        key_scheme: number of the way in which keys are made; 0 for the first.
        keys: `fit`, `harmonize PAIR` and `score PAIR` to the key of what is stored.
        stages: what each stage took.
        clipped: pair to the share of brain voxels outside [0, 1].
        made_by: which invocation made what.
        checksums: pair to the checksum of its rows of scores.
        metrics: key of the code and the settings that computed the scores, last; empty where an
            earlier harmbench computed them.
        unsegmented: pair to why it has no scores of tissues.
        inner_error_mm3: of a volume correction, tissue to its mean absolute error on training subjects
            that it was not fitted on; see `harmbench.study.choice`. Without a value for a tissue there
            was none.
        files: SHA-256 of each file of the model, the training, the volumes and their labels, by its name
            in the cell's folder; empty where an earlier harmbench wrote them.
        scan_labels: SHA-256 of the labels of real scans that the cell was scored with, by their names in
            the run's folder of segmentations.
        mended: what of the cell was damaged when it was last worked on, in sentences.
    """

    method: str
    source: str
    target: str
    fold: int
    seed: int
    reduced_to: int = 0
    subjects: tuple[str, ...] | None = None
    train_pairs: tuple[SessionPair, ...] | None = None
    test_pairs: tuple[SessionPair, ...] | None = None
    segmenter: str = ""
    device: str = ""
    rescale: Rescale = "none"
    mask_background: bool = True
    status: CellStatus = "ok"
    error: str = ""
    maps: Maps = "images"
    uses: str | None = None
    settings: Mapping[str, Any] | None = None
    key_scheme: int = 0
    keys: Mapping[str, str] = {}
    stages: Mapping[Stage, StageCost] = {}
    clipped: Mapping[str, float] = {}
    made_by: MadeBy = MadeBy()
    checksums: Mapping[str, str] = {}
    metrics: str = ""
    unsegmented: Mapping[str, MissingLabels] = {}
    inner_error_mm3: Mapping[str, float] = {}
    files: Mapping[str, str] = {}
    scan_labels: Mapping[str, str] = {}
    mended: tuple[str, ...] = ()

    @property
    def direction(self) -> Direction:
        """From which scanner to which."""
        return Direction(self.source, self.target)

    @property
    def tested(self) -> tuple[SessionPair, ...]:
        """The pairs that the cell is tested on."""
        if self.test_pairs is not None:
            return self.test_pairs
        return tuple(SessionPair(s, "", self.source, self.target) for s in self.subjects or ())

    def trained_on(self, everyone: int) -> int:
        """Return the number of subjects that the cell learned from.

        Args:
            everyone: number of subjects of the run.
        """
        if self.train_pairs is not None:
            return len({pair.subject for pair in self.train_pairs})
        return everyone - len(self.subjects or ())

    def key(self, stage: Stage, pair: str = "") -> str | None:
        """Return the key of what a stage made, for a pair or (`fit`) all; `None` without one."""
        return self.keys.get(_key_name(stage, pair))

    def with_key(self, stage: Stage, key: str, pair: str = "") -> CellRecord:
        """Return the record with the key of what a stage made."""
        return self.model_copy(update={"keys": {**self.keys, _key_name(stage, pair): key}})

    def without_score(self, pair: str) -> CellRecord:
        """Return the record without the key of a pair's scores: they are to be made again."""
        keys = {n: key for n, key in self.keys.items() if n != _key_name("score", pair)}
        return self.model_copy(update={"keys": keys})

    def without_results(self) -> CellRecord:
        """Return the record without all that hangs on the fit, and the fit itself."""
        empty: Mapping[str, str] = {}
        cleared = dict.fromkeys(_OF_A_FIT, empty)
        return self.model_copy(update={**cleared, "made_by": MadeBy()})

    def with_work(self, stage: Stage, meter: Meter, invocation: str, pair: str = "") -> CellRecord:
        """Return the record with what a stage took, and the invocation that it ran in.

        Costs of stages that go pair by pair add up, also over interrupted runs.
        """
        cost = self.stages.get(stage, StageCost()).plus(meter)
        made_by = self.made_by.with_output(stage, invocation, pair)
        return self.model_copy(update={"stages": {**self.stages, stage: cost}, "made_by": made_by})

    def with_missing(self, pair: str, missing: MissingLabels | None) -> CellRecord:
        """Return the record with why a pair has no scores of tissues; `None`: it has them."""
        others = {name: one for name, one in self.unsegmented.items() if name != pair}
        found = others if missing is None else {**others, pair: missing}
        return self.model_copy(update={"unsegmented": found})

    def with_files(self, sums: Mapping[str, str], instead_of: Iterable[str] = ()) -> CellRecord:
        """Return the record with the sums of files; those of `instead_of` that are not there are gone."""
        gone = set(instead_of)
        kept = {name: key for name, key in self.files.items() if name not in gone}
        return self.model_copy(update={"files": {**kept, **sums}})

    def mending(self, *sentences: str) -> CellRecord:
        """Return the record with what else was damaged."""
        told = tuple(dict.fromkeys((*self.mended, *sentences)))
        return self.model_copy(update={"mended": told}) if sentences else self


def _key_name(stage: Stage, pair: str) -> str:
    return f"{stage} {pair}" if pair else stage
