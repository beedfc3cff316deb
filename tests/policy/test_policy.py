"""Every case of the policy on inputs, by the real command line, and the document made from them."""

from __future__ import annotations

from pathlib import Path

import pytest
from catalogue import CASES
from policy import Case, Study
from write_document import DOCUMENT, document


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case, call, thresholds, tmp_path: Path) -> None:
    code, out, err = call(*case.build(Study(tmp_path)))
    said = " ".join(f"{out}\n{err}".split())
    for never in ("internal error", "Traceback", *case.unsaid):
        assert never not in said
    assert code == (2 if case.outcome == "refused" else 0), said
    assert " ".join(case.says.split()) in said
    if case.outcome != "refused":
        assert ("note: " in err) == (case.outcome == "noted"), err
    else:
        # A message names what is wrong by its file or folder.
        assert str(tmp_path) in said
        assert not (tmp_path / "out").exists()
    if case.result is not None:
        case.result(tmp_path, out)


def test_the_document_shows_these_cases() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document()


def test_cases_are_told_apart() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
