"""A trained model on new scans, raw or prepared: check, prepare, harmonize, bring back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from harmbench import __version__
from harmbench.arrays import mean_and_sd
from harmbench.files.sidecars import says_simulated
from harmbench.guard import method_call
from harmbench.notes import summarize
from harmbench.preparation.align import PreparedScan, restore
from harmbench.preparation.scan import CleanScan
from harmbench.runner.scoring import finish_volume
from harmbench.storage import file_key, write_json
from harmbench.trained import Model
from harmbench.trained.outputs import outputs
from harmbench.trained.scans import (
    ApplyOptions,
    ReadyScan,
    Units,
    check_all,
    kept_arrays,
    list_scans,
    prepared_source,
)
from harmbench.volume import Step, Volume, write

__all__ = ["apply_model"]

Say = Callable[[str], None]


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
    brain. Prepared scans are harmonized as they are. An output that is there already is replaced only
    where the same model made it from the same scan. For each scan NAME, `out` gets
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
    jobs = list_scans(model, scans, masks, out, options)
    progress = model.task.progress
    with TemporaryDirectory(prefix="harmbench-apply-") as folder:
        ready = check_all(model, jobs, options, Path(folder))
        for line in summarize(note for one in ready for note in one.notes):
            say(f"note: {line}")
        for one in ready:
            for misfit in one.misfits:
                say(f"warning: {one.scan.path}: {misfit}")
        written = []
        for done, one in enumerate(ready):
            progress("harmonize", done, len(ready))
            written.append(_apply_one(model, one, out, options, say))
        progress("harmonize", len(ready), len(ready))
    return written


def _apply_one(model: Model, one: ReadyScan, out: Path, options: ApplyOptions, say: Say) -> Path:
    first = model.task.seed if options.seed is None else options.seed
    seeds = list(range(first, first + options.n_samples))
    mean, sd = _mean_and_sd(_samples(model, one, options.units, seeds), len(seeds))
    image, sidecar, spread = outputs(out, one.name)
    notes = [f"{note.kind}: {note.text}" for note in one.notes]
    notes += [f"forced: {misfit}" for misfit in one.misfits]
    if sd is not None and not sd.data.any():
        notes.append("all samples are equal: the method draws no random numbers")
        say(f"{one.name}: {notes[-1]}, so that the spread is 0")
    # The sidecar first, and no volume of an earlier result beside it: it never describes another
    # volume, and with it alone a command that was killed here can be given again.
    for old in (image, spread):
        old.unlink(missing_ok=True)
    write_json(sidecar, _sidecar(model, one, options, seeds, mean, notes))
    if sd is not None:
        write(sd, spread)
    return write(mean, image)


def _samples(model: Model, one: ReadyScan, units: Units, seeds: Sequence[int]) -> Iterator[Volume]:
    """Harmonize a scan once for each seed; the volumes lie on the scan's own grid."""
    back: tuple[CleanScan, PreparedScan] | None = None
    if one.raw:
        source, clean, prepared = kept_arrays(one)
        back = (clean, prepared)
    else:
        source = prepared_source(one.scan, model.record.rescale)
    for seed in seeds:
        with method_call(f"{one.scan.path}: the method {model.record.uses}"):
            output = model.method.harmonize(source, replace(model.task, seed=seed))
        finished, _ = finish_volume(output, source, mask_background=model.record.mask_background)
        if back is None:
            yield finished
        else:
            restored = restore(finished, *back, units)
            yield replace(restored, history=(*finished.history, *restored.history[-1:]))


def _mean_and_sd(samples: Iterator[Volume], count: int) -> tuple[Volume, Volume | None]:
    """Mean and standard deviation over `count` samples; no deviation of one."""
    first = next(samples)
    mean, sd = mean_and_sd(volume.data for volume in chain((first,), samples))
    if sd is None:
        return first, None
    return first.with_data(mean, Step("mean", {"samples": count})), first.with_data(sd)


def _sidecar(
    model: Model,
    one: ReadyScan,
    options: ApplyOptions,
    seeds: Sequence[int],
    made: Volume,
    notes: Sequence[str],
) -> dict[str, object]:
    record = model.record
    return {
        "Description": f"{record.source} scan harmonized to {record.target} by {record.title}",
        "GeneratedBy": [{"Name": "harmbench", "Version": __version__}],
        "Sources": [one.scan.path.name],
        "SourcesSHA256": [file_key(one.scan.path)],
        "Mask": None if one.scan.mask is None else one.scan.mask.name,
        "SkullStripped": True,
        "Simulated": says_simulated(one.scan.path),
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
