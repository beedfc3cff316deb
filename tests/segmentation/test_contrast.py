"""The contrast of scans, by their names or as set."""

from pathlib import Path

import numpy as np
import pytest

from harmbench.errors import SegmentationError
from harmbench.segmentation import make_segmenter
from harmbench.segmentation.contrast import (
    by_rising_intensity,
    contrast_notes,
    contrast_of_file,
    find_contrast,
    to_tissues,
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sub-1_ses-a_T1w.nii.gz", "T1w"),
        ("sub-1_ce-gadolinium_T1w.nii", "T1w"),
        ("sub-26_ceT1w.nii.gz", "T1w"),
        ("sub-1_T2w.nii.gz", "T2w"),
        ("sub-1_t2w.mgz", "T2w"),
        ("sub-1_UNIT1.nii.gz", "UNIT1"),
        ("sub-1_FLAIR.nii.gz", "FLAIR"),
        ("flair.nii.gz", "FLAIR"),
        ("sub-1_T1map.nii.gz", "T1map"),
        ("subject1_3T.nii.gz", None),
        # Time points, as likely as contrasts.
        ("subject1_T1.nii.gz", None),
        ("subject1_T2.nii.gz", None),
        ("s0_A.nii.gz", None),
        # Names of other tools go on after the suffix; entities say nothing about the scan itself.
        ("sub-1_T2w_brain.nii.gz", "T2w"),
        ("sub-1.flair.bet.nii.gz", "FLAIR"),
        ("01-T2w.nii.gz", "T2w"),
        ("sub-1_T2w_to_T1w_warped.nii.gz", "T2w"),
        ("sub-1_space-T2w_brain.nii.gz", None),
        ("sub-1_mask_applied.nii.gz", None),
        # Words of a part in camel case, and names of sequences.
        ("PatFlair.nii.gz", "FLAIR"),
        ("patT1W.nii.gz", "T1w"),
        ("T2_FLAIR.nii.gz", "FLAIR"),
        ("T2FLAIR.nii.gz", "FLAIR"),
        ("MPRAGE_defaced.nii.gz", "T1w"),
        ("p1_t2_tse.nii.gz", None),
        ("p1_t2tse.nii.gz", "T2w"),
        ("3DT1ce.nii.gz", "T1w"),
        ("T2Star_1.nii.gz", "T2starw"),
        ("PD01_T2w.nii.gz", "T2w"),
        ("flairing.nii.gz", None),
    ],
)
def test_a_suffix_of_bids_says_the_contrast(name: str, expected: str | None) -> None:
    assert contrast_of_file(Path("T2w_folder") / name) == expected


def test_scans_share_a_contrast() -> None:
    assert find_contrast([]) == "T1w"
    assert find_contrast([Path("a.nii"), Path("b.nii")]) == "T1w"
    assert find_contrast([Path("a_T2w.nii"), Path("b.nii")]) == "T2w"
    assert find_contrast([Path("a_UNIT1.nii"), Path("b_T1w.nii")]) in {"UNIT1", "T1w"}
    assert find_contrast([Path("a_FLAIR.nii")], "T1w") == "T1w"
    assert find_contrast([Path("a_T1w.nii")], "T2w") == "T2w"


@pytest.mark.parametrize(
    "name", ["p1_T2.nii.gz", "t2.nii.gz", "T2_space.nii.gz", "patT2.nii", "PD_p1_t2.nii"]
)
def test_a_bare_word_counts_with_a_note(name: str) -> None:
    assert find_contrast([Path(name)]) == "T2w"
    (note,) = contrast_notes([Path(name)])
    assert (note.kind, note.where) == ("contrast-from-word", name)
    assert "--contrast" in note.text
    assert find_contrast([Path(name)], "T1w") == "T1w"
    assert contrast_notes([Path(name)], "T1w") == []


def test_a_contrast_that_no_name_says_is_assumed_with_one_note() -> None:
    (note,) = contrast_notes([Path("a.nii"), Path("b.nii")])
    assert note.kind == "contrast-assumed" and "T1w is assumed" in note.text and not note.where
    (note,) = contrast_notes([Path("a_T2w.nii"), Path("b.nii")])
    assert "T2w is assumed" in note.text and note.where == "b.nii"
    assert contrast_notes([Path("a_T1w.nii"), Path("t1.nii")]) == []
    assert contrast_notes([]) == []


def test_bare_words_that_differ_are_refused() -> None:
    scans = [Path("p1_t1.nii"), Path("p1_t2.nii")]
    with pytest.raises(SegmentationError, match="time points, set the contrast"):
        find_contrast(scans)
    assert find_contrast(scans, "T1w") == "T1w"
    with pytest.raises(SegmentationError, match="contrast PDw"):
        find_contrast([Path("p1_pd.nii")])


@pytest.mark.parametrize("name", ["FLAIR", "PDw", "T1map", "T2starw"])
def test_a_contrast_without_an_order_is_refused(name: str) -> None:
    with pytest.raises(SegmentationError, match=f"x_{name}.nii: .* contrast {name}; allowed: T1w"):
        find_contrast([Path(f"x_{name}.nii")])
    with pytest.raises(SegmentationError, match="allowed: T1w, UNIT1, T2w"):
        find_contrast([Path("x.nii")], name)


def test_scans_of_opposite_orders_are_refused() -> None:
    with pytest.raises(SegmentationError, match=r"T1w \(a_T1w.nii\), T2w \(b_T2w.nii\)"):
        find_contrast([Path("a_T1w.nii"), Path("b_T2w.nii")])


def test_classes_become_tissues() -> None:
    classes = np.arange(4, dtype=np.uint8).reshape(1, 1, 4)
    assert to_tissues(classes, "T1w").ravel().tolist() == [0, 1, 2, 3]
    assert to_tissues(classes, "T2w").ravel().tolist() == [0, 3, 2, 1]
    data = np.array([[[0.0, 0.9, 0.2, 0.5]]], dtype=np.float32)
    assert by_rising_intensity(classes, data).ravel().tolist() == [0, 3, 1, 2]
    only = np.array([[[0, 2, 2, 1]]], dtype=np.uint8)
    assert set(by_rising_intensity(only, data).ravel().tolist()) == {0, 1, 2}


def test_every_segmenter_has_a_key_of_its_contrast(thresholds) -> None:
    from harmbench.segmentation.stored import segmenter_key

    one, other = (make_segmenter("hmrf", contrast=name) for name in ("T1w", "T2w"))
    assert segmenter_key(one) != segmenter_key(other)
    with pytest.raises(SegmentationError, match="thresholds is made for T1w"):
        make_segmenter("thresholds", contrast="T2w")
