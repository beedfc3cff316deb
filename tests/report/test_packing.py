"""Volumes of the page: 8 bit, where they are in space, the worst subject first, within the budget."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from harmbench.metrics.suite import METRICS
from harmbench.report.evidence import Evidence
from harmbench.report.explorer import endpoint_order, explorer_data
from harmbench.report.loading import load_evidence
from harmbench.report.packing import COARSE, FINE, SubjectVolumes, embed_volumes, pack
from harmbench.volume import Volume

MakeRun = Callable[..., Path]
ENDPOINT = ("volume_difference_mm3", "GM")


@pytest.fixture(scope="module")
def evidence(finished_run: Path) -> Evidence:
    return load_evidence([finished_run], METRICS)


def unpacked(content: bytes) -> Any:
    return nib.Nifti1Image.from_bytes(content)


def test_values_and_places_are_kept() -> None:
    rng = np.random.default_rng(0)
    affine = np.array([[2.0, 0, 0, -7], [0, 1, 0, 3], [0, 0, 1.5, 9], [0, 0, 0, 1]])
    volume = Volume(rng.uniform(-0.2, 1.2, (9, 10, 11)).astype(np.float32), affine)
    window = (slice(2, 8), slice(1, 9), slice(3, 11))
    image = unpacked(pack(volume, window))
    assert image.get_data_dtype() == np.uint8
    expected = np.clip(volume.data[window], 0, 1)
    assert np.abs(image.get_fdata() - expected).max() <= 0.5 / FINE + 1e-6
    assert image.affine[:3, 3] == pytest.approx((affine @ [2, 1, 3, 1])[:3])
    rough = unpacked(pack(volume, window, step=2, levels=COARSE))
    assert rough.shape == (3, 4, 4)
    blocks = volume.data[window].reshape(3, 2, 4, 2, 4, 2).mean(axis=(1, 3, 5))
    assert np.abs(rough.get_fdata() - blocks.clip(0, 1)).max() <= 0.5 / COARSE + 1e-6
    assert rough.affine[:3, 3] == pytest.approx((affine @ [2.5, 1.5, 3.5, 1])[:3])
    labels = Volume(rng.integers(0, 4, (9, 10, 11)).astype(np.uint8), affine, "label")
    assert np.array_equal(unpacked(pack(labels, window)).get_fdata(), labels.data[window])


def test_the_worst_median_and_best_subjects_come_first(evidence: Evidence) -> None:
    order = endpoint_order(evidence, ENDPOINT)
    values = evidence.values(*ENDPOINT)
    values = values[values["method"].isin(evidence.candidates)]
    means = values.groupby("subject")["value"].mean()
    assert sorted(order) == sorted(means.index)
    assert order[0] == means.idxmax()
    assert order[2] == means.idxmin()
    assert (means < means[order[1]]).sum() in {3, 4}


def test_the_budget_is_kept_and_the_first_subject_is_fine(evidence: Evidence) -> None:
    order = endpoint_order(evidence, ENDPOINT)
    whole = [*embed_volumes(evidence, order)]
    assert [one.subject for one in whole] == order
    assert whole[0].step == 1
    assert whole[0].spacing_mm == 1.5
    assert {one.step for one in whole[1:]} == {2}
    small = [*embed_volumes(evidence, order, budget=int(whole[0].size * 1.4))]
    assert [one.subject for one in small] == order[: len(small)]
    assert 1 <= len(small) < len(order)
    assert sum(one.size for one in small) <= whole[0].size * 1.4
    assert [*embed_volumes(evidence, order, budget=10)] == []


def test_embedded_volumes_are_those_of_the_run(evidence: Evidence) -> None:
    one = next(embed_volumes(evidence, ["s1"]))
    way = evidence.directions[0]
    assert one.sessions[str(way)] == {"source": way.source, "target": way.target}
    image = unpacked(gzip.decompress(base64.b64decode(one.scans[way.target])))
    scan = evidence.scan("s1", way.target)
    assert scan is not None
    window = SubjectVolumes(evidence, "s1").window
    assert np.abs(image.get_fdata() - scan.data[window]).max() <= 0.5 / COARSE + 1e-6
    assert set(one.outputs[str(way)]["dm"]) == {"image", "labels"}


def test_the_explorer_has_every_value(evidence: Evidence, tmp_path: Path) -> None:
    data = explorer_data(evidence, ENDPOINT, tmp_path)
    assert data["endpoint"] == "volume_difference_mm3 GM"
    rows = evidence.values("dice", "WM")
    for way in data["directions"]:
        for method in data["methods"]:
            line = data["values"]["dice WM"][way["id"]][method["id"]]
            for subject, value in zip(data["subjects"], line, strict=True):
                chosen = (rows["method"] == method["id"]) & (rows["direction"] == way["id"])
                own = rows[chosen & (rows["subject"] == subject["id"])]["value"].item()
                assert (value is None) == np.isnan(own)
                assert value is None or value == pytest.approx(own, rel=1e-5)


def test_logs_are_linked_from_a_report_in_the_run_alone(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(subjects=("s1", "s2"), volumes=False)
    for cell in run.glob("cells/*/*/*/*"):
        (cell / "log.txt").write_text("begin\nend <b>\n")
    evidence = load_evidence([run], METRICS)
    (run / "report").mkdir()
    logs = explorer_data(evidence, ENDPOINT, run / "report")["logs"]["3T-to-1.5T"]["dm"]
    assert [log["subjects"] for log in logs] == [[0, 1]]
    assert logs[0]["text"] == "begin\nend <b>"
    assert (run / "report" / logs[0]["link"]).resolve().read_text() == "begin\nend <b>\n"
    away = explorer_data(evidence, ENDPOINT, tmp_path)["logs"]["3T-to-1.5T"]["dm"]
    assert away[0]["link"] == "", "the place of the run on this machine is nobody else's business"
