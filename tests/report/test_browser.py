"""The page in a real browser, from disk: nothing is requested, and everything that it promises works."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harmbench.report.server import open_server

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("there is no Chromium", allow_module_level=True)

_WEBGL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
_ALONE = ("--no-sandbox", "--disable-background-networking")


@pytest.fixture(scope="module")
def address(finished_report: Path) -> str:
    return (finished_report / "index.html").as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=[*_WEBGL, *_ALONE])
        yield opened
        opened.close()


class Opened:
    """A page with what went wrong in it."""

    def __init__(self, browser: Any, **settings: Any) -> None:
        self.context = browser.new_context(**settings)
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda m: self.problems.append(f"{m.type}: {m.text}"))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def go(self, address: str) -> Any:
        self.page.goto(address)
        return self.page

    def ready(self, address: str) -> Any:
        self.go(address)
        self.page.wait_for_selector("#explore[data-ready]")
        return self.page


@pytest.fixture
def open_page(browser: Any) -> Iterator[Any]:
    made: list[Opened] = []

    def start(width: int = 1400, height: int = 900, **settings: Any) -> Opened:
        made.append(Opened(browser, viewport={"width": width, "height": height}, **settings))
        return made[-1]

    yield start
    for one in made:
        one.context.close()


def show_viewer(page: Any) -> str:
    page.locator("#viewer").scroll_into_view_if_needed()
    page.wait_for_selector("#viewer[data-shown]")
    return str(page.get_attribute("#viewer", "data-shown"))


def pixels(page: Any, name: str) -> Any:
    png = page.locator(f"#view-{name}").screenshot()
    return np.asarray(Image.open(BytesIO(png)).convert("RGB"), dtype=int)


def test_points_open_their_subject_and_the_viewer_shows_it(open_page: Any, address: str) -> None:
    opened = open_page()
    page = opened.ready(address)
    point = page.locator("#strip-plot [aria-label^='s5, DM:']").first
    point.click()
    assert page.locator("#subject-title").inner_text() == "Subject s5"
    assert page.locator("#pick-method").input_value() == "dm"
    assert "subject=s5" in page.url
    assert show_viewer(page) == "s5 dm 3T-to-1.5T"
    reference, output, difference = (pixels(page, n) for n in ("reference", "method", "difference"))
    middle = np.s_[100:140, 60:90]
    assert reference[middle].mean() > 100, "the brain is there"
    assert reference[2:8, 2:8].max() < 30, "and nothing around it"
    assert np.abs(reference - output).mean() < 30
    red, _, blue = difference[middle].reshape(-1, 3).mean(axis=0)
    assert abs(red - blue) < 120
    assert np.ptp(pixels(page, "labels")[middle].reshape(-1, 3), axis=0).max() > 40
    assert opened.problems == []
    assert [url for url in opened.requests if not url.startswith(("data:", "blob:"))] == [address]


def test_a_served_page_shows_volumes_that_it_does_not_hold(
    open_page: Any, address: str, finished_run: Path
) -> None:
    with open_server(finished_run) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        page = open_page().ready(f"{server.address}#explore?subject=s6&method=dm")
        assert show_viewer(page) == "s6 dm 3T-to-1.5T"
        assert pixels(page, "method")[np.s_[100:140, 60:90]].mean() > 100
        server.shutdown()
        thread.join()


def test_keys_filters_and_links(open_page: Any, address: str) -> None:
    page = open_page().ready(f"{address}#explore?subject=s3&method=pgan&direction=1.5T-to-3T")
    assert page.locator("#subject-title").inner_text() == "Subject s3"
    page.locator("#view-source").focus()
    page.keyboard.press("s")
    assert page.locator("#subject-title").inner_text() == "Subject s4"
    page.keyboard.press("Shift+M")
    assert page.locator("#pick-method").input_value() == "dm"
    assert show_viewer(page) == "s4 dm 1.5T-to-3T"
    before = page.locator("#view-slice").input_value()
    page.locator("#view-source").focus()
    page.keyboard.press("ArrowUp")
    assert int(page.locator("#view-slice").input_value()) == int(before) + 1
    marks = page.locator("#strip-plot [aria-roledescription='point']")
    every = marks.count()
    page.locator("#pick-groups input").first.uncheck()
    page.wait_for_function(
        "n => document.querySelectorAll(\"#strip-plot [aria-roledescription='point']\").length < n",
        arg=every,
    )


def test_tables_are_sorted_filtered_and_saved(open_page: Any, address: str) -> None:
    page = open_page().ready(f"{address}#table-01-mse-ahd")
    table = page.locator("#table-01-mse-ahd")
    assert table.is_visible(), "a link opens the fold around its target"
    table.locator("thead tr").last.locator("th").nth(1).click()
    values = table.locator("tbody tr td:nth-of-type(1)")
    shown = [float(value.get_attribute("data-sort") or "inf") for value in values.all()]
    assert shown == sorted(shown) or shown == sorted(shown, reverse=True)
    with page.expect_download() as saved:
        table.locator("a.csv").click()
    lines = Path(saved.value.path()).read_text().splitlines()
    assert lines[0].startswith("Method,3T to 1.5T / MSE")
    assert len(lines) == 1 + table.locator("tbody tr").count()


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (390, "dark")])
def test_the_first_screen_is_readable(
    open_page: Any, address: str, width: int, scheme: str
) -> None:
    page = open_page(width, 844, color_scheme=scheme).ready(address)
    sentence = page.locator(".sentence").first
    box = sentence.bounding_box()
    assert box["y"] + box["height"] < 844
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    grid = page.locator(".grid table").first.bounding_box()
    assert grid["y"] < 844, "the grid begins on the first screen"
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing is clipped"
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    page.locator("button.theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != ground


def test_without_scripts_the_page_is_complete(open_page: Any, address: str) -> None:
    page = open_page(java_script_enabled=False).go(address)
    assert page.locator(".grid table").first.is_visible()
    assert page.locator("#figures img").first.is_visible()
    assert not page.locator(".needs-script").is_visible()
    page.locator("#paper-tables > summary").click()
    assert page.locator("#table-01-mse-ahd table").is_visible()


def test_without_webgl_the_page_says_so(open_page: Any, address: str) -> None:
    opened = open_page()
    opened.context.add_init_script(
        "const get = HTMLCanvasElement.prototype.getContext;"
        "HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {"
        "  return kind.startsWith('webgl') ? null : get.call(this, kind, ...rest); };"
    )
    page = opened.ready(address)
    assert "no WebGL 2" in page.locator("#viewer-note").inner_text()
    assert not page.locator("#viewer-panels").is_visible()
    assert page.locator("#subject-scores table").is_visible()
    assert opened.problems == []


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_print_clips_no_table(open_page: Any, address: str, paper: str) -> None:
    page = open_page().ready(address)
    printed = page.pdf(format=paper, margin={"left": "12mm", "right": "12mm"})
    assert printed.startswith(b"%PDF")
    assert 1 <= printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") <= 12
    # Printed at the width of the paper, no table is wider than the page.
    inner = {"A4": 703, "Letter": 725}[paper]
    page.set_viewport_size({"width": inner, "height": 1000})
    page.emulate_media(media="print")
    widths = page.evaluate(
        "[...document.querySelectorAll('table')].filter((t) => t.checkVisibility())"
        ".map((t) => [t.closest('[id]')?.id, t.getBoundingClientRect().right])"
    )
    assert [name for name, right in widths if right > inner + 1] == []
