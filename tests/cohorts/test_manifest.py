from pathlib import Path

import pytest

from harmbench.cohorts.manifest import read_manifest
from harmbench.errors import CohortError


def test_reads_paths_relative_to_the_file(make_manifest) -> None:
    path = make_manifest(3)
    cohort = read_manifest(path)
    assert cohort.subjects == ("s0", "s1", "s2")
    assert cohort.sessions == ("A", "B")
    assert dict(cohort.groups) == {"s0": "HC", "s1": "MS", "s2": "HC"}
    assert cohort.scans["s1", "B"].path == path.parent / "s1_B.nii.gz"
    assert not cohort.simulated


def test_a_mask_column(make_manifest) -> None:
    path = make_manifest(1)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0] + ",mask", lines[1] + ",s0_B.nii.gz", lines[2] + ","]))
    cohort = read_manifest(path)
    assert cohort.scans["s0", "A"].mask == path.parent / "s0_B.nii.gz"
    assert cohort.scans["s0", "B"].mask is None


def test_simulated_scans_stay_simulated_in_a_manifest(make_manifest) -> None:
    path = make_manifest(2)
    assert not read_manifest(path).simulated
    (path.parent / "s0_A.json").write_text("{broken")
    (path.parent / "s0_B.json").write_text('{"Simulated": "no"}')
    assert not read_manifest(path).simulated
    (path.parent / "s1_B.json").write_text('{"Simulated": true}')
    cohort = read_manifest(path)
    assert cohort.simulated
    assert cohort.description.startswith("SIMULATED")


def test_every_bad_row_is_listed(make_manifest) -> None:
    path = make_manifest(2)
    with path.open("a") as file:
        file.write("s0,HC,A,s0_A.nii.gz\ns1,HC,C,s1_A.nii.gz\ns2,MS,A,none.nii.gz\n,MS,A,x\n")
    with pytest.raises(CohortError) as caught:
        read_manifest(path)
    assert list(caught.value.problems) == [
        "line 6: subject s0, session A is listed twice",
        "line 7: subject s1 is in group HC and in MS",
        f"line 8: {path.parent / 'none.nii.gz'}: no such file",
        "line 9: subject is empty",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("subject,group,session,file\n", "'path' is missing"),
        ("subject,group,session,path,masks\na,b,c,d,e\n", "did you mean 'mask'"),
        ("subject,group,session,path\n", "lists no scan"),
        ("", "the table is empty"),
    ],
)
def test_files_that_are_no_manifest(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(text)
    with pytest.raises(CohortError, match=message):
        read_manifest(path)


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("~/a.nii", "~ and variables such as .HOME are not replaced"),
        ("$HOME/a.nii", "~ and variables such as .HOME are not replaced"),
        ("file:///a.nii", "give a path, not a URL"),
    ],
)
def test_paths_that_only_a_shell_would_find(tmp_path: Path, written: str, hint: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(f"subject,group,session,path\n1,HC,A,{written}\n")
    with pytest.raises(CohortError, match=f"line 2: .*no such file; {hint}"):
        read_manifest(path)
