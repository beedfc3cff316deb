"""Generated inputs of every kind: the cohort is read, or an error of harmbench names the place."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from policy import Study

from harmbench.cohorts.data import DataSettings, check_scans, read_cohort
from harmbench.errors import HarmbenchError

tried = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

_names = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=12
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[[Callable[[Study], object]], Path]:
    """Copy a study that was written once, and let an example bend it."""
    original = Study(tmp_path / "original")

    def make(write: Callable[[Study], object]) -> Path:
        if not original.root.is_dir():
            write(original)
        shutil.rmtree(tmp_path / "tried", ignore_errors=True)
        shutil.copytree(original.root, tmp_path / "tried")
        return tmp_path / "tried"

    return make


def _read(path: Path, **bids: object) -> None:
    """Read and check a cohort; any error is harmbench's own and names a file or folder of it."""
    data = DataSettings.model_validate({"path": path, "rescale": "percentile", "bids": bids})
    try:
        check_scans(read_cohort(data), data)
    except HarmbenchError as error:
        root = path if path.is_dir() else path.parent
        assert str(root) in str(error)


@tried
@given(edits=st.lists(st.tuples(st.integers(0, 347), st.integers(0, 255)), max_size=4))
def test_headers(fresh, edits: list[tuple[int, int]]) -> None:
    root = fresh(lambda study: study.manifest().table())
    path = root / "1_B.nii.gz"
    raw = bytearray(gzip.decompress(path.read_bytes()))
    for place, value in edits:
        raw[place] = value
    path.write_bytes(gzip.compress(bytes(raw), 1))
    _read(root / "scans.csv")


@tried
@given(cut=st.floats(0, 1), tail=st.binary(max_size=16))
def test_cut_files(fresh, cut: float, tail: bytes) -> None:
    root = fresh(lambda study: study.manifest().table())
    path = root / "2_A.nii.gz"
    content = path.read_bytes()
    path.write_bytes(content[: int(cut * len(content))] + tail)
    _read(root / "scans.csv")


@tried
@given(content=st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
def test_manifests(fresh, content: bytes) -> None:
    root = fresh(lambda study: study.manifest().table())
    table = root / "scans.csv"
    table.write_bytes(content)
    _read(table)
    table.write_bytes(b"subject,group,session,path\n1,HC,A,1_A.nii.gz\n" + content)
    _read(table)


@tried
@given(content=st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
def test_participants(fresh, content: bytes) -> None:
    root = fresh(lambda study: study.bids())
    (root / "participants.tsv").write_bytes(content)
    _read(root)
    (root / "participants.tsv").write_bytes(b"participant_id\tgroup\n" + content)
    _read(root)


@tried
@given(value=_json, raw=st.none() | st.binary(max_size=30))
def test_sidecars(fresh, value: object, raw: bytes | None) -> None:
    root = fresh(lambda study: study.bids())
    for name in ("sub-01_ses-A_T1w", "sub-01_ses-B_T1w"):
        path = root / "sub-01" / f"ses-{name[11]}" / "anat" / f"{name}.json"
        path.write_text(json.dumps({"MagneticFieldStrength": value, "Simulated": value}))
    if raw is not None:
        path.write_bytes(raw)
    _read(root, session_by="MagneticFieldStrength")


@tried
@given(value=_json, raw=st.none() | st.binary(max_size=30))
def test_descriptions(fresh, value: object, raw: bytes | None) -> None:
    root = fresh(lambda study: study.bids())
    path = root / "dataset_description.json"
    fields = ("Name", "Preparation", "HowToAcknowledge", "DatasetDOI", "GeneratedBy")
    path.write_text(json.dumps(dict.fromkeys(fields, value)))
    if raw is not None:
        path.write_bytes(raw)
    _read(root)


@tried
@given(subject=_names, session=_names, entity=_names)
def test_names(fresh, subject: str, session: str, entity: str) -> None:
    root = fresh(lambda study: study.bids())
    for label in ("A", session):
        name = f"sub-{subject}/ses-{label}/anat/sub-{subject}_ses-{label}_acq-{entity}_T1w.nii.gz"
        path = root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / "sub-01" / "ses-A" / "anat" / "sub-01_ses-A_T1w.nii.gz", path)
        except OSError:  # a name that this file system does not take
            continue
    _read(root)
