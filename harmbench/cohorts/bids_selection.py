"""Which files of a BIDS folder may be the scans: suffix, entities, filter file, exclusions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harmbench.cohorts.bids_choice import matching
from harmbench.cohorts.bids_filter import BidsFilter, own_value, read_filter
from harmbench.cohorts.bids_names import ENTITIES, BidsFile, Listing
from harmbench.cohorts.bids_rows import rows_without_scan
from harmbench.cohorts.bids_sessions import PREPARED
from harmbench.cohorts.bids_settings import BidsSettings
from harmbench.cohorts.bids_tables import StudyTables
from harmbench.cohorts.exclusion import Candidate, excluded
from harmbench.cohorts.expression import LABELS
from harmbench.cohorts.left_out import LeftOut
from harmbench.errors import CohortError, suggest
from harmbench.notes import Note

__all__ = ["Selection", "select"]


@dataclass(frozen=True, slots=True)
class Selection:
    """The files that may be scans.

    Attributes:
        suffix: of the scans.
        found: those that fit suffix, entities and filter.
        files: those among them that are not excluded.
        left_out: those that are.
        notes: what was assumed.
    """

    suffix: str
    found: tuple[BidsFile, ...]
    files: tuple[BidsFile, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[Note, ...]


def select(
    folder: Path, listing: Listing, settings: BidsSettings, tables: StudyTables
) -> Selection:
    """Select files by suffix, entities and filter file, then take out what is excluded.

    Raises:
        CohortError: no scan is left (says what there is), or a setting names an entity or column
            that nothing has.
    """
    chosen = BidsFilter((), {})
    if settings.filter_file is not None:
        chosen = read_filter(settings.filter_file, settings.suffix)
    suffixes = chosen.suffix or (settings.suffix,)
    suffixed = [file for file in listing.files if file.suffix in suffixes]
    wanted = settings.wanted()
    known = {entity for file in suffixed for entity in file.entities}
    unknown = [entity for entity in wanted if entity not in {*known, *ENTITIES.values()}]
    if unknown:
        raise CohortError(f"data.bids.entities.{unknown[0]}: {suggest(unknown[0], known)}")
    prepared = any(file.entities.get("desc") == PREPARED for file in suffixed)
    if prepared and "desc" not in {*wanted, *chosen.wanted}:
        wanted["desc"] = PREPARED
    fitting, notes = matching([file for file in suffixed if chosen.fits(file)], wanted)
    if not fitting:
        asked = [f"suffix {' or '.join(suffixes)}"]
        asked += [f"{k} {v or 'absent'}" for k, v in wanted.items()]
        asked += [f"what {settings.filter_file} wants"] if settings.filter_file else []
        why = _unmet(suffixed, [chosen, BidsFilter((), {k: (v,) for k, v in wanted.items()})])
        raise _nothing_fits(folder, listing, why, asked, settings.suffix)
    candidates = [_candidate(file, folder, tables) for file in fitting]
    columns = (*tables.all_columns(), *ENTITIES, *ENTITIES.values())
    out = excluded(candidates, settings.exclude, settings.exclude_list, columns)
    files = [file for place, file in enumerate(fitting) if place not in out.reasons]
    left_out = [
        LeftOut("excluded", out.reasons[place], file.path.name)
        for place, file in enumerate(fitting)
        if place in out.reasons
    ]
    if not files:
        raise CohortError(f"{folder}: all {len(fitting)} scans are excluded")
    notes = [*notes, *out.notes, *rows_without_scan(tables, listing, suffixes)]
    return Selection(suffixes[0], tuple(fitting), tuple(files), tuple(left_out), tuple(notes))


def _candidate(file: BidsFile, folder: Path, tables: StudyTables) -> Candidate:
    """Return a file with its columns: those of its tables, else the entities of its name."""
    in_tables = set(tables.all_columns()) - {"participant_id", "session_id"}

    def value(column: str) -> str | None:
        if column in in_tables:
            return tables.any_value(file, column)
        short = LABELS.get(column) or ENTITIES.get(column, column)
        return file.entities.get(short)

    def place(column: str) -> str:
        return tables.place(file, column) if column in in_tables else str(file.path)

    return Candidate(
        names=(str(file.path.relative_to(folder)), file.path.name),
        subject=file.entities["sub"],
        session=file.session,
        value=value,
        place=place,
    )


def _nothing_fits(
    folder: Path,
    listing: Listing,
    why: str,
    asked: Sequence[str],
    suffix: str,
) -> CohortError:
    there = {file.suffix for file in listing.files}
    inner = sorted(p.parent.name for p in folder.glob("*/dataset_description.json"))
    if inner and not listing.files:
        return CohortError(
            f"{folder}: there is no image with a name of BIDS; name the BIDS folder inside it: "
            f"{', '.join(inner)}"
        )
    ignored = f"; .bidsignore leaves out {listing.ignored} images" if listing.ignored else ""
    odd = [f"{u.path}: {u.reason}" for u in listing.unknown]
    return CohortError(
        f"{folder}: no scan with {', '.join(asked)}; "
        + (why or suggest(suffix, there) if there else "there is no image with a name of BIDS")
        + ignored
        + (f"; {len(odd)} images are not understood:" if odd else ""),
        odd,
    )


def _unmet(suffixed: Sequence[BidsFile], filters: Sequence[BidsFilter]) -> str:
    """Say which part of some filters no scan fits; empty where there is no scan of the suffix."""
    if not suffixed:
        return ""
    for part in (part for own in filters for part in own.parts()):
        if any(map(part.fits, suffixed)):
            continue
        ((name, values),) = part.wanted.items()
        asked = " or ".join("null" if v is None else f"'{v}'" for v in values)
        there = sorted({own_value(file, name) or "" for file in suffixed})
        each = ", ".join(f"'{v}'" if v else f"no {name}- (null)" for v in there)
        return f"{name} {asked} fits none of the {len(suffixed)} scans with this suffix; they have {each}"
    return (
        f"each part fits some of the {len(suffixed)} scans with this suffix, and no scan fits all"
    )
