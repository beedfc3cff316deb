"""From a run folder to results that may leave the laboratory."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from pydantic import JsonValue, TypeAdapter

from harmbench.errors import ReportError
from harmbench.exchange.archive import Shared, digest, read_archive, write_archive
from harmbench.exchange.pseudonyms import PrivateNames, Pseudonyms, pseudonyms_of
from harmbench.exchange.schema import SharedCohort, SharedMethod, SharedResults
from harmbench.plugins import Reference
from harmbench.results import COLUMNS, read_training_sizes
from harmbench.runner.folder import RunFolder
from harmbench.runner.inputs import InputScans
from harmbench.runner.run_record import MethodRecord, RunRecord

__all__ = ["Shared", "export_results", "shared_results"]

_SETTINGS = TypeAdapter(dict[str, JsonValue])


def export_results(run: Path, out: Path, label: str = "") -> Path:
    """Write the results of a run to one small file without images, names, paths or hosts.

    Names of methods, scanners and groups go as they are.

    Args:
        run: a run folder.
        out: the file to write, `.zip`; an earlier one is replaced.
        label: what the file calls the cohort.

    Raises:
        ReportError: the folder is not a run's or has no results, a name that goes into the file holds
            the name of a subject, or `out` is no file of exported results.
        RunError: the run's table of scans is missing or damaged.
    """
    if out.suffix != ".zip":
        raise ReportError(
            f"{out}: exported results are a ZIP file; choose a name that ends in .zip"
        )
    if out.exists():
        _require_export(out)
    write_archive(shared_results(run, label), out)
    return out


def _require_export(path: Path) -> None:
    try:
        read_archive(path)
    except ReportError as error:
        raise ReportError(
            f"{path}: is there and holds no exported results; choose another file"
        ) from error


def shared_results(run: Path, label: str = "") -> Shared:
    """Return the results of a run as an exported file has them; see `export_results`."""
    folder = RunFolder(run)
    record, results = folder.read_record(), folder.read_results()
    if results.empty:
        raise ReportError(f"{run}: the results table has no rows; run some cells first")
    inputs = folder.input_scans()
    pseudonyms = pseudonyms_of(inputs, results)
    private = PrivateNames(_names(record, inputs))
    renamed = pseudonyms.rename(results)
    sizes = pd.DataFrame()
    if folder.training_sizes.is_file():
        sizes = pseudonyms.rename(read_training_sizes(folder.training_sizes))
    shared = _shared_record(folder, record, pseudonyms, renamed, private, label)
    if len(sizes):
        shared = shared.model_copy(update={"sizes": digest(sizes)})
    private.require_none(shared.model_dump(mode="json"))
    for table in (renamed, sizes) if len(sizes) else (renamed,):
        for name in COLUMNS:
            if name not in {"value", "fold", "seed", "subject", "visit"}:
                private.require_none(sorted(set(table[name])), f"results.{name}")
    return Shared(shared, renamed, sizes)


def _names(record: RunRecord, inputs: InputScans) -> set[str]:
    """Collect what must not stand in the file; scanners may."""
    scanners = {end for way in record.directions for end in (way.source, way.target)}
    names = {one.host for one in record.invocations}
    for scan in inputs.scans.values():
        names |= {scan.subject, scan.session, scan.visit, scan.when, scan.path.name}
    return names - scanners - {""}


def _shared_record(
    folder: RunFolder,
    record: RunRecord,
    pseudonyms: Pseudonyms,
    renamed: pd.DataFrame,
    private: PrivateNames,
    label: str,
) -> SharedResults:
    cohort = record.cohort
    last = record.invocations[-1] if record.invocations else None
    present = set(renamed["method"])
    preparation = None
    if cohort.preparation is not None:
        preparation = _clean(cohort.preparation, private)
    return SharedResults(
        cohort=SharedCohort(
            key=pseudonyms.cohort,
            inputs=pseudonyms.inputs,
            label=label,
            kind=cohort.name,
            simulated=cohort.simulated,
            subjects=len(pseudonyms.subjects),
            preparation=preparation,
        ),
        kind="harmbench-results",
        directions=record.directions,
        methods={
            name: _shared_method(record.methods.get(name, MethodRecord()), private)
            for name in sorted(present)
        },
        segmenter=record.segmenter,
        stacking_axis=record.stacking_axis,
        folds=record.folds,
        split=record.split.choice,
        metrics=tuple(sorted({cell.metrics for _, cell in folder.cells() if cell.metrics})),
        versions=tuple(sorted({one.version for one in record.invocations if one.version})),
        packages={} if last is None else dict(last.packages),
        rows=len(renamed),
        table=digest(renamed),
    )


def _shared_method(method: MethodRecord, private: PrivateNames) -> SharedMethod:
    return SharedMethod(
        uses=str(Reference.parse(method.uses).without_folder()),
        title=method.title,
        reference=method.reference,
        settings=_clean(method.settings, private),
        parameters=dict(method.parameters),
        maps=method.maps,
    )


def _clean(settings: object, private: PrivateNames) -> dict[str, JsonValue]:
    plain = _SETTINGS.validate_python(settings)
    return {str(private.without(name)): private.without(value) for name, value in plain.items()}
