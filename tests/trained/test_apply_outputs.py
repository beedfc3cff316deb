"""What applying a model writes, and what it never replaces."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from applying import refusal

from harmbench.contract import tiny_pairs
from harmbench.errors import HarmbenchError
from harmbench.trained import Model, load_model
from harmbench.trained.apply import apply_model
from harmbench.trained.scans import ApplyOptions
from harmbench.volume import write


def _apply(model: Model, scan: Path, out: Path) -> bytes:
    (path,) = apply_model(model, [scan], out)
    return path.read_bytes()


def test_a_result_of_another_scan_is_never_replaced(finished, scan: Path, tmp_path: Path) -> None:
    model = load_model(finished())
    other = write(tiny_pairs(1, seed=6)[0].source, tmp_path / "other" / "scan.nii.gz")
    out = tmp_path / "out2"
    first = _apply(model, scan, out)
    with pytest.raises(HarmbenchError, match=r"scan_harmonized.*another scan.*other"):
        apply_model(model, [other], out)
    # A link, or a copy elsewhere, is the same scan; so is the same command again.
    link = tmp_path / "links" / "scan.nii.gz"
    link.parent.mkdir()
    link.symlink_to(scan)
    assert _apply(model, link, out) == _apply(model, scan, out) == first
    # Another model, on the same scan.
    second = load_model(finished("identity"))
    with pytest.raises(HarmbenchError, match="another model"):
        apply_model(second, [scan], out)
    assert (out / "scan_harmonized.nii.gz").read_bytes() == first


@pytest.mark.parametrize("name", ["scan_harmonized.nii.gz", "scan_desc-sd.nii.gz"])
def test_a_file_of_unknown_origin_is_never_replaced(
    finished, scan: Path, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "out2"
    out.mkdir()
    (out / name).write_text("mine")
    with pytest.raises(HarmbenchError, match=f"{name}.*does not say what it was made from"):
        apply_model(load_model(finished()), [scan], out)
    assert (out / name).read_text() == "mine"
    assert [path.name for path in out.iterdir()] == [name]


def test_names_that_differ_in_case_only_are_refused(finished, scan: Path, tmp_path: Path) -> None:
    upper = write(tiny_pairs(1, seed=6)[0].source, tmp_path / "upper" / "SCAN.nii.gz")
    message = refusal(load_model(finished()), [scan, upper], tmp_path / "out2")
    assert "SCAN" in message
    assert "another --out" in message


def test_the_simulated_mark_of_a_scan_goes_on(finished, scan: Path, tmp_path: Path) -> None:
    scan.with_name("scan.json").write_text('{"Simulated": true}')
    (path,) = apply_model(load_model(finished()), [scan], tmp_path / "out2")
    assert json.loads(path.with_name("scan_harmonized.json").read_text())["Simulated"] is True


def test_names_in_two_forms_of_accents_are_refused(finished, scan: Path, tmp_path: Path) -> None:
    letter = "\N{LATIN SMALL LETTER E WITH ACUTE}"
    letters = unicodedata.normalize("NFC", letter), unicodedata.normalize("NFD", letter)
    paths = [
        write(pair.source, tmp_path / f"{one}.nii.gz")
        for one, pair in zip(letters, tiny_pairs(2, seed=6), strict=True)
    ]
    assert "have the name" in refusal(load_model(finished()), paths, tmp_path / "out2")


def test_no_spread_of_an_earlier_result_stays(finished, scan: Path, tmp_path: Path) -> None:
    model, out = load_model(finished()), tmp_path / "out2"
    apply_model(model, [scan], out, ApplyOptions(n_samples=2))
    assert (out / "scan_desc-sd.nii.gz").exists()
    apply_model(model, [scan], out)
    assert not (out / "scan_desc-sd.nii.gz").exists()


def test_a_command_that_was_killed_while_it_wrote_can_be_given_again(
    finished, scan: Path, tmp_path: Path, monkeypatch
) -> None:
    model, out = load_model(finished()), tmp_path / "out2"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("harmbench.trained.apply.write", killed)
    with pytest.raises(KeyboardInterrupt):
        apply_model(model, [scan], out)
    monkeypatch.undo()
    (path,) = apply_model(model, [scan], out)
    assert path.is_file()


def test_an_output_folder_that_is_a_file(finished, scan: Path) -> None:
    with pytest.raises(HarmbenchError, match="is a file"):
        apply_model(load_model(finished()), [scan], scan)
