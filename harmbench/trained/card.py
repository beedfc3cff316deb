"""The model card: what a model is for, what it learned from, and how well it did, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harmbench.metrics.suite import METRICS
from harmbench.pages.escapes import markdown_text
from harmbench.trained.record import ModelRecord, TrainingData

__all__ = ["model_card"]

_OUT_OF_SCOPE = """\
- Diagnosis, treatment, or any other clinical use: this is research software.
- Other contrasts, scanners, sequences or voxel sizes than those below, other body parts, and the
  opposite direction. `harmbench apply` refuses what it can recognize.
- Subjects unlike the training subjects: disease, age or treatment that they do not cover. A method
  that learns may add or remove structures; look at the results."""


def model_card(record: ModelRecord) -> str:
    """Return the model card of a record with a description of its training data."""
    training = record.training
    if training is None:
        raise ValueError("a model card needs a description of the training data")
    simulated = (
        "\n> **Trained on simulated scans.** Its scores say how the method does where the truth is "
        "known,\n> and nothing about real scanners or patients.\n"
        if record.cohort.simulated
        else ""
    )
    source, target = markdown_text(record.source), markdown_text(record.target)
    label = f", called `{_code(record.label)}` in its run" if record.label != record.uses else ""
    return f"""\
# {markdown_text(record.title)}: {markdown_text(str(record.direction))}

A trained model of harmbench, fold {record.fold}, seed {record.seed}. Key `{record.key[:16]}`.
{simulated}
## Intended use

Research: to make skull-stripped T1-weighted scans like those of *{source}* below look like \
scans of *{target}*.

```sh
harmbench apply FOLDER SCAN.nii.gz --out OUT
```

## Out of scope

{_OUT_OF_SCOPE}

## Method

`{_code(record.uses)}`{label}. \
{markdown_text(record.reference) or "No source is given."}
Settings, versions and the SHA-256 of each file stand in `model.json`.

## Training data

{markdown_text(record.cohort.description)}{" (SIMULATED)" if record.cohort.simulated else ""}.
{_cite(record)}
{_training_table(record, training)}

## Scores

Means over {record.held_out} subjects whom this model has not seen, against their real \
{target} scan; segmented by `{_code(record.segmenter)}`. The row `identity` is the untreated scan, \
`target` the reference against itself.

{_score_table(record)}

## Preparation

{_preparation(record)}

## Licence

harmbench is Apache-2.0. That says nothing about these weights: they derive from the training data, \
whose terms hold. See to them before you share this folder.
"""


def _code(text: str) -> str:
    return text.replace("`", "'").replace("\n", " ")


def _cite(record: ModelRecord) -> str:
    return f"Cite: {markdown_text(record.cohort.citation)}\n" if record.cohort.citation else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    safe = [[markdown_text(text) for text in line] for line in rows]
    lines = [[markdown_text(text) for text in head], ["---"] * len(head), *safe]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _training_table(record: ModelRecord, training: TrainingData) -> str:
    groups = ", ".join(f"{count} {group}" for group, count in training.groups.items())
    rows = [
        ["subjects", f"{training.subjects} ({groups})"],
        ["sessions", f"{record.source} (source), {record.target} (target)"],
        ["voxels", "; ".join(_by(spacing) + " mm" for spacing in training.spacings_mm)],
        *_raw_voxels(training),
        ["grid", "; ".join(_by(shape) for shape in training.shapes)],
        ["scanner of the source", _scanner(training.source_scanner)],
        ["scanner of the target", _scanner(training.target_scanner)],
    ]
    return _table(["", ""], rows)


def _raw_voxels(training: TrainingData) -> list[list[str]]:
    sizes = "; ".join(_by(spacing) + " mm" for spacing in training.source_raw_spacings_mm)
    return [["voxels of the raw sources", sizes]] if sizes else []


def _by(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)


def _scanner(fields: Mapping[str, Sequence[str]]) -> str:
    found = [f"{name} {' or '.join(values)}" for name, values in fields.items()]
    return ", ".join(found) or "not recorded"


def _score_table(record: ModelRecord) -> str:
    columns = [name for name in record.scores if name != record.label]
    columns = [record.label, *columns]
    names = dict.fromkeys(name for scores in record.scores.values() for name in scores)
    rows = []
    for name in names:
        metric, _, tissue = name.partition(" ")
        declared = METRICS[metric]
        unit = "" if declared.unit == "1" else f", {declared.unit}"
        title = (
            f"{declared.title}{f' {tissue}' if tissue else ''}{unit} ({declared.better} is better)"
        )
        values = [record.scores.get(column, {}).get(name) for column in columns]
        rows.append([title, *("-" if value is None else f"{value:.4g}" for value in values)])
    return _table(["metric", *columns], rows)


def _preparation(record: ModelRecord) -> str:
    if record.preparation is None:
        return (
            "Not known: the scans came prepared (skull-stripped, in [0, 1] or scaled by "
            f"`rescale: {record.rescale}`). `harmbench apply` takes scans prepared in the same way, "
            "not raw ones."
        )
    rows = []
    for name, value in record.preparation.items():
        own = value.items() if isinstance(value, Mapping) else [("", value)]
        text = ", ".join(f"{key} {inner}".strip() for key, inner in own if inner is not None)
        rows.append([name, text or "as the scan"])
    return "`harmbench apply` does the same with raw scans.\n\n" + _table(
        ["step", "settings"], rows
    )
