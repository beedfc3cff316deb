"""Fetch the JavaScript that pages carry from npm, and check it against its checksums.

    python .ci/fetch_bundles.py            # the versions in bundles.json; fails where a checksum differs
    python .ci/fetch_bundles.py --update   # the newest versions; writes their checksums

Needs npm. After an update, run the tests in tests/report/test_browser.py and look at NOTICE.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "harmbench" / "pages" / "vendor"


def fetch(package: str, version: str, file: str) -> tuple[str, bytes]:
    """Return the version that npm gives for a package, and one of its files."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", f"{package}@{version}", "--json", "--pack-destination", folder]
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(answer.stdout)[0]
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
            member = archive.extractfile(f"package/{file}")
            if member is None:
                raise SystemExit(f"{package} {version} has no {file}")
            return str(found["version"]), member.read()


def main() -> None:
    """Fetch every bundle of `bundles.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", action="store_true", help="take the newest versions")
    update = parser.parse_args().update
    listed = FOLDER / "bundles.json"
    bundles = json.loads(listed.read_text())
    for bundle in bundles:
        wanted = "latest" if update else bundle["version"]
        version, content = fetch(bundle["package"], wanted, bundle["file"])
        checksum = hashlib.sha256(content).hexdigest()
        if not update and checksum != bundle["sha256"]:
            raise SystemExit(f"{bundle['package']} {version}: the checksum is {checksum}")
        bundle.update(version=version, sha256=checksum)
        (FOLDER / Path(bundle["file"]).name).write_bytes(content)
        print(bundle["package"], version, checksum)  # noqa: T201 - a script
    listed.write_text(json.dumps(bundles, indent=2) + "\n")


if __name__ == "__main__":
    main()
