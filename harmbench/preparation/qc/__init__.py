"""Quality control of prepared scans: one picture per subject, and a page with numbers and flags."""

from harmbench.preparation.qc.figure import qc_figure
from harmbench.preparation.qc.page import QcColumn, QcFlag, QcRow, write_qc_page

__all__ = ["QcColumn", "QcFlag", "QcRow", "qc_figure", "write_qc_page"]
