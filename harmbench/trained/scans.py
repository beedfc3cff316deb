"""New scans before a model sees them: checked, and raw ones prepared as the training scans were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from harmbench.arrays import in_unit_range
from harmbench.cohorts.base import Rescale, Scan, load_scan, rescale_volume
from harmbench.cohorts.intensities import (
    background_value,
    finite,
    not_a_scan,
    out_of_range,
)
from harmbench.cohorts.masks import read_mask
from harmbench.errors import ConfigError, PreparationError, VolumeError
from harmbench.files.names import image_name, same_on_disk
from harmbench.files.places import why_not_apart
from harmbench.files.sidecars import noted
from harmbench.notes import Note
from harmbench.preparation.align import PreparedScan, prepare_scans
from harmbench.preparation.grid import TransformChain
from harmbench.preparation.scan import CleanScan, clean_scan
from harmbench.preparation.settings import PrepareSettings
from harmbench.preparation.strip import SkullStripper, make_stripper
from harmbench.settings import validated
from harmbench.storage import why_not_writable
from harmbench.trained import Model
from harmbench.trained.outputs import check_free, outputs
from harmbench.trained.suitability import misfits
from harmbench.volume import Step, Volume, read

__all__ = [
    "ApplyOptions",
    "InputKind",
    "ReadyScan",
    "Units",
    "check_all",
    "kept_arrays",
    "list_scans",
    "prepared_source",
]

InputKind = Literal["auto", "raw", "prepared"]
"""What scans are."""
Units = Literal["prepared", "scan"]
"""Intensities of what is made of raw scans."""

# A skull-stripped brain fills half of the smallest box around it.
_LEAST_BACKGROUND = 0.1


@dataclass(frozen=True, slots=True)
class ApplyOptions:
    """How a model is applied.

    Attributes:
        input: what the scans are; `auto`: `prepared` where values lie in [0, 1] and at least a tenth
            of the voxels are exactly 0, else `raw`.
        units: intensities of the outputs of raw scans: `prepared` ([0, 1], as the target's in
            training), or `scan` (the scaling and the bias field of the scan put back on).
        n_samples: how many times each scan is harmonized, with the seeds that follow on each other;
            above 1, outputs are mean and standard deviation.
        seed: of the first sample; by default the one that the model was trained with.
        force: go on with scans that the model was not trained for.
    """

    input: InputKind = "auto"
    units: Units = "prepared"
    n_samples: int = 1
    seed: int | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class ReadyScan:
    """A scan that was checked. `kept` holds what preparation found in a raw one, on disk.

    `misfits` say how it differs from the training scans, `notes` what was assumed about its file.
    """

    scan: Scan
    raw_spacing_mm: tuple[float, float, float] | None = None
    kept: Path | None = None
    limits: tuple[float, float] | None = None
    history: tuple[Step, ...] = ()
    misfits: tuple[str, ...] = field(default=())
    notes: tuple[Note, ...] = ()

    @property
    def name(self) -> str:
        """Name of the file without its ending."""
        return image_name(self.scan.path)

    @property
    def raw(self) -> bool:
        """Whether the scan was prepared here."""
        return self.raw_spacing_mm is not None


def list_scans(
    model: Model, scans: Sequence[Path], masks: Sequence[Path], out: Path, options: ApplyOptions
) -> list[Scan]:
    """List the scans with their masks.

    Raises:
        ConfigError: fewer than one sample, or masks that are not one for each scan.
        VolumeError: two scans have one name, or an output would replace an input, or the result of
            another scan or model, or lie inside the data set of a scan.
    """
    if options.n_samples < 1:
        raise ConfigError(f"n_samples {options.n_samples}: at least 1")
    if masks and len(masks) != len(scans):
        raise ConfigError(f"{len(masks)} masks for {len(scans)} scans: give one for each, in order")
    names = [image_name(scan) for scan in scans]
    plain = [same_on_disk(name) for name in names]
    twice = sorted({name for name, own in zip(names, plain, strict=True) if plain.count(own) > 1})
    if twice:
        raise VolumeError(
            f"two scans have the name {', '.join(twice)}, and so would their outputs: apply them one "
            "by one, with another --out for each"
        )
    inputs = {path.resolve() for path in (*scans, *masks)}
    for name in names:
        for output in outputs(out, name):
            if output.resolve() in inputs:
                raise VolumeError(
                    f"{output}: is an input and would be overwritten; choose an --out"
                )
    problem = why_not_writable(out) or why_not_apart(out, scans, beside=True)
    if problem:
        raise VolumeError(f"{out}: {problem}")
    files: list[Path | None] = [*masks] or [None] * len(scans)
    jobs = [Scan(n, "scan", s, m) for n, s, m in zip(names, scans, files, strict=True)]
    check_free(model.record, list(zip(names, jobs, strict=True)), out)
    return jobs


def check_all(
    model: Model, jobs: Sequence[Scan], options: ApplyOptions, folder: Path
) -> list[ReadyScan]:
    """Prepare and check every scan.

    Args:
        model: what will be applied.
        jobs: from `list_scans`.
        options: how.
        folder: where raw scans leave what preparation found in them.

    Raises:
        VolumeError: says everything that is wrong with any of the scans.
    """
    problems: list[str] = []
    unsuitable = False
    ready: list[ReadyScan] = []
    preparer = _Preparer(model, options, folder)
    for done, scan in enumerate(jobs):
        model.task.progress("check", done, len(jobs))
        try:
            one, source = preparer.ready(scan)
        except (VolumeError, PreparationError) as error:
            problems.append(f"{scan.path}: {str(error).removeprefix(f'{scan.path}: ')}")
            continue
        found = tuple(misfits(model.record, source, scan.path, one.raw_spacing_mm))
        ready.append(replace(one, misfits=found))
        if not options.force:
            problems += [f"{scan.path}: {misfit}" for misfit in found]
            unsuitable = unsuitable or bool(found)
    if problems:
        advice = "; --force applies it to other scans than it was trained for" if unsuitable else ""
        lines = "\n  - ".join(problems)
        raise VolumeError(
            f"the model {model.record.name} is not applied, nothing was written{advice}:\n  - {lines}"
        )
    return ready


class _Preparer:
    """Turns scans into what the model was trained on."""

    def __init__(self, model: Model, options: ApplyOptions, folder: Path) -> None:
        self._record, self._options, self._folder = model.record, options, folder
        self._settings: PrepareSettings | None = None
        if model.record.preparation is not None:
            self._settings = validated(PrepareSettings, model.record.preparation, "preparation")
        self._stripper: SkullStripper | None = None

    def ready(self, scan: Scan) -> tuple[ReadyScan, Volume]:
        """Check a scan; gives what is needed to harmonize it later, and the method's source volume.

        Raises:
            VolumeError: the file is unusable, or its values are not those of a prepared scan.
            PreparationError: it is raw, and the model has no preparation or that failed.
        """
        if self._is_raw(scan):
            return self._raw(scan)
        if self._options.units == "scan":
            raise VolumeError("--units scan is for raw scans, this one is prepared")
        source = prepared_source(scan, self._record.rescale)
        return ReadyScan(scan, notes=(*source.notes, *noted(scan.path))), source

    def _is_raw(self, scan: Scan) -> bool:
        if self._options.input != "auto":
            return self._options.input == "raw"
        volume = read(scan.path)
        data = finite(volume, None if scan.mask is None else read_mask(scan.mask, volume).data).data
        in_range = in_unit_range(data)
        stripped = np.count_nonzero(data == 0) >= _LEAST_BACKGROUND * data.size
        if in_range and (stripped or background_value(data) is not None):
            return False
        # Without preparation settings, a model that scaled its own training scans scales these.
        return self._settings is not None or self._record.rescale == "none"

    def _raw(self, scan: Scan) -> tuple[ReadyScan, Volume]:
        settings = self._settings
        if settings is None:
            raise PreparationError(
                "it is a raw scan (not in [0, 1] with a background of 0), and the model's training "
                "scans were not prepared by harmbench: prepare it in the same way as those, then "
                "use --input prepared"
            )
        if settings.strip.method == "mask" and scan.mask is None:
            raise PreparationError(
                "the model's preparation takes the brain from a mask: give --mask, one for each scan"
            )
        if self._stripper is None:
            self._stripper = make_stripper(settings.strip)
        clean = clean_scan(scan, self._stripper, settings)
        prepared = prepare_scans({"scan": clean}, "scan", settings, self._folder)["scan"]
        source = rescale_volume(prepared.volume, self._record.rescale)
        kept = self._folder / f"{scan.subject}.npz"
        np.savez(
            kept,
            source=source.data,
            affine=source.affine,
            brain=prepared.brain,
            own_brain=clean.brain,
            bias=clean.bias,
            zero=clean.zero,
        )
        versions = Step(
            "strip", {"method": self._stripper.name, "software": self._stripper.version}
        )
        history = (versions, Step("bias", settings.bias.model_dump(mode="json")), *source.history)
        ready = ReadyScan(scan, clean.raw.spacing_mm, kept, prepared.limits, history)
        return replace(ready, notes=clean.raw.notes), source


def prepared_source(scan: Scan, rescale: Rescale) -> Volume:
    """Read a prepared scan.

    Raises:
        VolumeError: its values are not finite and in [0, 1], or those of a mask or a label map.
    """
    volume = load_scan(scan, rescale)
    problem = out_of_range(volume, "--input raw") or not_a_scan(volume)
    if problem is not None:
        raise VolumeError(f"{problem}; it is not a prepared scan")
    return volume


def kept_arrays(one: ReadyScan) -> tuple[Volume, CleanScan, PreparedScan]:
    """Read back what `_Preparer` found in a raw scan."""
    assert one.kept is not None
    raw = read(one.scan.path)
    with np.load(one.kept, allow_pickle=False) as arrays:
        source = Volume(arrays["source"], arrays["affine"], history=one.history)
        clean = CleanScan(raw, arrays["own_brain"], arrays["bias"], raw, float(arrays["zero"]))
        prepared = PreparedScan(
            source, arrays["brain"], TransformChain(), None, one.limits, source, source
        )
    return source, clean, prepared
