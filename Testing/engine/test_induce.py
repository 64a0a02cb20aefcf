"""Induction of a whole scan, with a model of random weights: geometry, promises, refusals. What is painted is noise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from lesion_models import KINDS, add_lesion_model
from PIL import Image
from scipy import ndimage

from braindiffusion.errors import (
    Cancelled,
    EmptyMaskError,
    LesionSizeError,
    ModalityError,
    ModelNotFoundError,
    SettingsError,
    SliceRangeError,
)
from braindiffusion.events import Event
from braindiffusion.export.series import write_series
from braindiffusion.io.read import read_scan
from braindiffusion.lesions.mass_effect import in_words
from braindiffusion.lesions.registry import options_of
from braindiffusion.models.registry import release
from braindiffusion.pipeline.induce import InduceResult, displace_scan, induce_scan, shape_scan
from braindiffusion.pipeline.scan_cache import ScanCache
from braindiffusion.pipeline.series import growth, induce_series
from braindiffusion.settings import InduceSettings, ShapeSettings
from braindiffusion.volume.scan import Scan

QUICK = InduceSettings(method="mededit", steps=3, resamples=2)


@pytest.fixture(scope="module")
def random_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two lesion models of random weights."""
    folder = tmp_path_factory.mktemp("models")
    add_lesion_model(folder)
    add_lesion_model(folder, "lesion-palette-128", condition="palette")
    yield folder
    release()


@pytest.fixture(autouse=True)
def lesion_models(random_models: Path, no_user_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are the user's own."""
    monkeypatch.setenv("BRAINDIFFUSION_MODELS", str(random_models))


def ellipsoid(scan: Scan, centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
    at = np.indices(scan.voxels.shape).reshape(3, -1)
    mm = scan.affine[:3, :3] @ at + scan.affine[:3, 3:]
    inside = sum(((mm[a] - centre[a]) / radii[a]) ** 2 for a in range(3)) < 1
    return np.asarray(inside).reshape(scan.voxels.shape)


@pytest.fixture(scope="module")
def brain(head_phantom: Scan) -> np.ndarray:
    return ellipsoid(head_phantom, (0, 0, 0), (66, 84, 68))


@pytest.fixture(scope="module")
def lesion(head_phantom: Scan) -> np.ndarray:
    return ellipsoid(head_phantom, (-36, 10, 10), (14, 16, 16))


def induce(scan: Scan, what, brain: np.ndarray, on_event=None, **changes) -> InduceResult:
    return induce_scan(scan, what, replace(QUICK, **changes), brain=brain, on_event=on_event)


def test_outside_the_margin_every_voxel_is_identical(head_phantom: Scan, lesion, brain) -> None:
    result = induce(head_phantom, lesion, brain)
    changed = result.diseased != head_phantom.voxels
    assert result.diseased.dtype == head_phantom.voxels.dtype
    assert changed[lesion].mean() > 0.8
    assert not (changed & ~result.edited).any()
    spacing = [*head_phantom.spacing[:2], 1e6]
    away = ndimage.distance_transform_edt(~lesion, sampling=spacing)
    assert not changed[away > 22.5 * 2**0.5 + 6.5].any()  # corners of the square, the seam, half a pixel
    assert changed[(away > 5) & (away < 15) & brain].mean() > 0.5
    assert result.provenance["check"]["outside_identical"] is True


def test_naive_repaint_changes_the_lesion_and_its_seam_only(head_phantom: Scan, lesion, brain) -> None:
    result = induce(head_phantom, lesion, brain, method="naive_repaint")
    away = ndimage.distance_transform_edt(~lesion, sampling=[*head_phantom.spacing[:2], 1e6])
    assert not (result.diseased != head_phantom.voxels)[away > 6.5].any()
    assert result.effects["changed_outside_ml"] == 0


def test_indirect_effects_are_larger_with_a_margin_and_zero_beyond_it(head_phantom: Scan, lesion, brain) -> None:
    rings = {}
    for method in ("mededit", "naive_repaint"):
        effects = induce(head_phantom, lesion, brain, method=method).effects
        rings[method] = {r["to_mm"]: r["mean_absolute"] for r in effects["change_by_distance"]}
    assert rings["mededit"][10.0] > 0.05
    assert rings["naive_repaint"][10.0] == 0
    assert rings["mededit"][45.0] == 0


@pytest.mark.parametrize("method", ["sdedit", "palette"])
def test_the_other_methods_edit_the_brain_of_their_slices(head_phantom: Scan, lesion, brain, method: str) -> None:
    result = induce(head_phantom, lesion, brain, method=method, resamples=None)
    worked = [row["slice"] for row in result.slices]
    outside = np.ones(brain.shape, bool)
    outside[:, :, worked] = False
    assert not (result.diseased != head_phantom.voxels)[outside].any()
    assert (result.generate_mask & brain)[:, :, worked].mean() > 0.3


def test_the_labels_say_inside_and_outside(head_phantom: Scan, lesion, brain) -> None:
    result = induce(head_phantom, lesion, brain)
    np.testing.assert_array_equal(result.lesion, lesion & brain)
    assert set(np.unique(result.difference)) == {0, 1, 2}
    assert not (result.difference[~result.lesion] == 1).any()
    assert not (result.difference[result.lesion] == 2).any()
    assert not (result.difference[~result.edited] > 0).any()
    assert result.lesion[result.generate_mask].any()


def test_figures_and_provenance_agree(head_phantom: Scan, lesion, brain) -> None:
    result = induce(head_phantom, lesion, brain)
    ml = (lesion & brain).sum() * np.prod(head_phantom.spacing) / 1000
    assert result.effects["lesion_ml"] == pytest.approx(ml, abs=0.01)
    facts = result.provenance
    assert facts["method"]["kind"] == "stroke_flair"
    assert facts["method"]["options"]["kernel"] == 25
    calls, painted = facts["network_calls"], len(result.slices)
    assert calls["per_slice"] == (3 * 2 + 1) * painted
    assert calls["slices_painted"] == painted == lesion.any((0, 1)).sum()


def test_the_same_seed_gives_the_same_scan_whatever_the_batch(head_phantom: Scan, lesion, brain) -> None:
    a, b, c = (
        induce(head_phantom, lesion, brain, seed=s, batch=n, precision="fp32") for s, n in ((0, 8), (0, 1), (1, 8))
    )
    np.testing.assert_allclose(a.on_grid["diseased"], b.on_grid["diseased"], atol=1e-4)
    assert (a.diseased != c.diseased).any()
    np.testing.assert_array_equal(a.lesion, c.lesion)


def test_several_samples_add_a_deviation(head_phantom: Scan, lesion, brain) -> None:
    one, three = induce(head_phantom, lesion, brain), induce(head_phantom, lesion, brain, samples=3)
    assert one.deviation is None
    assert three.deviation is not None
    assert three.deviation[lesion].mean() > 0
    assert not three.deviation[~three.edited].any()
    assert three.on_grid["samples"].shape[0] == 3


def test_events_tell_the_stages_and_may_cancel(head_phantom: Scan, lesion, brain) -> None:
    events: list[Event] = []
    induce(head_phantom, lesion, brain, on_event=events.append)
    assert list(dict.fromkeys(e.stage for e in events)) == ["brain", "induce", "back"]
    steps = [e for e in events if e.stage == "induce"]
    assert steps[-1].done == steps[-1].total
    assert any(e.preview is not None for e in steps)

    def stop(event: Event) -> None:
        if event.stage == "induce":
            raise Cancelled

    with pytest.raises(Cancelled):
        induce(head_phantom, lesion, brain, on_event=stop)


# --- mass effect ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pushed(head_phantom: Scan, lesion, brain, random_models: Path) -> InduceResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRAINDIFFUSION_MODELS", str(random_models))
        return induce(head_phantom, lesion, brain, mass_effect=60.0, slices=(7, 15))


def test_the_scan_is_displaced_first_and_the_lesion_painted_into_it(head_phantom: Scan, lesion, pushed) -> None:
    effect = pushed.mass_effect
    figures = pushed.effects["mass_effect"]
    assert figures["displaced_ml"] == pytest.approx(0.6 * pushed.effects["lesion_ml"], rel=0.1)
    assert figures["midline_towards"] == "right"  # the lesion lies in the left half
    painted = pushed.diseased != effect.voxels
    assert painted[pushed.lesion].mean() > 0.8
    assert not (painted & ~pushed.edited).any()
    moved = effect.voxels != head_phantom.voxels
    far = ndimage.distance_transform_edt(~lesion, sampling=head_phantom.spacing) > 40
    assert (moved & far).sum() > 1000  # far from the margin too


def test_the_check_names_what_moved(head_phantom: Scan, brain, pushed) -> None:
    changed = pushed.diseased != head_phantom.voxels
    assert not (changed & ~pushed.edited).any()
    assert not (changed & (ndimage.distance_transform_edt(~brain, sampling=head_phantom.spacing) > 8)).any()
    check = pushed.provenance["check"]
    assert check["moved_voxels"] == pushed.mass_effect.moved.sum() > 0
    assert check["edited_voxels"] == pushed.edited.sum()
    assert check["changed_voxels"] == changed.sum()
    assert pushed.provenance["mass_effect"]["displaced_ml"] == pushed.effects["mass_effect"]["displaced_ml"]


def test_the_difference_separates_painting_from_displacement(head_phantom: Scan, pushed) -> None:
    assert set(np.unique(pushed.difference)) == {0, 1, 2, 3}
    still = pushed.diseased == head_phantom.voxels
    assert not (pushed.difference[still] == 3).any()
    assert not ((pushed.difference == 3) & ~pushed.mass_effect.moved).any()
    assert set(np.unique(pushed.mass_effect.outline)) == {0, 1, 2}


def test_a_mass_effect_is_written_with_its_figures(pushed, tmp_path: Path) -> None:
    pushed.save(tmp_path / "out")
    assert {"displaced.nii.gz", "displacement_mm.nii.gz", "displaced_outline.nii.gz", "overview.png"} <= {
        f.name for f in (tmp_path / "out").iterdir()
    }
    effects = json.loads((tmp_path / "out" / "effects.json").read_text())
    assert effects["mass_effect"]["ventricle"]["after_ml"] == pushed.effects["mass_effect"]["ventricle"]["after_ml"]
    assert "midline" in in_words(pushed.effects["mass_effect"])


def test_without_a_mass_effect_nothing_is_different(head_phantom: Scan, lesion, brain) -> None:
    off, zero = (induce(head_phantom, lesion, brain, slices=(10, 12), **given) for given in ({}, {"mass_effect": 0.0}))
    np.testing.assert_array_equal(off.diseased, zero.diseased)
    assert off.mass_effect is None
    assert off.effects["mass_effect"] is None
    assert off.provenance["check"]["moved_voxels"] == 0


def test_auto_goes_by_the_kind(head_phantom: Scan, brain) -> None:
    small = ellipsoid(head_phantom, (-36, 10, 10), (6, 6, 8))
    settings = replace(QUICK, mass_effect=None)
    tumour, stroke = (
        displace_scan(head_phantom, small, replace(settings, kind=k), brain=brain) for k in ("tumour", "stroke")
    )
    assert (tumour.figures["share_percent"], stroke.figures["share_percent"]) == (50, 15)
    assert displace_scan(head_phantom, ShapeSettings("spots", 3.0), settings, brain=brain) is None


@pytest.mark.parametrize("percent", [-51.0, 101.0])
def test_an_impossible_mass_effect_is_refused(percent: float) -> None:
    with pytest.raises(SettingsError, match="mass_effect"):
        InduceSettings(mass_effect=percent)


# --- growth ---------------------------------------------------------------------------------------------------


def test_a_lesion_grows_within_itself(head_phantom: Scan, lesion) -> None:
    other = ellipsoid(head_phantom, (36, -20, 10), (8, 8, 10))
    masks = growth(lesion | other, head_phantom.spacing, 5)
    volumes = [m.sum() * np.prod(head_phantom.spacing) / 1000 for m in masks]
    assert volumes[0] == pytest.approx(1.0, abs=0.1)
    assert (np.diff(np.cbrt(volumes)) > 0).all()
    for small, large in pairwise(masks):
        assert not (small & ~large).any()
    np.testing.assert_array_equal(masks[-1], lesion | other)
    for part in (lesion, other):  # both grow, each from its middle
        assert (masks[2] & part).sum() > 0.1 * part.sum()
    assert not (masks[1] & lesion & ~ndimage.binary_erosion(lesion)).sum() > 0.2 * (masks[1] & lesion).sum()


def test_a_series_ends_with_what_is_induced_at_once(head_phantom: Scan, lesion, brain, tmp_path: Path) -> None:
    heard: list[Event] = []
    settings = replace(QUICK, slices=(9, 11))
    results = list(induce_series(head_phantom, lesion, settings, 3, brain=brain, on_event=heard.append))
    sizes = [r.effects["lesion_ml"] for r in results]
    assert sizes == sorted(sizes)
    whole = induce_scan(head_phantom, lesion, settings, brain=brain)
    np.testing.assert_array_equal(results[-1].diseased, whole.diseased)
    write_series(tmp_path / "out", head_phantom, results)
    names = {f.name for f in (tmp_path / "out").iterdir()}
    assert {"series_01.nii.gz", "series_03.nii.gz", "series_03_lesion.nii.gz", "growth.gif", "series.json"} <= names
    np.testing.assert_array_equal(read_scan(tmp_path / "out" / "series_03.nii.gz").voxels, whole.diseased)
    record = json.loads((tmp_path / "out" / "series.json").read_text())
    assert [v["lesion_ml"] for v in record["volumes"]] == sizes
    with Image.open(tmp_path / "out" / "growth.gif") as picture:
        assert picture.n_frames == 4  # the scan itself first


# --- lesions of every kind ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["stroke", "tumour", "spots"])
def test_a_made_lesion_lies_in_tissue_and_has_its_volume(head_phantom: Scan, brain, kind: str) -> None:
    result = induce(head_phantom, ShapeSettings(kind, 15.0, "L"), brain, kind="tumour")
    voxel = float(np.prod(head_phantom.spacing)) / 1000
    assert result.effects["lesion_ml"] == pytest.approx(15.0, abs=max(0.45, voxel))
    assert result.provenance["lesion"]["origin"] == "random"
    assert result.provenance["lesion"]["side"] == "L"
    at = np.argwhere(result.lesion) @ head_phantom.affine[:3, :3].T + head_phantom.affine[:3, 3]
    assert (at[:, 0] < 0).all()
    assert (head_phantom.voxels[result.lesion] < 120).mean() < 0.1  # not in the ventricles


def test_a_box_is_told_as_a_box_and_tapers(head_phantom: Scan, brain) -> None:
    box = np.zeros(brain.shape, bool)
    box[38:48, 34:46, 7:14] = True
    result = induce(head_phantom, box, brain, condition="box")
    for told in result.on_grid["told"]:
        for found in ndimage.find_objects(ndimage.label(told)[0]):
            assert told[found].all()
    area = result.lesion.sum((0, 1))
    assert 0 < area[7] < 0.5 * area[10] > area[13] > 0
    assert result.provenance["method"]["options"]["kernel"] == 21
    flat = induce(head_phantom, box, brain, condition="box", taper=False)
    assert flat.lesion.sum() > result.lesion.sum()


def test_a_lesion_half_outside_is_clipped_with_a_count(head_phantom: Scan, brain) -> None:
    over = ellipsoid(head_phantom, (-66, 0, 0), (14, 16, 16))
    result = induce(head_phantom, over, brain)
    assert not (result.lesion & ~brain).any()
    (warning,) = [w for w in result.warnings if "left out" in w]
    assert str(int((over & ~brain).sum())) in warning
    assert result.provenance["lesion"]["clipped_voxels"] == (over & ~brain).sum()


def test_only_the_chosen_slices_are_painted(head_phantom: Scan, lesion, brain) -> None:
    result = induce(head_phantom, lesion, brain, slices=(10, 12))
    changed = (result.diseased != head_phantom.voxels).any((0, 1))
    assert np.nonzero(changed)[0].tolist() == [10, 11]
    assert np.nonzero(result.lesion.any((0, 1)))[0].tolist() == [10, 11]


def test_a_lesion_of_one_voxel_is_painted(head_phantom: Scan, brain) -> None:
    one = np.zeros(brain.shape, bool)
    one[40, 40, 10] = True
    result = induce(head_phantom, one, brain)
    assert result.lesion.sum() == 1
    assert result.diseased[40, 40, 10] != head_phantom.voxels[40, 40, 10]


@pytest.mark.parametrize(("order", "flips"), [((0, 1, 2), (0,)), ((1, 2, 0), (1,)), ((0, 1, 2), (1, 2))])
def test_how_a_scan_is_stored_does_not_matter(head_phantom: Scan, lesion, brain, order, flips) -> None:
    affine = head_phantom.affine.copy()
    for axis in flips:
        affine[:3, 3] += (brain.shape[axis] - 1) * affine[:3, axis]
        affine[:3, axis] *= -1

    def turned(v: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.flip(v, flips).transpose(order))

    scan = Scan(turned(head_phantom.voxels), affine[:, [*order, 3]], "FLAIR", {})
    straight = induce(head_phantom, lesion, brain, precision="fp32")
    result = induce(scan, turned(lesion), turned(brain), precision="fp32")
    same = result.diseased == turned(straight.diseased)
    assert same.mean() > 0.998
    np.testing.assert_array_equal(result.lesion, turned(straight.lesion))


# --- refusals -------------------------------------------------------------------------------------------------


def test_a_lesion_outside_the_brain_is_refused(head_phantom: Scan, brain) -> None:
    with pytest.raises(EmptyMaskError):
        induce(head_phantom, ellipsoid(head_phantom, (80, 95, 60), (8, 8, 8)) & ~brain, brain)


def test_a_lesion_outside_the_chosen_slices_is_refused(head_phantom: Scan, lesion, brain) -> None:
    with pytest.raises(EmptyMaskError):
        induce(head_phantom, lesion, brain, slices=(16, 18))
    with pytest.raises(SliceRangeError):
        induce(head_phantom, lesion, brain, slices=(40, 50))


def test_more_than_400_ml_is_refused(head_phantom: Scan, brain) -> None:
    with pytest.raises(LesionSizeError, match="mL"):
        induce(head_phantom, brain, brain)


def test_a_contrast_without_a_model_is_refused_naming_those_there_are(head_phantom: Scan, lesion, brain) -> None:
    for modality in ("T1", "T2", "CT"):
        with pytest.raises(ModalityError) as caught:
            induce(replace(head_phantom, modality=modality), lesion, brain)
        assert "stroke on FLAIR, tumour on FLAIR, tumour on T1GD" in str(caught.value)
    with pytest.raises(ModalityError):
        induce(replace(head_phantom, modality="T1GD"), lesion, brain, kind="stroke")
    result = induce(replace(head_phantom, modality="T1"), lesion, brain, force=True)
    assert "do not trust" in result.warnings[0]


def test_the_modality_chooses_the_class(head_phantom: Scan, lesion, brain) -> None:
    for modality, kind in (("FLAIR", "tumour_flair"), ("T1GD", "tumour_t1gd")):
        result = induce(replace(head_phantom, modality=modality), lesion, brain, kind="tumour")
        assert result.provenance["method"]["kind"] == kind
        assert kind in KINDS
    unknown = induce(replace(head_phantom, modality=None), lesion, brain)
    assert "taken for FLAIR" in unknown.warnings[0]


def test_a_model_that_is_not_there_or_paints_no_lesions_is_refused(
    head_phantom: Scan, lesion, brain, no_user_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRAINDIFFUSION_MODELS", str(no_user_models))
    monkeypatch.setattr("braindiffusion.lesions.models.lesion_models", dict)
    with pytest.raises(ModelNotFoundError, match="palette"):
        induce(head_phantom, lesion, brain, method="palette", resamples=None)
    with pytest.raises(SettingsError, match="cannot paint"):
        induce(head_phantom, lesion, brain, model="flair-healthy-128")
    with pytest.raises(ModelNotFoundError):
        induce(head_phantom, lesion, brain, model="lesion-999")


@pytest.mark.parametrize(
    "changes",
    [{"method": "paint"}, {"kind": "bleed"}, {"condition": "circle"}, {"samples": 0}, {"margin_mm": -1.0},
     {"guidance": -1.0}],
)  # fmt: skip
def test_impossible_settings_are_refused_at_once(changes: dict) -> None:
    with pytest.raises(SettingsError):
        InduceSettings(**changes)


@pytest.mark.parametrize(
    "changes",
    [{"method": "sdedit", "resamples": 2}, {"method": "palette", "margin_mm": 5.0},
     {"method": "naive_repaint", "margin_mm": 5.0}, {"ratio": 0.3}, {"method": "sdedit", "harmonise": 1}],
)  # fmt: skip
def test_options_of_another_method_are_refused(changes: dict) -> None:
    with pytest.raises(SettingsError, match="has no"):
        options_of(InduceSettings(**changes), 1.875)


def test_tuned_values_of_the_card_are_taken_unless_given() -> None:
    tuned = {"harmonise": 2, "resamples": 5, "guidance": 2.0, "margin_mm": 11.25}
    own = options_of(InduceSettings(), 1.875, tuned)
    assert (own.harmonise, own.resamples, own.kernel) == (2, 5, 13)
    given = options_of(InduceSettings(harmonise=0, margin_mm=3.75), 1.875, tuned)
    assert (given.harmonise, given.resamples, given.kernel) == (0, 5, 5)
    assert options_of(InduceSettings(method="sdedit", kind="tumour"), 1.875).ratio == 0.6


def test_guidance_doubles_the_calls(head_phantom: Scan, lesion, brain) -> None:
    plain, guided = (induce(head_phantom, lesion, brain, guidance=g, slices=(10, 11)) for g in (None, 3.0))
    assert guided.provenance["network_calls"]["batched"] == 2 * plain.provenance["network_calls"]["batched"]
    assert (guided.diseased != plain.diseased).any()
    with pytest.raises(SettingsError, match="guided"):
        induce(head_phantom, lesion, brain, method="palette", resamples=None, guidance=2.0)


def test_previews_are_planes_of_the_scan_and_the_slice_in_view_comes_first(head_phantom: Scan, lesion, brain) -> None:
    plain = induce(head_phantom, lesion, brain, batch=2)
    heard: list[Event] = []
    prepared = ScanCache(head_phantom)
    viewed = induce_scan(
        head_phantom, lesion, replace(QUICK, batch=2), brain=brain, on_event=heard.append, view_slice=11,
        prepared=prepared,
    )  # fmt: skip
    np.testing.assert_array_equal(viewed.diseased, plain.diseased)  # it changes nothing but the order
    planes = [event.plane() for event in heard if event.plane]
    assert planes[0].index == 11
    for plane in planes:
        before = head_phantom.voxels.take(plane.index, plane.axis)
        assert (plane.values.shape, plane.values.dtype) == (before.shape, before.dtype)
        changed = plane.values != before
        assert changed.any()
        assert not (changed & ~viewed.edited.take(plane.index, plane.axis)).any()
    assert [(e.done, e.total) for e in heard if e.stage == "back"][-1][0] > 0
    again = induce_scan(head_phantom, lesion, replace(QUICK, batch=2), brain=brain, prepared=prepared)
    np.testing.assert_array_equal(again.diseased, plain.diseased)


def test_a_prepared_scan_is_not_prepared_again(
    head_phantom: Scan, lesion, brain, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = ScanCache(head_phantom)
    shape_scan(head_phantom, ShapeSettings("stroke", ml=20.0), QUICK, brain=brain, prepared=prepared)
    monkeypatch.setattr(
        "braindiffusion.pipeline.scan_cache.brain_of", lambda *_, **__: pytest.fail("looked for it again")
    )
    monkeypatch.setattr("braindiffusion.pipeline.scan_cache.to_slices", lambda *_, **__: pytest.fail("sliced again"))
    induce_scan(head_phantom, lesion, replace(QUICK, slices=(10, 11)), brain=brain, prepared=prepared)


def test_the_shape_shown_is_the_one_that_is_painted(head_phantom: Scan, brain) -> None:
    shape = ShapeSettings("tumour", ml=30.0, side="L")
    shown = shape_scan(head_phantom, shape, replace(QUICK, seed=5), brain=brain)
    painted = induce(head_phantom, shape, brain, seed=5)
    np.testing.assert_array_equal(shown.mask, painted.lesion)
    assert shown.facts["side"] == "L"
    assert abs(shown.ml - 30.0) < 1.0


def test_of_a_pair_the_difference_is_painted(head_phantom: Scan, lesion, brain) -> None:
    """Two walks over one noise: twice the calls, and what the network draws in both is not seen."""
    pair = induce(head_phantom, lesion, brain, method="mededit_paired")
    plain = induce(head_phantom, lesion, brain)
    assert pair.provenance["method"]["name"] == "mededit_paired"
    assert pair.provenance["network_calls"]["per_slice"] == 2 * plain.provenance["network_calls"]["per_slice"]
    moved = [np.abs(r.on_grid["diseased"] - r.stack.images)[r.on_grid["mask"]].mean() for r in (pair, plain)]
    assert 0 < moved[0] < 0.5 * moved[1]
