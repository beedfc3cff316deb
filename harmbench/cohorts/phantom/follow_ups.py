"""Follow-up visits of the simulated subjects, with a true change of volume that is known.

They lie in a data set of their own, `derivatives/followups` in the folder of the cohort, so that no
run trains or tests on them unless it is told to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from harmbench.code_keys import own_code
from harmbench.cohorts.base import Cohort
from harmbench.cohorts.phantom import dataset
from harmbench.cohorts.phantom.cohort import (
    CITATION,
    cache_folder,
    check_jobs,
    lesions_of,
    make_missing,
    prepared_scan_of,
)
from harmbench.cohorts.phantom.physics import PROTOCOLS
from harmbench.cohorts.phantom.subjects import PhantomSettings, Subject, make_subjects
from harmbench.cohorts.whole_subjects import new_subject, publish, read_record
from harmbench.errors import CohortError, suggest
from harmbench.storage import key_of, write_text
from harmbench.task import NoProgress, Progress

__all__ = ["CHANGES_PERCENT", "FollowUps", "follow_up_folder", "make_follow_ups"]

CHANGES_PERCENT: Mapping[str, float] = MappingProxyType(
    {"fu0": 0.0, "fu05": -0.5, "fu1": -1.0, "fu2": -2.0}
)
"""Label of each follow-up visit, to the change of brain tissue that it is made with, in percent."""

_TITLE = "harmbench phantom: follow-up visits (SIMULATED scans, no real people)"
_TISSUES = ("CSF", "GM", "WM")
# Visit 1 is the rescan.
_FIRST_NUMBER = 2


@dataclass(frozen=True, slots=True)
class FollowUps:
    """Scans of follow-up visits on every scanner, with the truth.

    Attributes:
        cohort: the scans by (subject, session); each has its scanner and visit.
        true_change: (subject, visit) to the change of CSF, GM and WM since the first visit, in
            percent of the volume then, measured from the true shares of tissue.
    """

    cohort: Cohort
    true_change: Mapping[tuple[str, str], Mapping[str, float]]


def follow_up_folder(settings: PhantomSettings, folder: Path | None = None) -> Path:
    """Folder of the follow-up visits of a cohort that is kept in `folder`, by default in the cache."""
    return (folder or cache_folder(settings)).absolute() / dataset.DERIVED / "followups"


def make_follow_ups(
    settings: PhantomSettings,
    folder: Path | None = None,
    subjects: Iterable[str] | None = None,
    progress: Progress | None = None,
    jobs: int | None = None,
) -> FollowUps:
    """Make the follow-up visits of the simulated cohort, or what is missing of them.

    Args:
        settings: of the cohort; its product is `prepared`.
        folder: where the cohort is kept; by default `cache_folder(settings)`.
        subjects: labels; by default all subjects of the cohort.
        progress: told after each subject (stage `phantom`).
        jobs: number of processes; by default one per core, at most 4.

    Raises:
        CohortError: as for `make_phantom`, a label is unknown, or the scans are raw.
    """
    if settings.product != "prepared":
        raise CohortError("follow-up visits are made of prepared scans only, not of raw ones")
    # The visits don't depend on rescans.
    settings = settings.model_copy(update={"rescans": False}) if settings.rescans else settings
    root = follow_up_folder(settings, folder)
    check_jobs(jobs)
    key = key_of(settings.identity(), dict(CHANGES_PERCENT), own_code("harmbench.cohorts.phantom"))
    everyone = make_subjects(settings.seed)
    chosen = _chosen(everyone[: settings.subjects], subjects)
    dataset.write_description(root, settings, key, _TITLE)
    make = partial(_make_subject, settings=settings, root=root, key=key)
    make_missing(chosen, root, key, make, progress or NoProgress(), jobs)
    dataset.write_participants(root, everyone, key)
    _write_changes(root, everyone, key)
    return FollowUps(_cohort(settings, root, chosen), _changes(root, chosen))


def _chosen(subjects: Sequence[Subject], labels: Iterable[str] | None) -> tuple[Subject, ...]:
    known = {subject.label: subject for subject in subjects}
    wanted = list(known) if labels is None else list(labels)
    for label in wanted:
        if label not in known:
            raise CohortError(f"unknown subject '{label}'; {suggest(label, known)}")
    return tuple(known[label] for label in wanted)


def _make_subject(subject: Subject, settings: PhantomSettings, root: Path, key: str) -> None:
    """Make all follow-up visits of one subject below `root`, or none."""
    # The simulation is imported by those that simulate, not at the command line's start.
    from harmbench.cohorts.phantom.follow_up_files import write_follow_ups

    with new_subject(root, subject.label) as made:
        row = write_follow_ups(subject, settings, CHANGES_PERCENT, made, _FIRST_NUMBER)
        publish(made, root, subject.label, row, key)


def _changes(root: Path, subjects: Iterable[Subject]) -> dict[tuple[str, str], Mapping[str, float]]:
    found: dict[tuple[str, str], Mapping[str, float]] = {}
    for subject in subjects:
        record = read_record(root, subject.label)
        if record is None:
            raise CohortError(f"{root}: the record of {subject.label} is missing or damaged")
        row = record.participant
        for visit in CHANGES_PERCENT:
            found[subject.label, visit] = {t: float(str(row[f"{visit}_{t}"])) for t in _TISSUES}
    return found


def _write_changes(root: Path, everyone: Iterable[Subject], key: str) -> None:
    """Write the table of true changes of all subjects that are on disk."""
    lines = ["participant_id\tvisit\tasked_percent\tcsf_percent\tgm_percent\twm_percent"]
    for subject in everyone:
        record = read_record(root, subject.label)
        if record is None or record.key != key:
            continue
        for visit, asked in CHANGES_PERCENT.items():
            values = [record.participant[f"{visit}_{tissue}"] for tissue in _TISSUES]
            lines.append("\t".join(map(str, (subject.label, visit, asked, *values))))
    write_text(root / dataset.CHANGES, "\n".join(lines) + "\n")


def _cohort(settings: PhantomSettings, root: Path, subjects: Sequence[Subject]) -> Cohort:
    scans = [
        prepared_scan_of(root, subject, session, visit)
        for subject in subjects
        for session in PROTOCOLS
        for visit in CHANGES_PERCENT
    ]
    return Cohort(
        name="phantom-follow-ups",
        description=(
            f"SIMULATED follow-up visits of {len(subjects)} people who do not exist, at 1.5 T and "
            f"3 T ({settings.spacing_mm:g} mm, seed {settings.seed})"
        ),
        simulated=True,
        groups={subject.label: subject.group for subject in subjects},
        scans={(scan.subject, scan.session): scan for scan in scans},
        citation=CITATION,
        title=_TITLE,
        lesions=lesions_of(root, subjects, CHANGES_PERCENT),
    )
