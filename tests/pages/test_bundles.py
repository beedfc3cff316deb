"""The JavaScript that pages carry: unmodified, and with its licences."""

from __future__ import annotations

import base64
import gzip
import hashlib

import pytest

from harmbench.pages.bundles import VENDOR, bundle_text, compressed, licences, list_bundles


def test_every_file_is_listed_and_has_its_checksum() -> None:
    bundles = list_bundles()
    assert {bundle.path for bundle in bundles} == set(VENDOR.glob("*.js"))
    for bundle in bundles:
        assert hashlib.sha256(bundle.path.read_bytes()).hexdigest() == bundle.sha256, bundle.package
        assert bundle.licence in {"MIT", "BSD-2-Clause", "BSD-3-Clause"}
        assert bundle.path.name in licences()
        assert b"</script" not in bundle.path.read_bytes().lower()


def test_texts_are_packed_the_same_way_each_time() -> None:
    text = bundle_text("tablesort")
    assert text == bundle_text("tablesort")
    assert gzip.decompress(base64.b64decode(text)) == (VENDOR / "tablesort.min.js").read_bytes()
    assert compressed(b"x" * 1000) == compressed(b"x" * 1000)
    with pytest.raises(KeyError):
        bundle_text("jquery")
