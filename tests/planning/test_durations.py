"""Durations as people write and read them."""

from __future__ import annotations

import pytest

from harmbench.errors import ConfigError
from harmbench.planning.durations import in_words, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("10m", 600),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1h30m5s", 5405),
        ("1.5h", 5400),
        ("3d", 259200),
        (" 10M ", 600),
    ],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "10", "10 m", "m", "-5m", "0s", "0h0m", "30m1h", "1h1h", "nan", "1e9d", "٣m", "400d"],
)
def test_others_are_refused_by_name_with_examples(text: str) -> None:
    with pytest.raises(ConfigError, match=r"budget '.*': expected .* 90s, 10m, 2h, 1h30m"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (45, "45 s"),
        (600, "10 min"),
        (5400, "1.5 hours"),
        (43200, "12 hours"),
        (3 * 86400, "3.0 days"),
        (270 * 86400, "8.9 months"),
        (20 * 365.25 * 86400, "20 years"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
