"""Scans that the user takes out: by a condition on tables, or by a list."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harmbench.cohorts.bids_names import ENTITIES, BidsFile
from harmbench.cohorts.bids_tables import StudyTables
from harmbench.cohorts.expression import Condition, parse_condition
from harmbench.cohorts.left_out import LeftOut
from harmbench.errors import CohortError, suggest
from harmbench.files.text import read_text
from harmbench.notes import Note

__all__ = ["exclude_by_condition", "exclude_by_list"]


def exclude_by_condition(
    files: Sequence[BidsFile], conditions: Sequence[str], tables: StudyTables
) -> tuple[list[BidsFile], list[LeftOut]]:
    """Take out the scans for which one of some conditions holds.

    Columns are those of scans.tsv, sessions.tsv and participants.tsv (in this order where several
    have one), entities (`run`, `acq`), `subject` and `session`.

    Raises:
        ConfigError: a text is not a condition.
        CohortError: a condition names a column that nothing has, or rows of a scan disagree.
    """
    parsed = [parse_condition(text) for text in conditions]
    entities = {**ENTITIES, **{short: short for short in ENTITIES.values()}}
    for condition in parsed:
        for column in condition.columns:
            if column not in entities and column not in tables.all_columns():
                there = [*tables.all_columns(), "subject", "session", "run", "acq"]
                raise CohortError(f"exclude: no column '{column}'; {suggest(column, there)}")
    kept: list[BidsFile] = []
    out: list[LeftOut] = []
    for file in files:
        found = next((c for c in parsed if _holds(c, file, tables)), None)
        if found is None:
            kept.append(file)
        else:
            out.append(LeftOut("excluded", f"excluded by: {found.text}", file.path.name))
    return kept, out


def _holds(condition: Condition, file: BidsFile, tables: StudyTables) -> bool:
    def lookup(column: str) -> str | None:
        if column in tables.all_columns():
            return tables.any_value(file, column)
        short = ENTITIES.get(column, column)
        own = file.entities.get(short)
        # `subject == 01` and `subject == sub-01` mean the same.
        with_prefix = short in ("sub", "ses") and f"{short}-" in condition.text
        return f"{short}-{own}" if own is not None and with_prefix else own

    return condition.holds(lookup)


def exclude_by_list(
    files: Sequence[BidsFile], path: Path, root: Path
) -> tuple[list[BidsFile], list[LeftOut], list[Note]]:
    """Take out the scans that a text file lists.

    A line is a file (its path below the root, or its name), `sub-01`, or `sub-01 ses-A` with a tab,
    a comma or spaces between; `sub-` and `ses-` may be left out. `participant_id` at the start of a
    first line marks a header; a line that begins with `#` is a comment.

    Returns:
        The scans that stay, those that don't, and a note on each line that fits no scan.

    Raises:
        CohortError: the list cannot be read.
    """
    text, notes = read_text(path)
    lines = [line.strip() for line in text.split("\n")]
    wanted = [line for line in lines if line and not line.startswith("#")]
    if wanted and wanted[0].casefold().startswith("participant_id"):
        wanted = wanted[1:]
    reason = f"excluded by the list {path.name}"
    out: dict[Path, LeftOut] = {}
    found: list[Note] = list(notes)
    for line in wanted:
        hits = [file for file in files if _listed(file, line, root)]
        out |= {file.path: LeftOut("excluded", reason, file.path.name) for file in hits}
        if not hits:
            found.append(Note("exclude-list-unused", f"'{line}' fits no scan", str(path)))
    return [file for file in files if file.path not in out], list(out.values()), found


def _listed(file: BidsFile, line: str, root: Path) -> bool:
    below = str(file.path.relative_to(root))
    if line.removeprefix("./") in (below, file.path.name, file.path.name.split(".nii")[0]):
        return True
    parts = line.replace("\t", " ").replace(",", " ").replace("/", " ").split()
    own = [file.subject.removeprefix("sub-"), file.session]
    named = [part.removeprefix(f"{key}-") for key, part in zip(("sub", "ses"), parts, strict=False)]
    return len(parts) <= 2 and bool(named) and named == own[: len(named)]
