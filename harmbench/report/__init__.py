"""Reports: tables, figures and a page, made from results tables and stored volumes alone."""

from harmbench.report.build import make_report

__all__ = ["make_report"]
