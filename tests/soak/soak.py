"""Read damaged files until the count is reached: `python tests/soak/soak.py --inputs 100000 --seed 0`.

Each input is a good file with damage (`mutations`), given to its reader (`readers`). It may be read, or
refused with a `HarmbenchError` whose message names a file of the input's folder. Anything else, more
than `SECONDS` or more memory than `FREE_MIB` and `PER_BYTE` allow, is a finding; findings are kept in
`--keep` and make the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mutations import damaged
from readers import READERS, Reader

from harmbench.errors import HarmbenchError

SECONDS = 20
FREE_MIB = 96
PER_BYTE = 300


class TooSlowError(BaseException):
    """An input was not read in time; not caught by any reader."""


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raise `TooSlowError` in the block after some seconds."""

    def end(_signal: int, _frame: object) -> None:
        raise TooSlowError

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _memory_mib(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return float(line.split()[1]) / 1024
    return 0.0


def judged(reader: Reader, path: Path) -> str:
    """Read a file; return `read`, `refused`, or what is wrong with how it ended."""
    size = path.stat().st_size
    Path("/proc/self/clear_refs").write_text("5")
    before = _memory_mib("VmRSS")
    try:
        with limited(SECONDS), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(path)
        end = "read"
    except HarmbenchError as error:
        names = {path.name, path.stem, path.parent.name, *(p.name for p in path.parents)}
        end = (
            "refused" if any(name and name in str(error) for name in names) else f"no name: {error}"
        )
    except TooSlowError:
        return f"took more than {SECONDS} s"
    except BaseException as error:  # noqa: BLE001 - this is what is looked for
        return f"{type(error).__name__}: {error}"
    grown = _memory_mib("VmHWM") - before
    if grown > FREE_MIB + PER_BYTE * size / 2**20:
        return f"{grown:.0f} MiB for {size} bytes"
    return end


def soak(name: str, count: int, seed: int, keep: Path) -> Counter[str]:
    """Give a reader `count` damaged files; return how they ended."""
    reader, ends = READERS[name], Counter[str]()
    dice = random.Random(f"{name} {seed}")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "input"
        folder.mkdir()
        files = reader.make(folder)
        good = {path: path.read_bytes() for path in files}
        for number in range(count):
            path = dice.choice(files)
            path.write_bytes(damaged(good[path], dice, list(good.values())))
            given = path
            if reader.endings and dice.random() < 0.1:
                given = path.with_name("renamed" + dice.choice(reader.endings))
                shutil.copyfile(path, given)
            end = judged(reader, given)
            if end not in {"read", "refused"}:
                keep.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(given, keep / f"{name}-{seed}-{number}-{given.name}")
                print(f"{name} {number} {given.name}: {end[:300]}", flush=True)
                end = "finding"
            ends[end] += 1
            path.write_bytes(good[path])
            if given != path:
                given.unlink()
    return ends


def main() -> int:
    """Read the command line, and go through all readers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", choices=READERS, action="append")
    parser.add_argument("--keep", type=Path, default=Path("build/soak"))
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    names = given.reader or list(READERS)
    found = {}
    for name in names:
        start = time.monotonic()
        ends = soak(name, -(-given.inputs // len(names)), given.seed, given.keep)
        found[name] = {**ends, "seconds": round(time.monotonic() - start, 1)}
        print(f"{name}: {dict(found[name])}", flush=True)
    given.keep.mkdir(parents=True, exist_ok=True)
    (given.keep / "counts.json").write_text(json.dumps(found, indent=2) + "\n")
    return 1 if any(one.get("finding") for one in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
