"""A cohort from a BIDS folder, raw or derivative, read through pybids."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from bids import BIDSLayout
from bids.layout import BIDSFile
from pydantic import Field

from harmbench.cohorts.base import Cohort, Scan
from harmbench.errors import CohortError, suggest
from harmbench.settings import Settings
from harmbench.sidecars import simulated_among

__all__ = ["BidsSettings", "read_bids"]

_PREPARED = "prepared"


class BidsSettings(Settings):
    """Which files of a BIDS folder are the scans, and what tells the two scanners apart."""

    session_by: str = Field(
        "label",
        description="`label` (the ses- entity) or a sidecar field such as MagneticFieldStrength "
        "or ManufacturersModelName",
    )
    suffix: str = Field("T1w", description="suffix of the scans' file names")
    desc: str | None = Field(
        None,
        description="desc- entity; where unset, `prepared` if there are such scans, else any",
    )
    space: str | None = Field(None, description="space- entity; any where unset")
    acquisition: str | None = Field(None, description="acq- entity; any where unset")
    run: Literal["first", "last"] | int = Field(
        "first", description="which run- of a session counts where there are several"
    )
    group_column: str = Field("group", description="column of participants.tsv with the group")


def read_bids(folder: Path, settings: BidsSettings | None = None) -> Cohort:
    """Read a BIDS folder.

    A sidecar field's value becomes the session's label; a field strength gets the unit (`1.5T`).
    Scans that `harmbench prepare` made are found by themselves, and their sessions keep their names.
    A brain mask (suffix `mask`, desc `brain`) of the same subject, session and space is used.

    Raises:
        CohortError: not a BIDS folder, no scan matches, or lists every problem: a sidecar field is
            missing, several files fit one session, a subject is not in participants.tsv.
    """
    settings = settings or BidsSettings()
    if not (folder / "dataset_description.json").is_file():
        raise CohortError(f"{folder}: not a BIDS folder, it has no dataset_description.json")
    layout = BIDSLayout(folder, validate=False, config=["bids", "derivatives"])
    desc = settings.desc or (_PREPARED if _PREPARED in layout.get_desc() else None)
    query = {"suffix": settings.suffix, "extension": [".nii", ".nii.gz"], "desc": desc}
    query |= {"space": settings.space, "acquisition": settings.acquisition}
    files = layout.get(**{key: value for key, value in query.items() if value is not None})
    if not files:
        suffixes = [*layout.get_suffixes(), *(f"desc-{d}" for d in layout.get_desc())]
        asked = ", ".join(f"{k} {v}" for k, v in query.items() if v and k != "extension")
        raise CohortError(f"{folder}: no scan with {asked}; {suggest(settings.suffix, suffixes)}")
    problems: list[str] = []
    candidates = _by_session(files, settings, problems)
    chosen: dict[tuple[str, str], BIDSFile] = {}
    for key, options in candidates.items():
        try:
            chosen[key] = _choose_run(options, settings)
        except CohortError as error:
            problems.append(f"subject {key[0]}, session {key[1]}: {error}")
    groups = _groups(folder, [subject for subject, _ in candidates], settings, problems)
    if problems:
        raise CohortError(f"{folder} cannot be used:", problems)
    scans = {
        (subject, session): Scan(subject, session, Path(file.path), _mask(layout, file))
        for (subject, session), file in chosen.items()
    }
    description = layout.get_dataset_description()
    title = str(description.get("Name") or folder.name)
    simulated, notes = simulated_among([scan.path for scan in scans.values()])
    preparation = description.get("Preparation") or {}
    return Cohort(
        name="bids",
        description=f"{'SIMULATED scans of ' * simulated}{len(groups)} subjects of the BIDS data "
        f"set “{title}”",
        simulated=simulated,
        groups=groups,
        scans=scans,
        citation=_citation(layout),
        title=title,
        preparation=preparation.get("settings"),
        notes=notes,
    )


def _by_session(
    files: list[BIDSFile], settings: BidsSettings, problems: list[str]
) -> dict[tuple[str, str], list[BIDSFile]]:
    found: dict[tuple[str, str], list[BIDSFile]] = defaultdict(list)
    for file in files:
        subject = f"sub-{file.entities['subject']}"
        if settings.session_by == "label":
            value = file.get_metadata().get("SessionLabel") or file.entities.get("session")
            missing = "it has no ses- label; choose data.bids.session_by"
        else:
            fields = file.get_metadata()
            value = fields.get(settings.session_by)
            missing = (
                f"its sidecar has no {settings.session_by}; {suggest(settings.session_by, fields)}"
            )
        if value is None:
            problems.append(f"{file.filename}: {missing}")
        else:
            found[subject, _session_label(value, settings.session_by)].append(file)
    return found


def _session_label(value: Any, field: str) -> str:
    if field == "MagneticFieldStrength":
        return f"{float(value):g}T"
    return str(value).replace(" ", "")


def _choose_run(files: list[BIDSFile], settings: BidsSettings) -> BIDSFile:
    by_run: dict[int, list[BIDSFile]] = defaultdict(list)
    for file in files:
        by_run[int(file.entities.get("run", 0))].append(file)
    if isinstance(settings.run, int):
        if settings.run not in by_run:
            raise CohortError(f"no run {settings.run}, it has {sorted(by_run)}")
        run = settings.run
    else:
        run = min(by_run) if settings.run == "first" else max(by_run)
    if len(by_run[run]) > 1:
        names = ", ".join(sorted(file.filename for file in by_run[run]))
        raise CohortError(
            f"{len(by_run[run])} files fit ({names}): choose with data.bids.desc, space or acquisition"
        )
    return by_run[run][0]


def _groups(
    folder: Path, subjects: list[str], settings: BidsSettings, problems: list[str]
) -> dict[str, str]:
    ordered = sorted(set(subjects))
    path = folder / "participants.tsv"
    if not path.is_file():
        return dict.fromkeys(ordered, "all")
    frame = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    if "participant_id" not in frame.columns:
        problems.append("participants.tsv has no column participant_id")
        return {}
    twice = sorted(frame["participant_id"][frame["participant_id"].duplicated()])
    problems += [f"participants.tsv lists {subject} twice" for subject in twice]
    if settings.group_column not in frame.columns:
        return dict.fromkeys(ordered, "all")
    table = dict(zip(frame["participant_id"], frame[settings.group_column], strict=True))
    problems += [f"participants.tsv does not list {s}" for s in ordered if s not in table]
    return {subject: table.get(subject, "") or "all" for subject in ordered}


def _mask(layout: BIDSLayout, file: BIDSFile) -> Path | None:
    wanted = {k: v for k in ("subject", "session", "space") if (v := file.entities.get(k))}
    masks = layout.get(suffix="mask", desc="brain", extension=[".nii", ".nii.gz"], **wanted)
    return Path(masks[0].path) if len(masks) == 1 else None


def _citation(layout: BIDSLayout) -> str:
    description = layout.get_dataset_description()
    parts = [description.get("HowToAcknowledge"), description.get("DatasetDOI")]
    return "; ".join(part for part in parts if part)
