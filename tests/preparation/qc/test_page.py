"""The page of quality control: what it says, in which order, and what it must not say."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from harmbench.preparation.qc import QcColumn, QcFlag, QcRow, write_qc_page

COLUMNS = (
    QcColumn("mask_ml", "Mask volume", "ml", 0, "Volume of the mask; adults have 900 to 1800."),
    QcColumn("nmi", "NMI after", "1", 3, "Normalized mutual information; < 1.05 is suspicious."),
)


def row(subject: str, session: str, *flags: QcFlag, **numbers: float) -> QcRow:
    return QcRow(subject, session, "ok", numbers, flags)


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    """Three subjects, of whom the second is flagged and the third failed."""
    pictures = {}
    for place, subject in enumerate(("s1", "s2")):
        pictures[subject] = tmp_path / "figures" / f"{subject}.png"
        pictures[subject].parent.mkdir(exist_ok=True)
        Image.new("RGB", (60 + place, 40), "gray").save(pictures[subject])
    flags = (QcFlag("other", "The mask is <small>."), QcFlag("nmi", "The pair is not aligned."))
    return {
        "title": "Study <one>",
        "simulated": False,
        "settings": {
            "strip": {"method": "deepbet", "plausible_ml": (700.0, 2300.0)},
            "weights": Path("/home/someone/models/net.pt"),
            "spacing_mm": None,
        },
        "rows": [
            row("s1", "A", mask_ml=1350.4),
            row("s1", "B", mask_ml=1349.0, nmi=1.21),
            row("s2", "A", mask_ml=1400.0, nmi=float("nan")),
            row("s2", "B", *flags, mask_ml=710.0, nmi=1.0126),
        ],
        "columns": COLUMNS,
        "pictures": pictures,
        "failures": {"s3": "/data/my/raw/sub-s3/s3_T1w.nii.gz: damaged & truncated"},
        "notes": ["Sessions differ in voxel size: see 'C:\\data\\x\\y.tsv'."],
    }


def page(root: Path, given: dict[str, Any], **changed: Any) -> str:
    path = write_qc_page(root / "out", **{**given, **changed})
    assert path == root / "out" / "qc.html"
    return path.read_text(encoding="utf-8")


def body(text: str) -> str:
    """What a reader sees of a page, without tags."""
    text = re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", text)))


def test_the_summary_counts_and_shows_failures_first(tmp_path: Path, given: dict[str, Any]) -> None:
    seen = body(page(tmp_path, given))
    assert "2 of 3 subjects prepared, 1 flagged, 1 failed." in seen
    order = ["1 failed.", "s3_T1w.nii.gz: damaged & truncated", "The pair is not aligned.", "1350"]
    places = [seen.index(text) for text in order]
    assert places == sorted(places)
    assert "Sessions differ in voxel size" in seen


def test_numbers_are_printed_as_the_columns_say(tmp_path: Path, given: dict[str, Any]) -> None:
    text = page(tmp_path, given)
    assert re.findall(r"<td data-sort[^>]*>(.*?)</td>", text) == [
        *("1350", "\N{EN DASH}"),
        *("1349", "1.210"),
        *("1400", "\N{EN DASH}"),
        *("710", '<strong>1.013</strong><span class="note">flagged</span>'),
    ]
    assert "Mask volume (ml)" in text
    assert "ok, 2 flags" in text
    for column in COLUMNS:
        assert column.explanation in body(text)


def test_flagged_subjects_have_their_pictures_first(tmp_path: Path, given: dict[str, Any]) -> None:
    text = page(tmp_path, given)
    titles = re.findall(r"<figure id=\"(.*?)\">\s*<h3>(.*?)</h3>", text)
    assert titles == [("subject-1", "Subject s2 (flagged)"), ("subject-2", "Subject s1")]
    assert '<a href="#subject-1">s2</a>' in text
    widths = re.findall(r'<img src="data:image/webp;base64,[^"]*" alt="[^"]+" width="(\d+)"', text)
    assert widths == ["61", "60"]


def test_text_is_escaped(tmp_path: Path, given: dict[str, Any]) -> None:
    text = page(tmp_path, given)
    assert "Study &lt;one&gt;" in text
    assert "The mask is &lt;small&gt;." in text
    assert "damaged &amp; truncated" in text
    assert "&lt; 1.05" in text
    assert "<small>" not in text
    assert "<one>" not in text


def test_the_page_is_the_same_wherever_it_is_made(tmp_path: Path, given: dict[str, Any]) -> None:
    one = page(tmp_path / "here", given)
    moved = {}
    for subject, path in given["pictures"].items():
        moved[subject] = tmp_path / "elsewhere" / path.name
        moved[subject].parent.mkdir(exist_ok=True)
        moved[subject].write_bytes(path.read_bytes())
    failures = {"s3": "/mnt/disk/s3_T1w.nii.gz: damaged & truncated"}
    other = page(tmp_path / "there", given, pictures=moved, failures=failures)
    assert other == one
    for folder in (str(tmp_path), "/home", "/data", "/mnt", "C:"):
        assert folder not in one


def test_links_and_fractions_are_not_taken_for_paths(tmp_path: Path, given: dict[str, Any]) -> None:
    notes = ["See https://example.org/a/b, 3/4 and/or a/b/c."]
    assert notes[0] in body(page(tmp_path, given, notes=notes))


def test_it_stands_alone(tmp_path: Path, given: dict[str, Any]) -> None:
    text = page(tmp_path, given)
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)
    targets = set(re.findall(r'id="([^"]+)"', text))
    assert set(re.findall(r'href="#([^"]+)"', text)) <= targets
    assert "prefers-color-scheme: dark" in text
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["qc.html"]


def test_settings_are_listed(tmp_path: Path, given: dict[str, Any]) -> None:
    pattern = r'<th scope="row"><code>(.*?)</code></th><td class="text wrap">(.*?)</td>'
    assert dict(re.findall(pattern, page(tmp_path, given))) == {
        "strip.method": "deepbet",
        "strip.plausible_ml": "[700.0, 2300.0]",
        "weights": "net.pt",
        "spacing_mm": "null",
    }


def test_simulated_scans_are_said_first(tmp_path: Path, given: dict[str, Any]) -> None:
    assert "Simulated data" not in page(tmp_path, given)
    seen = body(page(tmp_path, given, simulated=True))
    assert seen.index("Simulated data") < seen.index("Summary")


def test_a_picture_that_is_gone_is_named(tmp_path: Path, given: dict[str, Any]) -> None:
    given["pictures"]["s2"].unlink()
    text = page(tmp_path, given)
    assert "No picture: s2." in text
    assert text.count("<img") == 1
    assert '"#subject-1"' not in text


def test_nothing_prepared_is_a_page_too(tmp_path: Path, given: dict[str, Any]) -> None:
    text = page(tmp_path, given, rows=[], pictures={}, failures={"s3": "a", "s1": "b"})
    assert "0 of 2 subjects prepared, 0 flagged, 2 failed." in body(text)
    assert "there are no numbers" in text
    assert "No picture" not in text
