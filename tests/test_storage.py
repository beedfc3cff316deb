import os
from pathlib import Path

import pytest

from harmbench.storage import (
    atomic,
    discard,
    file_key,
    key_of,
    read_json,
    remove_stale,
    whole_folder,
    write_json,
    write_text,
)


def test_atomic_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError, match="halfway"), atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("halfway")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_temporary_name_keeps_the_suffixes(tmp_path: Path) -> None:
    with atomic(tmp_path / "scan.nii.gz") as temporary:
        assert temporary.name.endswith(".nii.gz")
        assert temporary.parent == tmp_path
        temporary.write_bytes(b"x")
    assert (tmp_path / "scan.nii.gz").stat().st_mode & 0o044


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "above" / "model"
    with pytest.raises(RuntimeError, match="halfway"), whole_folder(out) as fresh:
        (fresh / "a").write_text("half")
        raise RuntimeError("halfway")
    assert not list(out.parent.iterdir())
    out.mkdir()
    with whole_folder(out) as fresh:
        (fresh / "a").write_text("whole")
    assert (out / "a").read_text() == "whole"
    assert out.stat().st_mode & 0o055
    assert list(out.parent.iterdir()) == [out]


def test_a_folder_with_contents_is_replaced_only_where_asked(tmp_path: Path) -> None:
    out = tmp_path / "model"
    out.mkdir()
    (out / "old").write_text("old")
    with pytest.raises(OSError, match="not empty"), whole_folder(out):
        pass
    assert (out / "old").read_text() == "old"
    with whole_folder(out, replace=True) as fresh:
        (fresh / "new").write_text("new")
    assert [path.name for path in out.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [out]


def test_a_discarded_folder_is_gone_and_a_missing_one_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    discard(tmp_path / "a")
    discard(tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_only_what_is_old_enough_is_removed(tmp_path: Path) -> None:
    young, file, folder, link = (tmp_path / name for name in ("young", "file", "folder", "link"))
    young.write_text("")
    file.write_text("")
    folder.mkdir()
    (folder / "inside").write_text("")
    link.symlink_to(young)
    for path in (file, folder, link):
        os.utime(path, (0, 0), follow_symlinks=False)
    for path in (young, file, folder, link, tmp_path / "missing"):
        remove_stale(path, 60)
    assert list(tmp_path.iterdir()) == [young]


def test_json_round_trip_and_absence(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, 2.5, None]})
    assert read_json(tmp_path / "a.json") == {"b": [1, 2.5, None]}
    assert read_json(tmp_path / "none.json") is None


def test_keys() -> None:
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert key_of([1, 2]) != key_of([2, 1])
    assert key_of("ab", "c") != key_of("a", "bc")


def test_file_key_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1.
    assert file_key(tmp_path / "a") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
