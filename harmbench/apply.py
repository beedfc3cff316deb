"""A trained model on new scans, raw or prepared: check, prepare, harmonize, bring back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harmbench import __version__
from harmbench.cohorts.base import Scan, load_scan, rescale_volume
from harmbench.errors import ConfigError, PreparationError, VolumeError
from harmbench.models import Model
from harmbench.models.fit import misfits
from harmbench.preparation.align import PreparedScan, prepare_scans, restore
from harmbench.preparation.grid import Chain
from harmbench.preparation.scan import CleanScan, clean_scan
from harmbench.preparation.settings import PrepareSettings
from harmbench.preparation.strip import SkullStripper, make_stripper
from harmbench.scoring import finish_volume
from harmbench.settings import validated
from harmbench.storage import file_key, write_json
from harmbench.volume import Step, Volume, image_name, read, write

__all__ = ["ApplyOptions", "InputKind", "Units", "apply_model"]

InputKind = Literal["auto", "raw", "prepared"]
Units = Literal["prepared", "scan"]
Say = Callable[[str], None]

# A skull-stripped brain fills half of the smallest box around it.
_LEAST_BACKGROUND = 0.1
_SLACK = 1e-6


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
class _Ready:
    """A scan that was checked. `kept` holds what preparation found in a raw one, on disk."""

    scan: Scan
    raw_spacing_mm: tuple[float, float, float] | None = None
    kept: Path | None = None
    limits: tuple[float, float] | None = None
    history: tuple[Step, ...] = ()
    misfits: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        return image_name(self.scan.path)

    @property
    def raw(self) -> bool:
        return self.raw_spacing_mm is not None


def apply_model(
    model: Model,
    scans: Sequence[Path],
    out: Path,
    options: ApplyOptions | None = None,
    masks: Sequence[Path] = (),
    say: Say = print,
) -> list[Path]:
    """Harmonize new scans with a trained model.

    Raw scans go through the preparation of the training scans, each by itself, and what was made of
    them comes back onto their own grid: voxels, affine, qform and sform are the scan's, 0 outside the
    brain. Prepared scans are harmonized as they are. For each scan NAME, `out` gets
    `NAME_harmonized.nii.gz` (float32), a JSON sidecar of the same name, and with more than one sample
    `NAME_desc-sd.nii.gz`. Every scan is read, prepared and checked before the first is harmonized.

    Args:
        model: from `load_model`.
        scans: files of the source contrast.
        out: where outputs go.
        options: how; `None` for the defaults.
        masks: brain masks, one for each scan in order, or none.
        say: told of warnings.

    Returns:
        The harmonized files, in the order of `scans`.

    Raises:
        HarmbenchError: a scan is unusable, cannot be prepared, or is not what the model was trained
            for (unless `options.force`); lists all of them, and nothing was written.
    """
    options = options or ApplyOptions()
    jobs = _jobs(scans, masks, out, options)
    progress = model.task.progress
    with TemporaryDirectory(prefix="harmbench-apply-") as folder:
        ready = _check_all(model, jobs, options, Path(folder))
        for one in ready:
            for misfit in one.misfits:
                say(f"warning: {one.scan.path}: {misfit}")
        written = []
        for done, one in enumerate(ready):
            progress("harmonize", done, len(ready))
            written.append(_apply_one(model, one, out, options, say))
        progress("harmonize", len(ready), len(ready))
    return written


def _jobs(
    scans: Sequence[Path], masks: Sequence[Path], out: Path, options: ApplyOptions
) -> list[Scan]:
    if options.n_samples < 1:
        raise ConfigError(f"n_samples {options.n_samples}: at least 1")
    if masks and len(masks) != len(scans):
        raise ConfigError(f"{len(masks)} masks for {len(scans)} scans: give one for each, in order")
    names = [image_name(scan) for scan in scans]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise VolumeError(f"two scans have the name {', '.join(twice)}: apply them one by one")
    inputs = {path.resolve() for path in (*scans, *masks)}
    for name in names:
        for output in _outputs(out, name):
            if output.resolve() in inputs:
                raise VolumeError(
                    f"{output}: is an input and would be overwritten; choose an --out"
                )
    files: list[Path | None] = [*masks] or [None] * len(scans)
    return [Scan(n, "scan", s, m) for n, s, m in zip(names, scans, files, strict=True)]


def _outputs(out: Path, name: str) -> tuple[Path, Path, Path]:
    """The harmonized volume, its sidecar, and the spread."""
    stem = out / f"{name}_harmonized"
    sd = out / f"{name}_desc-sd.nii.gz"
    return stem.with_name(f"{stem.name}.nii.gz"), stem.with_name(f"{stem.name}.json"), sd


def _check_all(
    model: Model, jobs: Sequence[Scan], options: ApplyOptions, folder: Path
) -> list[_Ready]:
    """Prepare and check every scan, or say everything that is wrong with any of them."""
    problems: list[str] = []
    unsuitable = False
    ready: list[_Ready] = []
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

    def ready(self, scan: Scan) -> tuple[_Ready, Volume]:
        """Check a scan; gives what is needed to harmonize it later, and the method's source volume.

        Raises:
            VolumeError: the file is unusable, or its values are not those of a prepared scan.
            PreparationError: it is raw, and the model has no preparation or that failed.
        """
        if self._is_raw(scan):
            return self._raw(scan)
        if self._options.units == "scan":
            raise VolumeError("--units scan is for raw scans, this one is prepared")
        return _Ready(scan), _prepared_source(scan, self._record.rescale)

    def _is_raw(self, scan: Scan) -> bool:
        if self._options.input != "auto":
            return self._options.input == "raw"
        data = read(scan.path).data
        in_range = float(data.min()) >= -_SLACK and float(data.max()) <= 1 + _SLACK
        if in_range and np.count_nonzero(data == 0) >= _LEAST_BACKGROUND * data.size:
            return False
        # Without preparation settings, a model that scaled its own training scans scales these.
        return self._settings is not None or self._record.rescale == "none"

    def _raw(self, scan: Scan) -> tuple[_Ready, Volume]:
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
        )
        versions = Step(
            "strip", {"method": self._stripper.name, "software": self._stripper.version}
        )
        history = (versions, Step("bias", settings.bias.model_dump(mode="json")), *source.history)
        return _Ready(scan, clean.raw.spacing_mm, kept, prepared.limits, history), source


def _prepared_source(scan: Scan, rescale: Any) -> Volume:
    volume = load_scan(scan, rescale)
    low, high = float(volume.data.min()), float(volume.data.max())
    # Also false for NaN.
    if not (low >= -_SLACK and high <= 1 + _SLACK):
        raise VolumeError(
            f"intensities from {low:.4g} to {high:.4g}, expected 0 to 1 and finite: not a prepared scan"
        )
    return volume


def _apply_one(model: Model, one: _Ready, out: Path, options: ApplyOptions, say: Say) -> Path:
    first = model.task.seed if options.seed is None else options.seed
    seeds = list(range(first, first + options.n_samples))
    mean, sd = _mean_and_sd(_samples(model, one, options.units, seeds))
    image, sidecar, spread = _outputs(out, one.name)
    notes = [f"forced: {misfit}" for misfit in one.misfits]
    if sd is not None and not sd.data.any():
        notes.append("all samples are equal: the method draws no random numbers")
        say(f"{one.name}: {notes[-1]}, so that the spread is 0")
    write(mean, image)
    if sd is not None:
        write(sd, spread)
    write_json(sidecar, _sidecar(model, one, options, seeds, mean, notes))
    return image


def _samples(model: Model, one: _Ready, units: Units, seeds: Sequence[int]) -> Iterator[Volume]:
    """Harmonize a scan once for each seed; the volumes lie on the scan's own grid."""
    back: tuple[CleanScan, PreparedScan] | None = None
    if one.raw:
        source, clean, prepared = _kept(one)
        back = (clean, prepared)
    else:
        source = _prepared_source(one.scan, model.record.rescale)
    for seed in seeds:
        output = model.method.harmonize(source, replace(model.task, seed=seed))
        finished, _ = finish_volume(output, source, mask_background=model.record.mask_background)
        if back is None:
            yield finished
        else:
            restored = restore(finished, *back, units)
            yield replace(restored, history=(*finished.history, *restored.history[-1:]))


def _kept(one: _Ready) -> tuple[Volume, CleanScan, PreparedScan]:
    """Read back what `_Preparer` found in a raw scan."""
    assert one.kept is not None
    raw = read(one.scan.path)
    with np.load(one.kept, allow_pickle=False) as arrays:
        source = Volume(arrays["source"], arrays["affine"], history=one.history)
        clean = CleanScan(raw, arrays["own_brain"], arrays["bias"], raw)
        prepared = PreparedScan(source, arrays["brain"], Chain(), None, one.limits, source, source)
    return source, clean, prepared


def _mean_and_sd(samples: Iterator[Volume]) -> tuple[Volume, Volume | None]:
    """Mean and standard deviation (n - 1) over samples, by Welford's recursion; no SD of one."""
    volume = next(samples)
    mean: NDArray[np.float64] = volume.data.astype(np.float64)
    squares = np.zeros_like(mean)
    count = 1
    for sample in samples:
        count += 1
        gap = sample.data - mean
        mean += gap / count
        squares += gap * (sample.data - mean)
    if count == 1:
        return volume, None
    sd = np.sqrt(squares / (count - 1))
    return volume.with_data(mean, Step("mean", {"samples": count})), volume.with_data(sd)


def _sidecar(
    model: Model,
    one: _Ready,
    options: ApplyOptions,
    seeds: Sequence[int],
    made: Volume,
    notes: Sequence[str],
) -> dict[str, Any]:
    record = model.record
    return {
        "Description": f"{record.source} scan harmonized to {record.target} by {record.title}",
        "GeneratedBy": [{"Name": "harmbench", "Version": __version__}],
        "Sources": [one.scan.path.name],
        "SourcesSHA256": [file_key(one.scan.path)],
        "Mask": None if one.scan.mask is None else one.scan.mask.name,
        "SkullStripped": True,
        "Model": {
            "Name": record.name,
            "SHA256": record.key,
            "Method": record.label,
            "Uses": record.uses,
            "Trained": record.versions.get("harmbench"),
            "TrainedOnSimulatedScans": record.cohort.simulated,
        },
        "Direction": str(record.direction),
        "Seeds": list(seeds),
        "NSamples": options.n_samples,
        "Value": "mean over the samples" if options.n_samples > 1 else "one sample",
        "Sampler": record.settings.get("sampler"),
        "SamplingSteps": record.settings.get("sampling_steps"),
        "Device": model.task.device,
        "Input": "raw" if one.raw else "prepared",
        "Units": options.units if one.raw else "prepared",
        "Preparation": record.preparation if one.raw else None,
        "Steps": [{"name": step.name, **step.parameters} for step in made.history],
        "Notes": list(notes),
    }
