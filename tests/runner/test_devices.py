"""Several GPUs of one machine: which cells see which."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from harmbench.config import Experiment
from harmbench.errors import ConfigError, UnavailableError
from harmbench.folds import Folds
from harmbench.progress import Display
from harmbench.runner.context import RunContext
from harmbench.runner.executor import has_gpus, make_executor, on_devices, places_of
from harmbench.runner.inputs import InputScans


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def _experiment(*devices: str, **settings: object) -> Experiment:
    values = {"devices": devices, "controls": (), "scoring": {"segmenter": "hmrf"}, **settings}
    return Experiment.model_validate(values)


def _see(item: int, progress) -> str:
    return os.environ["CUDA_VISIBLE_DEVICES"]


def test_each_device_has_cells_that_see_no_other(two_gpus, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    experiment = on_devices(_experiment("cuda:1", "cuda:0"))
    assert (experiment.device, experiment.jobs) == ("cuda", 2)
    monkeypatch.setattr("harmbench.runner.executor.warm_up", print)
    with Display("test", 2, Console(quiet=True)) as display:
        executor = make_executor(experiment, tmp_path)
        found = dict(executor.run(_see, range(2), display, kin=lambda n: n))
    assert set(found.values()) == {"GPU-b", "GPU-a"}


def test_numbers_count_the_devices_that_are_visible(monkeypatch) -> None:
    for visible, seen in (("", "1"), ("2,7", "7"), ("GPU-a,GPU-b", "GPU-b")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert places_of(("cuda:1",)) == [{"CUDA_VISIBLE_DEVICES": seen}]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert places_of(("cuda:1",)) == [{"CUDA_VISIBLE_DEVICES": "1"}]


def test_devices_that_cannot_be_used(two_gpus, call) -> None:
    with pytest.raises(UnavailableError, match="no cuda:2 here: 2 GPUs are found"):
        on_devices(_experiment("cuda:0", "cuda:2"))
    with pytest.raises(ConfigError, match="for executor local"):
        on_devices(_experiment("cuda:0", executor="slurm"))
    for devices, words in (("cuda:0,cuda:0", "named twice"), ("cpu", "devices")):
        code, _, err = call("run", "--method", "identity", "--devices", devices)
        assert (code, words in err) == (2, True), err
    assert on_devices(_experiment()) == _experiment()


def test_jobs_of_a_cluster_find_their_own_device(call, monkeypatch) -> None:
    """The login node has no GPU: what it says of devices does not count."""
    context = replace(_CONTEXT, device="auto")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert context.on_this_machine().device == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert context.on_this_machine().device == "cpu"
    assert not has_gpus(_experiment())
    assert has_gpus(_experiment(resources={"dm": {"gpus": 1}}))
    assert not has_gpus(_experiment(resources={"dm": {"gpus": 1}}, device="cpu"))
    for option, value, words in (
        ("--device", "cuda:1", "a cluster's jobs have auto, cpu or cuda"),
        ("--budget", "1h", "not measured on a cluster"),
    ):
        code, _, err = call("run", "--method", "identity", "--executor", "slurm", option, value)
        assert (code, words in err) == (2, True), err


_CONTEXT = RunContext(
    root=Path("run"),
    experiment=Experiment(),
    folds=Folds(2, 0, {}),
    splits={},
    groups={},
    inputs=InputScans(Path("run"), {}),
    input_keys={},
    segmenter="hmrf",
    device="cpu",
)
