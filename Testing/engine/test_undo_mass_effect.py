"""Healing with the mass effect taken back first, with a network of random weights: what moved, where the maps lie."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from braindiffusion.errors import SettingsError
from braindiffusion.pipeline.heal import HealResult, heal_scan
from braindiffusion.settings import HealSettings
from braindiffusion.volume.scan import Scan

SETTINGS = HealSettings(steps=2, precision="fp32", device="cpu", force=True, undo_mass_effect=60.0)


@pytest.fixture(scope="module")
def masks(head_phantom: Scan) -> tuple[np.ndarray, np.ndarray]:
    """The brain, and the phantom's bright lesion in the right half."""
    at = np.indices(head_phantom.voxels.shape).reshape(3, -1)
    mm = head_phantom.affine[:3, :3] @ at + head_phantom.affine[:3, 3:]

    def ellipsoid(centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
        away = sum(((mm[a] - centre[a]) / radii[a]) ** 2 for a in range(3))
        return np.asarray(away < 1).reshape(head_phantom.voxels.shape)

    return ellipsoid((0, 0, 0), (66, 84, 68)), ellipsoid((34, 18, 12), (15, 17, 15))


@pytest.fixture(scope="module")
def undone(head_phantom: Scan, masks, small_models) -> HealResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRAINDIFFUSION_MODELS", str(small_models))
        return heal_scan(head_phantom, SETTINGS, mask=masks[1], brain=masks[0])


def test_what_was_displaced_moves_back_and_the_rest_is_healed(head_phantom: Scan, masks, undone: HealResult) -> None:
    brain, lesion = masks
    effect = undone.mass_effect
    assert effect.figures["displaced_ml"] == pytest.approx(-0.6 * lesion.sum() * 0.0672, rel=0.1)
    assert effect.figures["midline_towards"] == "right"  # back towards where the lesion was
    changed = undone.counterfactual != head_phantom.voxels
    away = ndimage.distance_transform_edt(~lesion, sampling=head_phantom.spacing) > 25
    assert (changed & away).sum() > 1000
    assert not (changed & ~undone.edited).any()
    assert not (changed & ~brain & (head_phantom.voxels > 200)).any()  # not the scalp


def test_the_check_and_the_record_name_what_moved(head_phantom: Scan, undone: HealResult) -> None:
    facts = undone.provenance
    assert facts["check"]["moved_voxels"] == undone.mass_effect.moved.sum() > 0
    assert facts["check"]["changed_voxels"] == (undone.counterfactual != head_phantom.voxels).sum()
    assert facts["mass_effect"]["midline_shift_mm"] == undone.mass_effect.figures["midline_shift_mm"]
    assert facts["settings"]["undo_mass_effect"] == 60.0
    assert facts["mask"]["origin"] == "drawn"
    assert undone.scan is head_phantom


def test_mask_and_maps_lie_on_the_scan_as_it_is(masks, undone: HealResult) -> None:
    lesion = masks[1]
    both = (undone.mask & lesion).sum()
    assert both > 0.75 * lesion.sum()
    assert not (undone.mask & (ndimage.distance_transform_edt(~lesion) > 4)).any()


def test_off_moves_nothing(head_phantom: Scan, masks, small_network: None) -> None:
    off = heal_scan(head_phantom, replace(SETTINGS, undo_mass_effect=0.0), mask=masks[1], brain=masks[0])
    assert off.mass_effect is None
    assert "mass_effect" not in off.provenance
    away = ndimage.distance_transform_edt(~masks[1], sampling=head_phantom.spacing) > 25
    np.testing.assert_array_equal(off.counterfactual[away], head_phantom.voxels[away])


def test_a_method_without_a_mask_cannot_say_what_displaced_the_rest(head_phantom: Scan, small_network: None) -> None:
    with pytest.raises(SettingsError, match="no mask"):
        heal_scan(head_phantom, replace(SETTINGS, method="anoddpm"))
    with pytest.raises(SettingsError, match="undo_mass_effect"):
        HealSettings(undo_mass_effect=101.0)
