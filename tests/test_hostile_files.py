"""Files that lie about their size, never end, repeat themselves or carry formulas."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import random
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import damaged
from readers import READERS
from soak import judged

from harmbench.bounded import UnfitFileError, open_regular, parse_json, read_bytes
from harmbench.cohorts.data import DataSettings, read_cohort
from harmbench.config import load_experiment
from harmbench.errors import (
    CohortError,
    ConfigError,
    HarmbenchError,
    SegmentationError,
    VolumeError,
)
from harmbench.files.stream import FREE_VOXELS, check_declared
from harmbench.files.text import read_object, read_text
from harmbench.pages.escapes import markdown_text, spreadsheet_safe
from harmbench.results import COLUMNS
from harmbench.runner.cell_record import CellRecord
from harmbench.runner.cell_scores import CellScores
from harmbench.runner.records import read_record
from harmbench.segmentation import load_segmenter
from harmbench.storage import file_key, read_json
from harmbench.volume import read

linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="no /proc of Linux")


@linux
@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    files = reader.make(tmp_path)
    good = {path: path.read_bytes() for path in files}

    @settings(max_examples=25, derandomize=True, database=None, deadline=None)
    @given(st.sampled_from(files), st.integers(0, 2**32))
    def one(path: Path, seed: int) -> None:
        path.write_bytes(damaged(good[path], random.Random(seed), list(good.values())))
        try:
            assert judged(reader, path) in {"read", "refused"}
        finally:
            path.write_bytes(good[path])

    one()


@linux
def test_the_judge_finds_what_it_looks_for(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"x")

    def ends(read_file) -> str:
        return judged(type(READERS["results"])(lambda folder: [], read_file), path)

    def nameless(_: Path) -> None:
        raise HarmbenchError("something is wrong")

    kept = []
    assert ends(lambda _: kept.append(np.ones(2**25))).endswith("MiB for 1 bytes")
    assert ends(lambda path: {}[path]).startswith("KeyError")
    assert ends(nameless).startswith("no name")
    assert ends(lambda _: None) == "read"


def _header(extent: int, kind: type = np.float32) -> bytes:
    header = nib.Nifti1Header()
    header.set_data_dtype(kind)
    header["dim"][:4] = 3, extent, extent, extent
    header["vox_offset"], header["sform_code"] = 352, 1
    header["srow_x"][0] = header["srow_y"][1] = header["srow_z"][2] = 1
    return bytes(header.binaryblock) + bytes(4)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nii.bz2"])
def test_declared_sizes_are_checked_before_memory_is_taken(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = {".gz": gzip.compress, ".bz2": bz2.compress}.get(Path(name).suffix, bytes)
    (tmp_path / name).write_bytes(pack(_header(500)))
    monkeypatch.setattr(np, "asanyarray", lambda *_, **__: pytest.fail("voxels are asked for"))
    with pytest.raises(VolumeError, match="truncated, or not its header") as found:
        read(tmp_path / name)
    assert name in str(found.value)


def test_a_bomb_is_refused_and_a_mask_that_compresses_well_is_not(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.nii.gz"
    bomb.write_bytes(gzip.compress(_header(530, np.uint8) + bytes(530**3)))
    with pytest.raises(VolumeError, match="no scan compresses so well"):
        read(bomb)
    mask = tmp_path / "mask.nii.gz"
    mask.write_bytes(gzip.compress(_header(200, np.uint8) + bytes(200**3)))
    assert mask.stat().st_size * 900 < 200**3
    assert read(mask, kind="label").shape == (200, 200, 200)


def test_what_a_file_may_declare() -> None:
    check_declared(100, FREE_VOXELS, FREE_VOXELS)
    with pytest.raises(VolumeError, match="no scan compresses so well"):
        check_declared(100, FREE_VOXELS + 1, FREE_VOXELS + 1)
    check_declared(10**9, 10**9, 10**9)
    with pytest.raises(VolumeError, match="GB of memory; this machine has"):
        check_declared(10**15, 10**15, 10**15)


def test_a_changed_byte_of_a_compressed_scan_is_found(tmp_path: Path) -> None:
    data = np.random.default_rng(0).uniform(size=(20, 20, 20)).astype(np.float32)
    path = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)
    raw = path.read_bytes()
    for place in range(len(raw) - 8, len(raw) - 4):  # the checksum itself
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        with pytest.raises(VolumeError, match="CRC"):
            read(path)


@pytest.mark.parametrize("kind", ["pipe", "device", "loop", "folder"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str, call) -> None:
    place = tmp_path / "x.json"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "device":
        place.symlink_to("/dev/zero")
    elif kind == "loop":
        place.symlink_to(place)
    else:
        place.mkdir()
    for reader in (open_regular, read_json, file_key):
        with pytest.raises(OSError):
            reader(place)
    for refuse in (read_text, read_object):
        with pytest.raises(CohortError, match=r"x\.json"):
            refuse(place)
    with pytest.raises(HarmbenchError, match=r"x\.json"):
        read_record(CellRecord, place)
    with pytest.raises(HarmbenchError, match=r"x\.json"):
        read(place)
    with pytest.raises(HarmbenchError, match=r"x\.json"):
        read_cohort(DataSettings(path=place))
    code, _, err = call("run", "--config", place, "--out", tmp_path / "out")
    assert code == 2
    assert "x.json" in err


def test_a_small_file_that_is_large(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b" " * 11)
    assert read_bytes(path, 11) == b" " * 11
    with pytest.raises(UnfitFileError, match="too large, at most 10 bytes"):
        read_bytes(path, 10)
    with path.open("wb") as file:
        file.truncate(40 << 20)
    with pytest.raises(CohortError, match=r"a\.json.*too large, at most 32 MiB"):
        read_object(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "the field 'c' is there twice"),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 1000, "a number of 1000 digits"),
    ],
)
def test_json_that_readers_disagree_on(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_json(text)
    path = tmp_path / "cell.json"
    path.write_text(text)
    with pytest.raises(HarmbenchError, match=message) as found:
        read_record(CellRecord, path)
    assert str(path) in str(found.value)


_BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_BOMB, "aliases repeat more than 100000 values"),
        ("methods: &m {a: *m}", "an alias contains itself"),
        ("folds: {seed: 9223372036854775808}", "more than 64 bits"),
        (f"folds: {{seed: {'9' * 5000}}}", "more than 64 bits"),
        ("name: a\nname: b", "'name' is there twice"),
        ("data:\n  path: a\n  rescale: none\n  path: b\n", "'path' is there twice,.*line 4"),
        ("name: !!int x", "does not fit its tag"),
        ("name: !!python/name:os.system ''", "could not determine a constructor"),
        ("name: " + "[" * 5000, "nested too deeply"),
    ],
)
def test_configurations_that_grow_or_contradict_themselves(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"(?s){message}") as found:
        load_experiment(path)
    assert str(path) in str(found.value)


def test_aliases_within_bounds_are_used(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("methods:\n  a: &s {uses: unet}\n  b: *s\n")
    assert load_experiment(path).methods == {"a": {"uses": "unet"}, "b": {"uses": "unet"}}


def test_a_manifest_with_a_path_that_no_disk_allows(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(f"subject,group,session,path\ns1,HC,A,{'x' * 5000}.nii\n")
    with pytest.raises(CohortError, match="no such file"):
        read_cohort(DataSettings(path=path))


def test_a_seed_that_no_column_holds_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    row = f"identity,A-to-B,0,{'9' * 30},s1,HC,hmrf,mse,whole,0.1,1,ok"
    path.write_text("\n".join([",".join(COLUMNS), row]) + "\n")
    assert CellScores(path, {}).trusted().empty


def test_a_segmenter_whose_name_leaves_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "s.py"
    path.write_text(
        "class S:\n    name, version, contrasts = '../../x', '1', ('T1w',)\n"
        "    def segment(self, volume): ...\n"
    )
    with pytest.raises(SegmentationError, match="a part of file names"):
        load_segmenter(f"{path}:S")


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-x", "@SUM(A1)", "\t=1"])
def test_no_cell_of_a_table_for_people_is_a_formula(text: str) -> None:
    frame = pd.DataFrame({text: [text, "-0.5", "dm"], "value": [-1.5, 2, 3]})
    safe = spreadsheet_safe(frame)
    assert list(safe.columns) == [f"'{text}", "value"]
    assert list(safe.iloc[:, 0]) == [f"'{text}", "-0.5", "dm"]
    assert list(safe["value"]) == [-1.5, 2, 3]
    assert frame.columns[0] == text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("[a](http://x)", "[a\\](http://x)"),
        ("<script>", "\\<script>"),
        ("a|b`c`\\", "a\\|b\\`c\\`\\\\"),
        ("one\n# two", "one # two"),
        ("*a* _b_ c_d", "\\*a\\* \\_b\\_ c_d"),
        ("1.61 [1.50, 1.72] < 2", "1.61 [1.50, 1.72] < 2"),
    ],
)
def test_no_name_is_markup(text: str, escaped: str) -> None:
    assert markdown_text(text) == escaped


def test_a_record_is_as_it_was_after_a_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "cell.json"
    path.write_text(
        json.dumps({"method": "=x", "source": "A", "target": "B", "fold": 0, "seed": 0})
    )
    record = read_record(CellRecord, path)
    assert record is not None
    assert record.method == "=x"
