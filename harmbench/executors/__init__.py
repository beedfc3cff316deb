"""Where cells run."""

from harmbench.executors.local import Died, LocalExecutor

__all__ = ["Died", "LocalExecutor"]
