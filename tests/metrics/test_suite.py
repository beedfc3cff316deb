import math
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from scipy import ndimage

from harmbench.errors import MetricError
from harmbench.metrics import histogram, image, overlap, ssim, structure, volumetry
from harmbench.metrics.base import Metric
from harmbench.metrics.suite import METRICS, score_image, score_tissues
from harmbench.segmentation.base import TISSUES

SHAPE = (16, 17, 18)
SPACING = (1.0, 1.2, 0.8)
RADIUS = np.linalg.norm((np.indices(SHAPE).T - (7.5, 8, 8.5)).T, axis=0)
BRAIN = RADIUS < 7
LABELS = (1 * (RADIUS < 7) + 1 * (RADIUS < 6) + 1 * (RADIUS < 4)).astype(np.uint8)
IMAGE = [name for name, metric in METRICS.items() if metric.scope == "image"]
TISSUE = [name for name, metric in METRICS.items() if metric.scope == "tissue"]


@pytest.fixture(scope="module")
def reference() -> np.ndarray:
    texture = ndimage.gaussian_filter(np.random.default_rng(0).normal(0, 1, SHAPE), 1)
    tissue = np.choose(LABELS, [0, 0.15, 0.5, 0.8])
    return np.clip((tissue + 0.1 * texture) * BRAIN, 0, 1).astype(np.float32)


def spoiled(reference: np.ndarray, amount: float) -> np.ndarray:
    """Noise, brighter tissue and a stripe in every third slice, all growing with `amount`."""
    rng = np.random.default_rng(1)
    worse = reference * (1 + amount) + amount * rng.normal(0, 0.1, SHAPE)
    worse[::3] += amount / 2
    return np.clip(worse * BRAIN, 0, 1).astype(np.float32)


def by_name(scores, tissue=""):
    return {score.metric: score for score in scores if score.tissue == tissue}


class TestDeclarations:
    def test_names_are_the_keys_and_the_order_is_the_tables(self):
        assert [metric.name for metric in METRICS.values()] == list(METRICS)
        assert list(METRICS) == IMAGE + TISSUE
        assert list(METRICS)[:2] == ["mse", "mse_brain"]
        assert TISSUE[:2] == ["dice", "hd"]

    def test_every_declaration_is_listed(self):
        modules = (image, ssim, histogram, structure, overlap, volumetry)
        declared = {v.name for m in modules for v in vars(m).values() if isinstance(v, Metric)}
        assert declared == set(METRICS)

    def test_the_registry_cannot_be_changed(self):
        with pytest.raises(TypeError):
            METRICS["mse"] = METRICS["psnr"]

    @pytest.mark.parametrize("metric", METRICS.values(), ids=list(METRICS))
    def test_a_declaration_is_complete(self, metric):
        assert metric.lower < metric.upper
        assert metric.unit
        assert metric.description.endswith(".")
        assert metric.description.count(". ") <= 2
        assert metric.title != metric.name
        perfect = {"lower": metric.lower, "higher": metric.upper, "zero": 0, "none": 1}
        assert metric.contains(perfect[metric.better])

    @pytest.mark.parametrize("module", [image, ssim, histogram, structure, overlap, volumetry])
    def test_public_names_exist(self, module):
        assert all(hasattr(module, name) for name in module.__all__)
        assert len(set(module.__all__)) == len(module.__all__)

    def test_directions(self):
        # Written out by hand: a direction turned round would rank every method upside down.
        higher = {"psnr", "psnr_brain", "ssim", "ssim_brain", "nmi", "nmi_brain", "dice"}
        higher |= {"gradient_correlation"}
        zero = {"bright_voxel_excess", "relative_volume_difference"}
        for name, metric in METRICS.items():
            expected = "higher" if name in higher else "zero" if name in zero else "lower"
            assert metric.better == ("none" if name == "volume_mm3" else expected)


class TestScoreImage:
    def test_every_image_metric_once_in_order(self, reference):
        scores = score_image(
            spoiled(reference, 0.1), reference, 0.9 * reference, BRAIN, spacing_mm=SPACING
        )
        assert [score.metric for score in scores] == IMAGE
        assert all(score.tissue == "" and score.status == "ok" for score in scores)
        assert all(METRICS[score.metric].contains(score.value) for score in scores)

    def test_the_reference_itself_is_perfect(self, reference):
        scores = score_image(reference, reference, reference, BRAIN, spacing_mm=SPACING)
        perfect = {"higher": lambda m: m.upper, "lower": lambda m: m.lower, "zero": lambda m: 0.0}
        for score in scores:
            metric = METRICS[score.metric]
            assert score.value == pytest.approx(perfect[metric.better](metric), abs=1e-6)

    def test_each_name_holds_its_own_function(self, reference):
        harmonized, source = spoiled(reference, 0.2), 0.8 * reference
        found = by_name(
            score_image(harmonized, reference, source, BRAIN, spacing_mm=SPACING, stacking_axis=2)
        )
        pair = (harmonized, reference)
        expected = {
            "mse": image.mse(*pair),
            "mse_brain": image.mse(*pair, BRAIN),
            "psnr": image.psnr(*pair),
            "psnr_brain": image.psnr(*pair, BRAIN),
            "ssim": ssim.ssim(*pair),
            "ssim_brain": ssim.ssim(*pair, BRAIN),
            "nmi": image.nmi(*pair),
            "nmi_brain": image.nmi(*pair, BRAIN),
            "ahd": histogram.ahd(*pair),
            "ahd_normalized": histogram.ahd_normalized(*pair, BRAIN),
            "wasserstein": histogram.wasserstein(*pair, BRAIN),
            "gradient_correlation": structure.gradient_correlation(
                harmonized, source, BRAIN, spacing_mm=SPACING
            ),
            "stripe_index": structure.stripe_index(*pair, BRAIN, stacking_axis=2),
            "bright_voxel_excess": structure.bright_voxel_excess(*pair, BRAIN),
        }
        assert {name: score.value for name, score in found.items()} == expected
        assert len(set(expected.values())) == len(expected)

    @pytest.mark.parametrize("name", IMAGE)
    def test_a_worse_volume_scores_worse_in_the_declared_direction(self, name, reference):
        mild, bad = (
            by_name(
                score_image(
                    spoiled(reference, amount), reference, reference, BRAIN, spacing_mm=SPACING
                )
            )[name].value
            for amount in (0.05, 0.3)
        )
        better = METRICS[name].better
        if better == "zero":
            assert abs(bad) > abs(mild)
        else:
            assert (bad > mild) if better == "lower" else (bad < mild)

    def test_without_a_brain_only_whole_volume_metrics_have_a_value(self, reference):
        empty = np.zeros(SHAPE, bool)
        scores = score_image(reference, reference, reference, empty, spacing_mm=SPACING)
        ok = {score.metric for score in scores if score.status == "ok"}
        assert ok == {"mse", "psnr", "ssim", "nmi", "ahd"}
        rest = [score for score in scores if score.metric not in ok]
        assert all(math.isnan(score.value) and score.status == "undefined" for score in rest)

    def test_without_a_source_only_the_gradient_correlation_is_undefined(self, reference):
        harmonized = spoiled(reference, 0.1)
        found, expected = (
            by_name(score_image(harmonized, reference, source, BRAIN, spacing_mm=SPACING))
            for source in (None, reference)
        )
        assert found.pop("gradient_correlation").status == "undefined"
        assert expected.pop("gradient_correlation").status == "ok"
        assert found == expected

    def test_read_only_input_is_scored_and_left_as_it_was(self, reference):
        arrays = (spoiled(reference, 0.5), reference.copy(), reference.copy())
        before = [array.copy() for array in arrays]
        for array in arrays:
            array.flags.writeable = False
        score_image(*arrays, BRAIN, spacing_mm=SPACING)
        assert all(np.array_equal(*pair) for pair in zip(arrays, before, strict=True))

    def test_arrays_must_fit_together(self, reference):
        with pytest.raises(MetricError, match=r"source \(16, 17, 17\)"):
            score_image(reference, reference, reference[..., :17], BRAIN, spacing_mm=SPACING)
        broken = reference.copy()
        broken[0, 0, 0] = np.nan
        with pytest.raises(MetricError, match="source has 1 voxels that are NaN"):
            score_image(reference, reference, broken, BRAIN, spacing_mm=SPACING)
        with pytest.raises(MetricError, match="three positive lengths"):
            score_image(reference, reference, reference, BRAIN, spacing_mm=(1, 1, -1))
        with pytest.raises(MetricError, match="stacking_axis"):
            score_image(reference, reference, reference, BRAIN, spacing_mm=SPACING, stacking_axis=4)


class TestScoreTissues:
    @pytest.mark.parametrize("backend", ["nearest", "medpy"])
    def test_every_tissue_metric_of_every_tissue(self, backend):
        scores = score_tissues(
            np.roll(LABELS, 1, axis=0), LABELS, spacing_mm=SPACING, backend=backend
        )
        assert [(s.tissue, s.metric) for s in scores] == [(t, m) for t in TISSUES for m in TISSUE]
        assert all(s.status == "ok" and METRICS[s.metric].contains(s.value) for s in scores)

    def test_each_name_holds_its_own_function(self):
        labels = LABELS.copy()
        labels[:8][labels[:8] == 3] = 2
        found = by_name(score_tissues(labels, LABELS, spacing_mm=SPACING), "WM")
        masks = labels == 3, LABELS == 3
        expected = {
            "dice": overlap.dice(*masks),
            "hd": overlap.hd(*masks, spacing_mm=SPACING),
            "hd95": overlap.hd95(*masks, spacing_mm=SPACING),
            "assd": overlap.assd(*masks, spacing_mm=SPACING),
            "volume_mm3": volumetry.volume_mm3(masks[0], spacing_mm=SPACING),
            "volume_difference_mm3": volumetry.volume_difference_mm3(*masks, spacing_mm=SPACING),
            "relative_volume_difference": volumetry.relative_volume_difference(*masks),
        }
        assert {name: score.value for name, score in found.items()} == expected

    def test_the_reference_itself_is_perfect(self):
        for tissue in TISSUES:
            found = by_name(score_tissues(LABELS, LABELS, spacing_mm=SPACING), tissue)
            assert found["dice"].value == 1
            rest = set(TISSUE) - {"dice", "volume_mm3"}
            assert all(found[name].value == 0 for name in rest)

    @pytest.mark.parametrize("tissue", TISSUES)
    @pytest.mark.parametrize("name", [n for n in TISSUE if METRICS[n].better != "none"])
    def test_a_worse_segmentation_scores_worse_in_the_declared_direction(self, name, tissue):
        # Ever more tissue at one end is lost to the background.
        values = []
        for lost in (5, 8):
            labels = LABELS.copy()
            labels[:lost] = 0
            scores = score_tissues(labels, LABELS, spacing_mm=SPACING)
            values.append(by_name(scores, tissue)[name].value)
        mild, bad = values
        better = METRICS[name].better
        if better == "zero":
            assert abs(bad) > abs(mild)
        else:
            assert (bad > mild) if better == "lower" else (bad < mild)

    def test_a_tissue_missing_from_one_segmentation_is_penalized_and_marked(self):
        labels = np.where(LABELS == 1, 0, LABELS).astype(np.uint8)
        found = by_name(score_tissues(labels, LABELS, spacing_mm=SPACING), "CSF")
        diagonal = math.sqrt((16 * 1.0) ** 2 + (17 * 1.2) ** 2 + (18 * 0.8) ** 2)
        expected = {"dice": 0, "hd": diagonal, "hd95": diagonal, "assd": diagonal}
        for name, value in expected.items():
            assert found[name].status == "empty"
            assert found[name].value == pytest.approx(value)
        assert found["relative_volume_difference"].value == -100
        assert found["volume_mm3"].value == 0
        assert found["volume_mm3"].status == "ok"
        others = by_name(score_tissues(labels, LABELS, spacing_mm=SPACING), "WM")
        assert {score.status for score in others.values()} == {"ok"}

    def test_a_tissue_missing_from_the_reference_has_no_relative_difference(self):
        without = np.where(LABELS == 1, 0, LABELS).astype(np.uint8)
        found = by_name(score_tissues(LABELS, without, spacing_mm=SPACING), "CSF")
        assert found["dice"].value == 0
        assert found["dice"].status == "empty"
        assert math.isnan(found["relative_volume_difference"].value)
        assert found["relative_volume_difference"].status == "undefined"

    def test_a_tissue_missing_from_both_agrees_and_is_marked(self):
        without = np.where(LABELS == 1, 0, LABELS).astype(np.uint8)
        found = by_name(score_tissues(without, without, spacing_mm=SPACING), "CSF")
        assert [found[name].value for name in ("dice", "hd", "hd95", "assd")] == [1, 0, 0, 0]
        assert {found[name].status for name in ("dice", "hd", "hd95", "assd")} == {"empty"}

    def test_labels_that_are_no_tissue_are_named(self):
        wrong = LABELS.copy()
        wrong[0, 0, :2] = 4, 7
        with pytest.raises(MetricError, match=r"reference_labels has unknown labels \[4, 7\]"):
            score_tissues(LABELS, wrong, spacing_mm=SPACING)
        scores = score_tissues(
            wrong, wrong, spacing_mm=SPACING, tissues={**TISSUES, "x": 4, "y": 7}
        )
        assert {score.tissue for score in scores} == {*TISSUES, "x", "y"}

    @pytest.mark.parametrize("tissues", [{}, {"air": 0}, {"GM": 2, "cortex": 2}])
    def test_tissues_need_labels_of_their_own(self, tissues):
        with pytest.raises(MetricError, match="tissues is"):
            score_tissues(LABELS, LABELS, spacing_mm=SPACING, tissues=tissues)

    def test_segmentations_must_fit_together(self):
        with pytest.raises(MetricError, match=r"labels \(16, 17, 18\), reference_labels \(16, 17"):
            score_tissues(LABELS, LABELS[..., :17], spacing_mm=SPACING)
        with pytest.raises(MetricError, match="labels has dtype float32; labels are whole"):
            score_tissues(LABELS.astype(np.float32), LABELS, spacing_mm=SPACING)
        with pytest.raises(MetricError, match="three non-empty axes"):
            score_tissues(LABELS[0], LABELS[0], spacing_mm=SPACING)
        with pytest.raises(MetricError, match="unknown backend"):
            score_tissues(LABELS, LABELS, spacing_mm=SPACING, backend="fast")  # type: ignore[arg-type]  # on purpose
        with pytest.raises(MetricError, match="three positive lengths"):
            score_tissues(LABELS, LABELS, spacing_mm=(1, 1))


def test_the_registry_is_imported_without_the_heavy_packages():
    code = (
        "import sys, harmbench.metrics.suite; "
        "print([m for m in ('torch', 'medpy', 'skimage.metrics') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_scoring_an_image_takes_few_temporary_volumes() -> None:
    shape = (128, 128, 128)
    rng = np.random.default_rng(0)
    harmonized, reference = rng.random((2, *shape), dtype=np.float32)
    mask = np.zeros(shape, bool)
    mask[20:-20, 20:-20, 20:-20] = True
    score_image(harmonized, reference, reference, mask, spacing_mm=(1, 1, 1))  # imports
    tracemalloc.start()
    try:
        score_image(harmonized, reference, reference, mask, spacing_mm=(1, 1, 1))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # SSIM of the whole at once would take 14.
    assert peak < 4 * harmonized.nbytes
