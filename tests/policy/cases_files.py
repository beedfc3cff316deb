"""Whole, damaged and absent files."""

from __future__ import annotations

import gzip
from pathlib import Path

from policy import Case, Study, catalogue_of

CASES: list[Case] = []
files = catalogue_of("Files", CASES)


def _changed(study: Study, name: str, content: bytes) -> list[str]:
    if not study.rows:
        study.manifest()
    (study.root / name).write_bytes(content)
    return study.cohort()


@files("a flipped bit in a compressed scan", "refused", "2_B.nii.gz")
def flipped(study: Study) -> list[str]:
    study.manifest()
    path = study.root / "2_B.nii.gz"
    raw = bytearray(path.read_bytes())
    raw[-8] ^= 1
    path.write_bytes(raw)
    return study.cohort()


@files("a compressed scan without its last 8 bytes", "refused", "2_B.nii.gz")
def no_trailer(study: Study) -> list[str]:
    study.manifest()
    return _changed(study, "2_B.nii.gz", (study.root / "2_B.nii.gz").read_bytes()[:-8])


@files("half of a compressed scan", "refused", "2_B.nii.gz")
def half(study: Study) -> list[str]:
    study.manifest()
    content = (study.root / "2_B.nii.gz").read_bytes()
    return _changed(study, "2_B.nii.gz", content[: len(content) // 2])


@files("an empty file", "refused", "2_B.nii.gz")
def empty(study: Study) -> list[str]:
    return _changed(study, "2_B.nii.gz", b"")


@files("a Git LFS pointer", "refused", "git lfs pull")
def lfs(study: Study) -> list[str]:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:" + 64 * "0" + "\nsize 4242\n"
    return _changed(study, "2_B.nii.gz", text.encode())


@files("a git-annex pointer", "refused", "git annex get")
def annex(study: Study) -> list[str]:
    return _changed(study, "2_B.nii.gz", b"/annex/objects/MD5E-s42--abc.nii.gz\n")


@files("a link that leads nowhere, as of an annexed clone", "refused", "git annex get")
def dangling(study: Study) -> list[str]:
    study.manifest()
    path = study.root / "2_B.nii.gz"
    path.unlink()
    path.symlink_to(".git/annex/objects/Xx/Yy/MD5E-s42--abc.nii.gz/MD5E-s42--abc.nii.gz")
    return study.cohort()


@files("links to files without an ending", "accepted")
def blobs(study: Study) -> list[str]:
    study.manifest()
    for row in study.rows:
        path: Path = study.root / row["path"]
        blob = study.path(f"blobs/{path.name.split('.')[0]}")
        path.rename(blob)
        path.symlink_to(blob)
    return study.cohort()


@files("an uncompressed scan that is shorter than its header says", "refused", "2_B.nii")
def short(study: Study) -> list[str]:
    study.manifest()
    content = gzip.decompress((study.root / "2_B.nii.gz").read_bytes())
    (study.root / "2_B.nii").write_bytes(content[:-400])
    study.rows[-1]["path"] = "2_B.nii"
    return study.cohort()


@files("a compressed scan of several gzip members", "accepted")
def members(study: Study) -> list[str]:
    study.manifest()
    content = gzip.decompress((study.root / "2_B.nii.gz").read_bytes())
    parts = gzip.compress(content[:5000]) + gzip.compress(content[5000:])
    return _changed(study, "2_B.nii.gz", parts)


@files("an uncompressed scan whose name ends in .nii.gz", "noted", "compression-unlike-name")
def plain_gz(study: Study) -> list[str]:
    study.manifest()
    content = gzip.decompress((study.root / "2_B.nii.gz").read_bytes())
    return _changed(study, "2_B.nii.gz", content)


@files("a web page in the place of a scan", "refused", "2_B.nii.gz")
def web_page(study: Study) -> list[str]:
    return _changed(study, "2_B.nii.gz", b"<!DOCTYPE html><html><body>404</body></html>")


@files("an uncompressed scan that is longer than its header says", "noted", "longer-than-header")
def long(study: Study) -> list[str]:
    study.manifest()
    content = gzip.decompress((study.root / "2_B.nii.gz").read_bytes())
    (study.root / "2_B.nii").write_bytes(content + bytes(1000))
    study.rows[-1]["path"] = "2_B.nii"
    return study.cohort()


@files("a folder in the place of a scan", "refused", "2_B.nii.gz")
def folder(study: Study) -> list[str]:
    study.manifest()
    (study.root / "2_B.nii.gz").unlink()
    (study.root / "2_B.nii.gz").mkdir()
    return study.cohort()
