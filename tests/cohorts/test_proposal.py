"""What is proposed where the ses- labels are not the scanners, and where nothing is proposed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from harmbench.cohorts.base import Cohort
from harmbench.cohorts.bids import BidsSettings, read_bids
from harmbench.cohorts.proposal import UnclearScannersError
from harmbench.errors import CohortError
from harmbench.settings import validated

Fields = Mapping[str, object]
Study = Callable[[Mapping[str, Fields]], Path]

MODEL, SERIAL, STATION = "ManufacturersModelName", "DeviceSerialNumber", "StationName"
SOFTWARE, FIELD = "SoftwareVersions", "MagneticFieldStrength"


@pytest.fixture
def study(lay_out: Callable[..., Path]) -> Study:
    """Lay out scans, named by their entities (`sub-01_ses-A`), with the fields of their sidecars."""

    def make(scans: Mapping[str, Fields]) -> Path:
        files, fields = [], {}
        for name, own in scans.items():
            subject, *rest = name.split("_")
            session = f"/{rest[0]}" if rest and rest[0].startswith("ses-") else ""
            stem = f"{subject}{session}/anat/{name}_T1w"
            files.append(f"{stem}.nii.gz")
            if own:
                fields[f"{stem}.json"] = own
        return lay_out(*files, fields=fields)

    return make


def participants(root: Path, *lines: str) -> None:
    (root / "participants.tsv").write_text("\n".join(lines).replace(" ", "\t") + "\n")


def follow(root: Path) -> tuple[dict[str, str], Cohort]:
    """The settings that are proposed, and the cohort that they give; its table must be true."""
    with pytest.raises(UnclearScannersError) as caught:
        read_bids(root)
    proposal = caught.value.proposal
    assert proposal.command, caught.value
    names = [option.removeprefix("--").replace("-", "_") for option in proposal.options[::2]]
    settings = dict(zip(names, proposal.options[1::2], strict=True))
    cohort = read_bids(root, validated(BidsSettings, settings))
    assert [row.scanner for row in proposal.table] == list(cohort.scanners)
    assert proposal.subjects == len(cohort.subjects)
    return settings, cohort


def as_it_is(root: Path) -> Cohort:
    """The cohort where the labels do as they stand."""
    cohort = read_bids(root)
    assert cohort == read_bids(root, BidsSettings(session_by="label"))
    return cohort


@pytest.mark.parametrize(
    "labels",
    [
        ("A", "B"),
        ("1", "2"),
        ("3T", "1.5T"),
        ("01", "02", "03"),
        ("site1", "site2", "site3"),
        ("scan1", "scan2", "scan3"),
        ("GE15", "GE30", "SIE15"),
        ("baseline", "followup"),
    ],
)
def test_labels_that_are_scanners(study: Study, labels: tuple[str, ...]) -> None:
    root = study({f"sub-0{n}_ses-{label}": {} for n in (1, 2, 3) for label in labels})
    assert as_it_is(root).scanners == tuple(sorted(labels))


def test_wrong_field_strengths_and_missing_models_are_no_contradiction(study: Study) -> None:
    scans: dict[str, Fields] = {}
    for n in range(1, 6):
        scans[f"sub-0{n}_ses-A"] = {FIELD: 3 if n < 4 else 1.5, MODEL: "Prisma"}
        scans[f"sub-0{n}_ses-B"] = {FIELD: 3, **({MODEL: "Skyra"} if n % 2 else {})}
    assert as_it_is(study(scans)).scanners == ("A", "B")


@pytest.mark.parametrize(
    ("labels", "scanners"),
    [
        (("UCLA1", "UCLA2", "YALE1"), ("UCLA", "YALE")),
        (("s1Ax1", "s1Ax2", "s1Bx1", "s2x1"), ("s1A", "s1B", "s2")),
        (("GE3Tv1", "GE3Tv2", "PHv1"), ("GE3T", "PH")),
        (("3T1", "3T2", "7T1"), ("3T", "7T")),
        (("OXF2PRI001", "OXF2PRI002", "NOT1ACH001"), ("NOT1ACH", "OXF2PRI")),
        (("prismatest", "prismaretest", "triotest"), ("prisma", "trio")),
    ],
)
def test_labels_with_visits(
    study: Study, labels: tuple[str, ...], scanners: tuple[str, ...]
) -> None:
    root = study({f"sub-0{n}_ses-{label}": {} for n in (1, 2, 3) for label in labels})
    settings, cohort = follow(root)
    assert list(settings) == ["session_pattern"]
    assert cohort.scanners == scanners


def test_numbered_scanners_of_several_devices_are_no_visits(study: Study) -> None:
    devices = {"GE1": "Signa", "GE2": "MR750", "PH1": "Achieva"}
    root = study({f"sub-0{n}_ses-{s}": {MODEL: m} for n in (1, 2) for s, m in devices.items()})
    assert as_it_is(root).scanners == ("GE1", "GE2", "PH1")


def test_labels_that_repeat_the_subject(study: Study) -> None:
    root = study({f"sub-{s}_ses-{s}{v}": {} for s in ("T01", "T02") for v in ("CCF", "MGH", "UW")})
    settings, cohort = follow(root)
    assert "(?P=subject)" in settings["session_pattern"]
    assert cohort.scanners == ("CCF", "MGH", "UW")
    assert len(cohort.subjects) == 2


def test_upgrades_behind_one_station_name(study: Study) -> None:
    old, new = {STATION: "MRC1", SOFTWARE: "VB17"}, {STATION: "MRC1", SOFTWARE: "VE11"}
    other = {STATION: "MRC2", SOFTWARE: "VB17"}
    orders = [(old, new, other), (other, old, new), (old, other, new)]
    root = study({
        f"sub-0{n}_ses-0{place}": {MODEL: "Trio", **own}
        for n, order in enumerate(orders, start=1)
        for place, own in enumerate(order, start=1)
    })  # fmt: skip
    settings, cohort = follow(root)
    assert settings == {"session_by": f"{STATION},{SOFTWARE}"}
    assert cohort.scanners == ("MRC1-VB17", "MRC1-VE11", "MRC2")
    # Each subject was on each scanner once: there is no visit to name.
    assert {scan.visit for scan in cohort.scans.values()} == {""}


def test_an_upgrade_inside_a_label_is_noted(study: Study) -> None:
    root = study({
        f"sub-0{n}_ses-{s}": {MODEL: s, SOFTWARE: "VE11" if n > 1 and s == "A" else "VB17"}
        for n in (1, 2, 3)
        for s in "AB"
    })  # fmt: skip
    (note,) = read_bids(root).notes
    assert (note.kind, note.where) == ("software-differs", "scanner A")
    assert "VB17 in 1, VE11 in 2" in note.text


def test_scanners_in_turn_behind_one_label_are_noted(study: Study) -> None:
    # Half of the subjects were on the other scanner first, and one scanner doesn't give its model.
    old = {"MagneticFieldStrength": 15000, "Manufacturer": "SIEMENS", MODEL: "Avanto"}
    new = {"MagneticFieldStrength": 2.89, "Manufacturer": "SIEMENS"}
    root = study({
        f"sub-0{n}_ses-{s}": old if (n + s) % 2 else new for n in (1, 2, 3, 4) for s in (1, 2)
    })  # fmt: skip
    notes = [note for note in read_bids(root).notes if note.kind == "field-strength-differs"]
    assert [note.where for note in notes] == ["scanner 1", "scanner 2"]
    assert "1.5T in 2, 3T in 2" in notes[0].text
    by_field = read_bids(root, BidsSettings(session_by="MagneticFieldStrength"))
    assert by_field.scanners == ("1.5T", "3T")


def test_labels_in_order_of_scanning_contradict_the_sidecars(study: Study) -> None:
    models = ("Prisma", "Skyra")
    root = study({
        f"sub-0{n}_ses-{place}": {MODEL: models[(n + place) % 2], SERIAL: f"S{n}"}
        for n in range(1, 7)
        for place in (1, 2)
    })  # fmt: skip
    settings, cohort = follow(root)
    assert settings == {"session_by": MODEL}
    assert cohort.scanners == models
    assert len(cohort.scans) == 12


def test_visits_on_one_device_under_labels_of_their_own(study: Study) -> None:
    serials = ("D1", "D1", "D2")
    root = study({
        f"sub-0{n}_ses-0{place}": {MODEL: "Prisma", SERIAL: serial}
        for n in (1, 2, 3)
        for place, serial in enumerate(serials, start=1)
    })  # fmt: skip
    settings, cohort = follow(root)
    assert settings == {"session_by": SERIAL}
    assert [key[1] for key in list(cohort.scans)[:3]] == ["D1-01", "D1-02", "D2-03"]


def test_field_strengths_count_against_mere_numbers_only(study: Study) -> None:
    def make(labels: tuple[str, str]) -> Mapping[str, Fields]:
        return {
            f"sub-0{n}_ses-{label}": {FIELD: 3 if (n + place) % 2 else 1.5}
            for n in range(1, 7)
            for place, label in enumerate(labels)
        }

    settings, cohort = follow(study(make(("1", "2"))))
    assert settings == {"session_by": FIELD}
    assert cohort.scanners == ("1.5T", "3T")


def test_dates_as_labels_and_a_model_that_is_missing(study: Study) -> None:
    scans: dict[str, Fields] = {}
    for n in range(1, 5):
        scans[f"sub-0{n}_ses-2020010{n}"] = {"Manufacturer": "GE"}
        scans[f"sub-0{n}_ses-2020020{n}"] = {"Manufacturer": "Siemens", MODEL: "Prisma"}
    settings, cohort = follow(study(scans))
    assert settings == {"session_by": "Manufacturer"}
    assert cohort.scanners == ("GE", "Siemens")


@pytest.mark.parametrize("session", ["", "ses-1_"])
def test_scanners_in_the_acquisition(study: Study, session: str) -> None:
    root = study({f"sub-0{n}_{session}acq-{a}": {} for n in (1, 2) for a in ("ge", "sie")})
    settings, cohort = follow(root)
    assert settings == {"session_by": "acq"}
    assert cohort.scanners == ("ge", "sie")


def test_a_column_of_sessions_tsv(study: Study) -> None:
    root = study({f"sub-0{n}_ses-{n}{place}": {} for n in (1, 2) for place in "abc"})
    for n in (1, 2):
        rows = [f"ses-{n}{p}\t{s}" for p, s in zip("abc", ("X", "Y", "X"), strict=True)]
        table = root / f"sub-0{n}" / f"sub-0{n}_sessions.tsv"
        table.write_text("\n".join(["session_id\tscanner_name", *rows]) + "\n")
    settings, cohort = follow(root)
    assert settings == {"session_by": "sessions.tsv:scanner_name"}
    assert list(cohort.scans)[:3] == [("sub-01", "X-1a"), ("sub-01", "X-1c"), ("sub-01", "Y-1b")]


def test_a_column_that_disagrees_with_labels_of_visits(study: Study) -> None:
    scanners = {
        (n, v): "XY"[(n + place) % 2] for n in (1, 2, 3, 4) for place, v in enumerate("abc")
    }
    root = study({f"sub-0{n}_ses-{v}": {} for n, v in scanners})
    rows = [f"sub-0{n} ses-{v} {own} {'HC' if n % 2 else 'MS'}" for (n, v), own in scanners.items()]
    participants(root, "participant_id session_id scanner group", *rows)
    settings, cohort = follow(root)
    assert settings == {"session_by": "participants.tsv:scanner"}
    assert {key: scan.scanner for key, scan in cohort.scans.items()} == {
        (f"sub-0{n}", f"{own}-{v}"): own for (n, v), own in scanners.items()
    }
    # A site counts where labels and sites cross, and not where each label has one.
    participants(root, "participant_id session_id site group", *rows)
    assert follow(root)[0] == {"session_by": "participants.tsv:site"}
    rows = [f"sub-0{n} ses-{v} {v.upper()} HC" for n, v in scanners]
    participants(root, "participant_id session_id scanner group", *rows)
    assert as_it_is(root).scanners == ("a", "b", "c")
    # Without a crossing, visits on one scanner are seen by a column that is called scanner.
    rows = [f"sub-0{n} ses-{v} {'X' if v == 'a' else 'Y'} HC" for n, v in scanners]
    participants(root, "participant_id session_id scanner group", *rows)
    assert follow(root)[1].scanners == ("X", "Y")


def test_an_upgrade_that_some_had_between_two_visits(study: Study) -> None:
    def make(upgraded: int) -> Mapping[str, Fields]:
        return {
            f"sub-0{n}_ses-{v}": {
                STATION: "MRC1",
                SOFTWARE: "VE11" if v == "v2" and n <= upgraded else "VB17",
            }
            for n in range(1, 9)
            for v in ("v1", "v2")
        }

    settings, cohort = follow(study(make(6)))
    assert settings == {"session_by": SOFTWARE}
    counts = {s: len([c for c in cohort.scans.values() if c.scanner == s]) for s in cohort.scanners}
    assert counts == {"VB17": 10, "VE11": 6}


def test_one_station_for_both_labels_is_no_contradiction(study: Study) -> None:
    # What a scrambler wrote: the same for all, with one odd scan.
    root = study({
        f"sub-0{n}_ses-{s}": {STATION: "X", SOFTWARE: "2" if (n, s) == (1, "B") else "1"}
        for n in range(1, 9)
        for s in "AB"
    })  # fmt: skip
    assert as_it_is(root).scanners == ("A", "B")


DEVICE = {STATION: "MRC1", SOFTWARE: "E11", MODEL: "Skyra", SERIAL: "123"}


@pytest.mark.parametrize("labels", [("baseline", "followup"), ("a", "b", "c")])
@pytest.mark.parametrize("known", [4, 1])
@pytest.mark.parametrize("fields", [(STATION, SOFTWARE, MODEL), (SERIAL,), tuple(DEVICE)])
def test_one_device_under_several_labels(
    study: Study, labels: tuple[str, ...], known: int, fields: tuple[str, ...]
) -> None:
    device = {name: DEVICE[name] for name in fields}
    root = study({
        f"sub-0{n}_ses-{s}": device if n <= known else {} for n in (1, 2, 3, 4) for s in labels
    })  # fmt: skip
    with pytest.raises(UnclearScannersError, match="one and the same device") as caught:
        read_bids(root)
    assert "--session-by label" in str(caught.value)
    assert read_bids(root, BidsSettings(session_by="label")).scanners == labels


@pytest.mark.parametrize(
    "change", [{SOFTWARE: "XA30"}, {SOFTWARE: ""}, {SERIAL: "124"}, {STATION: "MRC2"}]
)
def test_an_upgrade_and_another_device_are_changes(study: Study, change: Fields) -> None:
    root = study({
        f"sub-0{n}_ses-{s}": {**DEVICE, **(change if s == "B" else {})} for n in (1, 2) for s in "AB"
    })  # fmt: skip
    assert as_it_is(root).scanners == ("A", "B")


@pytest.mark.parametrize("serial", ["0000", "ANON"])
def test_a_serial_number_that_was_removed_names_no_device(study: Study, serial: str) -> None:
    root = study({f"sub-0{n}_ses-{s}": {SERIAL: serial} for n in (1, 2) for s in "AB"})
    assert as_it_is(root).scanners == ("A", "B")


def test_a_subject_for_each_site(study: Study) -> None:
    root = study({f"sub-SITE{site}0{n}": {} for site in "AB" for n in (1, 2, 3)})
    settings, cohort = follow(root)
    assert list(settings) == ["session_pattern"]
    assert cohort.scanners == ("SITEA", "SITEB")
    assert cohort.subjects == ("sub-01", "sub-02", "sub-03")


def test_a_column_says_who_is_who(study: Study) -> None:
    labels = {"sub-A1": "p1", "sub-A2": "p2", "sub-A3": "p3"}
    labels |= {"sub-B1": "p3", "sub-B2": "p1", "sub-B3": "p2"}
    root = study({f"{label}_ses-1": {} for label in labels})
    rows = [f"{s} {p} {s[4]} {'MF'[int(p[1]) % 2]} HC" for s, p in labels.items()]
    participants(root, "participant_id person site sex group", *rows)
    settings, cohort = follow(root)
    # By number, sub-A1 and sub-B1 would be one; their sex differs.
    assert settings == {"subject_by": "person", "session_by": "participants.tsv:site"}
    assert cohort.subjects == ("sub-p1", "sub-p2", "sub-p3")
    assert cohort.scans["sub-p1", "B"].path.name == "sub-B2_ses-1_T1w.nii.gz"
    assert cohort.groups["sub-p1"] == "HC"


def test_sites_with_people_of_their_own_are_not_joined(study: Study) -> None:
    root = study({f"sub-SITE{site}0{n}": {} for site in "AB" for n in (1, 2, 3)})
    rows = [f"sub-SITE{site}0{n} {20 + n + 30 * (site == 'B')}" for site in "AB" for n in (1, 2, 3)]
    participants(root, "participant_id age", *rows)
    with pytest.raises(UnclearScannersError, match="no way to tell scanners apart"):
        read_bids(root)


def test_one_person_with_two_groups_is_refused(study: Study) -> None:
    root = study({f"sub-{label}_ses-1": {} for label in ("A1", "B1")})
    participants(root, "participant_id group", "sub-A1 HC", "sub-B1 MS")
    pattern = r"sub-(?P<scanner>[A-Z])(?P<subject>\d)"
    with pytest.raises(CohortError, match=r"two groups .*'HC' \(sub-A1\) and 'MS' \(sub-B1\)"):
        read_bids(root, BidsSettings(session_pattern=pattern))


def test_the_proposal_is_a_command(study: Study, call: Callable[..., object]) -> None:
    root = study({f"sub-0{n}_ses-{s}": {} for n in (1, 2) for s in ("UC1", "UC2", "YA1")})
    code, out, err = call("cohort", "--data", root, "--json")  # type: ignore[misc]
    assert code == 2
    assert f"harmbench cohort --data {root} --session-pattern '(?P<scanner>" in err
    assert json.loads(out)["proposal"]["options"][0] == "--session-pattern"
