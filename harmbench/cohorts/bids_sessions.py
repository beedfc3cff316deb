"""Whose scan a file is, from which scanner and which visit."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from harmbench.cohorts.bids_names import ENTITIES, BidsFile
from harmbench.cohorts.bids_settings import AUTO, BidsSettings, short_name
from harmbench.cohorts.bids_tables import TABLES, StudyTables
from harmbench.cohorts.left_out import LeftOut
from harmbench.errors import CohortError, suggest
from harmbench.files.field_strength import FIELD, nominal_label, parse_tesla
from harmbench.files.sidecars import field_text, sidecar_fields
from harmbench.files.text import read_object
from harmbench.notes import Note

__all__ = ["PREPARED", "Identified", "Identity", "identify"]

PREPARED: Final = "prepared"
"""The desc- entity of what `harmbench prepare` makes."""

_LABEL = "label"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who was scanned, on what, when; `session` names the scan within the subject."""

    subject: str
    scanner: str
    visit: str = ""
    own_session: str = ""

    @property
    def session(self) -> str:
        """Label of the scan within its subject: the scanner, and the visit where there is one."""
        if self.own_session:
            return self.own_session
        return f"{self.scanner}-{self.visit}" if self.visit else self.scanner


@dataclass(slots=True)
class Identified:
    """What is known of the scans of a data set.

    Attributes:
        scans: files with their identity, in order of path.
        left_out: files whose scanner is not known.
        problems: why a file's identity is not usable, one sentence each.
        notes: what was assumed.
    """

    scans: list[tuple[BidsFile, Identity]] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


def identify(files: Sequence[BidsFile], settings: BidsSettings, tables: StudyTables) -> Identified:
    """Say of each scan who was scanned on which scanner at which visit.

    A visit that no pattern gives is the ses- label (or the sub- label, where one person has several)
    wherever a subject has several scans on one scanner; else it is empty.
    """
    found = Identified()
    read: list[tuple[BidsFile, Identity]] = []
    terms = _terms(settings)
    several = len(terms) > 1
    keys: dict[Path, tuple[str, ...]] = {}
    for file in files:
        try:
            own = _known(file, settings, tables)
            if own is None and settings.session_pattern is None:
                values = [_term(file, term, tables, found.notes, several) for term in terms]
                if not any(values):
                    raise CohortError(f"nothing says its {', '.join(terms)}")
                keys[file.path] = tuple(values)
                own = Identity(_person(file, settings, tables), "")
        except CohortError as error:
            found.problems.append(f"{file.path.name}: {error}")
            continue
        if own is None:
            reason = "its name does not fit session_pattern"
            found.left_out.append(LeftOut("pattern-mismatch", reason, file.path.name))
            continue
        read.append((file, own))
    named = _scanner_names(keys)
    read = [(f, replace(i, scanner=named[f.path]) if f.path in named else i) for f, i in read]
    found.scans = _with_visits(read)
    return found


def _terms(settings: BidsSettings) -> list[str]:
    by = settings.session_by
    if by in (AUTO, _LABEL):
        return [_LABEL]
    terms = [short_name(term.strip()) for term in by.split(",") if term.strip()]
    return [_LABEL if term == "ses" else term for term in terms] or [_LABEL]


def _known(file: BidsFile, settings: BidsSettings, tables: StudyTables) -> Identity | None:
    """Identify a prepared scan by its sidecar, or any by the pattern; `None` where neither fits."""
    if settings.session_pattern is not None:
        return _by_pattern(file, settings, tables)
    if _terms(settings) == [_LABEL] and file.entities.get("desc") == PREPARED:
        fields = sidecar_fields(file.path)
        session, scanner, visit = (
            str(fields.get(name) or "").strip() for name in ("SessionLabel", "Scanner", "Visit")
        )
        if session:
            subject = _person(file, settings, tables)
            return Identity(subject, scanner or session, visit, session)
    return None


def _by_pattern(file: BidsFile, settings: BidsSettings, tables: StudyTables) -> Identity | None:
    pattern = settings.session_pattern or ""
    if re.search(r"(?:sub|ses|acq|run|rec|desc|space|task|dir|ce|echo|inv|part)-", pattern):
        match = re.search(pattern, file.path.name)
    else:
        match = re.fullmatch(pattern, file.session)
    groups = match.groupdict() if match else {}
    if not groups.get("scanner"):
        return None
    person = groups.get("subject")
    # A column says better who is who than a part of a name.
    subject = f"sub-{person}" if person and not settings.subject_by else None
    subject = subject or _person(file, settings, tables)
    return Identity(subject, groups["scanner"], groups.get("visit") or "")


def _person(file: BidsFile, settings: BidsSettings, tables: StudyTables) -> str:
    """Return the subject's name: `sub-` and the label, or what stands for the person."""
    by = settings.subject_by
    if by is None:
        return file.subject
    if "(?P<" in by:
        match = re.fullmatch(by, file.entities["sub"])
        if match is None or not match["subject"]:
            raise CohortError(f"its sub- label does not fit subject_by '{by}'")
        return f"sub-{match['subject']}"
    table, _, column = by.rpartition(":")
    value = tables.value(file, table or "participants.tsv", column, of_person=True)
    if value is None:
        raise CohortError(f"{file.subject} has no value of {column} in participants.tsv")
    return f"sub-{value.removeprefix('sub-')}"


def _term(file: BidsFile, term: str, tables: StudyTables, notes: list[Note], several: bool) -> str:
    """Return what one of the terms says about a file; empty: nothing, where there are others."""
    try:
        text, own = _value_of(file, term, tables)
    except _NoValueError:
        if several:
            return ""
        raise
    notes += own
    return text


class _NoValueError(CohortError):
    """A file has no value for a term."""


def _value_of(file: BidsFile, term: str, tables: StudyTables) -> tuple[str, tuple[Note, ...]]:
    if term == _LABEL:
        if not file.session:
            raise _NoValueError("it has no ses- label; choose data.bids.session_by")
        return file.session, ()
    if term in ENTITIES.values():
        if term not in file.entities:
            raise _NoValueError(f"it has no {term}- label; choose another data.bids.session_by")
        return file.entities[term], ()
    table, colon, column = term.partition(":")
    if colon and table in TABLES:
        found = tables.value(file, table, column)
        if found is None:
            raise _NoValueError(f"it has no {column} in {table}{_no_row(file, table, tables)}")
        return found.replace(" ", ""), ()
    fields = sidecar_fields(file.path, read=_strictly)
    if term not in fields:
        if not fields:
            raise _NoValueError(f"it has no sidecar with fields, so none with {term}")
        raise _NoValueError(f"its sidecar has no {term}; {suggest(term, fields)}")
    return _label(fields[term], term)


def _no_row(file: BidsFile, table: str, tables: StudyTables) -> str:
    """Say that a table lists other sessions of the subject only; empty where this is not so."""
    listed = tables.sessions_listed(file, table)
    if not listed or file.session in listed:
        return ""
    rows = ", ".join(f"ses-{label}" for label in listed)
    return f", which has no row for ses-{file.session} of {file.subject}; it has rows for {rows}"


def _strictly(sidecar: Path) -> Mapping[str, object]:
    return read_object(sidecar)[0]


def _label(value: object, name: str) -> tuple[str, tuple[Note, ...]]:
    text = field_text(value)
    if text is None:
        raise _NoValueError(f"{name} has no usable value (it is {value!r})")
    if name != FIELD:
        return text.replace(" ", ""), ()
    try:
        tesla = parse_tesla(value)
    except ValueError as error:
        raise CohortError(str(error)) from error
    label = nominal_label(tesla)
    if text.isdecimal() and int(text) > tesla + 1:
        said = f"{FIELD} {text} is taken as gauss, {label}"
        return label, (Note("field-strength-in-gauss", said, f"session {label}"),)
    return label, ()


def _scanner_names(keys: Mapping[Path, tuple[str, ...]]) -> dict[Path, str]:
    """Name scanners by the first of their values, and by the next where that is not enough.

    Values of several terms keep letters, digits and dots only; one term alone is taken as it is.
    """
    different = sorted(set(keys.values()))
    names: dict[tuple[str, ...], str] = {}
    for key in different:
        if len(key) == 1:
            names[key] = key[0]
            continue
        plain = [re.sub(r"[^0-9A-Za-z.]+", "", value) for value in key]
        rivals = [other for other in different if other != key]
        parts: list[str] = []
        for place, own in enumerate(plain):
            left = [other for other in rivals if other[place] == key[place]]
            # A value that tells nothing apart is left out, but for the first.
            if own and (not parts or len(left) < len(rivals)):
                parts.append(own)
            rivals = left
            if not rivals:
                break
        names[key] = "-".join(parts)
    taken: dict[str, int] = {}
    for key in different:
        taken[names[key]] = count = taken.get(names[key], 0) + 1
        if count > 1:
            names[key] = f"{names[key]}-{count}"
    return {path: names[key] for path, key in keys.items()}


def _with_visits(read: list[tuple[BidsFile, Identity]]) -> list[tuple[BidsFile, Identity]]:
    """Name visits by ses- or sub- where subjects have several scans on one scanner."""
    groups: dict[tuple[str, str], list[BidsFile]] = defaultdict(list)
    for file, own in read:
        if not own.visit and not own.own_session:
            groups[own.subject, own.scanner].append(file)
    by_session = any(len({f.session for f in files}) > 1 for files in groups.values())
    by_subject = any(len({(f.subject, f.session) for f in files}) > len({f.session for f in files})
                     for files in groups.values())  # fmt: skip

    def visit(file: BidsFile) -> str:
        labels = [file.entities["sub"]] if by_subject else []
        return "-".join([*labels, file.session] if by_session else labels).strip("-")

    return [(f, i if i.visit or i.own_session else replace(i, visit=visit(f))) for f, i in read]
