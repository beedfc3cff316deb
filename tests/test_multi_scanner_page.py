"""What docs/multi-scanner.md shows works on the study that it shows."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYOUTS = ROOT.parent / "shared" / "data" / "bids_layouts"
BLOCKS = re.findall(
    r"```sh\n(.*?)```", (ROOT / "docs" / "multi-scanner.md").read_text(), flags=re.DOTALL
)
COMMANDS = [shlex.split(line) for block in BLOCKS for line in block.splitlines()]


@pytest.mark.skipif(not LAYOUTS.is_dir(), reason="the layouts of ../shared/data are not here")
def test_commands_on_the_study(call, tmp_path: Path) -> None:
    root = tmp_path / "bids"
    made = (LAYOUTS / "make_tree.py", LAYOUTS / "eight_scanners.json", root)
    subprocess.run(
        [sys.executable, *map(str, made), "--subjects", "8", "--only", "T1w,T2w"], check=True
    )
    shown = [words for words in COMMANDS if words[1] == "cohort" and "bids/" in words]
    assert len(shown) == 6
    for place, (_, *words) in enumerate(shown):
        code, out, err = call(*[str(root) if word == "bids/" else word for word in words])
        if place == 0:
            assert code == 2
            assert "(?P<scanner>.*[A-Za-z])" in err
        else:
            assert code == 0, err
        if "phase == A and age > 60" in words:
            assert "excluded by: phase == A and age > 60" in out
