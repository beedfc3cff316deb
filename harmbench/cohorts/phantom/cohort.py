"""Make the simulated cohort: subjects in parallel processes, cached on disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from harmbench.code_keys import own_code
from harmbench.cohorts.base import Cohort, Scan
from harmbench.cohorts.phantom import dataset
from harmbench.cohorts.phantom.physics import PROTOCOLS
from harmbench.cohorts.phantom.subjects import PhantomSettings, Subject, make_subjects
from harmbench.cohorts.whole_subjects import intact, new_subject, publish, sweep
from harmbench.errors import CohortError
from harmbench.processes import worker_pool
from harmbench.storage import cache_root, key_of
from harmbench.task import NoProgress, Progress

__all__ = ["cache_folder", "make_phantom"]


def cache_folder(settings: PhantomSettings) -> Path:
    """Folder where a cohort is kept: below `cache_root()`.

    It does not depend on the number of subjects, so that 40 subjects take over the 4 made before.
    """
    return cache_root() / f"phantom-{_key(settings)[:16]}"


def make_phantom(
    settings: PhantomSettings,
    folder: Path | None = None,
    progress: Progress | None = None,
    jobs: int | None = None,
) -> Cohort:
    """Make the simulated cohort, or what is missing of it, and return it.

    Subjects that are on disk and undamaged are kept. The bytes of a subject depend on the seed, the
    voxel size and the product alone.

    Args:
        settings: which cohort.
        folder: where to keep it; by default `cache_folder(settings)`.
        progress: told after each subject (stage `phantom`).
        jobs: number of processes, each of about 1.1 GB at 1 mm; by default one per core, at most 4.

    Raises:
        CohortError: the folder holds something else, `jobs` is below 1, or a process died.
    """
    if jobs is not None and jobs < 1:
        raise CohortError(f"jobs is {jobs}, allowed: 1 or more")
    progress = progress or NoProgress()
    root = (folder or cache_folder(settings)).absolute()
    key = _key(settings)
    dataset.write_description(root, settings, key)
    sweep(root)
    everyone = make_subjects(settings.seed)
    subjects = everyone[: settings.subjects]
    missing = [subject for subject in subjects if not intact(root, subject.label, key)]
    done = len(subjects) - len(missing)
    progress("phantom", done, len(subjects))
    _make_all(missing, settings, root, progress, jobs or min(4, os.cpu_count() or 1), done)
    dataset.write_participants(root, everyone, key)
    return _cohort(settings, root, subjects)


def _key(settings: PhantomSettings) -> str:
    return key_of(settings.model_dump(exclude={"subjects"}), own_code("harmbench.cohorts.phantom"))


def _make_all(
    missing: Sequence[Subject],
    settings: PhantomSettings,
    root: Path,
    progress: Progress,
    jobs: int,
    done: int,
) -> None:
    total = done + len(missing)
    if min(jobs, len(missing)) <= 1:
        for subject in missing:
            _make_subject(subject, settings, root)
            done += 1
            progress("phantom", done, total)
        return
    try:
        with worker_pool(min(jobs, len(missing))) as pool:
            waiting = [pool.submit(_make_subject, subject, settings, root) for subject in missing]
            for future in as_completed(waiting):
                future.result()
                done += 1
                progress("phantom", done, total)
    except BrokenProcessPool as error:
        raise CohortError(
            f"a process died while making the cohort in {root}, perhaps for lack of memory: "
            f"try fewer jobs than {jobs} (finished subjects are kept); a script of your own must "
            "make cohorts below `if __name__ == '__main__':`, or with jobs=1"
        ) from error


def _make_subject(subject: Subject, settings: PhantomSettings, root: Path) -> None:
    """Make one subject's files below `root`, all or none."""
    # The simulation is imported by those that simulate, not at the command line's start.
    from harmbench.cohorts.phantom.subject_files import write_subject

    with new_subject(root, subject.label) as made:
        row = write_subject(subject, settings, made)
        publish(made, root, subject.label, row, _key(settings))


def _mask(subject: Subject, session: str, settings: PhantomSettings) -> Path:
    if settings.product == "prepared":
        return dataset.mask_path(subject.label, session)
    return dataset.truth_path(subject.label, "brain", session)


def _cohort(settings: PhantomSettings, root: Path, subjects: Sequence[Subject]) -> Cohort:
    scans = {
        (subject.label, session): Scan(
            subject.label,
            session,
            root / dataset.scan_path(subject.label, session, settings.product),
            root / _mask(subject, session, settings),
        )
        for subject in subjects
        for session in PROTOCOLS
    }
    return Cohort(
        name="phantom",
        description=(
            f"SIMULATED scans of {len(subjects)} people who do not exist, at 1.5 T and 3 T "
            f"({settings.product}, {settings.spacing_mm:g} mm, seed {settings.seed})"
        ),
        simulated=True,
        groups={subject.label: subject.group for subject in subjects},
        scans=scans,
        citation=(
            "Simulated with harmbench from the ICBM152 2009a atlas (Fonov et al., NeuroImage 2011); "
            "protocols and demographics after Durrer et al., MIDL 2023."
        ),
        title="harmbench phantom (SIMULATED scans, no real people)",
    )
