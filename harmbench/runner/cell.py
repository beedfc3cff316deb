"""One cell, start to end: fit, harmonize, segment, score.

Every stage's output carries a key of what produced it. A stage whose key is current is skipped, so
a killed run goes on where it stopped and an edit redoes what hangs on it, and no more.
"""

from __future__ import annotations

import logging
import shutil
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from harmbench.code_keys import KEY_SCHEME, stage_code
from harmbench.discovery import load_method, make_settings, method_code
from harmbench.errors import MethodError, describe
from harmbench.files.names import file_label, same_on_disk
from harmbench.guard import method_call
from harmbench.meter import Meter
from harmbench.method import Method
from harmbench.notes import Note
from harmbench.results import FAILURES
from harmbench.runner.cell_scores import CellScores
from harmbench.runner.context import Bench, LazyPairs
from harmbench.runner.folder import Cell, CellFolder
from harmbench.runner.scoring import finish_volume, missing_rows, score_rows
from harmbench.segmentation import make_segmenter
from harmbench.segmentation.stored import (
    Unsegmented,
    segment_to_file,
    segment_to_files,
    segmenter_key,
)
from harmbench.storage import key_of, read_json, write_json
from harmbench.task import NoProgress, Progress, Task
from harmbench.volume import Volume, read, write

__all__ = ["CEILING", "NO_SCORES", "abandon_cell", "rescore_cell", "run_cell", "segment_inputs"]

CEILING = "target"
"""Label of the control that scores the reference against itself."""

NO_SCORES = "no-tissue-scores"
"""Kind of the notes on real scans that have no labels."""

log = logging.getLogger(__name__)


def run_cell(bench: Bench, cell: Cell, progress: Progress) -> dict[str, Any]:
    """Run one cell and return its record; never raises for a failure of the method.

    A failure is kept: the record's status is `failed`, the log has the traceback, and every test
    subject without a result gets rows with the status `failed`.
    """
    return _CellRun(bench, cell, progress).run()


def rescore_cell(bench: Bench, cell: Cell, progress: Progress) -> dict[str, Any]:
    """Score a cell's stored volumes again, without its method, and return its record.

    What is current is kept. A subject without a stored volume stays as it is.
    """
    return _CellRun(bench, cell, progress).rescore()


def abandon_cell(bench: Bench, cell: Cell, reason: str) -> dict[str, Any]:
    """Record a cell whose process died: its record and its rows say so."""
    return _CellRun(bench, cell, NoProgress()).abandon(reason)


class _CellRun:
    """The state of one cell while it runs: its folder, its record, its rows."""

    def __init__(self, bench: Bench, cell: Cell, progress: Progress) -> None:
        self.bench, self.cell, self.progress = bench, cell, progress
        self.folder: CellFolder = bench.folder.cell(cell)
        self.train = bench.folds.train(cell.fold)
        self.test = bench.folds.test(cell.fold)
        self.errors: list[str] = []
        self.before = before = self.folder.read_record()
        self.record: dict[str, Any] = {
            "method": cell.method,
            "source": cell.direction.source,
            "target": cell.direction.target,
            "fold": cell.fold,
            "seed": cell.seed,
            "subjects": list(self.test),
            "segmenter": bench.segmenter,
            "device": bench.device,
            "rescale": bench.experiment.data.rescale,
            "mask_background": bench.experiment.scoring.mask_background,
            "status": "running",
            "error": "",
            "key_scheme": KEY_SCHEME,
            "keys": before.get("keys", {}),
            "stages": before.get("stages", {}),
            "clipped": before.get("clipped", {}),
            # Stage, and subject, to the id of the invocation in run.json that made it.
            "made_by": before.get("made_by", {}),
            "checksums": before.get("checksums", {}),
            "unsegmented": before.get("unsegmented", {}),
        }
        self.scores = CellScores(self.folder.scores, self.record["checksums"])

    def run(self) -> dict[str, Any]:
        """Run the stages in order."""
        self.folder.root.mkdir(parents=True, exist_ok=True)
        with _logged(self.folder.log):
            log.info("start %s: train %s, test %s", self.cell, self.train, self.test)
            try:
                method = None if self.cell.method == CEILING else self._fit()
                self._harmonize_and_score(method)
            except Exception as error:  # noqa: BLE001 - any failure of a method becomes a row
                self._failed("fit", error)
            self._close()
        return self.record

    def rescore(self) -> dict[str, Any]:
        """Score the stored volumes under the settings of this run."""
        # What the method was and how it was fitted stays as recorded.
        kept = ("keys", "stages", "made_by", "checksums", "unsegmented")
        mine = {name: self.record[name] for name in kept}
        self.record = {**self.before, **mine, "segmenter": self.bench.segmenter}
        with _logged(self.folder.log):
            log.info("rescore %s", self.cell)
            for done, subject in enumerate(self.test):
                self.progress("subjects", done, len(self.test))
                made = self.record["keys"].get(f"harmonize {subject}")
                if made is None or not self._is_stored(subject):
                    self.errors.append(self.before.get("error") or f"subject {subject}: no volume")
                    continue
                try:
                    self._score_if_stale(subject, made)
                except Exception as error:  # noqa: BLE001 - the other subjects go on
                    self._failed(f"subject {subject}", error)
            self.progress("subjects", len(self.test), len(self.test))
            self._close()
        return self.record

    def abandon(self, reason: str) -> dict[str, Any]:
        """Close the cell as failed without running it."""
        self.folder.root.mkdir(parents=True, exist_ok=True)
        with _logged(self.folder.log):
            self.errors.append(reason)
            log.error("%s", reason)
            self._close()
        return self.record

    def _close(self) -> None:
        self._write_failed_rows()
        incomplete = "incomplete" if self.record["unsegmented"] else "ok"
        self.record["status"] = "failed" if self.errors else incomplete
        self.record["error"] = "; ".join(dict.fromkeys(self.errors))
        write_json(self.folder.record, self.record)
        log.info("end %s: %s", self.cell, self.record["status"])

    def _failed(self, what: str, error: Exception) -> None:
        self.errors.append(f"{what}: {describe(error)}")
        log.error("%s failed\n%s", what, "".join(traceback.format_exception(error)))

    def _task(self, folder: Path | None) -> Task:
        cell = self.cell
        return Task(
            direction=cell.direction,
            fold=cell.fold,
            seed=cell.seed,
            device=self.bench.device,
            folder=folder,
            progress=self.progress,
        )

    def _fit(self) -> Method:
        uses, values = self.bench.experiment.all_methods()[self.cell.method]
        kind = load_method(uses)
        settings = make_settings(kind, values, self.cell.method)
        way = self.cell.direction
        keys = self.bench.input_keys
        learned_from = [(s, keys[s, way.source], keys[s, way.target]) for s in self.train]
        key = key_of(
            "fit",
            method_code(uses),
            settings.model_dump(mode="json"),
            [str(way), self.cell.seed],
            learned_from,
        )
        self.record |= {"uses": uses, "settings": settings.model_dump(mode="json")}
        if self.record["keys"].get("fit") == key and self.folder.model.is_dir():
            log.info("fit is current")
            with method_call():
                return kind.load(self.folder.model, settings)
        # What hangs on the old model goes first: a run killed from here on leaves nothing stale.
        fresh: dict[str, Any] = {"keys": {}, "stages": {}, "clipped": {}, "made_by": {}}
        self.record |= {**fresh, "unsegmented": {}}
        self.scores.clear()
        write_json(self.folder.record, self.record)
        _keep_only_checkpoints_of(self.folder.training, key)
        pairs = LazyPairs(self.bench.folder, self.train, self.bench.groups, way)
        with Meter() as meter, method_call():
            method = kind(settings)
            method.fit(pairs, self._task(self.folder.training))
            _save(method, self.folder.model)
        # The model is safe: what is left to resume from only takes space.
        for path in self.folder.training.glob("checkpoint*"):
            path.unlink()
        self.record["keys"]["fit"] = key
        self.record["made_by"]["fit"] = self.bench.invocation
        self._measured("fit", meter, count=1)
        return method

    def _measured(self, stage: str, meter: Meter, count: int) -> None:
        # Stages that go subject by subject add up over subjects, also across interrupted runs.
        old = self.record["stages"].get(stage, {"wall_s": 0.0, "peak_memory_mb": 0.0, "count": 0})
        self.record["stages"][stage] = {
            "wall_s": round(old["wall_s"] + meter.wall_s, 3),
            "peak_memory_mb": round(max(old["peak_memory_mb"], meter.peak_memory_mb), 1),
            "count": old["count"] + count,
        }
        if meter.peak_device_memory_mb is not None:
            peak = max(old.get("peak_device_memory_mb", 0.0), meter.peak_device_memory_mb)
            self.record["stages"][stage]["peak_device_memory_mb"] = round(peak, 1)
        write_json(self.folder.record, self.record)

    def _harmonize_and_score(self, method: Method | None) -> None:
        for done, subject in enumerate(self.test):
            self.progress("subjects", done, len(self.test))
            try:
                self._subject(method, subject)
            except Exception as error:  # noqa: BLE001 - the other subjects go on
                self._failed(f"subject {subject}", error)
        self.progress("subjects", len(self.test), len(self.test))

    def _subject(self, method: Method | None, subject: str) -> None:
        source_key = self.bench.input_keys[subject, self.cell.direction.source]
        target_key = self.bench.input_keys[subject, self.cell.direction.target]
        made = key_of(
            "harmonize",
            self.record["keys"].get("fit"),
            source_key if method else target_key,
            self.bench.experiment.scoring.mask_background,
            stage_code("harmonize"),
        )
        keys = self.record["keys"]
        if keys.get(f"harmonize {subject}") != made or not self._is_stored(subject):
            if method is not None:
                self._harmonize(method, subject)
            keys[f"harmonize {subject}"] = made
            keys.pop(f"score {subject}", None)
            self.record["unsegmented"].pop(subject, None)
        self._score_if_stale(subject, made)

    def _is_stored(self, subject: str) -> bool:
        # The ceiling leaves no volume: the reference is on disk already.
        return self.cell.method == CEILING or self.folder.volume(subject).is_file()

    def _score_if_stale(self, subject: str, made: str) -> None:
        """Score a volume, made under the key `made`, unless that has been done."""
        way = self.cell.direction
        scored = key_of(
            "score",
            made,
            [self.bench.input_keys[subject, session] for session in (way.source, way.target)],
            self.bench.experiment.scoring.model_dump(mode="json"),
            segmenter_key(make_segmenter(self.bench.segmenter, contrast=self.bench.contrast)),
            stage_code("score"),
        )
        keys = self.record["keys"]
        if keys.get(f"score {subject}") != scored or not self._is_scored(subject):
            keys.pop(f"score {subject}", None)
            self._score(subject, stored=self.cell.method != CEILING)
            if self.record["unsegmented"].get(subject, {}).get("lasting", True):
                keys[f"score {subject}"] = scored
            write_json(self.folder.record, self.record)

    def _harmonize(self, method: Method, subject: str) -> None:
        source = self.bench.folder.input_volume(subject, self.cell.direction.source)
        for old in self.folder.beside.glob("*"):  # an earlier fit may have given other volumes
            (old / self.folder.volume(subject).name).unlink(missing_ok=True)

        taken: dict[str, str] = {}

        def keep(name: str, volume: Volume) -> None:
            if not name or taken.setdefault(same_on_disk(file_label(name)), name) != name:
                raise MethodError(
                    f"keep({name!r}): a name is not empty, and differs from others ("
                    f"{', '.join(map(repr, taken.values()))}) by more than case"
                )
            write(volume, self.folder.kept(subject, name))

        with Meter() as meter:
            with method_call():
                output = method.harmonize(source, replace(self._task(None), keep=keep))
            masked = self.bench.experiment.scoring.mask_background
            finished, clipped = finish_volume(output, source, mask_background=masked)
        if clipped:
            log.info("subject %s: %.3g %% of voxels were outside [0, 1]", subject, 100 * clipped)
        self.record["clipped"][subject] = clipped
        write(finished, self.folder.volume(subject))
        self._made_by("harmonize", subject)
        self._measured("harmonize", meter, count=1)

    def _score(self, subject: str, *, stored: bool) -> None:
        folder, way = self.bench.folder, self.cell.direction
        source = folder.input_volume(subject, way.source)
        reference = folder.input_volume(subject, way.target)
        harmonized = read(self.folder.volume(subject)) if stored else reference
        bench = self.bench
        segmenter = make_segmenter(bench.segmenter, bench.device, bench.contrast)
        inputs = [
            folder.input_labels(subject, session, segmenter.name)
            for session in (way.target, way.source)
        ]
        with Meter() as meter:
            labels = (
                segment_to_file(
                    harmonized, self.folder.labels(subject, segmenter.name), segmenter, inputs
                )
                if stored
                else segment_to_file(reference, inputs[0], segmenter)
            )
            reference_labels = segment_to_file(reference, inputs[0], segmenter)
        self._made_by("segment", subject)
        self._measured("segment", meter, count=1)
        self._note_unsegmented(subject, reference=reference_labels, volume=labels)
        with Meter() as meter:
            rows = score_rows(
                harmonized,
                reference,
                source,
                labels,
                reference_labels,
                stacking_axis=self.bench.experiment.scoring.stacking_axis,
                surface_backend=self.bench.experiment.scoring.surface_backend,
            )
        self._add_rows(subject, rows)
        self._made_by("score", subject)
        self._measured("score", meter, count=1)

    def _made_by(self, stage: str, subject: str) -> None:
        self.record["made_by"].setdefault(stage, {})[subject] = self.bench.invocation

    def _note_unsegmented(self, subject: str, **found: Volume | Unsegmented) -> None:
        """Keep in the record why a subject has no scores of tissues; the reference comes first."""
        self.record["unsegmented"].pop(subject, None)
        missing = {name: one for name, one in found.items() if isinstance(one, Unsegmented)}
        for what, one in missing.items():
            log.warning("subject %s, %s: %s", subject, what, one.reason)
        if missing:
            what, one = next(iter(missing.items()))
            lasting = all(other.lasting for other in missing.values())
            self.record["unsegmented"][subject] = {"what": what, "reason": one.reason}
            self.record["unsegmented"][subject] |= {"status": one.status, "lasting": lasting}

    def _is_scored(self, subject: str) -> bool:
        # Without a reason in the record it is not known whether trying again would help.
        known = subject in self.record["unsegmented"]
        return self.scores.is_scored(subject, ("failed",) if known else FAILURES)

    def _add_rows(self, subject: str, rows: Sequence[Mapping[str, Any]]) -> None:
        shared = {
            "method": self.cell.method,
            "direction": str(self.cell.direction),
            "fold": self.cell.fold,
            "seed": self.cell.seed,
            "subject": subject,
            "group": self.bench.groups[subject],
            "segmenter": self.bench.segmenter,
        }
        self.scores.put(subject, [{**shared, **row} for row in rows])

    def _write_failed_rows(self) -> None:
        scored = {s for s in self.test if f"score {s}" in self.record["keys"]}
        scored |= set(self.record["unsegmented"])
        for subject in self.test:
            if not (subject in scored and self._is_scored(subject)):
                self._add_rows(subject, missing_rows("failed"))
                self.record["keys"].pop(f"score {subject}", None)
                self.record["unsegmented"].pop(subject, None)


def _save(method: Method, folder: Path) -> None:
    """Save a model so that its folder is there complete or not at all."""
    shutil.rmtree(folder, ignore_errors=True)
    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    method.save(fresh)
    fresh.rename(folder)


def _keep_only_checkpoints_of(folder: Path, key: str) -> None:
    """Remove checkpoints that another configuration, data set or code version left."""
    if (read_json(folder / "key.json") or {}).get("fit") != key:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_json(folder / "key.json", {"fit": key})


def segment_inputs(
    bench: Bench, items: Sequence[tuple[str, str]], progress: Progress
) -> list[Note]:
    """Segment real scans, (subject, session) each; all methods and directions share their labels.

    Returns:
        A note for each scan that has no labels.
    """
    progress("segment", 0, len(items))
    segmenter = make_segmenter(bench.segmenter, bench.device, bench.contrast)
    volumes = [bench.folder.input_volume(*item) for item in items]
    paths = [bench.folder.input_labels(*item, segmenter.name) for item in items]
    found = segment_to_files(volumes, paths, segmenter)
    return [
        Note(NO_SCORES, one.reason, f"subject {subject}, session {session}")
        for (subject, session), one in zip(items, found, strict=True)
        if isinstance(one, Unsegmented)
    ]


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Append what harmbench logs to a cell's file."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger("harmbench")
    before = root.level
    root.setLevel(logging.INFO)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        handler.close()
