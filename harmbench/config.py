"""The experiment: everything a run depends on, as frozen validated settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, field_validator

from harmbench.cohorts import paths
from harmbench.cohorts.data import DataSettings
from harmbench.cohorts.splits import SplitChoice
from harmbench.discovery import (
    available_corrections,
    available_methods,
    is_correction,
    load_correction,
    load_method,
    make_settings,
    usable_methods,
)
from harmbench.endpoint import EndpointSettings
from harmbench.errors import ConfigError, MethodError, suggest
from harmbench.folds import FoldSettings
from harmbench.metrics.overlap import Backend
from harmbench.overrides import parse_overrides, plain_values
from harmbench.plugins import Reference
from harmbench.preparation.settings import PrepareSettings
from harmbench.segmentation import Contrast
from harmbench.settings import Settings, validated

__all__ = [
    "Experiment",
    "Preparation",
    "Resources",
    "ScoringSettings",
    "experiment_text",
    "load_experiment",
    "load_preparation",
    "parse_overrides",
    "select_methods",
    "shipped",
    "with_absolute_paths",
]

_ONLY_FOR_RUNS = ("source", "target", "direction", "rescale")


class ScoringSettings(Settings):
    """How harmonized volumes are finished, segmented and scored."""

    segmenter: str = Field("auto", description="`auto`, an installed segmenter, or FILE.py:CLASS")
    contrast: Literal["auto", Contrast] = Field(
        "auto",
        description="contrast of the scans, which gives the order of tissues; `auto`: what "
        "their file names say, T1w where none says one",
    )
    surface_backend: Backend = Field("nearest", description="what computes surface distances")
    mask_background: bool = Field(
        True,
        description="set a harmonized volume to 0 outside the brain of its skull-stripped source",
    )
    stacking_axis: Literal[0, 1, 2] = Field(
        0,
        description="axis along which slices are stacked (0: sagittal slices), for the stripe index",
    )


class Resources(Settings):
    """What the jobs of a method ask SLURM for."""

    time: float = Field(
        1.0, gt=0, description="hours that a job may run; it is then queued again and goes on"
    )
    gpus: int = Field(0, ge=0, description="GPUs of a job")
    cpus: int = Field(1, ge=1, description="cores of a job")
    mem: float | None = Field(None, gt=0, description="GB of memory; unset: the cluster's default")
    partition: str | None = Field(None, description="unset: the cluster's default")
    account: str | None = Field(None, description="unset: the user's default")
    extra: dict[str, str] = Field(
        default_factory=dict, description="further options of sbatch, such as `constraint: a100`"
    )


class Experiment(Settings):
    """One benchmark, from cohort to scores."""

    name: str = Field("benchmark", description="title of the report")
    data: DataSettings = Field(default_factory=DataSettings, description="which scans to run on")
    folds: FoldSettings = Field(default_factory=FoldSettings, description="cross-validation")
    split: SplitChoice = Field(
        default_factory=SplitChoice, description="which pairs train and test, beside the folds"
    )
    methods: dict[str, dict[str, object]] = Field(
        default_factory=dict,
        description="label: settings; `uses: NAME` in the settings runs a method under another label",
    )
    controls: tuple[str, ...] = Field(
        ("identity", "histogram_matching"), description="methods that every run includes"
    )
    volume_controls: tuple[str, ...] = Field(
        ("volume_offset", "volume_ratio", "volume_linear", "volume_combat"),
        description="volume corrections that every run includes; `[]`: none",
    )
    ceiling: bool = Field(True, description="score the reference against itself as a control")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="one cell for each")
    train_subjects: tuple[Annotated[int, Field(ge=1)] | Literal["all"], ...] = Field(
        ("all",),
        min_length=1,
        description="numbers of training subjects to learn from, for a learning curve: such as "
        "`[2, 4, 8, all]`; each smaller set is a part of the larger ones",
    )
    scoring: ScoringSettings = Field(default_factory=ScoringSettings, description="how to score")
    endpoint: EndpointSettings = Field(EndpointSettings(), description="what the verdict rests on")
    device: str = Field("auto", description="`auto`, `cpu`, `cuda`, or `cuda:1`")
    devices: tuple[str, ...] = Field((), description="GPUs: a cell on each; instead of `device`")
    jobs: int = Field(1, ge=1, description="cells that run at the same time")
    executor: Literal["local", "slurm"] = Field(
        "local", description="where cells run: on this machine, or as jobs of a SLURM cluster"
    )
    resources: dict[str, Resources] = Field(
        default_factory=dict,
        description="label of a method, or `default`: what its jobs ask SLURM for",
    )
    isolate: bool | None = Field(
        None,
        description="run cells in processes of their own also with one job, so that a method that "
        "crashes costs its cell alone; unset: `harmbench run` does, a call from Python does not",
    )
    cell_hours: float | None = Field(
        None,
        gt=0,
        description="hours that a cell may take; one that takes longer is ended and counts as failed",
    )

    @property
    def cell_limit_s(self) -> float | None:
        """Seconds that a cell may take; `None` without a limit."""
        return None if self.cell_hours is None else 3600 * self.cell_hours

    @field_validator("methods", mode="before")
    @classmethod
    def _empty_settings(cls, value: object) -> object:
        if isinstance(value, Mapping):
            return {label: {} if own is None else own for label, own in value.items()}
        return value

    def all_methods(self) -> dict[str, tuple[Reference, dict[str, object]]]:
        """Return label to (which method, settings), controls first; volume corrections are left out."""
        found = self._labelled([*self.controls, *self.methods])
        return {label: one for label, one in found.items() if not is_correction(one[0])}

    def all_corrections(self) -> dict[str, tuple[Reference, dict[str, object]]]:
        """Return label to (which volume correction, settings), controls first."""
        found = self._labelled([*self.volume_controls, *self.methods])
        controls = set(self.volume_controls)
        return {k: one for k, one in found.items() if k in controls or is_correction(one[0])}

    def _labelled(self, labels: Sequence[str]) -> dict[str, tuple[Reference, dict[str, object]]]:
        found = {}
        for label in dict.fromkeys(labels):
            settings = dict(self.methods.get(label, {}))
            found[label] = (Reference.parse(str(settings.pop("uses", label))), settings)
        return found


def load_experiment(
    path: Path | None = None,
    overrides: Sequence[str] = (),
    changes: Mapping[str, object] | None = None,
) -> Experiment:
    """Make an experiment from a YAML file, `a.b=c` overrides and already parsed changes, in order.

    A relative `data.path` in the file is relative to the file's folder.

    Args:
        path: the YAML file; defaults where `None`.
        overrides: such as `methods.dm.iterations=1000`; values are read as YAML.
        changes: dotted name to value.

    Raises:
        ConfigError: the file is not readable YAML, or a name or value is not valid.
    """
    return validated(Experiment, plain_values(path, overrides, changes))


@dataclass(frozen=True, slots=True)
class Preparation:
    """What a preparation depends on: which scans, and what is done to them."""

    data: DataSettings
    settings: PrepareSettings


def shipped(name: str) -> Path:
    """Return the file of a configuration that comes with harmbench, such as `paper`."""
    return Path(str(files("harmbench.configs") / f"{name}.yaml"))


def load_preparation(
    path: Path | None = None,
    overrides: Sequence[str] = (),
    changes: Mapping[str, object] | None = None,
) -> Preparation:
    """Make the settings of a preparation, as `load_experiment` makes an experiment.

    Those of the data set stand under `data`, as in an experiment; the steps' stand at the top.

    Raises:
        ConfigError: the file is not readable YAML, a name or value is not valid, or a setting of the
            data does not apply to a preparation.
    """
    values = plain_values(path, overrides, changes)
    data = values.pop("data", None)
    if not isinstance(data, Mapping | None):
        raise ConfigError(f"data: expected a mapping of settings, got {data!r}")
    useless = [name for name in _ONLY_FOR_RUNS if name in (data or {})]
    if useless:
        raise ConfigError(
            f"data.{useless[0]}: not for a preparation, which takes every session of a subject and "
            "scales intensities by normalize"
        )
    return Preparation(
        validated(DataSettings, data or {}, "data"), validated(PrepareSettings, values)
    )


def select_methods(experiment: Experiment, names: Sequence[str]) -> Experiment:
    """Keep the methods that `names` lists, and add those that the experiment does not have yet.

    Args:
        experiment: its settings of the named methods are kept.
        names: labels of the experiment, installed methods and volume corrections, `FILE.py:CLASS`
            (labelled by the class), or `all`: every method of the experiment, or where it has none
            every installed one that maps images and whose extra, if it needs one, is installed.

    Raises:
        MethodError: a name is neither in the experiment nor an installed method.
        UnavailableError: a named method needs software that is not installed.
        ConfigError: there is no method to run, or settings are wrong, also of a method left out.
    """
    installed, corrections = available_methods(), available_corrections()
    known = dict(experiment.methods)
    chosen: dict[str, dict[str, object]] = {}
    for name in names:
        if name == "all":
            chosen |= known or {own: {} for own in usable_methods()}
        elif name in known or name in installed or name in corrections:
            chosen[name] = known.get(name, {})
        elif (reference := Reference.parse(name)).file is not None:
            # Absolute, so that the run folder still knows its method from anywhere else.
            own = known.get(reference.name, {})
            chosen[reference.name] = {**own, "uses": str(reference.absolute())}
        else:
            allowed = {*known, *installed, *corrections, "all"}
            raise MethodError(
                f"unknown method '{name}'; {suggest(name, allowed)}; or FILE.py:CLASS"
            )
    if not names:
        chosen = known
    if not chosen and not experiment.controls:
        raise ConfigError("no method to run: name some under methods, or with --method")
    methods, corrections_of_it = experiment.all_methods(), experiment.all_corrections()
    for label in sorted(set(known) - set(chosen)):
        if label in methods:
            make_settings(load_method(methods[label][0]), methods[label][1], label)
        else:
            uses, values = corrections_of_it[label]
            make_settings(load_correction(uses), values, label)
    return experiment.model_copy(update={"methods": chosen})


def with_absolute_paths(experiment: Experiment) -> Experiment:
    """Return the experiment with absolute paths: of scans, folds, methods and the segmenter."""
    data, scoring = paths.with_absolute_paths(experiment.data), experiment.scoring
    segmenter = str(Reference.parse(scoring.segmenter).absolute())
    scoring = scoring.model_copy(update={"segmenter": segmenter})
    methods = {label: _with_absolute_path(values) for label, values in experiment.methods.items()}
    changes = {"data": data, "scoring": scoring, "methods": methods}
    if experiment.folds.file is not None:
        file = experiment.folds.file.expanduser().absolute()
        changes["folds"] = experiment.folds.model_copy(update={"file": file})
    return experiment.model_copy(update=changes)


def _with_absolute_path(values: Mapping[str, object]) -> dict[str, object]:
    if "uses" not in values:
        return dict(values)
    return {**values, "uses": str(Reference.parse(str(values["uses"])).absolute())}


def experiment_text(experiment: Experiment) -> str:
    """Return resolved settings as YAML that `load_experiment` reads back."""
    values = experiment.model_dump(mode="json")
    text: str = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    return text
