"""The report folder and its page, from end to end."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import permutations
from pathlib import Path
from urllib.parse import unquote

import pytest
from unsealed import unsealed

from harmbench.errors import ReportError
from harmbench.metrics.suite import METRICS
from harmbench.report import make_report
from harmbench.report.explorer import explorer_data
from harmbench.report.first_screen import LETTERS
from harmbench.report.loading import load_evidence
from harmbench.report.page import Contents, endpoint_of, judge, render_page
from harmbench.report.tables.run import published_tables, status_table
from harmbench.report.tables.selection import all_tables
from harmbench.results import read_results, write_results
from harmbench.task import Direction

MakeRun = Callable[..., Path]
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Collects tags with their attributes and text, and checks that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] not in {"style", "script"}:
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


def page_of(run: Path) -> Page:
    """The page without figures, which takes no time."""
    evidence = load_evidence([run], METRICS)
    tables = [*all_tables(evidence), status_table(evidence), *published_tables(evidence)]
    contents = Contents(tables, judge(evidence))
    return Page(render_page(evidence, contents, [], run / "report"))


@pytest.fixture(scope="module")
def report(finished_report: Path) -> Path:
    return finished_report


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    return Page((report / "index.html").read_text(encoding="utf-8"))


def test_the_page_stands_alone(report: Path, page: Page) -> None:
    links = [a.get("href") or "" for a in page.all("a")]
    inside = {link[1:] for link in links if link.startswith("#")}
    assert inside <= {attributes.get("id") for _, attributes in page.tags}
    files = [unquote(link) for link in links if not link.startswith("#")]
    assert {Path(file).parts[0] for file in files} == {"tables", "figures"}
    assert all((report / file).is_file() for file in files)
    assert [link.get("href") for link in page.all("link")] == ["data:,"], "no icon is asked for"
    assert not [script for script in page.all("script") if "src" in script]
    images = [image["src"] or "" for image in page.all("img")]
    assert images
    assert all(image.startswith("data:image/webp;base64,") for image in images)
    assert (report / "index.html").stat().st_size < 10e6


def test_the_page_is_accessible(page: Page) -> None:
    assert page.all("html") == [{"lang": "en"}]
    assert all(image["alt"] for image in page.all("img"))
    assert all(head.get("scope") for head in page.all("th"))
    assert len(page.all("h1")) == 1


def test_simulated_data_is_said_first(page: Page) -> None:
    assert "Simulated data" in page.text
    assert page.text.index("Simulated data") < page.text.index("Against the original")
    assert "Blobs & shells <for tests>." in page.text


def test_the_answer_comes_before_tables_and_names_its_limits(page: Page) -> None:
    sentences = [a for a in page.all("p") if a.get("class") == "sentence"]
    assert len(sentences) == 2, "one for each direction"
    assert page.text.index("Limits:") < page.text.index("Table ")
    assert "8 subjects, 4 folds, 1 seed per method" in page.text
    assert "pGAN failed on 2 of 8 subjects (s2, s3)." in page.text


def test_the_grid_has_letters_beside_its_colours(page: Page) -> None:
    states = [a.get("class") or "" for a in page.all("td") if "state-" in (a.get("class") or "")]
    judged = [state for state in states if state != "state-shown"]
    assert judged
    letters = [a for a in page.all("b") if a.get("class") == "letter"]
    assert len(letters) == sum(s != "state-not-judged" for s in judged) + 2 * len(LETTERS) - 2


def test_few_tables_stand_in_no_fold(report: Path) -> None:
    text = (report / "index.html").read_text(encoding="utf-8")
    text = text[text.index('<section id="tables">') :]
    text = re.sub(r"<details.*?</details>", "", text, flags=re.DOTALL)
    assert text.count("<table>") <= 8


def test_failures_are_listed(page: Page) -> None:
    assert "pgan 3T-to-1.5T fold 1 seed 0" in page.text
    assert "TrainingError: the loss is not finite" in page.text


def test_published_numbers_are_set_apart(page: Page) -> None:
    blocks = [a for a in page.all("div") if a.get("class") == "published"]
    assert len(blocks) == 11
    assert page.text.count("Table 1 as published by Durrer et al. 2023, other data") == 1
    titles = [block.get("id") or "" for block in page.all("div")]
    titles = [title for title in titles if re.match(r"(published-)?table-(0[1-9]|1[0-3])", title)]
    assert len(titles) == 22
    for own, published in zip(titles[::2], titles[1::2], strict=True):
        assert published == f"published-{own[:8]}", "each stands below the run's own"


def test_metrics_are_explained(page: Page) -> None:
    for name in ("mse", "dice", "stripe_index"):
        assert METRICS[name].description in page.text


def test_files_beside_the_page(report: Path) -> None:
    assert len(read_results(report / "results.csv")) > 0
    assert (report / "summary.csv").is_file()
    assert (report / "tables" / "table-01-mse-ahd.csv").is_file()
    assert (report / "tables" / "published-table-01.tex").is_file()
    pictures = {path.name for path in (report / "figures").iterdir()}
    assert {"figure-slices-3T-to-1.5T.png", "figure-histograms-1.5T-to-3T.svg"} <= pictures
    assert {"figure-slices-3T-to-1.5T.pdf", "figure-histograms-1.5T-to-3T.pdf"} <= pictures
    assert not list(report.rglob(".*"))


def test_a_rerun_replaces_its_own_files_alone(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(subjects=("s1", "s2"), directions=[Direction("3T", "1.5T")], volumes=False)
    frame = read_results(run / "results.csv")
    write_results(frame[frame["metric"].isin(["mse", "ahd"])], run / "results.csv")
    calls: list[str] = []

    def progress(stage: str, done: int, total: int, **values: float) -> None:
        assert done <= total
        calls.append(stage)

    page = make_report([run], progress=progress)
    assert page == run / "report" / "index.html"
    assert {"report: read", "report: tables", "report: figures"} <= set(calls)
    first = {path: path.read_bytes() for path in page.parent.rglob("*") if path.is_file()}
    stale = page.parent / "tables" / "table-99-old.csv"
    foreign = page.parent / "tables" / "notes.txt"
    for path in (stale, foreign):
        path.write_text("x")
    make_report([run])
    assert not stale.exists()
    assert foreign.read_text() == "x"
    assert all(path.read_bytes() == content for path, content in first.items())


def test_real_data_shows_its_citation_and_no_badge(make_run: MakeRun) -> None:
    page = page_of(make_run(simulated=False, volumes=False))
    assert "Simulated data" not in page.text
    assert "Data: Lesjak et al. 2018" in page.text


def test_other_directions_have_no_published_numbers(make_run: MakeRun) -> None:
    page = page_of(make_run(directions=[Direction("T1w", "ceT1w")], volumes=False))
    assert "they do not apply to this run" in page.text
    assert "as published by" not in page.text


NASTY = ["$a$", "<b>x</b>", "../../x", "a & {{ b }}", "</script><script>"]


def test_no_name_does_harm(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(subjects=[f"s{n}" for n in range(8)], directions=[Direction("3T", "1.5T")])
    frame = read_results(run / "results.csv")
    groups = frame["group"].map({"HC": NASTY[0], "MS": NASTY[4]})
    write_results(frame.assign(group=groups), run / "results.csv")
    record = run / "run.json"
    text = unsealed(record)
    text["name"] = NASTY[1]
    for number, method in enumerate(text["methods"].values()):
        method["title"] = NASTY[number % len(NASTY)]
    record.write_text(json.dumps(text))
    page = make_report([run], tmp_path / "out").read_text(encoding="utf-8")
    assert "<b>x</b>" not in page
    assert "</script><script>" not in page.replace("</script>\n<script>", "")
    assert all(name in Page(page).text for name in NASTY[:4])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]


def test_one_method_alone(make_run: MakeRun) -> None:
    page = page_of(make_run(gammas={"dm": 0.7}, ceiling=False, volumes=False))
    assert "The untreated source (identity) was not scored" in page.text


def test_errors_leave_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ReportError):
        make_report([tmp_path / "nothing"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["index.html", "figures/figure-1.png", "results.csv"])
def test_other_files_are_never_replaced(finished_run: Path, tmp_path: Path, name: str) -> None:
    mine = tmp_path / "paper" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(ReportError, match="paper: holds files that are none of a report's"):
        make_report([finished_run], tmp_path / "paper")
    assert mine.read_text() == "mine"
    with pytest.raises(ReportError, match="is a file"):
        make_report([finished_run], mine)
    with pytest.raises(ReportError, match="is a run folder"):
        make_report([finished_run], finished_run)


def test_figures_are_the_same_from_several_processes(
    finished_run: Path, finished_report: Path, tmp_path: Path
) -> None:
    page = make_report([finished_run], tmp_path / "out", jobs=2)
    one, other = (root / "figures" for root in (finished_report, page.parent))
    names = sorted(path.name for path in one.iterdir())
    assert [path.name for path in sorted(other.iterdir())] == names
    assert all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_many_directions_begin_with_one_sentence_and_one_table(make_run: MakeRun) -> None:
    ways = [Direction(*pair) for pair in permutations(("3T", "A", "B"), 2)]
    page = page_of(make_run(directions=ways, volumes=False, subjects=[f"s{n}" for n in range(8)]))
    sentences = [a for a in page.all("p") if a.get("class") == "sentence"]
    assert len(sentences) == 1 + len(ways), "and one in each direction's fold"
    assert "of 6 directions" in page.text
    first = page.text.index("of 6 directions")
    assert first < page.text.index("Highest chance of being best") < page.text.index("Limits:")
    anchors = {f"#answer-{way}" for way in ways}
    assert anchors <= {a.get("href") for a in page.all("a")}


def test_what_is_absent_stands_in_a_banner(make_run: MakeRun) -> None:
    run = make_run(volumes=False)
    record = json.loads((run / "run.json").read_text())
    record["methods"]["unet"] = {"uses": "unet", "title": "U-Net"}
    (run / "run.json").write_text(json.dumps(record))
    page = page_of(run)
    assert [a for a in page.all("p") if a.get("role") == "alert"]
    assert page.text.index("Incomplete run:") < page.text.index("Limits:")


def test_both_orders_of_aggregation_and_failures_are_told(page: Page) -> None:
    assert "Rank of its mean [95 % interval]" in page.text
    assert "Rank of its mean rank" in page.text
    assert "By mean error" in page.text
    assert (
        "both on the subjects that all compared methods have, and with failed subjects" in page.text
    )


def test_a_page_of_many_subjects_stays_small(many_subjects_run: Path, tmp_path: Path) -> None:
    evidence = load_evidence([many_subjects_run], METRICS)
    tables = [*all_tables(evidence), status_table(evidence)]
    small = render_page(evidence, Contents(tables, judge(evidence)), [], tmp_path)
    values = explorer_data(evidence, endpoint_of(evidence), tmp_path)["values"]
    count = sum(
        len(line) for one in values.values() for way in one.values() for line in way.values()
    )
    # Scripts take 1.5 MB; a value of a subject some ten bytes.
    assert len(small) < 2.2e6 + 12 * count
    assert len(json.dumps(values)) < 12 * count
