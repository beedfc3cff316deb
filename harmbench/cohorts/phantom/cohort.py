"""Make the simulated cohort: subjects in parallel processes, cached on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

from harmbench.code_keys import own_code
from harmbench.cohorts.base import Cohort, Scan
from harmbench.cohorts.phantom import dataset
from harmbench.cohorts.phantom.physics import PROTOCOLS
from harmbench.cohorts.phantom.subjects import (
    PATIENTS,
    PhantomSettings,
    Product,
    Subject,
    make_subjects,
)
from harmbench.cohorts.whole_subjects import intact, new_subject, publish, sweep
from harmbench.errors import CohortError
from harmbench.processes import worker_pool
from harmbench.storage import cache_root, key_of
from harmbench.task import NoProgress, Progress

__all__ = [
    "CITATION",
    "cache_folder",
    "check_jobs",
    "lesions_of",
    "make_missing",
    "make_phantom",
    "prepared_scan_of",
]

CITATION = (
    "Simulated with harmbench from the ICBM152 2009a atlas (Fonov et al., NeuroImage 2011); "
    "protocols and demographics after Durrer et al., MIDL 2023."
)


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
    root = (folder or cache_folder(settings)).absolute()
    key = _key(settings)
    everyone = make_subjects(settings.seed)
    subjects = everyone[: settings.subjects]
    check_jobs(jobs)
    dataset.write_description(root, settings, key)
    make = partial(_make_subject, settings=settings, root=root)
    make_missing(subjects, root, key, make, progress or NoProgress(), jobs)
    dataset.write_participants(root, everyone, key)
    return _cohort(settings, root, subjects)


def _key(settings: PhantomSettings) -> str:
    return key_of(settings.identity(), own_code("harmbench.cohorts.phantom"))


def check_jobs(jobs: int | None) -> None:
    """Raise `CohortError` where a number of processes is below 1."""
    if jobs is not None and jobs < 1:
        raise CohortError(f"jobs is {jobs}, allowed: 1 or more")


def make_missing(
    subjects: Sequence[Subject],
    root: Path,
    key: str,
    make: Callable[[Subject], None],
    progress: Progress,
    jobs: int | None,
) -> None:
    """Make the subjects that a data set lacks, or has damaged, in parallel processes.

    Args:
        subjects: those that it should have.
        root: folder of the data set.
        key: that its subjects are made with.
        make: makes one subject; it travels to other processes.
        progress: told after each subject (stage `phantom`).
        jobs: number of processes; by default one per core, at most 4.

    Raises:
        CohortError: a process died.
    """
    sweep(root)
    missing = [subject for subject in subjects if not intact(root, subject.label, key)]
    done, total = len(subjects) - len(missing), len(subjects)
    jobs = jobs or min(4, os.cpu_count() or 1)
    progress("phantom", done, total)
    if min(jobs, len(missing)) <= 1:
        for subject in missing:
            make(subject)
            done += 1
            progress("phantom", done, total)
        return
    try:
        with worker_pool(min(jobs, len(missing))) as pool:
            waiting = [pool.submit(make, subject) for subject in missing]
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


def _visits(settings: PhantomSettings) -> tuple[str, ...]:
    return ("", dataset.RESCAN) if settings.rescans else ("",)


def _scans(settings: PhantomSettings, root: Path, subject: Subject) -> list[Scan]:
    if settings.product == "prepared":
        return [
            prepared_scan_of(root, subject, session, visit)
            for session in PROTOCOLS
            for visit in _visits(settings)
        ]
    return [
        Scan(
            subject.label,
            session,
            root / dataset.scan_path(subject.label, session, "raw"),
            root / dataset.truth_path(subject.label, "brain", session),
        )
        for session in PROTOCOLS
    ]


def lesions_of(
    root: Path,
    subjects: Iterable[Subject],
    visits: Iterable[str],
    product: Product = "prepared",
) -> dict[Path, Path]:
    """Return, for the scans of patients in a data set, the masks of their lesions."""
    return {
        root / dataset.scan_path(subject.label, session, product, visit): root
        / dataset.lesions_path(subject.label, session, visit)
        for subject in subjects
        if subject.group == PATIENTS
        for session in PROTOCOLS
        for visit in visits
    }


def prepared_scan_of(root: Path, subject: Subject, session: str, visit: str = "") -> Scan:
    """Describe one prepared scan of a data set in `root`."""
    return Scan(
        subject.label,
        dataset.session_label(session, visit),
        root / dataset.scan_path(subject.label, session, "prepared", visit),
        root / dataset.mask_path(subject.label, session, visit),
        scanner=session,
        visit=visit,
    )


def _cohort(settings: PhantomSettings, root: Path, subjects: Sequence[Subject]) -> Cohort:
    scans = {
        (subject.label, scan.session): scan
        for subject in subjects
        for scan in _scans(settings, root, subject)
    }
    visits = _visits(settings) if settings.product == "prepared" else ("",)
    twice = ", twice on each scanner" if settings.rescans else ""
    return Cohort(
        name="phantom",
        description=(
            f"SIMULATED scans of {len(subjects)} people who do not exist, at 1.5 T and 3 T "
            f"({settings.product}, {settings.spacing_mm:g} mm, seed {settings.seed}{twice})"
        ),
        simulated=True,
        groups={subject.label: subject.group for subject in subjects},
        scans=scans,
        citation=CITATION,
        title=dataset.TITLE,
        lesions=lesions_of(root, subjects, visits, settings.product),
    )
