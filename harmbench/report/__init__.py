"""Reports: tables, figures and a page, made from results tables and stored volumes alone."""

from harmbench.report.build import make_report
from harmbench.report.compare import compare

__all__ = ["compare", "make_report"]
