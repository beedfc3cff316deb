"""Segmenters of other packages, and of files, come by the same door as the built-in ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harmbench.errors import SegmentationError, UnavailableError
from harmbench.plugins import SEGMENTERS, Reference
from harmbench.results import read_results
from harmbench.segmentation import (
    AUTO,
    CONTRASTS,
    available_segmenters,
    choose_segmenter,
    load_segmenter,
    make_segmenter,
)

HALVES = '''
import numpy as np


class Halves:
    """Three classes by fixed thresholds."""

    name = "halves"
    version = "halves 1"
    contrasts = ("T1w",)

    def __init__(self, *, device="cpu", contrast="T1w"):
        self.device, self.contrast = device, contrast

    def segment(self, volume):
        bounds = np.quantile(volume.data[volume.data > 0], (0.2, 0.6))
        labels = np.digitize(volume.data, [1e-6, *bounds]).astype(np.uint8)
        return volume.with_data(labels, kind="label")


class Needy(Halves):
    name = "needy"

    @property
    def version(self):
        from harmbench.errors import UnavailableError

        raise UnavailableError("needy: its weights are not there")


class Plain(Halves):
    name = "plain"

    def __init__(self):
        pass


class NoContrasts:
    name = "incomplete"
    version = "1"

    def segment(self, volume):
        return volume
'''


@pytest.fixture
def halves(install) -> None:
    names = {"halves": "Halves", "needy": "Needy", "half": "Halves", "incomplete": "NoContrasts"}
    names["plain"] = "Plain"
    points = {f"harmbench.segmenters:{name}": f"stand_in:{cls}" for name, cls in names.items()}
    install({"stand_in": HALVES}, {**points, "harmbench.segmenters:gone": "stand_in_gone:Gone"})


def test_the_built_in_ones_are_registered_and_made_alike() -> None:
    assert set(available_segmenters()) >= {"fast", "hmrf", "atropos"}
    assert set(AUTO) <= set(available_segmenters())
    for name in ("fast", "hmrf", "atropos"):
        kind = load_segmenter(name)
        assert (kind.name, kind.contrasts) == (name, CONTRASTS)
        made = kind(device="cpu", contrast="T2w")
        assert made.name == name


def test_a_package_offers_a_segmenter(halves) -> None:
    made = make_segmenter("halves", "cuda:3")
    assert (made.name, made.version) == ("halves", "halves 1")
    assert vars(made) == {"device": "cuda:3", "contrast": "T1w"}
    assert choose_segmenter("halves") == Reference("halves")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("halve", r"unknown segmenter 'halve'; did you mean 'halves'\? allowed: .*FILE\.py:CLASS"),
        ("gone", "segmenter 'gone' cannot be imported: No module named 'stand_in_gone'"),
        ("plain", "segmenter plain cannot be made: TypeError: .*unexpected keyword argument"),
        ("half", "segmenter 'half' calls itself 'halves'"),
        (
            "incomplete",
            "segmenter 'incomplete' is .*NoContrasts.*, not a class with the attributes",
        ),
    ],
)
def test_one_that_cannot_be_used_says_why(halves, name: str, message: str) -> None:
    with pytest.raises(SegmentationError, match=message):
        make_segmenter(name)


def test_what_it_needs_and_what_it_is_made_for(halves) -> None:
    with pytest.raises(UnavailableError, match="its weights are not there"):
        make_segmenter("needy")
    with pytest.raises(UnavailableError, match="its weights are not there"):
        choose_segmenter("needy")
    with pytest.raises(
        SegmentationError, match="halves is made for T1w; the scans' contrast is T2w"
    ):
        make_segmenter("halves", contrast="T2w")


def test_auto_takes_the_first_that_can_run(monkeypatch: pytest.MonkeyPatch, request) -> None:
    monkeypatch.delenv("FSLDIR", raising=False)
    monkeypatch.delenv("FSLDEVDIR", raising=False)
    assert choose_segmenter("auto") == Reference(AUTO[1])
    request.getfixturevalue("fsl")
    assert choose_segmenter("auto") == Reference(AUTO[0])


def test_a_file_offers_one_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(HALVES)
    monkeypatch.chdir(tmp_path)
    chosen = choose_segmenter("mine.py:Halves")
    assert str(chosen) == f"{tmp_path / 'mine.py'}:Halves"
    assert SEGMENTERS.load(chosen, lambda kind: True).__name__ == "Halves"
    monkeypatch.chdir("/")
    assert make_segmenter(chosen).name == "halves"
    with pytest.raises(SegmentationError, match="no segmenter 'Halfs'; did you mean 'Halves'"):
        make_segmenter(f"{tmp_path}/mine.py:Halfs")


@pytest.mark.parametrize("installed", [True, False])
def test_a_run_uses_it(call, make_manifest, request, tmp_path, monkeypatch, installed) -> None:
    monkeypatch.chdir(tmp_path)
    if installed:
        request.getfixturevalue("halves")
    (tmp_path / "mine.py").write_text(HALVES)
    name = "halves" if installed else "mine.py:Halves"
    data = ["--data", make_manifest(4), "--direction", "A-to-B", "--folds", 2, "--fold", 0]
    code, _, err = call(
        *("run", "--out", "out", "--device", "cpu", "--segmenter", name, *data),
        *("--method", "identity", "--set", "controls=[]"),
    )
    assert code == 0, err
    assert "segmenter: halves (halves 1), T1w" in err
    rows = read_results(tmp_path / "out" / "results.csv")
    assert set(rows.loc[rows["tissue"] != "", "segmenter"]) == {"halves"}
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["segmenter"]["version"] == "halves 1"
    code, _, err = call("rescore", tmp_path / "out")
    assert code == 0, err
