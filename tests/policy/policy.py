"""The policy on inputs as a catalogue of cases: each builds a small input and says what must happen.

`docs/input-policy.md` is written from these cases (`python tests/policy/write_document.py`), and
`test_policy.py` tries each of them by the real command line.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np

from harmbench.contract import tiny_pairs

Outcome = Literal["accepted", "noted", "refused"]

TOPICS = (
    "Identity",
    "Selection",
    "Tables and sidecars",
    "Geometry",
    "Intensities",
    "Masks",
    "Files",
    "Outputs",
)


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes:
        topic: section of the document.
        given: the input, in a few words.
        outcome: what harmbench does with it.
        says: part of what it prints; empty for what is accepted silently.
        build: makes the input in an empty folder; gives the arguments of the command to try.
        unsaid: texts that must not be printed.
        result: looks at what the command left, called with the folder and standard output.
    """

    topic: str
    given: str
    outcome: Outcome
    says: str
    build: Callable[[Study], list[str]]
    unsaid: tuple[str, ...] = ()
    result: Callable[[Path, str], None] | None = None

    @property
    def name(self) -> str:
        """Identifier for pytest."""
        return "-".join(self.given.split()).replace("`", "").replace("/", "-")


def tissue(number: int, second: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Brain-like values in [0, 1] of one simulated scan, shape (16, 24, 20), and its affine.

    Voxels have 8 mm, so that the brain has the volume of a person's.
    """
    pair = tiny_pairs(1, seed=number)[0]
    volume = pair.target if second else pair.source
    return np.array(volume.data), np.diag([4.0, 4.0, 4.0, 1.0]) @ volume.affine


def image(data: np.ndarray, affine: np.ndarray, code: int = 1) -> nib.Nifti1Image:
    """A NIfTI image with qform and sform of one code (0: the header says nothing)."""
    made = nib.Nifti1Image(data, affine)
    made.set_qform(affine, code=code)
    made.set_sform(affine, code=code)
    return made


@dataclass
class Study:
    """A small study on disk: a BIDS folder or a manifest, to be bent by a case.

    Scans differ from each other, as those of different people and scanners do.
    """

    folder: Path
    rows: list[dict[str, str]] = field(default_factory=list)
    made: int = 0

    @property
    def root(self) -> Path:
        """Folder of the data."""
        return self.folder / "data"

    def path(self, name: str) -> Path:
        """A path below the data's folder, whose parent is made."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def scan(
        self,
        name: str,
        change: Callable[[np.ndarray], np.ndarray] | None = None,
        *,
        number: int | None = None,
        header: Callable[[Any], None] | None = None,
        affine: np.ndarray | None = None,
        code: int = 1,
        second: bool = False,
    ) -> Path:
        """Write a scan; `change` edits its values, `header` its header."""
        self.made += 1
        data, own = tissue(self.made if number is None else number, second)
        data = data if change is None else np.asarray(change(data))
        made = image(data, own if affine is None else affine, code)
        if header is not None:
            header(made)
        path = self.path(name)
        nib.save(made, path)
        return path

    def brain(self, name: str, values: Callable[[np.ndarray], np.ndarray] | None = None) -> Path:
        """Write a mask of the brain; `values` edits it."""
        data, affine = tissue(1)
        mask = (data > 0).astype(np.uint8)
        path = self.path(name)
        nib.save(image(mask if values is None else np.asarray(values(mask)), affine), path)
        return path

    def sidecar(self, name: str, fields: Mapping[str, Any]) -> Path:
        """Write a JSON file."""
        path = self.path(name)
        path.write_text(json.dumps(fields))
        return path

    def bids(self, subjects: int = 2, sessions: tuple[str, ...] = ("A", "B")) -> Study:
        """Lay out a data set of so many subjects with one T1w scan for each session."""
        self.sidecar("dataset_description.json", {"Name": "study", "BIDSVersion": "1.10.0"})
        for number in range(1, subjects + 1):
            for place, session in enumerate(sessions):
                self.t1w(f"0{number}", session, second=place > 0)
        return self

    def t1w(self, subject: str, session: str, entities: str = "", **options: Any) -> Path:
        """Write a T1w scan at its place; `entities` such as `acq-high_`."""
        return self.scan(self.name(subject, session, entities), **options)

    @staticmethod
    def name(subject: str, session: str, entities: str = "", suffix: str = "T1w") -> str:
        """Path of a scan below the data set's root."""
        stem = f"sub-{subject}_ses-{session}_{entities}{suffix}.nii.gz"
        return f"sub-{subject}/ses-{session}/anat/{stem}"

    def manifest(self, subjects: int = 2) -> Study:
        """Lay out subjects `1`, `2`, ... with the sessions A and B beside a manifest."""
        for number in range(1, subjects + 1):
            for place, session in enumerate("AB"):
                name = f"{number}_{session}.nii.gz"
                self.scan(name, second=place > 0)
                self.rows.append(
                    {"subject": str(number), "group": "HC", "session": session, "path": name}
                )
        return self

    def table(self, encoding: str = "utf-8", end: str = "\n", separator: str = ",") -> Path:
        """Write the manifest's rows."""
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        lines = [separator.join(columns)]
        lines += [separator.join(row.get(column, "") for column in columns) for row in self.rows]
        path = self.path("scans.csv")
        path.write_bytes((end.join(lines) + end).encode(encoding))
        return path

    def participants(self, text: str, encoding: str = "utf-8") -> None:
        """Write participants.tsv."""
        self.path("participants.tsv").write_bytes(text.encode(encoding))

    def cohort(self, *options: str) -> list[str]:
        """Arguments that inspect the data."""
        data = self.root / "scans.csv" if self.rows else self.root
        if self.rows and not data.exists():
            self.table()
        return ["cohort", "--data", str(data), *options]

    def run(self, *options: str) -> list[str]:
        """Arguments that run a control on the data."""
        data = self.cohort()[2]
        shared = ["run", "--data", data, "--method", "histogram_matching", "--folds", "2"]
        shared += ["--out", str(self.folder / "out"), "--segmenter", "thresholds"]
        # One process: the stand-in segmenter is not known in others.
        few = ["--set", "ceiling=false", "--set", "volume_controls=[]"]
        return [*shared, "--device", "cpu", "--jobs", "1", *few, *options]

    def prepare(self, *options: str) -> list[str]:
        """Arguments that prepare the data with the least work."""
        data = self.cohort()[2]
        light = ["--strip", "none", "--bias", "none", "--crop", "none", "--registration", "none"]
        plain = ["--set", "strip.plausible_ml=[1, 3000]", "--spacing", "5", "--jobs", "1"]
        return ["prepare", data, str(self.folder / "out"), *light, *plain, *options]


def repack(path: Path, change: Callable[[bytearray], bytes | bytearray]) -> Path:
    """Edit the uncompressed bytes of a .nii.gz file."""
    path.write_bytes(gzip.compress(bytes(change(bytearray(gzip.decompress(path.read_bytes()))))))
    return path


def catalogue_of(topic: str, cases: list[Case]) -> Callable[..., Callable[[Any], Any]]:
    """Make the decorator that adds a function which builds an input to `cases`."""

    def case(
        given: str, outcome: Outcome, says: str = "", **options: Any
    ) -> Callable[[Callable[[Study], list[str]]], Callable[[Study], list[str]]]:
        def add(build: Callable[[Study], list[str]]) -> Callable[[Study], list[str]]:
            cases.append(Case(topic, given, outcome, says, build, **options))
            return build

        return add

    return case
