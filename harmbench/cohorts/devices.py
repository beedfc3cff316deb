"""Whether the sessions of a subject were on one device, by their sidecars."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from itertools import combinations
from typing import Final

from harmbench.cohorts.bids_names import BidsFile
from harmbench.cohorts.readings import Evidence

__all__ = ["devices_of_sessions"]

_SERIAL, _STATION = "DeviceSerialNumber", "StationName"
_MODEL, _SOFTWARE = "ManufacturersModelName", "SoftwareVersions"
_NAMED: Final = (_STATION, _MODEL, _SOFTWARE)


def devices_of_sessions(evidence: Evidence) -> tuple[int, int]:
    """Count subjects with two sessions on one device, and those with each session on another.

    Subjects whose sidecars do not say it are in neither count.
    """
    scans: dict[str, list[BidsFile]] = defaultdict(list)
    for file in evidence.files:
        scans[file.subject].append(file)
    same = changed = 0
    for own in scans.values():
        found = [
            _one_device(evidence.fields[one.path], evidence.fields[two.path])
            for one, two in combinations(own, 2)
            if one.session != two.session
        ]
        same += True in found
        changed += bool(found) and all(verdict is False for verdict in found)
    return same, changed


def _one_device(one: Mapping[str, str], two: Mapping[str, str]) -> bool | None:
    """Whether two scans are of one device and software; `None` where their sidecars do not say it.

    It takes a serial number to say that a device is the same, or station, model and software
    together: a station alone may be a scrambler's constant. Other software on the same device is
    an upgrade, and another scanner.
    """
    both = {name for name in (_SERIAL, *_NAMED) if one.get(name) and two.get(name)}
    if any(one[name] != two[name] for name in both):
        return False
    if bool(one.get(_SOFTWARE)) != bool(two.get(_SOFTWARE)):
        return None
    # `0000` and `ANON` stand for a number that was removed.
    numbered = _SERIAL in both and re.search("[1-9]", one[_SERIAL]) is not None
    return True if numbered or both.issuperset(_NAMED) else None
