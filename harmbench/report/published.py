"""The numbers that Durrer et al. 2023 published, as printed, for showing beside a run's own.

They were measured on private scans of 40 people, so they say what the paper found and not what a
run on other data should give. Tables 4 and 5 of the paper describe scanners and participants and
are not repeated here.

Source: Durrer et al., "Diffusion Models for Contrast Harmonization of Magnetic Resonance Images",
Medical Imaging with Deep Learning (MIDL) 2023, Tables 1-3 and Appendix D, Tables 6-13.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType

from harmbench.metrics.volumetry import VOLUME_DIFFERENCE

__all__ = [
    "CITATION",
    "DIRECTIONS",
    "MARK",
    "SLIPS",
    "TABLES",
    "TITLES",
    "PublishedColumn",
    "PublishedTable",
    "applies_to",
]

CITATION = (
    "Durrer A., Wolleb J., Bieder F., Sinnecker T., Weigel M., Sandkühler R., Granziera C., "
    "Yaldizli Ö., Cattin P. C. Diffusion Models for Contrast Harmonization of Magnetic Resonance "
    "Images. Medical Imaging with Deep Learning (MIDL), 2023."
)

MARK = "as published by Durrer et al. 2023, other data"
"""Stands on every block of published numbers."""

DIRECTIONS = ("3T-to-1.5T", "1.5T-to-3T")
"""The paper's directions, in the paper's order."""

TITLES: Mapping[str, str] = MappingProxyType(
    {"identity": "Original", "deepharmony": "DH", "pgan": "pGAN", "dm": "DM"}
)
"""The paper's row names by method (DM is the one it proposes)."""

SLIPS = (
    "The GM volume difference of pGAN for 3 T to 1.5 T is printed as 1.14e4 in Table 2 and as "
    "1.41e4 in Table 8.",
    "The WM volume difference of pGAN for 1.5 T to 3 T is printed as 2.09e4 in Table 2 and as "
    "2.10e4 in Table 9.",
    "The captions of Tables 6-13 call the numbers behind ± variances over folds. Their unit is "
    "printed as that of the mean; whether they are variances or standard deviations, and with which "
    "divisor, is not known.",
    "Eq. 6 prints the MSE as a sum of squared differences; values near 10⁻³ can only be a mean "
    "over voxels.",
    "DeepHarmony (DH) is left out of the tissue tables: its images could not be segmented.",
)
"""Inconsistencies within the paper, which a reader should know beside its numbers."""


@dataclass(frozen=True, slots=True)
class PublishedColumn:
    """One column: what it measures, and the power of ten behind its numbers."""

    direction: str
    metric: str
    tissue: str = ""
    exponent: int = 0

    def scaled(self, number: Decimal) -> float:
        """Return a number of this column with its power of ten."""
        return float(number.scaleb(self.exponent))


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """One table of the paper.

    Attributes:
        number: the paper's number.
        columns: what each column holds.
        rows: method to the numbers with the printed digits, without their power of ten.
        spreads: method to the printed numbers behind ±; empty in Tables 1-3.
        best: method to the positions of its numbers that are printed in bold.
    """

    number: int
    columns: tuple[PublishedColumn, ...]
    rows: Mapping[str, tuple[Decimal, ...]]
    spreads: Mapping[str, tuple[Decimal, ...]] = field(default_factory=dict)
    best: Mapping[str, frozenset[int]] = field(default_factory=dict)

    def value(self, method: str, direction: str, metric: str, tissue: str = "") -> float:
        """Return a published mean; raises `KeyError` where the table has no such number."""
        for number, column in zip(self.rows[method], self.columns, strict=True):
            if (column.direction, column.metric, column.tissue) == (direction, metric, tissue):
                return column.scaled(number)
        raise KeyError(f"Table {self.number} has no {metric} {tissue} for {direction}")


_A, _B = DIRECTIONS
_TISSUES = ("CSF", "GM", "WM")


def _columns(
    directions: Iterable[str], metrics: Mapping[str, int], tissues: tuple[str, ...] = ("",)
) -> tuple[PublishedColumn, ...]:
    return tuple(
        PublishedColumn(direction, metric, tissue, exponent)
        for direction in directions
        for metric, exponent in metrics.items()
        for tissue in tissues
    )


def _table(number: int, columns: tuple[PublishedColumn, ...], text: str) -> PublishedTable:
    """Make a table from its transcription: one line per method; `mean` or `mean±spread` per column.

    `*` marks bold.
    """
    rows: dict[str, tuple[Decimal, ...]] = {}
    spreads: dict[str, tuple[Decimal, ...]] = {}
    best: dict[str, frozenset[int]] = {}
    for line in text.strip().splitlines():
        method, *entries = line.split()
        bare = [entry.removeprefix("*") for entry in entries]
        if len(bare) != len(columns):
            raise ValueError(
                f"table {number}, {method}: {len(bare)} numbers, {len(columns)} columns"
            )
        rows[method] = tuple(Decimal(entry.partition("±")[0]) for entry in bare)
        if all("±" in entry for entry in bare):
            spreads[method] = tuple(Decimal(entry.partition("±")[2]) for entry in bare)
        best[method] = frozenset(i for i, entry in enumerate(entries) if entry.startswith("*"))
    return PublishedTable(
        number,
        columns,
        rows=MappingProxyType(rows),
        spreads=MappingProxyType(spreads),
        best=MappingProxyType(best),
    )


_IMAGE = {"mse": -3, "ahd": 5}
_VOLUME = {VOLUME_DIFFERENCE.name: 4}

TABLES: Mapping[int, PublishedTable] = MappingProxyType(
    {
        table.number: table
        for table in (
            _table(
                1,
                _columns(DIRECTIONS, _IMAGE),
                """
                identity     1.85  6.15  1.85  6.15
                deepharmony  2.30  7.49  1.73  8.22
                pgan        *1.50 *1.27  0.94  2.07
                dm           1.61  1.31 *0.76 *1.48
                """,
            ),
            _table(
                2,
                _columns(DIRECTIONS, _VOLUME, _TISSUES),
                """
                identity  3.72  9.32  8.88  3.72  9.32  8.88
                pgan     *1.12 *1.14  1.91  3.11  6.15  2.09
                dm        1.95  1.54 *1.59 *1.79 *3.91 *1.49
                """,
            ),
            _table(
                3,
                _columns(DIRECTIONS, {"dice": 0, "hd": 0}, _TISSUES),
                """
                identity  0.82 *0.82  0.87 10.21  8.68 11.16 *0.82  0.82  0.87 10.21  8.68 11.16
                pgan     *0.82  0.79  0.87 21.48 13.54 12.14  0.76  0.85  0.92  8.67  7.24  9.48
                dm        0.80  0.79 *0.88 *9.11 *6.73 *7.67  0.81 *0.88 *0.92 *8.65 *7.01 *9.30
                """,
            ),
            _table(
                6,
                _columns([_A], _IMAGE),
                """
                identity     1.85±0.03  6.15±0.12
                deepharmony  2.30±0.07  7.49±0.09
                pgan        *1.50±0.03 *1.27±0.07
                dm           1.61±0.03  1.31±0.16
                """,
            ),
            _table(
                7,
                _columns([_B], _IMAGE),
                """
                identity     1.85±0.03   6.15±0.12
                deepharmony  1.73±0.07   8.22±0.14
                pgan         0.94±0.11   2.07±0.34
                dm          *0.76±0.008 *1.48±0.16
                """,
            ),
            _table(
                8,
                _columns([_A], _VOLUME, _TISSUES),
                """
                identity  3.72±0.43  9.32±0.93  8.88±0.58
                pgan     *1.12±0.17 *1.41±0.23  1.91±0.19
                dm        1.95±0.24  1.54±0.40 *1.59±0.24
                """,
            ),
            _table(
                9,
                _columns([_B], _VOLUME, _TISSUES),
                """
                identity  3.72±0.43  9.32±0.93  8.88±0.58
                pgan      3.11±0.55  6.15±0.51  2.10±0.27
                dm       *1.79±0.06 *3.91±0.19 *1.49±0.65
                """,
            ),
            _table(
                10,
                _columns([_A], {"dice": 0}, _TISSUES),
                """
                identity  0.8188±0.0095 *0.8180±0.0041  0.8715±0.0031
                pgan     *0.8205±0.0075  0.7925±0.0040  0.8745±0.0029
                dm        0.7980±0.0052  0.7918±0.0029 *0.8762±0.0027
                """,
            ),
            _table(
                11,
                _columns([_B], {"dice": 0}, _TISSUES),
                """
                identity *0.8188±0.0095  0.8180±0.0041  0.8715±0.0031
                pgan      0.7607±0.0113  0.8521±0.0049  0.9163±0.0034
                dm        0.8094±0.0101 *0.8760±0.0045 *0.9232±0.0031
                """,
            ),
            _table(
                12,
                _columns([_A], {"hd": 0}, _TISSUES),
                """
                identity 10.21±1.03  8.68±0.83 11.16±0.99
                pgan     21.48±5.88 13.54±3.53 12.14±2.98
                dm       *9.11±1.05 *6.73±1.02 *7.67±1.02
                """,
            ),
            _table(
                13,
                _columns([_B], {"hd": 0}, _TISSUES),
                """
                identity 10.21±1.03  8.68±0.83 11.16±0.99
                pgan      8.67±0.80  7.24±0.90  9.48±1.04
                dm       *8.65±0.91 *7.01±0.81 *9.30±1.33
                """,
            ),
        )
    }
)
"""The paper's tables of results by number."""


def applies_to(directions: Iterable[str]) -> bool:
    """Whether the paper has numbers for one of a run's directions."""
    return bool(set(directions) & set(DIRECTIONS))
