"""harmbench: a benchmark of MRI contrast harmonization methods."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("harmbench")
