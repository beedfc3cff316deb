"""JavaScript of other projects that pages carry, so that they work without a network.

The files lie unmodified in `vendor/`, with their licences in `NOTICE.md`.
"""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import NamedTuple

__all__ = ["Bundle", "bundle_text", "compressed", "licences", "list_bundles"]

VENDOR = Path(__file__).parent / "vendor"
"""Where the files lie."""


class Bundle(NamedTuple):
    """One file: its npm package, version, path in that package, licence and SHA-256."""

    package: str
    version: str
    file: str
    licence: str
    sha256: str

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return VENDOR / Path(self.file).name

    @property
    def short(self) -> str:
        """The package's name without its scope: `niivue`."""
        return self.package.rpartition("/")[2]


def list_bundles() -> tuple[Bundle, ...]:
    """Return what `vendor/` holds, in the order of its list."""
    return tuple(Bundle(**entry) for entry in json.loads((VENDOR / "bundles.json").read_text()))


def licences() -> str:
    """Return the notices that must go with the bundles."""
    return (VENDOR / "NOTICE.md").read_text(encoding="utf-8")


def bundle_text(name: str) -> str:
    """Return a bundle for a page, by the name of its npm package: see `compressed`.

    Raises:
        KeyError: there is no such bundle.
    """
    found = {bundle.package: bundle for bundle in list_bundles()}
    return compressed(found[name].path.read_bytes())


def compressed(content: bytes, level: int = 9) -> str:
    """Compress bytes with gzip, and write them as base64: what a page's `unpack` reads back.

    The same content always gives the same text. Level 6 of gzip is enough for scans, whose noise
    cannot be compressed further.
    """
    return base64.b64encode(gzip.compress(content, compresslevel=level, mtime=0)).decode()
