"""A paragraph for the methods section of a paper, and the references to go with it, as BibTeX."""

from __future__ import annotations

import re
from collections.abc import Iterator

from harmbench.report.evidence import Evidence
from harmbench.report.tables.titles import direction_title
from harmbench.report.verdict import Verdict
from harmbench.results import BASELINE, REAL_SCANS

__all__ = ["bibtex", "methods_paragraph"]


def methods_paragraph(evidence: Evidence, verdict: Verdict | None) -> str:
    """Describe the run in the past tense, from what its records say alone."""
    return " ".join(_sentences(evidence, verdict))


def _sentences(evidence: Evidence, verdict: Verdict | None) -> Iterator[str]:
    record = evidence.record
    sizes = ", ".join(f"{len(who)} {group}" for group, who in evidence.groups.items())
    subjects = sum(len(who) for who in evidence.groups.values())
    ways = " and ".join(direction_title(way) for way in evidence.directions)
    if len(evidence.directions) > len(evidence.shown_directions):
        scanners = {name for way in evidence.directions for name in (way.source, way.target)}
        ways = f"one scanner to another in {len(evidence.directions)} directions of {len(scanners)} scanners"
    kind = "simulated scans" if evidence.simulated else "scans"
    version = record.invocations[-1].version if record.invocations else ""
    yield (
        f"Contrast harmonization was evaluated with harmbench{f' {version}' if version else ''} on "
        f"{kind} of {subjects} subjects ({sizes}), for the mapping from {ways}."
    )
    names = [
        title for name, title in evidence.methods.items() if name not in {BASELINE, *REAL_SCANS}
    ]
    if names:
        folds = record.folds
        split = (
            f"in {folds.k}-fold cross-validation over subjects (seed {folds.seed}), "
            if folds
            else ""
        )
        seeds = evidence.results["seed"].nunique()
        yield (
            f"{_listed(names)} {'was' if len(names) == 1 else 'were'} compared {split}with {seeds} "
            f"training seed{'s' if seeds > 1 else ''} per method; no subject was in the training and the "
            "test data of one model."
        )
    if evidence.segmenter:
        version = f" ({record.segmenter.version})" if record.segmenter.version else ""
        yield (
            "Cerebrospinal fluid, grey matter and white matter were segmented with "
            f"{evidence.segmenter}{version}."
        )
    if evidence.has_baseline:
        yield (
            "Errors were taken against the same subject's scan on the target scanner, and each method "
            "was compared with the untreated source scan."
        )
    if verdict is not None:
        endpoint = verdict.endpoint
        region = f" (region of equivalence: {endpoint.region})" if endpoint.region else ""
        yield f"The primary endpoint was {endpoint.title}{region}."


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def bibtex(evidence: Evidence) -> str:
    """Give the benchmark, the paper that it follows, and the references of the methods as BibTeX."""
    version = evidence.record.invocations[-1].version if evidence.record.invocations else ""
    entries = [
        _entry("software", "harmbench", title="{harmbench}: a benchmark of MRI contrast "
               "harmonization methods", author="{The harmbench developers}", version=version),
        _entry("inproceedings", "durrer2023diffusion",
               title="Diffusion Models for Contrast Harmonization of Magnetic Resonance Images",
               author="Durrer, Alicia and Wolleb, Julia and Bieder, Florentin and Sinnecker, Tim and "
               "Weigel, Matthias and Sandk{\\\"u}hler, Robin and Granziera, Cristina and Yaldizli, "
               "{\\\"O}zg{\\\"u}r and Cattin, Philippe C.",
               booktitle="Medical Imaging with Deep Learning (MIDL)", year="2023"),
    ]  # fmt: skip
    for record in evidence.records:
        for name, method in record.methods.items():
            if method.reference:
                key = re.sub(r"[^A-Za-z0-9]+", "", name) or "method"
                entries.append(_entry("misc", key, title=method.title, note=method.reference))
    citation = evidence.record.cohort.citation
    if citation:
        entries.append(_entry("misc", "data", title="Data", note=citation))
    return "\n\n".join(dict.fromkeys(entries))


def _entry(kind: str, key: str, **fields: str) -> str:
    lines = [f"  {name} = {{{_balanced(text)}}}," for name, text in fields.items() if text]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])


def _balanced(text: str) -> str:
    """Return text whose braces are balanced, which BibTeX requires; others are left out."""
    if text.count("{") == text.count("}"):
        return text
    return text.replace("{", "").replace("}", "")
