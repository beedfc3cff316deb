"""Whether a process has ended, where the system hides those of other users."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from harmbench import owners
from harmbench.owners import is_gone, is_gone_tag, this_process

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signal 0 is of POSIX")


@pytest.mark.parametrize(
    ("refusal", "gone"), [(PermissionError, None), (ProcessLookupError, True), (None, True)]
)
def test_a_process_that_the_system_hides_may_live(
    monkeypatch: pytest.MonkeyPatch, refusal: type[OSError] | None, gone: bool | None
) -> None:
    own = replace(this_process(), pid=12345)
    asked: list[tuple[int, int]] = []

    def kill(pid: int, number: int) -> None:
        asked.append((pid, number))
        if refusal is not None:
            raise refusal

    monkeypatch.setattr(owners, "_stat", lambda _: "")
    monkeypatch.setattr(owners, "_born", lambda _: "")
    monkeypatch.setattr(os, "kill", kill)
    assert is_gone(own) is gone
    assert is_gone_tag(own.tag) is gone
    assert asked == [(12345, 0)] * 2


def test_a_process_that_can_be_seen_is_known() -> None:
    own = this_process()
    assert is_gone(own) is False
    assert is_gone_tag(own.tag) is False
    assert is_gone(replace(own, born="1")) is True
    assert is_gone_tag(replace(own, born="1").tag) is True
