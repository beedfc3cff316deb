"""Age, sex and group of subjects, from a manifest, a BIDS folder and the simulated cohort."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harmbench.cohorts.covariates import Covariate, read_covariates
from harmbench.cohorts.data import DataSettings, read_cohort
from harmbench.errors import CohortError

GROUPS = {"sub-01": "HC", "sub-02": "MS", "sub-03": "MS"}
LABELS = {subject: [subject] for subject in GROUPS}


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """Write participants.tsv with two columns."""

    def write(*rows: str, head: str = "participant_id age sex") -> Path:
        path = tmp_path / "participants.tsv"
        path.write_text("\n".join(line.replace(" ", "\t") for line in (head, *rows)) + "\n")
        return path

    return write


def test_numbers_and_categories(table: Callable[..., Path]) -> None:
    path = table("sub-01 31 f", "02 52.5 m", "sub-03 n/a f", "sub-09 x x")
    found, notes = read_covariates(["sex", "age", "group"], path, LABELS, GROUPS)
    assert list(found) == ["sex", "age", "group"]
    assert found["sex"] == Covariate("category", {"sub-01": "f", "sub-02": "m", "sub-03": "f"})
    assert found["age"] == Covariate("number", {"sub-01": "31", "sub-02": "52.5"})
    assert found["group"] == Covariate("category", GROUPS)
    (note,) = notes
    assert note.where == "subject sub-03"
    assert note.text.startswith(
        "its age is missing; volume corrections that use it take the training"
    )


def test_codes_are_categories_where_levels_are_declared(table: Callable[..., Path]) -> None:
    path = table("sub-01 31 1", "sub-02 52 2", "sub-03 40 1")
    assert read_covariates(["sex"], path, LABELS, GROUPS)[0]["sex"].kind == "number"
    path.with_suffix(".json").write_text(json.dumps({"sex": {"Levels": {"1": "f", "2": "m"}}}))
    assert read_covariates(["sex"], path, LABELS, GROUPS)[0]["sex"].kind == "category"


def test_rows_of_one_subject_are_brought_together(table: Callable[..., Path]) -> None:
    path = table("sub-01 31 f", "sub-01 33 f", "sub-02 40 m", "sub-03 40 m")
    found, _ = read_covariates(["age", "sex"], path, LABELS, GROUPS)
    assert found["age"].by_subject["sub-01"] == "32"
    one = read_covariates(["age"], path, {"P": ["sub-01", "sub-02"]}, {"P": "HC"})[0]["age"]
    assert float(one.by_subject["P"]) == pytest.approx((31 + 33 + 40) / 3)
    with pytest.raises(CohortError, match=r"'sex' has two values for P \(f and m\)"):
        read_covariates(["sex"], path, {"P": ["sub-01", "sub-02"]}, {"P": "HC"})


def test_numbers_that_differ_and_spellings_of_a_category_are_noted(
    table: Callable[..., Path],
) -> None:
    path = table("sub-01 30 M", "sub-01 90 M", "sub-02 40 male", "sub-02 40.0 male", "sub-03 50 F")
    _, notes = read_covariates(["age", "sex"], path, LABELS, GROUPS)
    assert [(n.kind, n.where) for n in notes] == [
        ("covariate-averaged", "subject sub-01 (30 to 90)"),
        ("categories-alike", "'M' and 'male'"),
    ]
    path = table("sub-01 a_1 M", "sub-02 A-1 male", "sub-03 a1 f", head="participant_id site code")
    _, notes = read_covariates(["site", "code"], path, LABELS, GROUPS)
    assert [n.where for n in notes] == ["'A-1' and 'a1' and 'a_1'"]


def test_columns_that_cannot_be_used(table: Callable[..., Path]) -> None:
    path = table("sub-01 31 n/a", "sub-02 60+ n/a", "sub-03 40 n/a")
    with pytest.raises(CohortError) as caught:
        read_covariates(["age", "sex"], path, LABELS, GROUPS)
    assert "column 'age' has numbers and also '60+'" in str(caught.value)
    assert "column 'sex' has no value for any subject" in str(caught.value)
    with pytest.raises(CohortError, match=r"data\.covariates names 'sexx'; did you mean 'sex'"):
        read_covariates(["sexx"], path, LABELS, GROUPS)
    with pytest.raises(CohortError, match=r"there is no .*participants\.tsv"):
        read_covariates(["age"], path.parent / "none" / path.name, LABELS, GROUPS)


def test_a_manifest_has_them(make_manifest: Callable[..., Path]) -> None:
    path = make_manifest(3)
    head, *rows = path.read_text().splitlines()
    lines = [f"{head},age,iq"] + [
        f"{row},{30 + i // 2},{100 + i // 2}" for i, row in enumerate(rows)
    ]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(CohortError, match="column 'iq' is unknown"):
        read_cohort(DataSettings(path=path, covariates=("age",)))
    cohort = read_cohort(DataSettings.model_validate({"path": path, "covariates": "age, iq,group"}))
    assert list(cohort.covariates) == ["age", "iq", "group"]
    assert list(cohort.covariates["age"].by_subject.values()) == ["30", "31", "32"]
