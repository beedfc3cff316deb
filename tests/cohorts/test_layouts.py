"""Three multi-scanner studies as they are published: counts made by hand from their file names."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from harmbench.cohorts.base import Cohort
from harmbench.cohorts.bids import BidsSettings, read_bids
from harmbench.cohorts.overview import overview
from harmbench.cohorts.pairing import pairs, rescans
from harmbench.cohorts.proposal import UnclearScannersError
from harmbench.preparation.settings import PrepareSettings
from harmbench.settings import validated
from harmbench.task import Direction

LAYOUTS = Path(__file__).parents[3] / "shared" / "data" / "bids_layouts"

pytestmark = pytest.mark.skipif(
    not LAYOUTS.is_dir(), reason="the layouts of ../shared/data are not here"
)

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Lay a study out with stand-in scans, once for each layout and choice of options."""
    made: dict[tuple[str, ...], Path] = {}

    def lay_out(name: str, *options: str) -> Path:
        key = (name, *options)
        if key not in made:
            root = tmp_path_factory.mktemp("layouts") / name
            command = [
                sys.executable,
                *map(str, (LAYOUTS / "make_tree.py", LAYOUTS / f"{name}.json", root)),
            ]
            subprocess.run([*command, *options], check=True, capture_output=True)
            made[key] = root
        return made[key]

    return lay_out


def proposed(root: Path) -> Mapping[str, str]:
    """Settings of the command that is proposed."""
    with pytest.raises(UnclearScannersError) as caught:
        read_bids(root)
    options = caught.value.proposal.options
    names = [option.removeprefix("--").replace("-", "_") for option in options[::2]]
    return dict(zip(names, options[1::2], strict=True))


def counted(cohort: Cohort) -> dict[str, tuple[int, int, int]]:
    """Subjects, visits and scans of each scanner."""
    rows = overview(cohort)["scanners"]
    return {row["scanner"]: (row["subjects"], row["visits"], row["scans"]) for row in rows}


def pair_counts(cohort: Cohort, source: str, target: str) -> tuple[int, int, int]:
    """Pairs of closest visits, pairs to test, and all pairs."""
    way = Direction(source, target)
    return tuple(len(pairs(cohort, way, which)) for which in ("closest", "test", "all"))  # type: ignore[return-value] # three by construction


def test_eight_scanners(make: Make) -> None:
    root = make("eight_scanners")
    cohort = read_bids(root, validated(BidsSettings, proposed(root)))
    assert len(cohort.subjects) == 20
    assert len(cohort.scans) == 165
    assert counted(cohort) == {
        "NOT1ACH": (20, 6, 25),
        "NOT2ING": (20, 6, 25),
        "NOT3GEM": (10, 1, 10),
        "NOT4GEP": (10, 6, 15),
        "OXF1PRI": (20, 6, 30),
        "OXF2PRI": (20, 6, 30),
        "OXF3TRI": (10, 6, 15),
        "OXF4GEP": (10, 6, 15),
    }
    # sub-00010 has six visits on NOT1ACH, sub-00011 six on NOT2ING.
    assert pair_counts(cohort, "NOT1ACH", "NOT2ING") == (20, 25, 30)
    # Subjects 1 to 10 were scanned before the upgrade of NOT3GEM to NOT4GEP, the others after it.
    assert pair_counts(cohort, "NOT3GEM", "NOT4GEP") == (0, 0, 0)
    (again,) = rescans(cohort, "NOT1ACH")
    assert again.subject == "sub-00010"
    assert [scan.visit for scan in again.scans] == ["001", "002", "003", "004", "005", "006"]
    assert [s.subject for s in rescans(cohort, "OXF2PRI")] == ["sub-00008", "sub-00013"]
    scan = cohort.scans["sub-00010", "NOT1ACH-004"]
    assert scan.path.name == "sub-00010_ses-NOT1ACH004_T1w.nii.gz"
    to_one = cohort.directions(target="OXF3TRI")
    assert [way.source for way in to_one] == [s for s in cohort.scanners if s != "OXF3TRI"]
    assert len(cohort.directions(which="all")) == 8 * 7


def test_one_row_per_session(make: Make) -> None:
    root = make("one_row_per_session")
    settings = proposed(root)
    assert settings == {"session_pattern": r"(?P<scanner>.+)x(?P<visit>\d+)"}
    cohort = read_bids(root, validated(BidsSettings, settings))
    assert len(cohort.subjects) == 97
    # Of cohort II (sub-cIIs09 to 13) only: 9 visits on s1A and 9 on s1B.
    assert counted(cohort) == {
        "s1A": (6, 2, 10),
        "s1B": (96, 6, 147),
        "s2": (4, 1, 4),
        "s3": (5, 1, 5),
    }
    assert pair_counts(cohort, "s1A", "s1B") == (9, 9, 17)
    assert pair_counts(cohort, "s2", "s3") == (4, 4, 4)
    assert pair_counts(cohort, "s2", "s1A") == (4, 4, 7)
    by = Direction("s1A", "s1B")
    first = pairs(cohort, by)[0]
    assert (first.subject, first.visit, first.target.session) == ("sub-cIIs09", "1", "s1B-1")


def test_session_repeats_subject(make: Make) -> None:
    root = make("session_repeats_subject")
    settings = proposed(root)
    cohort = read_bids(root, validated(BidsSettings, settings))
    assert len(cohort.subjects) == 6  # with the phantom sub-THPBALL
    assert counted(cohort) == {
        "CCF": (6, 1, 6),
        "DART": (5, 1, 5),
        "IOWA": (6, 3, 11),
        "JHU": (5, 1, 5),
        "MGH": (5, 1, 5),
        "UCI": (5, 1, 5),
        "UMN": (5, 1, 5),
        "UW": (5, 1, 5),
    }
    # 67 files are 47 sessions; of those with several runs the first is used.
    assert len(cohort.scans) == 47
    assert [item.kind for item in cohort.left_out] == ["other-run"] * 20
    assert pair_counts(cohort, "IOWA", "CCF") == (6, 11, 11)
    every = read_bids(root, validated(BidsSettings, {**settings, "run": "all"}))
    assert len(every.scans) == 67
    assert ("sub-THP0002", "DART-1-run05") in every.scans
    people = {**settings, "exclude": "subject == THPBALL"}
    assert len(read_bids(root, validated(BidsSettings, people)).subjects) == 5


def test_the_command_answers_in_one_screen(make: Make, call) -> None:
    root = make("eight_scanners")
    code, out, err = call("cohort", "--data", root)
    assert code == 2
    assert "--session-pattern '(?P<scanner>" in err
    options = ["--session-pattern", proposed(root)["session_pattern"]]
    start = time.monotonic()
    code, out, err = call("cohort", "--data", root, *options)
    assert code == 0, err
    assert time.monotonic() - start < 15
    assert len(out.splitlines()) <= 24
    assert max(map(len, out.splitlines())) <= 80
    code, out, _ = call("cohort", "--data", root, *options, "--json")
    found = json.loads(out)
    assert len(found["scans"]) == 165
    assert len(found["directions"]) == 56
    assert {row["scanner"] for row in found["scanners"]} == {r["scanner"] for r in found["scans"]}


def test_dangling_links_are_one_line(make: Make, call) -> None:
    root = make("eight_scanners", "--dangling")
    options = ["--session-by", "label"]
    for command in (["cohort", "--data", root], ["prepare", root, root.parent / "out"]):
        code, _, err = call(*command, *options)
        assert code == 2
        (line,) = [text for text in err.splitlines() if text.startswith("  - ")]
        assert "165 of 165 files" in line
        assert "datalad get */*/*/*_T1w.nii.gz" in line


def test_preparing_takes_every_session(make: Make, tmp_path: Path) -> None:
    from harmbench.preparation.work import choose_reference, make_jobs, read_spaces

    root = make("one_row_per_session")
    cohort = read_bids(root, validated(BidsSettings, proposed(root)))
    settings = PrepareSettings()
    spaces = read_spaces(cohort)
    reference = choose_reference(cohort, settings, spaces)
    assert reference == "s1B"  # the one that most subjects have
    work, failed = make_jobs(cohort, tmp_path, settings, reference, spaces)
    assert not failed
    jobs = {job.subject: job for job in work}
    assert list(jobs["sub-cIIs10"].scans) == ["s1A-1", "s1A-2", "s1B-1", "s1B-2", "s2-1", "s3-1"]
    assert jobs["sub-cIIs10"].reference == "s1B-1"
    assert jobs["sub-cIIs10"].sessions["s1A-2"] == "s1A2"
    assert jobs["sub-cIs97"].reference == "s1A-2"  # it has no other
