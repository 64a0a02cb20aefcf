"""Healing by a model that sees the surroundings: what it is shown, in which order, and what never changes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from braindiffusion.diffusion.schedule import CLEAN, Schedule
from braindiffusion.diffusion.spacing import ascending_levels
from braindiffusion.errors import ScanContentError
from braindiffusion.healing.dif_fuse import DifFuseSettings, dif_fuse
from braindiffusion.healing.surroundings import CHANNELS, MARGIN_PX, Surroundings, window_around
from braindiffusion.volume.paste_back import carry_back
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import place, whole_slices

SPAN = (-2.25, 2.75)
KNOWN = DifFuseSettings(noise_level=999, steps=12, spacing="karras", inversion="known", clip=SPAN)


def scan_of(pitch: float = 1.0, size: int = 200, slices: int = 6) -> tuple[Scan, np.ndarray]:
    rng = np.random.default_rng(0)
    x, y = np.mgrid[:size, :size]
    brain = ((x - size / 2) / (60 / pitch)) ** 2 + ((y - size / 2) / (75 / pitch)) ** 2 < 1
    voxels = (20 + 400 * brain[..., None] + rng.integers(0, 200, (size, size, slices))).astype(np.int16)
    return Scan(voxels, np.diag([-pitch, -pitch, 4.0, 1.0]), "FLAIR", {}), np.repeat(brain[..., None], slices, 2)


def centred_hole(shape: tuple[int, ...]) -> np.ndarray:
    hole = np.zeros(shape, bool)
    hole[2:5, 100:130, 110:140] = True
    return hole


@pytest.mark.parametrize("pitch", [0.8, 0.9375, 1.0, 1.1])
def test_pixels_of_about_1_mm_are_taken_as_they_are(pitch: float) -> None:
    scan, brain = scan_of(pitch)
    p = place(scan, brain, 256, native=True)
    assert p.model_pitch == pytest.approx(pitch)
    axial = p.to_axial(scan.voxels)
    there = p.down(axial)
    back = p.up(there, cubic=True)
    covered = p.up(np.ones_like(there)) > 0.99
    assert np.abs(back - axial)[covered].max() < 1e-2
    assert set(np.unique(there.round(3))) <= {0.0, *np.unique(axial).astype(float)}


@pytest.mark.parametrize("pitch", [0.5, 1.9])
def test_other_pixels_are_resampled(pitch: float) -> None:
    scan, brain = scan_of(pitch)
    assert place(scan, brain, 256, native=True).model_pitch == pytest.approx(240 / 256)


def test_outside_the_hole_not_a_voxel_changes_its_value() -> None:
    scan, brain = scan_of()
    stack = whole_slices(scan, brain)
    hole = centred_hole(stack.images.shape) & stack.brain
    healed = np.where(hole, 0.3, stack.images).astype(np.float32)
    back = carry_back(scan, stack, healed, hole)
    native = stack.placement.from_axial(stack.placement.up(hole.astype(np.float32))) > 0.5
    assert np.array_equal(back.voxels[~native], scan.voxels[~native])
    assert (back.voxels[native] != scan.voxels[native]).mean() > 0.9


def test_the_window_holds_the_hole_and_its_surroundings() -> None:
    hole = centred_hole((6, 256, 256))
    _, rows, columns = window_around(hole)
    assert rows.start <= 100 - MARGIN_PX + 8
    assert rows.stop >= 130 + MARGIN_PX - 8
    assert (rows.stop - rows.start) % 8 == (columns.stop - columns.start) % 8 == 0
    assert hole[:, rows, columns].sum() == hole.sum()
    whole = window_around(np.ones((2, 256, 256), bool))
    assert whole[1:] == (slice(0, 256), slice(0, 256))


def test_what_the_model_is_shown() -> None:
    scan, brain = scan_of()
    stack = whole_slices(scan, brain)
    hole = centred_hole(stack.images.shape) & stack.brain
    seen = Surroundings(stack, hole, SPAN)
    window = window_around(hole)
    healed = np.full((2, *stack.images.shape), 0.25, np.float32)
    shown = dict(zip(CHANNELS, seen.of(2, window, healed).unbind(1), strict=True))
    inside = torch.from_numpy(hole[(2, *window[1:])])
    assert (shown["context"][0][inside] == 0).all()  # nothing of the lesion
    outside = torch.from_numpy(stack.head[(2, *window[1:])])[~inside] * (SPAN[1] - SPAN[0]) + SPAN[0]
    assert torch.allclose(shown["context"][0][~inside], outside, atol=1e-5)
    assert ((shown["mirror_valid"] == 0) | (shown["mirror_valid"] == 1)).all()
    # slice 1 is whole, so it is shown; of slice 3's two neighbours none is known before one has been healed
    assert shown["neighbour"].abs().sum() > 0
    assert seen.neighbour(3) is None
    assert (seen.of(3, window, healed)[:, CHANNELS.index("neighbour")] == 0).all()
    seen.known[2] = True
    beside = seen.of(3, window, healed)[:, CHANNELS.index("neighbour")]
    assert (beside[:, inside] == 0.25 * (SPAN[1] - SPAN[0]) + SPAN[0]).all()


def test_slices_of_the_brain_alone_are_refused() -> None:
    scan, brain = scan_of()
    stack = replace(whole_slices(scan, brain), head=None)
    with pytest.raises(ScanContentError, match="nothing but the brain"):
        Surroundings(stack, centred_hole(stack.images.shape), SPAN)


def test_karras_levels_rise_to_noise_alone() -> None:
    levels = ascending_levels(999, 16, "karras")
    assert levels == sorted(set(levels))
    assert levels[-1] == 999
    assert levels[0] < 10
    ratio = [np.sqrt((1 - a) / a) for a in (Schedule().signal(t) for t in levels)]
    assert all(b > a for a, b in pairwise(ratio))


class Exact:
    """Knows the clean slice outside, and says that the inside is grey: the exact predictor of a point."""

    def __init__(self, clean: torch.Tensor) -> None:
        self.clean, self.states = clean, []

    def __call__(self, x: torch.Tensor, level: int) -> torch.Tensor:
        a = Schedule().signal(level)
        self.states.append((level, x.clone()))
        return (x - np.sqrt(a) * self.clean.repeat(len(x) // len(self.clean), 1, 1, 1)) / np.sqrt(1 - a)


def test_the_known_inversion_is_what_an_exact_model_would_invert_to() -> None:
    g = torch.Generator().manual_seed(0)
    x0 = torch.rand((1, 1, 16, 16), generator=g) - 0.5
    mask = torch.zeros((1, 1, 16, 16), dtype=torch.bool)
    mask[..., 4:9, 5:12] = True
    truth = torch.where(mask, 0.3, x0)
    model = Exact(truth)
    out = dif_fuse(x0, mask, model, KNOWN, torch.Generator().manual_seed(3))
    assert out.calls == KNOWN.calls() == len(model.states)
    assert torch.equal(out.samples[0][~mask], x0[~mask])  # bit for bit
    assert torch.allclose(out.samples[0][mask], torch.tensor(0.3), atol=1e-4)
    # outside, every state lies on one straight path: the same noise at every level
    noises = []
    for t, x in model.states:
        a = Schedule().signal(t)
        noises.append((x - np.sqrt(a) * truth)[~mask] / np.sqrt(1 - a))
    assert all(torch.allclose(n, noises[0], atol=2e-3) for n in noises)
    levels = [t for t, _ in model.states]
    assert levels == sorted(levels, reverse=True)
    assert CLEAN not in levels


def test_nothing_of_the_lesion_reaches_the_result() -> None:
    mask = torch.zeros((1, 1, 8, 8), dtype=torch.bool)
    mask[..., 2:6, 2:6] = True
    dark, bright = torch.zeros((1, 1, 8, 8)), torch.zeros((1, 1, 8, 8)).masked_fill(mask, 2.0)

    def blind(x: torch.Tensor, level: int) -> torch.Tensor:
        return 0.9 * x

    results = [dif_fuse(x, mask, blind, KNOWN, torch.Generator().manual_seed(1)).samples for x in (dark, bright)]
    assert torch.equal(results[0][0][mask], results[1][0][mask])


def test_samples_differ_and_the_seed_decides() -> None:
    x0, mask = torch.zeros((1, 1, 8, 8)), torch.ones((1, 1, 8, 8), dtype=torch.bool)
    options = DifFuseSettings(noise_level=999, steps=6, spacing="karras", inversion="known", clip=SPAN, samples=2)

    def walk(seed: int) -> torch.Tensor:
        return dif_fuse(x0, mask, lambda x, t: 0.9 * x, options, torch.Generator().manual_seed(seed)).samples

    assert torch.equal(walk(1), walk(1))
    assert not torch.equal(walk(1), walk(2))
    assert not torch.equal(walk(1)[0], walk(1)[1])


def test_a_hint_starts_the_inside_and_skull_is_none() -> None:
    scan, brain = scan_of()
    stack = whole_slices(scan, brain)
    hole = np.roll(centred_hole(stack.images.shape), 30, axis=2) & stack.brain  # off the midline
    seen, window = Surroundings(stack, hole, SPAN), window_around(hole)
    hint = seen.hint(2, window)
    assert hint is not None
    known = torch.from_numpy(seen.valid[(2, *window[1:])] & seen.mirrored_brain[(2, *window[1:])])
    assert (hint[0, 0][~known] == 0).all()
    assert (hint[0, 0][known] != 0).float().mean() > 0.9
    everywhere = stack.brain.copy()  # a hole on both sides: the other hemisphere knows nothing
    assert Surroundings(stack, everywhere, SPAN).hint(2, window_around(everywhere)) is None


def test_a_walk_from_a_hint_stays_near_it_and_a_walk_from_noise_does_not() -> None:
    mask = torch.ones((1, 1, 8, 8), dtype=torch.bool)
    hint = torch.full((1, 1, 8, 8), 2.0)
    options = DifFuseSettings(noise_level=999, steps=8, spacing="karras", inversion="known", clip=SPAN, start_ratio=0.3)

    def keeps(x: torch.Tensor, level: int) -> torch.Tensor:
        a = Schedule().signal(level)
        return (x - np.sqrt(a) * x.mean()) / np.sqrt(1 - a)

    x0 = torch.zeros((1, 1, 8, 8))
    near = dif_fuse(x0, mask, keeps, options, torch.Generator().manual_seed(1), hint=hint).samples
    far = dif_fuse(x0, mask, keeps, options, torch.Generator().manual_seed(1)).samples
    assert near.mean() == pytest.approx(2.0, abs=0.4)
    assert abs(float(far.mean())) < 1.5
