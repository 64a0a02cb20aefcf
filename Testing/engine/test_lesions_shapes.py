"""Made lesions: their volume, side and place, the same in the patient however the scan is stored."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from scipy import ndimage

from braindiffusion.errors import LesionSizeError, SettingsError
from braindiffusion.lesions.shapes import LOBES, TERRITORIES, Shape, make_shape
from braindiffusion.lesions.taper import taper
from braindiffusion.settings import ShapeSettings
from braindiffusion.volume.scan import Scan

KINDS = ["stroke", "tumour", "spots"]
RADII = (66.0, 84.0, 64.0)
TURN = np.deg2rad(17.0)
OBLIQUE = np.array([[np.cos(TURN), -np.sin(TURN), 0], [np.sin(TURN), np.cos(TURN), 0], [0, 0, 1]]) @ np.array(
    [[1, 0, 0], [0, np.cos(0.2), -np.sin(0.2)], [0, np.sin(0.2), np.cos(0.2)]]
)


def head(
    spacing: tuple[float, float, float] = (3.5, 3.5, 3.5),
    signs: tuple[int, int, int] = (1, 1, 1),
    order: tuple[int, int, int] = (0, 1, 2),
    turn: np.ndarray | None = None,
    slices: int | None = None,
) -> tuple[Scan, np.ndarray]:
    """An ellipsoidal brain centred on the origin, stored any way; ``slices`` keeps the middle ones only."""
    shape = np.array([int(np.ceil(2 * (r + 6) / s)) for r, s in zip(RADII, spacing, strict=True)])
    if slices:
        shape[2] = slices
    axes = (np.eye(3) if turn is None else turn) * np.array(spacing) * np.array(signs)
    affine = np.eye(4)
    affine[:3, :3] = axes
    affine[:3, 3] = -axes @ (shape - 1) / 2
    at = np.indices(shape).reshape(3, -1)
    mm = axes @ at + affine[:3, 3:]
    brain = ((mm / np.array(RADII)[:, None]) ** 2).sum(0).reshape(shape) < 1
    brain, affine = brain.transpose(order), affine[:, [*order, 3]]
    return Scan((brain * 100).astype(np.int16), affine, "FLAIR"), np.ascontiguousarray(brain)


GRIDS = {
    "RAS": {},
    "LAS": {"signs": (-1, 1, 1)},
    "LPI": {"signs": (-1, -1, -1)},
    "sagittal": {"order": (1, 2, 0), "signs": (1, -1, 1)},
    "oblique": {"turn": OBLIQUE},
    "thick slices": {"spacing": (2.5, 2.5, 7.0)},
    "anisotropic": {"spacing": (4.0, 2.5, 3.0), "signs": (-1, 1, -1)},
    "single slice": {"spacing": (1.5, 1.5, 5.0), "slices": 1},
    "few slices": {"spacing": (2.0, 2.0, 6.0), "slices": 4},
}


@lru_cache
def stored(grid: str) -> tuple[Scan, np.ndarray]:
    """The head on one of the grids."""
    return head(**GRIDS[grid])


def make(kind: str, grid: str = "RAS", seed: int = 0, **options) -> tuple[Shape, Scan, np.ndarray]:
    scan, brain = stored(grid)
    return make_shape(scan, brain, ShapeSettings(kind, **options), np.random.default_rng(seed)), scan, brain


def world(mask: np.ndarray, scan: Scan) -> np.ndarray:
    """(N,3) RAS mm of a mask's voxels."""
    return np.argwhere(mask) @ scan.affine[:3, :3].T + scan.affine[:3, 3]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_volume_is_the_one_asked_for_and_lies_in_the_brain(kind: str, grid: str) -> None:
    shape, scan, brain = make(kind, grid, ml=8.0)
    voxel = abs(np.linalg.det(scan.affine[:3, :3])) / 1000
    assert shape.ml == pytest.approx(8.0, abs=max(0.03 * 8.0, voxel))
    assert shape.ml == pytest.approx(shape.mask.sum() * voxel)
    assert not (shape.mask & ~brain).any()
    assert shape.mask.shape == scan.voxels.shape
    assert shape.mask.dtype == bool


@pytest.mark.parametrize("ml", [0.3, 2.0, 60.0, 150.0])
@pytest.mark.parametrize("kind", KINDS)
def test_small_and_large_volumes_are_met(kind: str, ml: float) -> None:
    shape, _, _ = make(kind, ml=ml, side="R")
    assert shape.ml == pytest.approx(ml, abs=max(0.03 * ml, 0.043))


@pytest.mark.parametrize("grid", ["LAS", "sagittal", "oblique", "single slice"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("side", "sign"), [("L", -1), ("R", 1)])
def test_the_side_is_the_patients(kind: str, grid: str, side: str, sign: int) -> None:
    shape, scan, _ = make(kind, grid, ml=5.0, side=side)
    assert (sign * world(shape.mask, scan)[:, 0] > 0).all()


@pytest.mark.parametrize("grid", ["LAS", "LPI", "sagittal"])
@pytest.mark.parametrize("kind", KINDS)
def test_how_a_scan_is_stored_does_not_matter(kind: str, grid: str) -> None:
    """Same voxels in another order: the same lesion in the patient."""
    (a, scan_a, _), (b, scan_b, _) = make(kind, ml=10.0), make(kind, grid, ml=10.0)
    here, there = ({tuple(v) for v in np.round(world(s.mask, c), 3)} for s, c in ((a, scan_a), (b, scan_b)))
    assert len(here & there) > 0.97 * len(here | there)


@pytest.mark.parametrize("grid", ["oblique", "anisotropic", "thick slices"])
@pytest.mark.parametrize("kind", ["stroke", "tumour"])
def test_another_grid_has_nearly_the_same_lesion(kind: str, grid: str) -> None:
    (a, scan_a, _), (b, scan_b, _) = make(kind, ml=20.0, side="L"), make(kind, grid, ml=20.0, side="L")
    centres = [world(s.mask, c).mean(0) for s, c in ((a, scan_a), (b, scan_b))]
    assert np.linalg.norm(centres[0] - centres[1]) < 8.0


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_decides(kind: str) -> None:
    a, b, c = (make(kind, seed=s)[0] for s in (3, 3, 4))
    np.testing.assert_array_equal(a.mask, b.mask)
    assert a.facts == b.facts
    assert (a.mask != c.mask).any()


def test_global_random_state_is_neither_used_nor_changed() -> None:
    before = np.random.get_state()[1].copy()
    for kind in KINDS:
        make(kind)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize("kind", ["stroke", "tumour"])
@pytest.mark.parametrize("seed", range(4))
def test_a_stroke_or_tumour_is_one_piece(kind: str, seed: int) -> None:
    shape, _, _ = make(kind, seed=seed, ml=25.0)
    labels, count = ndimage.label(shape.mask, np.ones((3, 3, 3)))
    assert np.bincount(labels.ravel())[1:].max() > 0.97 * shape.mask.sum(), count


def test_spots_are_many_and_deep() -> None:
    shape, scan, brain = make("spots", ml=6.0)
    assert ndimage.label(shape.mask)[1] > 8
    depth = ndimage.distance_transform_edt(brain, sampling=scan.spacing)
    assert np.median(depth[shape.mask]) > 12


def test_a_tumour_has_its_core_inside() -> None:
    shape, scan, _ = make("tumour", ml=30.0)
    assert shape.core.any()
    assert not (shape.core & ~shape.mask).any()
    assert shape.core.sum() == pytest.approx(shape.facts["core_share"] * shape.mask.sum(), rel=0.02)
    depth = ndimage.distance_transform_edt(shape.mask, sampling=scan.spacing)
    assert depth[shape.core].mean() > 1.5 * depth[shape.mask & ~shape.core].mean()


def test_other_kinds_have_no_core() -> None:
    assert not make("stroke")[0].core.any()
    assert not make("spots")[0].core.any()


def test_a_stroke_is_a_wedge_on_the_cortex() -> None:
    """It reaches the brain's surface and is wider there than deep down."""
    shape, scan, brain = make("stroke", ml=30.0, territory="MCA")
    depth = ndimage.distance_transform_edt(brain, sampling=scan.spacing)[shape.mask]
    assert depth.min() <= 3.5
    assert depth.max() > 15.0
    assert (depth < 10).sum() > 2 * (depth > 20).sum()


@pytest.mark.parametrize("seed", range(5))
def test_territories_lie_where_their_arteries_go(seed: int) -> None:
    places = {}
    for name in TERRITORIES:
        shape, scan, _ = make("stroke", ml=15.0, territory=name, side="R", seed=seed)
        places[name] = world(shape.mask, scan).mean(0) / RADII
        assert shape.facts["territory"] == name
    assert places["MCA"][0] > 0.45
    assert places["MCA"][0] > max(places["ACA"][0], places["PCA"][0])
    assert places["ACA"][1] > 0.2
    assert places["PCA"][1] < -0.5


@pytest.mark.parametrize("lobe", LOBES)
@pytest.mark.parametrize("kind", ["stroke", "tumour"])
def test_a_lobe_is_roughly_kept_to(kind: str, lobe: str) -> None:
    shape, scan, _ = make(kind, ml=6.0, lobe=lobe, side="L")
    at = world(shape.mask, scan).mean(0) / RADII * (-1, 1, 1)
    low, high = np.array(LOBES[lobe])
    assert (at > low - 0.35).all(), (lobe, at)
    assert (at < high + 0.35).all(), (lobe, at)


def test_without_a_volume_a_usual_one_is_drawn() -> None:
    for kind, least, most in (("stroke", 1, 120), ("tumour", 3, 150), ("spots", 0.5, 30)):
        volumes = [make(kind, "thick slices", seed=s)[0].ml for s in range(4)]
        assert least * 0.9 <= min(volumes) < max(volumes) <= most * 1.1


def test_a_forbidden_region_is_left_free() -> None:
    scan, brain = head()
    allowed = np.ones_like(brain)
    allowed[:, :26] = False
    shape = make_shape(scan, brain, ShapeSettings("tumour", 10.0), np.random.default_rng(0), allowed)
    assert not shape.mask[:, :26].any()
    assert shape.ml == pytest.approx(10.0, rel=0.03)


@pytest.mark.parametrize("ml", [0.0, -1.0, 400.1, float("nan")])
def test_an_impossible_volume_is_refused(ml: float) -> None:
    with pytest.raises(LesionSizeError):
        ShapeSettings("stroke", ml)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(LesionSizeError, match="does not fit"):
        make("tumour", "single slice", ml=100.0)
    with pytest.raises(LesionSizeError, match="does not fit"):
        make("tumour", ml=0.001)


@pytest.mark.parametrize(
    "options",
    [{"kind": "bleed"}, {"side": "left"}, {"lobe": "insula"}, {"territory": "BA"},
     {"kind": "tumour", "territory": "MCA"}],
)  # fmt: skip
def test_what_is_unknown_is_refused(options: dict) -> None:
    with pytest.raises(SettingsError):
        ShapeSettings(**{"kind": "stroke"} | options)


# --- taper ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", ["RAS", "LPI", "sagittal"])
def test_a_box_is_rounded_towards_its_ends(grid: str) -> None:
    scan, brain = head(**GRIDS[grid])
    axis = int(np.abs(scan.affine[2, :3]).argmax())
    middle = np.array(brain.shape) // 2
    box = np.zeros_like(brain)
    box[tuple(slice(m - 8, m + 8) for m in middle)] = True
    thin = taper(box, scan)
    area = thin.sum(tuple(a for a in range(3) if a != axis))
    area = area[area > 0]
    assert not (thin & ~box).any()
    assert area.max() == 256
    assert area[0] < 0.4 * 256 > area[-1]
    assert (np.diff(area[:8]) >= 0).all()


def test_what_is_round_is_hardly_touched() -> None:
    scan, brain = head((2.0, 2.0, 2.0))
    at = np.argwhere(np.ones_like(brain)) - np.array(brain.shape) // 2
    ball = ((at**2).sum(1) < 12**2).reshape(brain.shape)
    assert taper(ball, scan).sum() > 0.85 * ball.sum()


def test_one_or_two_slices_stay_as_they_are() -> None:
    scan, brain = head((2.0, 2.0, 2.0))
    flat = np.zeros_like(brain)
    flat[20:40, 30:50, 30:32] = True
    np.testing.assert_array_equal(taper(flat, scan), flat)


def test_each_component_has_its_own_ends() -> None:
    scan, brain = head((2.0, 2.0, 2.0))
    two = np.zeros_like(brain)
    two[10:20, 30:40, 10:20] = True
    two[40:50, 30:40, 40:50] = True
    thin = taper(two, scan)
    assert thin[10:20].sum() == thin[40:50].sum() > 0
