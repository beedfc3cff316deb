"""What an exported file of results says of itself, beside the table of results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from harmbench.cohorts.splits import SplitChoice
from harmbench.runner.records import Maps, Part, Record
from harmbench.runner.run_record import FoldsRecord, SegmenterRecord
from harmbench.task import Direction

__all__ = ["SharedCohort", "SharedMethod", "SharedResults"]

Key = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
"""A SHA-256 as hexadecimal digits."""


class SharedCohort(Part):
    """A cohort without its names.

    Attributes:
        key: SHA-256 over the contents of all scan files; it is the same wherever the cohort lies.
        inputs: the same, with brain masks and the scaling of intensities.
        label: what the exporting laboratory calls the cohort; empty where it gave no name.
        kind: `phantom`, `manifest` or `bids`.
        simulated: whether the scans were computed.
        subjects: number of subjects; they are numbered from 1.
        preparation: settings that the scans were prepared with; `None` where that is not known.
    """

    key: Key
    inputs: Key
    label: str = Field("", max_length=100)
    kind: str = ""
    simulated: bool = False
    subjects: int = Field(ge=1, le=1_000_000)
    preparation: Mapping[str, JsonValue] | None = None


class SharedMethod(Part):
    """A method as it ran.

    Attributes:
        uses: name of the method, or FILE.py:CLASS without a folder.
        title: its name in tables.
        reference: where it was published.
        settings: those that it ran with; what names files of one machine is left out.
        parameters: number of parameters by network.
        maps: images, or tissue volumes.
    """

    uses: str = ""
    title: str = Field("", max_length=200)
    reference: str = ""
    settings: Mapping[str, JsonValue] = {}
    parameters: Mapping[str, int] = {}
    maps: Maps = "images"


class SharedResults(Record):
    """What `export.json` of an exported file says; its format number is that of `Record`.

    Attributes:
        kind: tells the file from other records.
        cohort: which scans, without a name.
        directions: those that were run.
        methods: by label.
        segmenter: what segmented tissues.
        stacking_axis: along which slices are stacked.
        folds: number of folds and seed of their shuffle; the table has the fold of each row.
        split: how training and test pairs were chosen.
        metrics: keys of how scores were computed; none where it is not known.
        versions: of harmbench, sorted.
        packages: versions of the last run.
        rows: number of rows of the table.
        table: SHA-256 of the table's bytes.
        sizes: the same of the table of learning curves; `None` where there is none.
    """

    kind: Literal["harmbench-results"] = "harmbench-results"
    cohort: SharedCohort
    directions: tuple[Direction, ...]
    methods: Mapping[str, SharedMethod]
    segmenter: SegmenterRecord = SegmenterRecord()
    stacking_axis: int | None = None
    folds: FoldsRecord | None = None
    split: SplitChoice = SplitChoice()
    metrics: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    packages: Mapping[str, str] = {}
    rows: int = Field(ge=1)
    table: Key
    sizes: Key | None = None
