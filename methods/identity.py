"""The untreated source: the paper's *Original* row."""

from harmbench.method import Method
from harmbench.task import Task
from harmbench.volume import Volume

__all__ = ["Identity"]


class Identity(Method):
    """Return the source unchanged, so that every score says how far apart the scanners are."""

    title = "Original"
    several_sources = True

    def harmonize(self, source: Volume, task: Task) -> Volume:
        """Return `source` itself."""
        return source
