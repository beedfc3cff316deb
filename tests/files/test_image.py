"""Files that are damaged, cut, too long, or no image at all; and names that are links."""

from __future__ import annotations

import bz2
import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from harmbench.cohorts.manifest import read_manifest
from harmbench.errors import CohortError, VolumeError
from harmbench.runner.outside_files import Triple, find_triples
from harmbench.volume import read

# Smooth values leave room in the last deflate block for damage that decompresses.
VALUES = np.random.default_rng(0).integers(0, 60, (24, 25, 26)).astype(np.float32)


def _bytes(values: Any = VALUES, kind: Any = nib.Nifti1Image) -> bytes:
    return kind(values, np.diag([2.0, 2, 2, 1])).to_bytes()


WHOLE = _bytes()
PACKED = gzip.compress(WHOLE, 1, mtime=0)


def _flipped(content: bytes, place: int) -> bytes:
    changed = bytearray(content)
    changed[place] ^= 4
    return bytes(changed)


def _stored_damage() -> bytes:
    """A gzip member whose bytes are stored, so that a flip changes one voxel and nothing else."""
    return _flipped(gzip.compress(WHOLE, 0, mtime=0), 5000)


DAMAGED = {
    "a voxel": _stored_damage(),
    "the checksum": _flipped(PACKED, -7),
    "the length": _flipped(PACKED, -3),
    "no trailer": PACKED[:-8],
    "half a trailer": PACKED[:-4],
    "cut": PACKED[: len(PACKED) // 2],
    "cut in the header": PACKED[:40],
    "bytes after the end": PACKED + b"and more",
    "second member damaged": gzip.compress(WHOLE[:9000]) + gzip.compress(WHOLE[9000:])[:-6],
    "method": _flipped(PACKED, 2),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_in_compressed_files_is_found(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(DAMAGED[name])
    with pytest.raises(VolumeError, match="damaged or truncated file") as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_no_flipped_bit_is_read_as_if_nothing_were_wrong(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    for place in np.linspace(10, len(PACKED) - 1, 60).astype(int):
        path.write_bytes(_flipped(PACKED, place))
        with pytest.raises(VolumeError):
            read(path)


@pytest.mark.parametrize("name", ["a.mgz", "A.MGZ"])
def test_the_trailer_of_other_formats_counts_too(tmp_path: Path, name: str) -> None:
    content = gzip.compress(_bytes(kind=nib.MGHImage), mtime=0)
    (tmp_path / name).write_bytes(content)
    assert np.array_equal(read(tmp_path / name).data, VALUES)
    (tmp_path / name).write_bytes(content[:-8])
    with pytest.raises(VolumeError, match="damaged or truncated"):
        read(tmp_path / name)


def test_bzip2_is_read_to_its_end(tmp_path: Path) -> None:
    content = bz2.compress(WHOLE)
    (tmp_path / "a.nii.bz2").write_bytes(content)
    assert np.array_equal(read(tmp_path / "a.nii.bz2").data, VALUES)
    for broken in (content[:-6], _flipped(content, len(content) // 2)):
        (tmp_path / "a.nii.bz2").write_bytes(broken)
        with pytest.raises(VolumeError, match=r"a\.nii\.bz2: .*damaged"):
            read(tmp_path / "a.nii.bz2")


def test_voxels_that_look_like_a_compression_are_voxels(tmp_path: Path) -> None:
    for start in (b"\x1f\x8b", b"BZh", b"PK\x03\x04"):
        values = np.frombuffer(start.ljust(120, b"\1"), np.uint8)
        stored = values.reshape((4, 5, 6), order="F")
        nib.save(nib.AnalyzeImage(stored, None), tmp_path / "a.img")
        assert np.array_equal(read(tmp_path / "a.img").data, stored[::-1])


def test_both_files_of_a_pair_are_read_to_their_end(tmp_path: Path) -> None:
    image = nib.Nifti1Pair(VALUES, np.diag([2.0, 2, 2, 1]))
    nib.save(image, tmp_path / "a.img.gz")
    assert np.array_equal(read(tmp_path / "a.hdr.gz").data, VALUES)
    for name in ("a.img.gz", "a.hdr.gz"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[:-8])
        with pytest.raises(VolumeError, match="damaged or truncated"):
            read(tmp_path / "a.img.gz")
        (tmp_path / name).write_bytes(content)
    (tmp_path / "a.hdr.gz").unlink()
    with pytest.raises(VolumeError, match=r"a\.img\.gz: it needs the file a\.hdr\.gz .*no such"):
        read(tmp_path / "a.img.gz")


SOUND: dict[str, tuple[str, bytes, list[str]]] = {
    "plain": ("a.nii", WHOLE, []),
    "capitals": ("A.NII.GZ", PACKED, []),
    "two members": ("a.nii.gz", gzip.compress(WHOLE[:9000]) + gzip.compress(WHOLE[9000:]), []),
    "zeros after the end": ("a.nii.gz", PACKED + bytes(512), []),
    "gzip without its name": ("a.nii", PACKED, ["compression-unlike-name"]),
    "plain, called gzip": ("a.nii.gz", WHOLE, ["compression-unlike-name"]),
    "bzip2, called gzip": ("a.nii.gz", bz2.compress(WHOLE), ["compression-unlike-name"]),
    "plain and longer": ("a.nii", WHOLE + bytes(3), ["longer-than-header"]),
    "plain and much longer": ("a.nii", WHOLE * 3, ["longer-than-header"]),
    "gzip and longer": ("a.nii.gz", gzip.compress(WHOLE + bytes(70000)), ["longer-than-header"]),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_is_sound_is_read_and_oddities_are_noted(tmp_path: Path, name: str) -> None:
    file, content, kinds = SOUND[name]
    (tmp_path / file).write_bytes(content)
    volume = read(tmp_path / file)
    assert np.array_equal(volume.data, VALUES)
    assert [note.kind for note in volume.notes] == kinds


def test_members_may_begin_anywhere(tmp_path: Path) -> None:
    parts = [WHOLE[:9], WHOLE[9:400], b"", WHOLE[400:]]
    (tmp_path / "a.nii.gz").write_bytes(b"".join(gzip.compress(part) for part in parts))
    assert np.array_equal(read(tmp_path / "a.nii.gz").data, VALUES)


@pytest.mark.parametrize("cut", [100, 340, 353, 5000, len(WHOLE) - 1])
def test_a_plain_file_that_is_too_short_is_refused(tmp_path: Path, cut: int) -> None:
    (tmp_path / "a.nii").write_bytes(WHOLE[:cut])
    with pytest.raises(VolumeError, match=r"a\.nii: (truncated, or not its|not an image)"):
        read(tmp_path / "a.nii")


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_declared_voxels_that_cannot_be_there_cost_no_memory(
    tmp_path: Path, pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    header = nib.Nifti1Header(WHOLE[:348])
    header["dim"][1:4] = 30000, 30000, 30000
    name = "a.nii" if pack is bytes else "a.nii.gz"
    (tmp_path / name).write_bytes(pack(header.binaryblock + bytes(16)))
    monkeypatch.setattr(np, "asanyarray", lambda *_, **__: pytest.fail("voxels are asked for"))
    with pytest.raises(VolumeError, match="where the header declares 108000000000352"):
        read(tmp_path / name)


def test_a_file_that_goes_on_and_on_is_not_followed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("harmbench.files.stream._MOST_EXTRA", 1000)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(WHOLE * 40, 1))
    with pytest.raises(VolumeError, match="more than twice as long as its header declares"):
        read(tmp_path / "a.nii.gz")


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 1234\n"
ANNEX = b"/annex/objects/MD5E-s7101--0b9a.nii.gz\n"
STANDING_IN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "an empty file"),
    "LFS": (LFS, r"a pointer of Git LFS.*`git lfs pull --include a\.nii\.gz`"),
    "LFS, compressed": (gzip.compress(LFS), "a pointer of Git LFS"),
    "annex": (ANNEX, r"a pointer of git-annex.*`git annex get a\.nii\.gz` or `datalad get"),
    "annex, as links without links": (
        b"../../.git/annex/objects/Xx/1F/MD5E-s7101--0b9a.nii.gz/MD5E-s7101--0b9a.nii.gz",
        "a pointer of git-annex",
    ),
    "DVC": (b"outs:\n- md5: 0b9a\n  size: 7101\n  path: a.nii.gz\n", "`dvc pull a"),
    "HTML": (b"<!DOCTYPE html>\n<html><body>403 Forbidden</body></html>", "an HTML page"),
    "HTML, BOM and spaces": (b"\xef\xbb\xbf \r\n<HTML lang='en'>", "an HTML page"),
    "HTML, compressed": (gzip.compress(b"<html><title>Log in</title>"), "an HTML page"),
    "XML": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>", "text that begins with “<"),
    "JSON": (b'{"message": "Not Found"}', "text that begins with “{"),
    "DICOM": (bytes(128) + b"DICM" + bytes(900), "a DICOM file"),
    "zeros": (bytes(4000), "begins with zeros"),
    "noise": (np.random.default_rng(1).bytes(4000), "not an image that nibabel knows, or a damage"),
    "Zstandard": (b"\x28\xb5\x2f\xfd\x24\x0c", "Zstandard compressed, which is not read"),
    "xz": (b"\xfd7zXZ\x00\x00\x04", "xz compressed, which is not read"),
    "ZIP": (b"PK\x03\x04\x14\x00", "ZIP compressed, which is not read"),
    "a lost link": (b"blob", "links were lost in copying"),
}


@pytest.mark.parametrize("name", STANDING_IN)
def test_what_is_no_image_is_called_what_it_is(tmp_path: Path, name: str) -> None:
    content, message = STANDING_IN[name]
    (tmp_path / "blob").write_bytes(PACKED)
    path = tmp_path / "a.nii.gz"
    path.write_bytes(content)
    with pytest.raises(VolumeError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_pointer_of_either_file_of_a_pair_is_named(tmp_path: Path) -> None:
    nib.save(nib.AnalyzeImage(VALUES, None), tmp_path / "a.img")
    (tmp_path / "a.img").write_bytes(LFS)
    with pytest.raises(VolumeError, match=r"a\.hdr: a\.img is a pointer of Git LFS"):
        read(tmp_path / "a.hdr")


def test_paths_without_a_file_say_how_to_get_it(tmp_path: Path) -> None:
    links = {
        ".git/annex/objects/Xx/1F/MD5E-s7--0b/MD5E-s7--0b": "a link into git-annex.*datalad get",
        "../.dvc/cache/files/md5/0b/9a": "`dvc pull a.nii.gz`",
        "../blobs/0b9a": r"a link to \.\./blobs/0b9a, which is not there",
        "a.nii.gz": r"a link to a\.nii\.gz, which is not there",
    }
    path = tmp_path / "a.nii.gz"
    for target, message in links.items():
        path.symlink_to(target)
        with pytest.raises(VolumeError, match=message):
            read(path)
        path.unlink()
    with pytest.raises(VolumeError, match=r"no such file$"):
        read(path)
    (tmp_path / "a.nii.gz.dvc").write_text("outs:\n")
    with pytest.raises(VolumeError, match=r"a\.nii\.gz\.dvc is there: fetch it with `dvc pull"):
        read(path)
    path.mkdir()
    with pytest.raises(VolumeError, match="a folder, expected a file"):
        read(path)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(VolumeError, match="not a regular file"):
        read(path)
    with pytest.raises(VolumeError, match="no such file"):
        read(tmp_path / "a\0.nii")


def test_a_manifest_says_what_stands_in_the_place_of_a_scan(tmp_path: Path) -> None:
    (tmp_path / "1.nii.gz").symlink_to(".git/annex/objects/x")
    os.mkfifo(tmp_path / "2.nii.gz")
    (tmp_path / "3.nii.gz").write_bytes(b"")
    rows = "".join(f"{i},HC,3T,{i}.nii.gz\n" for i in (1, 2, 3))
    (tmp_path / "scans.csv").write_text("subject,group,session,path\n" + rows)
    with pytest.raises(CohortError) as caught:
        read_manifest(tmp_path / "scans.csv")
    problems = "\n".join(caught.value.problems)
    for text in ("line 2: ", "`git annex get 1.nii.gz`", "a pipe", "an empty file"):
        assert text in problems


def test_score_says_what_stands_in_the_place_of_a_volume(tmp_path: Path) -> None:
    for folder in ("out", "real"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.nii.gz").write_bytes(PACKED)
    assert find_triples(tmp_path / "out", tmp_path / "real") == [
        Triple("a", tmp_path / "out/a.nii.gz", tmp_path / "real/a.nii.gz", None)
    ]
    link = tmp_path / "real" / "a.nii.gz"
    link.unlink()
    link.symlink_to("../.git/annex/objects/x")
    for volume, reference in (
        (tmp_path / "out", tmp_path / "real"),
        (tmp_path / "out" / "a.nii.gz", link),
    ):
        with pytest.raises(CohortError, match="git annex get"):
            find_triples(volume, reference)


@pytest.mark.parametrize("target", ["blobs/0b9a", "blobs/0b9a.bin", "blobs/other.nii"])
def test_a_link_is_read_by_its_own_name(tmp_path: Path, target: str) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / target).write_bytes(PACKED)
    link = tmp_path / "a.nii.gz"
    link.symlink_to(target)
    volume = read(link)
    assert np.array_equal(volume.data, VALUES)
    assert volume.notes == ()
    (tmp_path / "scans.csv").write_text(f"subject,group,session,path\n1,HC,3T,{link}\n")
    scan = read_manifest(tmp_path / "scans.csv").scans["1", "3T"]
    assert scan.path == link


def test_hostile_headers_give_one_kind_of_error(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    sources = {"a.nii": WHOLE, "a.mgh": _bytes(kind=nib.MGHImage)}
    for name, content in sources.items():
        for _ in range(150):
            changed = bytearray(content)
            for place in random.integers(0, 348, 6):
                changed[place] = random.integers(0, 256)
            (tmp_path / name).write_bytes(changed)
            try:
                read(tmp_path / name)
            except VolumeError as error:
                assert str(error).startswith(f"{tmp_path / name}: ")
