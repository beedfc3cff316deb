"""Remake reports/demo from a run of the demo: `make demo`, then `python docs/demo_report.py runs/demo`.

Tables and figures are those of the run's report; `first-screen.png` is its page in Chromium, by Playwright.
"""

from __future__ import annotations

import html
import re
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

PLACE = Path(__file__).resolve().parents[1] / "reports" / "demo"
TABLES = ("01", "02", "03", "17", "40", "27")
FIGURES = (
    "figure-slices-3T-to-1.5T",
    "figure-slices-1.5T-to-3T",
    "figure-segmentations-3T-to-1.5T",
    "figure-subjects-image",
    "figure-subjects-volume-differences",
)
INTRODUCTION = """# The demo, on simulated scans

What `make demo` gave on 2 CPU cores in 5 minutes, setting up included: 8 **simulated** subjects at 3
mm, 4 folds, both directions, the settings of [`configs/demo.yaml`](../../configs/demo.yaml), tissue
labels by the built-in `hmrf`. The scans were computed, not acquired, and the networks are small and
trained for seconds: these results show that the benchmark works, not which method to choose. The
settings of the learned methods were chosen on another simulated cohort (`data.phantom.seed=1`), of
which no subject is in the demo.

`python docs/demo_report.py runs/demo` makes this page from the run."""


def sentences(page: str) -> list[str]:
    """Return what the page of a report says first: a sentence for each direction, and of volumes."""
    found = []
    for part in re.findall(r'<article class="answer".*?</article>', page, re.DOTALL):
        title, said = (
            re.findall(pattern, part, re.DOTALL)[0]
            for pattern in (r"<h2[^>]*>(.*?)</h2>", r'<p class="sentence">(.*?)</p>')
        )
        found.append(f"**{_plain(title)}.** {_plain(said)}")
    volumes = re.findall(r'<section id="volumes">.*?<p>(.*?)</p>', page, re.DOTALL)
    return [*found, *(f"**Do volumes need a network?** {_plain(text)}" for text in volumes[:1])]


def _plain(text: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", text)).split())


def picture(page: Path, to: Path) -> None:
    """Save what a window of 1400 x 1000 pixels shows first of a page."""
    chromium = shutil.which("chromium")
    with sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        shown = browser.new_page(viewport={"width": 1400, "height": 1000})
        shown.goto(page.resolve().as_uri())
        shown.screenshot(path=to)
        browser.close()


def main() -> None:
    """Write reports/demo anew."""
    report = Path(sys.argv[1]) / "report"
    page = report / "index.html"
    PLACE.mkdir(exist_ok=True)
    for old in PLACE.glob("*.png"):
        old.unlink()
    for name in FIGURES:
        shutil.copy(report / "figures" / f"{name}.png", PLACE)
    picture(page, PLACE / "first-screen.png")
    parts = [INTRODUCTION, "![The first screen of the report](first-screen.png)"]
    parts += sentences(page.read_text())
    for number in TABLES:
        parts += [
            table.read_text().strip()
            for table in sorted((report / "tables").glob(f"table-{number}-*.md"))
        ]
    parts += [f"![{name.replace('-', ' ').capitalize()}]({name}.png)" for name in FIGURES]
    (PLACE / "README.md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
