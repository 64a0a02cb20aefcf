"""Mass effect and shrinkage against what is known: closed forms, conservation, the skull, the way back, signs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from braindiffusion.errors import EmptyMaskError, ModalityError
from braindiffusion.lesions.mass_effect import MassEffect, displace, undo
from braindiffusion.lesions.mechanics import Grid, Space, fluid_share, jacobian, linear, move
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import Intensity, brain_intensity

COARSE = 5.0
TONE = Intensity(0.0, 0.45 / 360.0)


def sphere(radius: float, pitch: float) -> tuple[Space, np.ndarray]:
    """A skull that is a ball of nothing but fluid, and (n,3) mm of its cells from the middle."""
    n = 2 * int(np.ceil(radius / pitch)) + 5
    grid = Grid(pitch, (n, n, n), 3 * ((n - 1) / 2 * pitch,), (n, n, n), 3 * (pitch,))
    at = (np.indices(grid.shape) - (n - 1) / 2) * pitch
    share = ndimage.gaussian_filter((np.linalg.norm(at, axis=0) < radius).astype(np.float32), 1.0)
    space = Space(grid, share, share > 0)
    return space, at[:, space.inside].T


def head(affine: np.ndarray, shape: tuple[int, ...], modality: str = "FLAIR") -> tuple[Scan, np.ndarray]:
    """A head without noise on any grid, and its brain: fluid in the ventricles and in the cleft between the halves."""
    x, y, z = (affine[:3, :3] @ np.indices(shape).reshape(3, -1) + affine[:3, 3:]).reshape(3, *shape)

    def ellipsoid(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
        return np.asarray(sum(((p - c) / r) ** 2 for p, c, r in zip((x, y, z), centre, radii, strict=True)) < 1)

    grey = np.where(ellipsoid((0, 0, 0), (78, 96, 80)), 600.0, 0.0)
    grey[ellipsoid((0, 0, 0), (69, 87, 71))] = 60
    inside = ellipsoid((0, 0, 0), (66, 84, 68))
    grey[inside] = 360
    for side in (-12, 12):
        grey[ellipsoid((side, -5, 5), (9, 30, 16))] = 60
    grey[inside & (np.abs(x) < 2.5) & (z > 25)] = 60  # the cleft between the halves
    return Scan(np.rint(grey).astype(np.int16), affine, modality), inside


def straight(spacing: tuple[float, float, float]) -> tuple[Scan, np.ndarray]:
    shape = tuple(round(200.0 / s) for s in spacing)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    return head(affine, shape)


def ball(scan: Scan, centre: tuple[float, float, float], ml: float) -> np.ndarray:
    mm = scan.affine[:3, :3] @ np.indices(scan.voxels.shape).reshape(3, -1) + scan.affine[:3, 3:]
    away = np.linalg.norm(mm - np.array(centre)[:, None], axis=0)
    return (away < 10 * (ml * 0.75 / np.pi) ** (1 / 3)).reshape(scan.voxels.shape)


LEFT = (-38.0, 0.0, 5.0)


@pytest.fixture(scope="module")
def scene() -> tuple[Scan, np.ndarray, np.ndarray]:
    """A thick-slice head, the inside of its skull, and 35 mL in its left half."""
    scan, inside = straight((2.5, 2.5, 5.0))
    return scan, inside, ball(scan, LEFT, 35.0)


@pytest.fixture(scope="module")
def grown(scene) -> MassEffect:
    scan, inside, lesion = scene
    return displace(scan, inside, TONE, lesion, 0.6, pitch=2.5)


@pytest.fixture(scope="module")
def shrunk(scene) -> MassEffect:
    scan, inside, lesion = scene
    return displace(scan, inside, TONE, lesion, -0.4, pitch=2.5)


def test_a_source_in_a_sphere_follows_the_closed_form() -> None:
    """With fluid everywhere, u(r) = V/(4 pi) (1/r^2 - r/R^3)."""
    radius, ml = 60.0, 0.2
    space, at = sphere(radius, 2.0)
    away = np.linalg.norm(at, axis=1)
    source = np.clip((10.0 - away) / 2.0 + 0.5, 0.0, 1.0)
    flow, _ = space.flow(ml * (source / source.sum() - space.ml / space.ml.sum()))
    index = space.index.T.astype(float)
    found = np.zeros(len(at))
    for axis in range(3):
        shifted = index.copy()
        shifted[axis] += 0.5
        found += linear(flow[axis], shifted) * at[:, axis] / np.maximum(away, 1e-9)
    where = (away > 13.0) & (away < 54.0)
    exact = ml * 1000 / (4 * np.pi) * (1 / away[where] ** 2 - away[where] / radius**3)
    assert np.abs(found[where] / exact - 1).max() < 0.05


def test_what_the_lesion_gains_the_fluid_loses(grown: MassEffect, shrunk: MassEffect) -> None:
    for effect, sign, near in ((grown, 1, 0.06), (shrunk, -1, 0.25)):  # fluid at a lesion's edge swells as it shrinks
        moved = effect.displacement
        space = moved.space
        change = (jacobian(moved.forward, space.inside, space.grid.pitch)[space.inside] - 1.0) * space.ml
        lesion = ndimage.binary_dilation(moved.lesion > 1e-3)[space.inside]  # differences reach one cell
        gained, lost = change[lesion].sum(), -change[~lesion].sum()
        assert gained * sign > 0
        assert gained == pytest.approx(lost, rel=0.02)
        assert moved.ml[-1] == pytest.approx(gained, rel=near)
        assert effect.figures["displaced_ml"] == pytest.approx(moved.ml[-1], abs=0.01)


def test_tissue_keeps_its_volume(grown: MassEffect) -> None:
    moved = grown.displacement
    change = jacobian(moved.forward, moved.space.inside, moved.space.grid.pitch)
    tissue = moved.space.inside & (moved.space.fluid < 0.01) & (moved.lesion < 0.01)
    assert np.percentile(np.abs(change[tissue] - 1.0), 90) < 0.05


def test_nothing_goes_through_the_skull(scene, grown: MassEffect) -> None:
    scan, inside, _ = scene
    np.testing.assert_array_equal(grown.voxels[~grown.within], scan.voxels[~grown.within])
    assert (grown.within == inside).mean() > 0.98
    voxels, origins = grown.displacement.origins(grown.within)
    assert grown.within[tuple(np.rint(origins).astype(int).T)].mean() > 0.999
    # what lies at the wall slides along it
    wall = ndimage.distance_transform_edt(grown.within, sampling=scan.spacing)[tuple(voxels.T)] < 3.0
    out = (voxels @ scan.affine[:3, :3].T + scan.affine[:3, 3]) / np.array([66.0, 84.0, 68.0]) ** 2
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    through = np.abs((((origins - voxels) * scan.spacing) * out).sum(1))
    assert np.percentile(through[wall], 95) < 0.6 < 4.0 < grown.way.max()
    scalp = scan.voxels > 400
    assert not (grown.moved & scalp).any()
    assert ((grown.voxels > 400) == scalp).all()  # none of it was drawn in


@pytest.mark.parametrize("share", [1.0, 0.6, -0.5])
def test_no_place_is_folded_or_emptied(scene, share: float) -> None:
    scan, inside, lesion = scene
    effect = displace(scan, inside, TONE, lesion, share, pitch=COARSE)
    moved = effect.displacement
    for way in (moved.forward, moved.backward):
        assert jacobian(way, moved.space.inside, moved.space.grid.pitch).min() > 0.0
    assert effect.figures["smallest_volume"] > 0.15
    # nor on the scan's own grid
    voxels, origins = moved.origins(effect.within)
    way = np.zeros((3, *scan.voxels.shape))
    way[(slice(None), *voxels.T)] = (origins - voxels).T
    assert jacobian(way, ndimage.binary_erosion(effect.moved, iterations=2), 1.0).min() > 0.0


def test_forwards_and_backwards_returns_the_scan(scene, grown: MassEffect) -> None:
    scan = scene[0]
    moved = grown.displacement
    voxels, origins = moved.origins(grown.within)
    back = moved.space.grid.voxels(moved.trace(moved.space.grid.cells(origins.T), backward=False)).T
    assert np.abs(back - voxels).max() < 0.2
    for axis in range(3):  # a ramp tells how many voxels off it is
        ramp = np.broadcast_to(
            np.arange(scan.voxels.shape[axis]).reshape([-1 if a == axis else 1 for a in range(3)]), scan.voxels.shape
        ).astype(np.float32)
        there, _ = moved.apply(ramp, grown.within)
        returned, _ = moved.apply(there, grown.within, backward=False)
        deep = ndimage.binary_erosion(grown.within, iterations=3)
        assert np.abs(there - ramp)[deep].max() > 0.8
        assert np.abs(returned - ramp)[deep].max() < 0.2


def test_no_mass_effect_is_the_identity(scene) -> None:
    scan, inside, lesion = scene
    for effect in (displace(scan, inside, TONE, lesion, 0.0), undo(scan, inside, TONE, lesion, 0.0)):
        np.testing.assert_array_equal(effect.voxels, scan.voxels)
        assert not effect.moved.any()
        assert effect.figures["displaced_ml"] == effect.figures["largest_displacement_mm"] == 0.0
        assert effect.figures["midline_shift_mm"] == 0.0
        assert effect.figures["midline_towards"] is None


def halves(voxels: np.ndarray, scan: Scan) -> tuple[float, float]:
    """Fluid of the left and the right ventricle, mL."""
    mm = np.indices(voxels.shape).reshape(3, -1) * scan.spacing[:, None] + scan.affine[:3, 3:]
    x, y, z = mm.reshape(3, *voxels.shape)
    deep = fluid_share(voxels, TONE, "FLAIR") * ((np.abs(x) < 26) & (np.abs(y + 5) < 40) & (np.abs(z - 5) < 19))
    ml = float(np.prod(scan.spacing)) / 1000
    return float(deep[x < 0].sum()) * ml, float(deep[x > 0].sum()) * ml


def test_growth_narrows_the_near_ventricle_and_pushes_the_midline_away(scene, grown: MassEffect) -> None:
    scan, _, _ = scene
    (left, right), (was_left, was_right) = halves(grown.voxels, scan), halves(scan.voxels, scan)
    assert left < 0.9 * was_left
    assert left / was_left < right / was_right
    figures = grown.figures
    assert figures["midline_shift_mm"] < -0.3
    assert figures["midline_towards"] == "right"
    assert figures["ventricle"]["after_ml"] < figures["ventricle"]["before_ml"]
    lost = figures["fluid"]["before_ml"] - figures["fluid"]["after_ml"]
    assert lost == pytest.approx(figures["displaced_ml"], rel=0.2)


def test_shrinkage_does_the_reverse(scene, shrunk: MassEffect) -> None:
    scan, _, _ = scene
    assert halves(shrunk.voxels, scan)[0] > 1.01 * halves(scan.voxels, scan)[0]
    assert shrunk.figures["midline_shift_mm"] > 0.2
    assert shrunk.figures["midline_towards"] == "left"
    assert shrunk.figures["displaced_ml"] < 0
    assert shrunk.figures["ventricle"]["after_ml"] > shrunk.figures["ventricle"]["before_ml"]


def test_the_lesion_ends_where_it_was_drawn(scene, grown: MassEffect) -> None:
    moved = grown.displacement
    drawn = moved.space.grid.down(scene[2])
    assert moved.after.sum() == pytest.approx(drawn.sum(), rel=0.1)
    assert 2 * np.minimum(moved.after, drawn).sum() / (moved.after + drawn).sum() > 0.9
    assert moved.lesion.sum() == pytest.approx(0.4 * drawn.sum(), rel=0.2)


def test_published_shifts_are_of_this_order(scene) -> None:
    """Midline shifts of 2 to 10 mm at 30 to 100 mL."""
    scan, inside, _ = scene
    large = displace(scan, inside, TONE, ball(scan, LEFT, 90.0), 0.6, pitch=COARSE)
    assert 1.5 < abs(large.figures["midline_shift_mm"]) < 10.0
    assert 4.0 < large.figures["largest_displacement_mm"] < 20.0


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_how_a_scan_is_stored_does_not_matter(grown: MassEffect, order: tuple[int, int, int]) -> None:
    """Oblique, left-handed, of other voxels and axes: the same head, the same figures."""
    turn = np.deg2rad(12.0)
    c, s = np.cos(turn), np.sin(turn)
    spacing, shape = np.array([3.0, 2.0, 4.0]), (66, 104, 50)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ np.diag([-1.0, 1.0, 1.0]) * spacing
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    affine[:, :3] = affine[:, list(order)]
    scan, inside = head(affine, tuple(shape[i] for i in order))
    found = displace(scan, inside, TONE, ball(scan, LEFT, 35.0), 0.6, pitch=4.0).figures
    for name in ("displaced_ml", "largest_displacement_mm", "midline_shift_mm"):
        assert found[name] == pytest.approx(grown.figures[name], rel=0.25), name
    assert found["midline_towards"] == "right"


def test_what_was_displaced_is_found_and_taken_back(scene, grown: MassEffect) -> None:
    scan, inside, lesion = scene
    ill = replace(scan, voxels=np.where(lesion, np.int16(500), grown.voxels))
    found = undo(ill, inside, TONE, lesion, None, pitch=COARSE)
    assert 35 < found.figures["share_percent"] * -1 < 90
    assert found.figures["midline_towards"] == "left"
    assert found.figures["asymmetry"]["after"] < 0.7 * found.figures["asymmetry"]["before"]
    left, right = halves(found.voxels, scan)
    was_left, was_right = halves(ill.voxels, scan)
    assert abs(left - right) < abs(was_left - was_right)
    untouched = undo(scan, inside, TONE, ball(scan, LEFT, 3.0), None, pitch=COARSE)  # nothing is displaced there
    assert untouched.figures["share_percent"] == 0
    np.testing.assert_array_equal(untouched.voxels, scan.voxels)


def test_fluid_that_runs_out_is_said(scene) -> None:
    scan, inside, _ = scene
    dry = replace(scan, voxels=np.where(scan.voxels < 360, np.int16(330), scan.voxels))
    dry.voxels[ball(scan, (20.0, 0.0, 0.0), 3.0)] = 60
    effect = displace(dry, inside, TONE, ball(scan, LEFT, 35.0), 0.6, pitch=COARSE)
    assert effect.figures["displaced_ml"] < 5
    assert "no more to give" in effect.warnings[0]


def test_fluid_is_dark_or_bright_by_the_contrast() -> None:
    grey = np.array([0.05, 0.45, 1.3]) * 800
    for modality, expected in (("FLAIR", [1, 0, 0]), ("T1", [1, 0, 0]), ("T2", [0, 0, 1]), (None, [1, 0, 0])):
        np.testing.assert_allclose(fluid_share(grey, TONE, modality), expected)
    with pytest.raises(ModalityError, match="DWI"):
        fluid_share(grey, TONE, "DWI")


def test_an_empty_brain_is_refused(scene) -> None:
    scan, inside, lesion = scene
    with pytest.raises(EmptyMaskError):
        displace(scan, inside & False, TONE, lesion, 0.5)


def test_bright_fluid_moves_as_dark_fluid_does(scene, grown: MassEffect) -> None:
    scan, inside, lesion = scene
    bright = replace(scan, voxels=np.where(scan.voxels == 60, np.int16(1200), scan.voxels), modality="T2")
    found = displace(bright, inside, brain_intensity(bright.voxels, inside), lesion, 0.6, pitch=COARSE)
    assert found.figures["midline_shift_mm"] == pytest.approx(grown.figures["midline_shift_mm"], rel=0.2)


def test_a_run_tells_how_far_it_is_and_can_be_stopped(scene) -> None:
    scan, inside, lesion = scene
    heard: list[float] = []
    displace(scan, inside, TONE, lesion, 0.3, heard.append, pitch=6.0)
    assert heard == sorted(heard)
    assert heard[-1] == pytest.approx(1.0, abs=0.01)
    flow, _ = Space.of(scan, inside, TONE, 6.0)

    def stop(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        move(flow, flow.grid.down(lesion), 5.0, stop)
