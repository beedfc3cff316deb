"""Where cells run."""

from harmbench.executors.base import Died, Executor
from harmbench.executors.local import LocalExecutor

__all__ = ["Died", "Executor", "LocalExecutor"]
