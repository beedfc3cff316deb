"""Tissue shares with sharp boundaries and individual folds, made from blurred probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from harmbench.arrays import Single
from harmbench.cohorts.phantom.fields import Nodes, PhantomGrid, random_nodes
from harmbench.cohorts.phantom.warp import Traits

__all__ = ["draw_folding", "myelin_deviation", "tissue_shares"]


# Random functions of the folding: (distance of nodes in mm). White matter boundary fine and coarse,
# fluid boundary fine and coarse, sulci, folia of the cerebellum, and two whose zero sheets cross in
# the arteries.
_NODES_MM = (3.0, 6.0, 3.0, 6.0, 7.0, 2.6, 5.0, 5.0)
_FINE_SD, _COARSE_SD = 0.10, 0.12
_TEMPERATURE, _DEEP_TEMPERATURE = 0.07, 0.22
_CSF_GAIN, _CSF_DETAIL, _WM_DETAIL = 1.7, 2.8, 1.5
_SULCUS_WIDTH = 0.35
_VESSEL_WIDTH = 0.3
_MYELIN_GM, _MYELIN_WM = 0.35, 0.15


def draw_folding(generator: np.random.Generator, field: PhantomGrid) -> tuple[Nodes, ...]:
    """Draw the random functions that `tissue_shares` takes, inside the box `field`."""
    return tuple(random_nodes(generator, field, spacing) for spacing in _NODES_MM)


def tissue_shares(
    maps: Mapping[str, Single], noises: Sequence[Single], traits: Traits
) -> dict[str, Single]:
    """Share of each class at N points of the brain.

    Every tissue has a score: its probability in the average brain, the difference of that probability
    to its surroundings (which brings back thin sulci and gyri), and random functions. A softmax at low
    temperature makes boundaries about as wide as partial volume at 1 mm; deep nuclei and the
    brainstem, which are mixtures, stay soft.

    Args:
        maps: values (N,) of the atlas' maps, and `lesion`.
        noises: values (N,) of the functions of `draw_folding`.
        traits: width of sulci, thickness of white matter.

    Returns:
        Class to share (N,), float32; the shares sum to 1.
    """
    white_fine, white_coarse, fluid_fine, fluid_coarse, fold, folia, *sheets = noises
    wm, gm, cerebellum = maps["wm"], maps["gm"], maps["cerebellum"]
    csf = np.clip(1 - wm - gm, 0, 1)
    deep = np.maximum(maps["deep_gm"], maps["brainstem"])
    cortical = 1 - deep
    for_fluid, for_grey, for_white = _folds(
        maps, np.abs(fold * (1 - cerebellum) + folia * cerebellum), cortical
    )
    fluid_noise = _FINE_SD * fluid_fine + _COARSE_SD * fluid_coarse
    white_noise = _FINE_SD * white_fine + _COARSE_SD * white_coarse
    fluid_score = _CSF_DETAIL * maps["csf_detail"] + traits.sulci + fluid_noise
    white_score = _WM_DETAIL * maps["wm_detail"] + traits.thinning + white_noise
    scores = np.stack(
        [
            csf * _CSF_GAIN + cortical * fluid_score + for_fluid,
            gm + for_grey,
            wm + cortical * white_score + for_white,
        ]
    )
    temperature = _TEMPERATURE + (_DEEP_TEMPERATURE - _TEMPERATURE) * deep
    scores = np.exp((scores - scores.max(0)) / temperature)
    scores /= scores.sum(0)
    fluid, grey, white = scores
    lesion = maps["lesion"] * white
    # Two random sheets cross in smooth lines: arteries, wherever these run through outer fluid.
    vessel = np.clip(1.5 - np.hypot(*sheets) / _VESSEL_WIDTH, 0, 1)
    vessel *= fluid * np.clip(1 - 2 * maps["ventricles"], 0, 1)
    return {
        "CSF": fluid - vessel,
        "BLOOD": vessel,
        "GM": grey * cortical,
        "DGM": grey * deep,
        "WM": white - lesion,
        "LESION": lesion,
    }


def _folds(
    maps: Mapping[str, Single], fold: Single, cortical: Single
) -> tuple[Single, Single, Single]:
    """What the subject's own folds add to the scores of fluid, grey and white matter.

    Zero crossings of a random function are smooth sheets, which become sulci; half-way between two
    of them the white matter of a gyrus reaches up. `fold` is the function's absolute value.
    """
    wm, gm, cerebellum = maps["wm"], maps["gm"], maps["cerebellum"]
    bulk = cortical * np.minimum(1.6 * gm * (1 - wm), 1)
    sulcus = (1.0 - 0.4 * cerebellum) * bulk * np.clip(1 - fold / _SULCUS_WIDTH, 0, 1)
    gyrus = 0.7 * bulk * np.clip(fold - 0.8, 0, 0.7)
    ribbon = 1.6 * cortical * gm * wm * np.clip(1 - fold / 0.9, 0, 1)
    # Where the average has blurred all folds below the surface, sulci cut into its white matter,
    # lined with cortex.
    blurred = cortical * (1 - cerebellum) * wm * np.clip(1.5 - maps["depth"] / 10, 0, 1)
    cut = 3.4 * blurred * np.clip(1 - fold / 0.25, 0, 1)
    lining = 2.2 * blurred * np.clip((0.75 - fold) / 0.3, 0, 1)
    return sulcus + cut, ribbon + lining, gyrus


def myelin_deviation(wm: Single, shares: Mapping[str, Single]) -> Single:
    """Relative deviation of T1 with myelin, shape (N,).

    T1 falls with depth: deep cortical layers hold more myelin than those at the surface, and central
    white matter more than that below the cortex. The average brain's share of white matter is used
    as a measure of depth.

    Args:
        wm: the average brain's share of white matter at N points, shape (N,).
        shares: see `tissue_shares`.
    """
    grey = -_MYELIN_GM * (np.clip(wm, 0, 0.6) - 0.2)
    white = _MYELIN_WM * np.clip(0.9 - wm, -0.1, 0.6)
    return np.asarray(shares["GM"] * grey + shares["WM"] * white, dtype=np.float32)
