"""The wrapper of FAST, against stand-in executables with FAST's file interface."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from harmbench.cli.doctor import examine
from harmbench.contract import tiny_pairs
from harmbench.errors import SegmentationError, SegmenterError, UnavailableError
from harmbench.segmentation import AUTO, make_segmenter
from harmbench.segmentation.fast import Fast
from harmbench.volume import Volume

THRESHOLDS = (0.15, 0.35)


@pytest.fixture
def volume() -> Volume:
    affine = np.array([[2, 0.3, 0, 9], [-0.3, 1, 0, 8], [0, 0, 1, 7], [0, 0, 0, 1]], float)
    return Volume(tiny_pairs(1)[0].source.data, affine)


def test_labels_lie_on_an_oblique_volume(fsl, volume: Volume) -> None:
    labels = Fast().segment(volume)
    assert np.array_equal(labels.data, np.digitize(volume.data, [1e-6, *THRESHOLDS]))
    assert labels.kind == "label"
    assert labels.same_grid(volume)
    (call,) = fsl.calls()
    assert "--class=3" in call
    assert "--nopve" in call
    assert "-t 1" in call


@pytest.mark.parametrize("kind", ["", "NIFTI", "NIFTI_PAIR", "ANALYZE", "NIFTI_GZ"])
def test_the_output_type_is_always_compressed(
    fsl, volume: Volume, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("FSLOUTPUTTYPE", kind)
    expected = np.digitize(volume.data, [1e-6, *THRESHOLDS])
    assert np.array_equal(Fast().segment(volume).data, expected)
    assert fsl.log.with_suffix(".type").read_text() == "NIFTI_GZ"
    assert os.environ["FSLOUTPUTTYPE"] == kind


@pytest.mark.parametrize("suffix", [".nii", ".img"])
def test_other_types_of_output_are_read_too(fsl, volume: Volume, suffix: str) -> None:
    fsl.good(suffix=suffix)
    expected = np.digitize(volume.data, [1e-6, *THRESHOLDS])
    assert np.array_equal(Fast().segment(volume).data, expected)


def test_t2w_gets_its_option_and_its_order(fsl, volume: Volume) -> None:
    labels = make_segmenter("fast", contrast="T2w").segment(volume)
    classes = np.digitize(volume.data, [1e-6, *THRESHOLDS])
    assert np.array_equal(labels.data, np.array([0, 3, 2, 1])[classes])
    assert "-t 2" in fsl.calls()[-1]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'Exception: Not enough classes detected to init KMeans' >&2; exit 255",
         "exit code 255: Exception: Not enough classes detected to init KMeans$"),
        ("echo 'Not enough classes detected'; exit 1", "exit code 1: Not enough classes detected$"),
        ("kill -KILL $$", r"ended by signal 9 \(SIGKILL\)$"),
        ("kill -SEGV $$", "signal 11"),
        ("echo 'wrote nothing'", "without writing a segmentation: wrote nothing$"),
        ("echo text > ${out}_seg.nii.gz", "FAST's segmentation cannot be read: out_seg.nii.gz"),
        ("echo text > ${out}_seg.mgz", "without writing a segmentation"),
        (r"printf '\377\376 bytes\n' >&2; exit 3", "exit code 3: .* bytes$"),
        ("printf 'open %s/x failed' ${out%/*} >&2; exit 1", "exit code 1: open x failed$"),
    ],
)  # fmt: skip
def test_a_failure_of_the_tool_is_told_in_its_words(
    fsl, volume: Volume, script: str, message: str
) -> None:
    make_segmenter("fast")
    fsl.shell(script)
    with pytest.raises(SegmenterError, match=message) as error:
        Fast.segment(_started(), volume)
    assert "harmbench-fast-" not in str(error.value)


def _started() -> Fast:
    """One whose FAST has started before it broke."""
    fast = Fast()
    fast.__dict__["version"] = "FSL"
    return fast


def test_labels_of_another_grid_are_a_failure(fsl, volume: Volume) -> None:
    fsl.good(edit="labels = labels[1:]")
    with pytest.raises(SegmenterError, match="another grid"):
        Fast().segment(volume)


def test_a_full_temporary_folder_is_a_failure(
    fsl, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "/tmp/x")

    monkeypatch.setattr("harmbench.segmentation.fast.write", full)
    with pytest.raises(SegmenterError, match="temporary folder cannot be used: No space left"):
        Fast().segment(volume)


def test_version_and_choice(monkeypatch: pytest.MonkeyPatch, request) -> None:
    monkeypatch.delenv("FSLDIR", raising=False)
    monkeypatch.delenv("FSLDEVDIR", raising=False)
    assert make_segmenter("auto").name == AUTO[1]
    with pytest.raises(UnavailableError, match="FSLDIR is not set"):
        make_segmenter("fast")
    request.getfixturevalue("fsl")
    assert make_segmenter("fast").version == "FSL 6.0.0:abc"
    assert make_segmenter("auto").name == "fast"
    monkeypatch.setenv("FSLDIR", "/nowhere")
    with pytest.raises(UnavailableError, match="holds no bin/fast"):
        make_segmenter("fast")


@pytest.mark.parametrize(
    "broken",
    ["not executable", "no interpreter", "not a program", "missing library", "illegal"],
)
def test_a_program_that_does_not_start_is_not_trusted(fsl, broken: str) -> None:
    program = fsl.program
    if broken == "not executable":
        program.chmod(0o644)
    elif broken == "no interpreter":
        program.write_text("#!/nowhere/python\n")
    elif broken == "not a program":
        program.write_bytes(b"\x00\x01\x02 no program")
    elif broken == "missing library":
        fsl.shell("echo 'libopenblas.so.0: cannot open' >&2; exit 127")
    else:
        fsl.shell("kill -ILL $$")
    assert make_segmenter("auto").name == AUTO[1]
    with pytest.raises(UnavailableError, match=f"{program} does not start"):
        make_segmenter("fast")
    (finding,) = (one for one in examine(full=True) if one.what == "segmenter fast")
    assert finding.state == "absent"
    assert "does not start" in finding.detail
    fsl.good()
    assert make_segmenter("auto").name == "fast"


def test_another_folder_that_comes_first_is_said(
    fsl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, volume: Volume
) -> None:
    other = tmp_path / "dev" / "bin" / "fast"
    other.parent.mkdir(parents=True)
    other.write_text(fsl.program.read_text().replace("calls.txt", "dev.txt"))
    other.chmod(0o755)
    monkeypatch.setenv("FSLDEVDIR", str(tmp_path / "dev"))
    segmenter = make_segmenter("fast")
    assert segmenter.version == f"FSL 6.0.0:abc, fast of FSLDEVDIR {tmp_path / 'dev'}"
    segmenter.segment(volume)
    assert not fsl.calls()
    monkeypatch.setenv("FSLDEVDIR", str(tmp_path))
    assert make_segmenter("fast").version == "FSL 6.0.0:abc"


@pytest.mark.parametrize(("way", "jobs"), [(signal.SIGINT, 1), (signal.SIGTERM, 2)])
def test_an_interrupt_of_harmbench_alone_ends_fast(
    fsl, make_manifest, tmp_path: Path, way: signal.Signals, jobs: int
) -> None:
    pids = tmp_path / "pids"
    fsl.shell(f"test $# -eq 0 && exit 1\nsleep 60 & echo $! $$ >> {pids}\nwait")
    command = [sys.executable, "-m", "harmbench", "run", "--data", make_manifest(2), "--folds", 2]
    command += ["--out", tmp_path / "out", "--device", "cpu", "--jobs", jobs, "--segmenter", "fast"]
    # A session of its own: the signal reaches harmbench only.
    with subprocess.Popen(
        [str(part) for part in command], stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            _wait_for(lambda: pids.is_file() and pids.read_text().strip())
            os.kill(process.pid, way)
            process.communicate(timeout=60)
        finally:
            # A test that fails must not wait for ever.
            process.kill()
    assert process.returncode == 130
    started = [int(pid) for pid in pids.read_text().split()]
    _wait_for(lambda: not any(_lives(pid) for pid in started))


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _wait_for(condition) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("waited in vain")


def test_unknown_segmenter() -> None:
    with pytest.raises(SegmentationError, match="unknown segmenter 'fats'; did you mean 'fast'"):
        make_segmenter("fats")
