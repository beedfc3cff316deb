"""Volume corrections beside scores of folders: each person is corrected by a fit on the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pytest

from harmbench.correction_contract import simulated_volumes
from harmbench.methods.volume_linear import VolumeLinear
from harmbench.runner.outside_corrections import (
    CORRECTIONS,
    correction_note,
    person_of,
    with_corrections,
)
from harmbench.runner.outside_study import study_of_scores, summarize_study
from harmbench.runner.tissue_volumes import volume_rows
from harmbench.segmentation import TISSUES
from harmbench.study.agreement import icc
from harmbench.study.switch import switch_cost


def _scores(
    source: np.ndarray, target: np.ndarray, names: Sequence[str], shift: float = 1000.0
) -> pd.DataFrame:
    """Scores of volumes that are `shift` mm3 above the reference, with those of their sources."""
    rows = []
    for name, one, two in zip(names, source, target, strict=True):
        own = volume_rows(list(two + shift), list(two))
        sources = {
            (r["metric"], r["tissue"]): r["value"] for r in volume_rows(list(one), list(two))
        }
        rows += [
            {"name": name, **row, "source_value": sources[row["metric"], row["tissue"]]}
            for row in own
        ]
        rows.append({"name": name, "metric": "mse", "tissue": "", "value": 1.0, "unit": "1"})
    return pd.DataFrame(rows)


def _values(frame: pd.DataFrame, column: str, metric: str) -> np.ndarray:
    own = frame[frame["metric"] == metric]
    wide = own.pivot_table(index="name", columns="tissue", values=column, sort=False)
    return wide[list(TISSUES)].to_numpy()


def test_each_person_is_corrected_by_the_others() -> None:
    source, target = simulated_volumes(5)
    names = [f"p{number}" for number in range(5)]
    found = with_corrections(_scores(source, target, names))
    offset = np.array([(target - source)[np.arange(5) != i].mean(axis=0) for i in range(5)])
    expected = source + offset
    np.testing.assert_allclose(_values(found, "volume_offset_value", "volume_mm3"), expected)
    errors = _values(found, "volume_offset_value", "volume_difference_mm3")
    np.testing.assert_allclose(errors, np.abs(expected - target), rtol=1e-6)
    line = VolumeLinear()
    line.fit(source[1:], target[1:])
    np.testing.assert_allclose(
        _values(found, "volume_linear_value", "volume_mm3")[0], line.correct(source[:1])[0]
    )
    assert found.loc[found["metric"] == "mse", "volume_offset_value"].isna().all()
    note = correction_note(found)
    assert note.startswith(
        "volume corrections: of the sources, each of 5 people corrected by a fit"
    )
    assert "on the others (cross-validation over the scored people themselves)" in note
    study = study_of_scores(found).set_index(["volumes", "tissue"])
    assert study["error_ml"]["scored", "GM"] == pytest.approx(1)
    wanted = np.abs(expected - target)[:, 1].mean() / 1e3
    assert study["error_ml"]["volume_offset", "GM"] == pytest.approx(wanted)


def test_visits_of_one_person_do_not_help_each_other() -> None:
    source, target = simulated_volumes(4)
    one_more, other = (np.concatenate([own, own[:1]]) for own in (source, target))
    names = ["sub-01_ses-1", "sub-02_ses-1", "sub-03_ses-1", "sub-04_ses-1", "sub-01_ses-2"]
    found = with_corrections(_scores(one_more, other, names))
    plain = with_corrections(_scores(source, target, names[:4]))
    for column in ("volume_offset_value", "volume_ratio_value"):
        one, two = (_values(frame, column, "volume_mm3")[0] for frame in (found, plain))
        np.testing.assert_allclose(one, two)


@pytest.mark.parametrize(
    ("name", "person"),
    [
        ("sub-01_ses-1_T1w", "sub-01"),
        ("wsub-01_ses-1_T1w", "sub-01"),
        ("mwc1sub-01_ses-2_T1w", "sub-01"),
        ("harmonized_sub-02_T1w", "sub-02"),
        ("sub-03", "sub-03"),
        ("s1_B", "s1_B"),
    ],
)
def test_whose_a_file_is(name: str, person: str) -> None:
    assert person_of(name) == person


def test_prefixed_visits_of_one_person_are_one_person_s() -> None:
    source, target = simulated_volumes(5)
    names = ["wsub-01_ses-1", "wsub-02_ses-1", "wsub-03_ses-1", "wsub-04_ses-1", "wsub-01_ses-2"]
    note = correction_note(with_corrections(_scores(source, target, names)))
    assert "each of 4 people" in note
    assert "another person" not in note
    bare = correction_note(with_corrections(_scores(source, target, list("abcde"))))
    assert "each file was taken for another person" in bare


def test_few_people_and_absent_sources() -> None:
    source, target = simulated_volumes(3)
    one = _scores(source[:1], target[:1], ["p0"])
    assert with_corrections(one) is one
    assert study_of_scores(one).empty
    assert correction_note(one).startswith("no volume corrections: they need --source")
    bare = _scores(source, target, ["a", "b", "c"]).drop(columns="source_value")
    assert with_corrections(bare) is bare
    found = with_corrections(_scores(source, target, ["a", "b", "c"]))
    assert correction_note(found).endswith("; no value for volume_linear, volume_combat")
    assert found["volume_linear_value"].isna().all()


def test_people_without_a_segmentation_take_no_part() -> None:
    source, target = simulated_volumes(5)
    names = [f"p{number}" for number in range(5)]
    scores = _scores(source, target, names)
    failed = scores["name"] == "p4"
    changes: Mapping[str, float] = {"value": np.nan, "source_value": np.nan}
    scores.loc[failed, list(changes)] = list(changes.values())
    found = with_corrections(scores)
    assert found.loc[failed, "volume_offset_value"].isna().all()
    alone = with_corrections(_scores(source[:4], target[:4], names[:4]))
    pd.testing.assert_frame_equal(study_of_scores(found), study_of_scores(alone))


def test_what_a_study_asks_is_that_of_a_report() -> None:
    source, target = simulated_volumes(6)
    # The last two are of one person: averaged for agreement, one by one for the cost of a switch.
    names = [f"sub-{number:02}_ses-1" for number in (1, 2, 3, 4, 5, 5)]
    names[-1] = "sub-05_ses-2"
    found = study_of_scores(with_corrections(_scores(source, target, names)))
    assert set(found["volumes"]) == {"scored", "source", *CORRECTIONS}
    own = found.set_index(["volumes", "tissue"]).loc[("source", "WM")]
    one, two = (np.append(volumes[:4, 2], volumes[4:, 2].mean()) for volumes in (source, target))
    assert own["n"] == 5
    assert own["icc_a1"] == pytest.approx(icc(np.column_stack([two, one]))[0].value)
    people = [name.partition("_")[0] for name in names]
    cost = switch_cost(source[:, 2], target[:, 2], subjects=people)
    assert cost.subjects == 5
    found_cost = own[["change_sd_percent", "change_sd_low", "change_sd_high", "arm"]].to_list()
    assert found_cost == pytest.approx([cost.sd_percent, cost.sd_low, cost.sd_high, cost.arm])
    assert cost.sd_percent != pytest.approx(switch_cost(one, two).sd_percent)
    # A constant shift is a bias: it costs next to nothing in a trial.
    shifted = found.set_index(["volumes", "tissue"]).loc[("scored", "WM")]
    assert shifted["bias_ml"] == pytest.approx(1)
    assert shifted["change_sd_percent"] < 0.1
    lines = summarize_study(found)
    assert lines[0]["volumes of"] == "scored CSF"
    assert lines[0]["error ml"] == "1"
