"""Candidates for reading a data set: expressions for labels, columns, sidecar fields, people."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from harmbench.cohorts.bids_names import ENTITIES, BidsFile
from harmbench.cohorts.bids_tables import TABLES
from harmbench.cohorts.readings import Evidence, Reading, read_as
from harmbench.errors import CohortError
from harmbench.files.field_strength import FIELD

__all__ = ["by_label", "by_like_scanner_column", "by_scanner_column", "by_the_rest"]

_VISIT_WORDS = (
    "x|v|visit|r|run|rep|repeat|scan|session|ses|s|tp|time|t|day|d|week|wk|w|month|mo|m|year|y"
)
_SCANNERS = ("scanner", "device", "machine")
_LIKE_SCANNERS = (
    *("magnet", "system", "station", "site", "center", "centre", "location"),
    *("hospital", "institution", "model", "manufacturer", "vendor"),
)
_NOT_PEOPLE = {"sex", "gender", "age", "handedness", "group", "diagnosis", "dx", "session_id"}
_NOT_PEOPLE |= {"participant_id", "race", "ethnicity", "education", "status", "qc", "date"}
_FIELDS = ("ManufacturersModelName", "DeviceSerialNumber", "StationName", "SoftwareVersions")


def by_label(evidence: Evidence) -> Iterator[Reading]:
    """Readings that split the ses- labels, the most telling first."""
    for pattern in _label_patterns(evidence):
        yield _label_split(evidence, pattern)


def by_scanner_column(evidence: Evidence) -> Iterator[Reading]:
    """Readings by a column that is called scanner: it says what labels and sidecars let guess."""
    for column in _columns(evidence, _SCANNERS):
        yield read_as(evidence, {"session_by": column}, ("--session-by", column))


def by_like_scanner_column(evidence: Evidence) -> Iterator[Reading]:
    """Readings by a column whose name is like that of a scanner, such as site."""
    for column in _columns(evidence, _LIKE_SCANNERS):
        yield read_as(evidence, {"session_by": column}, ("--session-by", column))


def _label_patterns(evidence: Evidence) -> Iterator[str]:
    """Expressions that split the ses- labels into scanner and visit, the most telling first."""
    files = evidence.files
    if not all(file.session for file in files):
        return
    stems = [(file, file.session) for file in files]
    starts = ""
    if all(file.session.startswith(file.entities["sub"]) for file in files):
        starts = r"sub-(?P<subject>[^_]+)_ses-(?P=subject)"
        stems = [(file, file.session[len(file.entities["sub"]) :]) for file in files]
        stems = [(file, stem.lstrip("-+.")) for file, stem in stems]
        if any(f.session[len(f.entities["sub"]) :] != stem for f, stem in stems):
            starts += r"[-+.]+"
    rests = [stem for _, stem in stems]
    words = {m[1] for rest in rests if (m := re.search(r"([A-Za-z]+)[0-9]+$", rest))}
    tails = _common_tail([m[1] for rest in rests if (m := re.search(r"([A-Za-z]+)[0-9]+$", rest))])
    word = _visit_word(tails) if words else ""
    end = r"(?:_|$)" if starts else ""
    if word:
        yield rf"{starts}(?P<scanner>{'[^_]+?' if starts else '.+'}){word}(?P<visit>\d+){end}"
    yield rf"{starts}(?P<scanner>{'[^_]*' if starts else '.*'}[A-Za-z])(?P<visit>\d+){end}"
    yield rf"{starts}(?P<scanner>{'[^_]+?' if starts else '.+?'})(?P<visit>retest|test){end}"
    yield rf"{starts}(?P<visit>\d+)(?P<scanner>[A-Za-z]{'[^_]*' if starts else '.*'}){end}"
    if starts:
        yield rf"{starts}(?P<scanner>[^_]+)"


def _common_tail(words: Sequence[str]) -> str:
    """The letters that all words end in."""
    tail = words[0] if words else ""
    for word in words:
        while not word.endswith(tail):
            tail = tail[1:]
    return tail


def _visit_word(tail: str) -> str:
    """The longest word for a visit that a text ends in; empty where it ends in none."""
    # A capital letter alone belongs to the scanner: `3T1` is a visit at 3T.
    found = [
        w for w in _VISIT_WORDS.split("|") if tail.endswith((w, w.title() * (len(w) > 1) or w))
    ]
    return tail[-len(max(found, key=len)) :] if found else ""


def _label_split(evidence: Evidence, pattern: str) -> Reading:
    return read_as(evidence, {"session_pattern": pattern}, ("--session-pattern", pattern))


def by_the_rest(evidence: Evidence) -> Iterator[Reading]:
    """Ways of reading that do without the ses- labels, the most trustworthy first."""
    for changes, options in _people(evidence):
        if changes:
            yield read_as(
                evidence,
                {**changes, "session_by": "label"},
                (*options, "--session-by", "label"),
            )
        for by in _scanner_terms(evidence):
            yield read_as(evidence, {**changes, "session_by": by}, (*options, "--session-by", by))
        if changes:
            for pattern in _subject_patterns():
                yield read_as(
                    evidence,
                    {**changes, "session_pattern": pattern},
                    (*options, "--session-pattern", pattern),
                )
    for pattern in _subject_patterns():
        yield _label_split(evidence, pattern)


def _people(evidence: Evidence) -> Iterator[tuple[Mapping[str, str], tuple[str, ...]]]:
    """Ways to say who is who: the sub- labels, then columns of participants.tsv."""
    yield {}, ()
    labels = {file.subject: file for file in evidence.files}
    columns = evidence.tables.columns("participants.tsv")
    hinted = sorted(
        columns,
        key=lambda c: not re.search("subj|person|partic|indiv|travel|orig|id$|code", c.casefold()),
    )
    for column in hinted:
        if column.casefold() in _NOT_PEOPLE:
            continue
        values = Counter(_value(evidence, file, column) for file in labels.values())
        several = sum(count for value, count in values.items() if count > 1)
        if "" not in values and len(values) > 1 and several >= len(labels) / 2:
            yield {"subject_by": column}, ("--subject-by", column)


def _value(evidence: Evidence, file: BidsFile, column: str) -> str:
    try:
        return evidence.tables.value(file, "participants.tsv", column, of_person=True) or ""
    except CohortError:
        return ""


def _scanner_terms(evidence: Evidence) -> Iterator[str]:
    """Values for --session-by: columns, then sidecar fields, then entities."""
    yield from _columns(evidence, (*_SCANNERS, *_LIKE_SCANNERS))
    yield from _field_terms(evidence)
    files = evidence.files
    for entity in ("acq", "rec", "run", "ce"):
        if entity in ENTITIES.values() and all(entity in file.entities for file in files):
            yield entity


def _columns(evidence: Evidence, words: Sequence[str]) -> Iterator[str]:
    """Columns of tables whose name has one of some words in it."""
    for word in words:
        for table in TABLES:
            columns = evidence.tables.columns(table)
            yield from (f"{table}:{c}" for c in columns if word in c.casefold())


def _field_terms(evidence: Evidence) -> Iterator[str]:
    """Combinations of sidecar fields, as few fields as tell the same scanners apart."""
    whole = [name for name in _FIELDS if evidence.coverage(name) == 1]
    tried: set[tuple[str, ...]] = set()
    choices = [whole, *([f for f in whole if f != name] for name in reversed(whole))]
    choices += [[name] for name in whole]
    weaker = ("Manufacturer", "InstitutionName", FIELD)
    choices += [[name] for name in weaker if evidence.coverage(name) == 1]
    partial = [name for name in ("Manufacturer", *_FIELDS) if evidence.coverage(name) > 0]
    choices += [partial, *([f for f in partial if f != name] for name in reversed(partial))]
    choices += [[one, two] for one in ("Manufacturer", "InstitutionName", FIELD) for two in _FIELDS]
    for choice in choices:
        needed = _needed(evidence, [name for name in choice if evidence.coverage(name) > 0])
        if needed and needed not in tried and _whole_groups(evidence, needed):
            tried.add(needed)
            yield ",".join(needed)


def _key(evidence: Evidence, file: BidsFile, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(evidence.fields[file.path].get(name, "") for name in names)


def _needed(evidence: Evidence, names: Sequence[str]) -> tuple[str, ...]:
    """Leave out fields that tell no more than those before them."""
    kept: tuple[str, ...] = ()
    groups = 1
    for name in names:
        found = len({_key(evidence, file, (*kept, name)) for file in evidence.files})
        if found > groups:
            kept, groups = (*kept, name), found
    # A field may tell nothing more once later ones are there.
    for name in kept:
        fewer = tuple(other for other in kept if other != name)
        if fewer and len({_key(evidence, f, fewer) for f in evidence.files}) == groups:
            kept = fewer
    return kept


def _whole_groups(evidence: Evidence, names: Sequence[str]) -> bool:
    """Whether no missing value splits a scanner: two scans are equal, or differ where both know."""
    keys = {_key(evidence, file, names) for file in evidence.files}
    if any(not any(key) for key in keys):
        return False
    return not any(
        one != two and all(a == b for a, b in zip(one, two, strict=True) if a and b)
        for one in keys
        for two in keys
    )


def _subject_patterns() -> tuple[str, ...]:
    """Expressions that take a sub- label apart into scanner and person."""
    end = r"(?:_|$)"
    return (
        rf"sub-(?P<scanner>[A-Za-z]+)(?P<subject>\d+){end}",
        rf"sub-(?P<subject>\d+)(?P<scanner>[A-Za-z]+){end}",
        rf"sub-(?P<scanner>[A-Za-z]+\d+)(?P<subject>[A-Za-z]+\d+){end}",
        rf"sub-(?P<subject>[A-Za-z]+\d+)(?P<scanner>[A-Za-z]+\d*){end}",
        rf"sub-(?P<scanner>[^_]*[A-Za-z])(?P<subject>\d+){end}",
    )
