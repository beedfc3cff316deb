"""The first screen of a page with many directions: its sentence, and its table."""

from __future__ import annotations

from collections.abc import Sequence

from harmbench.pages.html import page_environment
from harmbench.report.directions import Directions, sum_up
from harmbench.report.first_screen import LETTERS, Answer, HarmLine
from harmbench.report.verdict import (
    Judged,
    JudgedMeasure,
    Role,
    State,
    Verdict,
    VerdictRow,
)
from harmbench.task import Direction

NAN = float("nan")
ENDPOINT = JudgedMeasure(
    "volume_difference_mm3", "GM", "Volume difference GM", "mm3", "lower", True, ""
)
ROLES: dict[str, Role] = {"Original": "original", "HM": "control", "Ratio": "volume correction"}


def make_answer(
    source: str,
    states: dict[str, State],
    *,
    leader: str = "",
    design: tuple[int, int] = (24, 12),
    enough: str = "",
    failures: tuple[str, ...] = (),
    harms: tuple[HarmLine, ...] = (),
) -> Answer:
    """The answer of one direction in which methods have these states on the primary endpoint."""
    direction = Direction(source, "T")
    rows = [
        VerdictRow(
            title.lower(),
            title,
            ROLES.get(title, "method"),
            (Judged(state, "", NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, *design),),
            0.5 if number == 0 else 0.1,
            (),
        )
        for number, (title, state) in enumerate(states.items())
    ]
    verdict = Verdict(
        direction=direction,
        endpoint=ENDPOINT,
        sentence=f"Sentence of {source}.",
        leader=leader,
        measures=(ENDPOINT,),
        rows=tuple(rows),
        rivals=(),
        corrections=(),
        secondary_leads=(),
        harms=(),
        stability=(),
        subjects=design[0],
        folds=design[1],
        judgeable=not enough,
        limits=f"Limits of {source}.",
        enough=enough,
        failures=failures,
        incomplete=(),
        notes=(),
    )
    return Answer(f"{source} to T", f"answer-{source}", verdict, (), (), (), harms)


def summed(*answers: Answer) -> Directions:
    found = sum_up(answers)
    assert found is not None
    return found


def page(answers: Sequence[Answer]) -> str:
    """What the page shows of them, the grids in their folds left out."""
    source = (
        "{% from 'answer.html.j2' import show_answers %}{{ show_answers(answers, letters, sum) }}"
    )
    template = page_environment("harmbench.report").from_string(source)
    text = template.render(answers=answers, letters=LETTERS, sum=sum_up(answers))
    return text[: text.index("<details>")]


def test_no_directions_have_no_sum() -> None:
    assert sum_up([]) is None


def test_each_direction_has_its_own_subjects_folds_and_limits() -> None:
    few = "At least 3 folds."
    answers = [
        make_answer("A", {"U-Net": "better"}),
        make_answer("B", {"U-Net": "not judged"}, design=(1, 1), enough=few),
        make_answer("C", {"U-Net": "unclear"}, design=(40, 10)),
    ]
    found = summed(*answers)
    assert [row.design for row in found.rows] == [
        "24 subjects, 12 folds",
        "1 subject, 1 fold",
        "40 subjects, 10 folds",
    ]
    assert found.enough == (f"{few} (B to T)",)
    assert summed(answers[1], answers[1]).enough == (few,)
    shown = page(answers)
    assert "Subjects, folds" in shown
    assert "<strong>Limits</strong> differ by direction; each grid states its own." in shown
    assert "Limits of A." not in shown
    assert f"<strong>Enough would be:</strong> {few} (B to T)" in shown


def test_an_original_that_leads_is_no_better_method() -> None:
    states: dict[str, State] = {"U-Net": "worse", "Original": "not judged"}
    found = summed(make_answer("A", states, leader="Original"))
    assert (found.rows[0].better, found.rows[0].worse) == ("none", "U-Net")
    assert "Original leads" not in found.sentence


def test_all_methods_that_are_better_are_named_and_the_leader_is_marked() -> None:
    states: dict[str, State] = {"Original": "not judged"}
    for title in ("GAN", "U-Net", "Flow", "HM", "Ratio", "DM"):
        states[title] = "better"
    answer = make_answer("A", states, leader="U-Net")
    row = summed(answer).rows[0]
    assert row.better == "U-Net (leads), GAN, Flow, HM (control), Ratio (corrects volumes), DM"
    assert "U-Net (leads), GAN, Flow" in page([answer])


def test_without_the_original_none_is_better_than_it() -> None:
    states: dict[str, State] = {"U-Net": "not judged", "GAN": "not judged"}
    row = summed(make_answer("A", states, leader="U-Net")).rows[0]
    assert row.better == "the original was not scored; U-Net leads"


def test_failures_and_harms_stand_outside_the_folds() -> None:
    failure = "U-Net failed on 2 of 24 subjects (s1, s2)."
    harm = HarmLine(certain=True, method="U-Net", measures="Dice CSF: 10 % more error")
    shown = page(
        [
            make_answer("A", {"U-Net": "unclear"}, failures=(failure,), harms=(harm,)),
            make_answer("B", {"U-Net": "unclear"}),
        ]
    )
    assert shown.index("</table>") < shown.index(f'<p class="failed">A to T: {failure}</p>')
    assert "U-Net, Dice CSF: 10 % more error" in shown


def test_the_sentence_counts_methods_controls_and_corrections_apart() -> None:
    states: list[dict[str, State]] = [
        {"U-Net": "better", "HM": "better", "Ratio": "better"},
        {"U-Net": "unclear", "HM": "better", "Ratio": "better"},
        {"U-Net": "worse", "HM": "worse", "Ratio": "better"},
        {"U-Net": "worse", "HM": "worse", "Ratio": "worse"},
    ]
    leaders = ("U-Net", "", "Ratio", "Original")
    answers = [
        make_answer(str(number), {**own, "Original": "not judged"}, leader=leader)
        for number, (own, leader) in enumerate(zip(states, leaders, strict=True))
    ]
    assert summed(*answers).sentence == (
        "On GM volume difference, an image method is shown to be better than the original in 1 of 4 "
        "directions, a control in 2, a volume correction in 3. An image method is shown to be worse than "
        "the original in 2, a control in 2, a volume correction in 1. Shown to be better than every "
        "other: U-Net in 1, Ratio in 1. The original is shown to be better than every method in 1. "
        "Each direction is tested on its own."
    )


def test_the_sentence_says_how_many_directions_can_be_judged() -> None:
    judged = make_answer("A", {"U-Net": "unclear", "Original": "not judged"})
    other = make_answer("B", {"U-Net": "not judged"}, enough="At least 3 folds.")
    assert summed(judged, other).sentence == (
        "On GM volume difference, an image method is shown to be better than the original in 0 of the 1 "
        "of 2 directions that can be judged. An image method is shown to be worse than the original in 0. "
        "No method is shown to be better than every other in any direction. Each direction is tested on "
        "its own."
    )
    assert "cannot judge" in summed(other, other).sentence
    alone = make_answer("A", {"Original": "not judged"})
    assert summed(alone).sentence.startswith("There is no method to compare with the original")
