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

What `make demo` gave on 2 CPU cores: 8 **simulated** subjects at 3 mm, 4 folds, both directions, the settings
of [`configs/demo.yaml`](../../configs/demo.yaml), tissue labels by the built-in `hmrf`. The scans were
computed, not acquired, and the networks are small and trained for seconds: these results show that the
benchmark works, not which method to choose. The settings of the learned methods were chosen on another
simulated cohort (`data.phantom.seed=1`), of which no subject is in the demo.

`python docs/demo_report.py runs/demo` makes this page from the run."""


def sentences(page: str) -> list[str]:
    """Return what the page of a report says first: each direction with its sentences."""
    found = []
    for part in re.findall(r'<article class="answer".*?</article>', page, re.DOTALL):
        title = re.findall(r"<h2[^>]*>(.*?)</h2>", part)
        said = re.findall(r'<p class="(?:sentence|volumes)[^"]*">(.*?)</p>', part, re.DOTALL)
        plain = [html.unescape(re.sub(r"<[^>]+>", "", one)).strip() for one in said]
        found.append(f"**{html.unescape(title[0])}.** {' '.join(plain)}")
    return found


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
