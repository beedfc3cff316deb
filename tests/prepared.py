"""Help for tests of prepared data sets."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

__all__ = ["QUICK", "Row", "files", "preparation_table"]

QUICK = [
    "strip.method=mask",
    "bias.method=none",
    "spacing_mm=4",
    "registration.transform=rigid",
    "registration.reference=3T",
    "crop.shape=[48, 60, 56]",
]

Row = dict[str, str]


def files(root: Path) -> dict[str, bytes]:
    """Return the content of each file but the logs, by its path in the folder."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "logs" not in path.parts
    }


def preparation_table(root: Path) -> pd.DataFrame:
    """Return the table of subjects of a prepared data set."""
    return pd.read_csv(root / "preparation.tsv", sep="\t", keep_default_na=False)
