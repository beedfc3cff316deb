"""A model's record, its export, and what is refused at loading."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from unsealed import unsealed

from harmbench.contract import tiny_pairs
from harmbench.errors import MethodError, RunError
from harmbench.methods.histogram_matching import HistogramMatching
from harmbench.metrics.suite import METRICS
from harmbench.preparation.settings import PrepareSettings
from harmbench.results import read_results
from harmbench.runner.folder import RunFolder
from harmbench.settings import validated
from harmbench.storage import file_key
from harmbench.task import NoProgress
from harmbench.trained import export_model, load_model
from harmbench.trained.describe import MAIN_METRICS, describe_cell
from harmbench.trained.record import ModelRecord
from harmbench.volume import Volume


def tiny_preparation() -> dict[str, object]:
    return PrepareSettings().model_dump(mode="json")


def _harmonized(folder: Path, **options: Any) -> Volume:
    model = load_model(folder, **options)
    return model.method.harmonize(tiny_pairs(1, seed=5)[0].source, model.task)


@pytest.mark.parametrize("method", ["histogram_matching", "identity"])
def test_a_cell_and_its_export_are_the_same_model(finished, tmp_path: Path, method: str) -> None:
    cell = finished(method)
    folder = export_model(cell, tmp_path / "models" / "one")
    one, other = load_model(cell), load_model(folder)
    assert one.record == other.record
    assert one.record.key == other.record.key
    assert np.array_equal(_harmonized(cell).data, _harmonized(folder).data)
    # It stands alone, and nothing half-written is left beside it.
    shutil.rmtree(tmp_path / "out")
    shutil.rmtree(tmp_path / "scans")
    assert load_model(folder).record == one.record
    assert [path.name for path in folder.parent.iterdir()] == ["one"]


def test_settings_that_a_saved_model_lacks_mean_what_they_did(
    finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = finished()
    path = cell / "cell.json"
    record = unsealed(path)
    del record["settings"]["landmarks"]
    path.write_text(json.dumps(record))
    monkeypatch.setattr(HistogramMatching, "earlier_settings", {"landmarks": 77})
    assert load_model(cell).method.config.model_dump()["landmarks"] == 77
    record["settings"]["landmarks"] = 66
    path.write_text(json.dumps(record))
    assert load_model(cell).method.config.model_dump()["landmarks"] == 66


def test_the_record_describes_training_and_scores(finished, tmp_path: Path) -> None:
    cell = finished(A="1.5", B="3")
    record, _ = describe_cell(cell, NoProgress())
    run = RunFolder(tmp_path / "out")
    training = record.training
    assert training is not None
    assert (training.subjects, record.held_out) == (2, 2)
    assert sum(training.groups.values()) == 2
    assert training.shapes == ((16, 24, 20),)
    assert training.source_scanner == {"MagneticFieldStrength": ("1.5",)}
    assert training.target_scanner == {"MagneticFieldStrength": ("3",)}
    held_out = json.loads((cell / "cell.json").read_text())["subjects"]
    trained = [s for s in ("s0", "s1", "s2", "s3") if s not in held_out]
    shares = []
    for subject in trained:
        data = run.input_volume(subject, "A").data
        counts, _ = np.histogram(data[data > 0], bins=255, range=(0, 1))
        shares.append(counts / counts.sum())
    assert np.allclose(training.source_histogram, np.mean(shares, axis=0), atol=2e-4)
    # Two subjects: each is as far from "the others" as from the other.
    gap = np.abs(np.cumsum(shares[0] - shares[1])).sum() / 255
    assert training.largest_distance == pytest.approx(gap, abs=1e-3)
    assert set(record.scores) == {"histogram_matching", "identity", "noisy", "target"}
    results = read_results(cell / "scores.csv")
    dice = results[(results["metric"] == "dice") & (results["tissue"] == "GM")]["value"].mean()
    assert record.scores["histogram_matching"]["dice GM"] == pytest.approx(dice, rel=1e-5)
    assert record.scores["target"]["dice GM"] == 1
    text = json.dumps(record.model_dump(mode="json"))
    assert str(tmp_path) not in text
    assert not any(f'"{subject}"' in text for subject in (*trained, *held_out))


def test_main_metrics_are_metrics() -> None:
    assert set(MAIN_METRICS) <= set(METRICS)


def test_the_card_says_what_matters(finished, tmp_path: Path) -> None:
    cell = finished()
    run = tmp_path / "out" / "run.json"
    record = unsealed(run)
    record["cohort"] |= {"simulated": True, "citation": "Someone, Somewhere, 2020"}
    run.write_text(json.dumps(record))
    card = (export_model(cell, tmp_path / "model") / "README.md").read_text()
    for heading in (
        "Intended use",
        "Out of scope",
        "Training data",
        "Scores",
        "Preparation",
        "Lice",
    ):
        assert f"\n## {heading}" in card
    assert "simulated scans" in card
    assert "Someone, Somewhere, 2020" in card
    (row,) = [line for line in card.splitlines() if line.startswith("| Dice") and " GM" in line]
    assert "higher is better" in row
    assert " 1 |" in row


def test_loading_never_unpickles(finished, tmp_path: Path, monkeypatch) -> None:
    folder = export_model(finished(), tmp_path / "model")
    cell = tmp_path / "out/cells/histogram_matching/A-to-B/fold-0/seed-0"

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was unpickled")

    monkeypatch.setattr(torch, "load", refuse)
    monkeypatch.setattr(pickle, "load", refuse)
    monkeypatch.setattr(pickle, "loads", refuse)
    monkeypatch.setattr(pickle, "Unpickler", refuse)
    load_model(folder)
    load_model(cell)
    for place in (folder, cell):
        for name in ("weights.pt", "weights.pkl", "arrays.npy"):
            bad = place / "model" / name
            bad.write_bytes(b"x")
            with pytest.raises(RunError, match=rf"cannot hold code; not loaded because of {name}"):
                load_model(place)
            bad.unlink()


def test_changed_files_are_refused(finished, tmp_path: Path) -> None:
    folder = export_model(finished(), tmp_path / "model")
    weights = folder / "model" / "landmarks.safetensors"
    record = folder / "model.json"
    assert json.loads(record.read_text())["files"] == {weights.name: file_key(weights)}
    good, text = weights.read_bytes(), record.read_text()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(RunError, match=r"changed, added or missing: model/landmarks"):
        load_model(folder)
    weights.write_bytes(good)
    (folder / "model" / "more.json").write_text("{}")
    with pytest.raises(RunError, match=r"changed, added or missing: model/more.json"):
        load_model(folder)
    (folder / "model" / "more.json").unlink()
    weights.unlink()
    with pytest.raises(RunError, match=r"changed, added or missing: model/landmarks"):
        load_model(folder)
    weights.write_bytes(good)
    load_model(folder)
    record.write_text(text.replace('"landmarks": 1000', '"landmarks": 999'))
    with pytest.raises(RunError, match="changed since the model was exported"):
        load_model(folder)
    record.write_text(text.replace('"held_out"', '"heldout"'))
    with pytest.raises(RunError, match="did you mean 'held_out'"):
        load_model(folder)
    record.write_text("{")
    with pytest.raises(RunError, match="not JSON"):
        load_model(folder)


def test_an_export_does_not_say_which_code_to_run(finished, tmp_path: Path) -> None:
    cell = finished("noisy")
    folder = export_model(cell, tmp_path / "model")
    (folder / "noisy.py").write_text("raise SystemExit('this ran')")
    (tmp_path / "noisy.py").rename(tmp_path / "mine.py")
    (tmp_path / "noisy.py").write_text("raise SystemExit('this ran')")
    for place in (folder, cell):
        with pytest.raises(RunError, match=r"one of noisy\.py:Noisy.*--method FILE\.py:CLASS"):
            load_model(place)
    mine = _harmonized(folder, method=f"{tmp_path}/mine.py:Noisy")
    assert np.array_equal(mine.data, _harmonized(cell, method=f"{tmp_path}/mine.py:Noisy").data)


@pytest.mark.parametrize("uses", ["no_such_method", "{}/evil.py:Evil", "evil.py:Evil"])
def test_a_cells_record_does_not_say_which_code_to_run(finished, tmp_path: Path, uses: str) -> None:
    cell = finished("identity")
    (tmp_path / "evil.py").write_text("raise SystemExit('this ran')")
    path = cell / "cell.json"
    record = unsealed(path)
    path.write_text(json.dumps({**record, "uses": uses.format(tmp_path)}))
    with pytest.raises(RunError, match="never says which code to run"):
        load_model(cell)


def test_an_export_does_not_say_which_weights_to_load(finished, tmp_path: Path) -> None:
    folder = export_model(finished("identity", tiny_preparation()), tmp_path / "model")
    path = folder / "model.json"
    values = json.loads(path.read_text())
    values.pop("key")
    values["preparation"]["strip"] = {"method": "hd-bet", "hd_bet_weights": str(tmp_path)}
    record = validated(ModelRecord, values)
    path.write_text(json.dumps({**values, "key": record.key}))
    with pytest.raises(RunError, match=r"hd_bet_weights.*could hold code"):
        load_model(folder)


def test_versions_are_those_that_fitted(finished, tmp_path: Path) -> None:
    cell = finished()
    path = tmp_path / "out" / "run.json"
    run = unsealed(path)
    (first,) = run["invocations"]
    later = {**first, "id": "later", "packages": {**first["packages"], "numpy": "99"}}
    path.write_text(json.dumps({**run, "invocations": [first, later]}))
    record, _ = describe_cell(cell, NoProgress())
    assert record.versions["numpy"] == first["packages"]["numpy"]
    # A cell of an earlier harmbench: only what all invocations share is known.
    own = unsealed(cell / "cell.json")
    del own["made_by"]
    (cell / "cell.json").write_text(json.dumps(own))
    record, _ = describe_cell(cell, NoProgress())
    assert record.versions["numpy"] == "not recorded"
    assert record.versions["scipy"] == first["packages"]["scipy"]


def test_export_refuses(finished, tmp_path: Path) -> None:
    cell = finished()
    taken = tmp_path / "taken"
    taken.mkdir()
    export_model(cell, taken)
    with pytest.raises(RunError, match="is there already"):
        export_model(cell, taken)
    with pytest.raises(RunError, match="exported model already"):
        export_model(taken, tmp_path / "again")
    with pytest.raises(RunError, match="no fitted model"):
        export_model(tmp_path / "out/cells/target/A-to-B/fold-0/seed-0", tmp_path / "no")
    shutil.copytree(cell, tmp_path / "moved")
    with pytest.raises(RunError, match="does not lie in its run folder"):
        export_model(tmp_path / "moved", tmp_path / "no")
    weights = cell / "model" / "landmarks.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(b"broken")
    with pytest.raises(RunError, match=r"model/landmarks\.safetensors: damaged or changed.*again"):
        load_model(cell)
    # A cell of an earlier harmbench has no sums.
    record = unsealed(cell / "cell.json")
    (cell / "cell.json").write_text(json.dumps({**record, "files": {}}))
    with pytest.raises(MethodError, match=r"landmarks\.safetensors: damaged landmarks"):
        load_model(cell)
    weights.write_bytes(good)
    shutil.rmtree(tmp_path / "scans")
    with pytest.raises(RunError, match="training scans cannot be read"):
        export_model(cell, tmp_path / "no")
    assert not (tmp_path / "no").exists()
