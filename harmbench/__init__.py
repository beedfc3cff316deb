"""harmbench: a benchmark of MRI contrast harmonization methods.

The names below are the public API. Each is imported from its module when it is first used, so that
`import harmbench` itself takes no time.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harmbench.cohorts.base import Cohort, rescale_volume
    from harmbench.cohorts.data import DataSettings, read_cohort
    from harmbench.config import Experiment, load_experiment, load_preparation
    from harmbench.contract import check_method
    from harmbench.correction_contract import check_correction
    from harmbench.discovery import (
        available_corrections,
        available_methods,
        load_correction,
        load_method,
    )
    from harmbench.errors import HarmbenchError
    from harmbench.exchange.export import export_results
    from harmbench.method import Method
    from harmbench.preparation.cohort import prepare_cohort
    from harmbench.report import compare, make_report
    from harmbench.results import read_results
    from harmbench.runner.experiment import run_experiment
    from harmbench.runner.rescore import rescore_run
    from harmbench.runner.volume_scores import score
    from harmbench.settings import Settings
    from harmbench.task import Direction, Pair, Task
    from harmbench.trained import export_model, load_model
    from harmbench.trained.apply import apply_model
    from harmbench.volume import Volume, read, write
    from harmbench.volume_correction import VolumeCorrection

__all__ = [
    "Cohort",
    "DataSettings",
    "Direction",
    "Experiment",
    "HarmbenchError",
    "Method",
    "Pair",
    "Settings",
    "Task",
    "Volume",
    "VolumeCorrection",
    "__version__",
    "apply_model",
    "available_corrections",
    "available_methods",
    "check_correction",
    "check_method",
    "compare",
    "export_model",
    "export_results",
    "load_correction",
    "load_experiment",
    "load_method",
    "load_model",
    "load_preparation",
    "make_report",
    "prepare_cohort",
    "read",
    "read_cohort",
    "read_results",
    "rescale_volume",
    "rescore_run",
    "run_experiment",
    "score",
    "write",
]

__version__ = version("harmbench")

_MODULES = {
    "Cohort": "cohorts.base",
    "DataSettings": "cohorts.data",
    "Direction": "task",
    "Experiment": "config",
    "HarmbenchError": "errors",
    "Method": "method",
    "Pair": "task",
    "Settings": "settings",
    "Task": "task",
    "Volume": "volume",
    "VolumeCorrection": "volume_correction",
    "apply_model": "trained.apply",
    "available_corrections": "discovery",
    "available_methods": "discovery",
    "check_correction": "correction_contract",
    "check_method": "contract",
    "compare": "report",
    "export_model": "trained",
    "export_results": "exchange.export",
    "load_correction": "discovery",
    "load_experiment": "config",
    "load_method": "discovery",
    "load_model": "trained",
    "load_preparation": "config",
    "make_report": "report",
    "read_cohort": "cohorts.data",
    "prepare_cohort": "preparation.cohort",
    "read": "volume",
    "read_results": "results",
    "rescale_volume": "cohorts.base",
    "rescore_run": "runner.rescore",
    "run_experiment": "runner.experiment",
    "score": "runner.volume_scores",
    "write": "volume",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module."""
    if name not in _MODULES:
        raise AttributeError(f"module 'harmbench' has no attribute '{name}'")
    value = getattr(import_module(f"harmbench.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
