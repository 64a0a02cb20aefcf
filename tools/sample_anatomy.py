"""A simulated head, of simple shapes: the anatomy from which :mod:`make_sample` lets a model draw the sample scan.

Nobody's scan goes in. An ovoid with a wavy surface is the brain; sulci are where band-limited noise crosses zero near
the surface; ventricles are tubes along a few points, basal ganglia and thalami ellipsoids, fissures thin sheets. Sizes
are about a textbook's, in mm from the middle: x to the side, y forwards, z upwards. Grey values are FLAIR's: grey
matter above white, fluid dark.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

WHITE, GREY, DEEP, FLUID = 0.415, 0.500, 0.475, 0.09
NUCLEI = ((14, 20, 12, 5, 9, 12), (24, 5, 2, 6, 15, 12), (11, -10, 5, 9, 13, 10))
"""Caudate, lentiform nucleus, thalamus: x, y, z of the centre, then radii."""
LATERAL_VENTRICLE = ((5.5, 30, 6), (5, 22, 14), (7, 8, 21), (11, -10, 23), (19, -27, 18), (23, -36, 8), (20, -48, 5))
TEMPORAL_HORN = ((23, -36, 8), (30, -22, -4), (33, -8, -14))


def _step(values: np.ndarray, softness: float) -> np.ndarray:
    """0 below zero, 1 above, over about ``softness``."""
    return 1 / (1 + np.exp(-values / softness))


def band_noise(
    shape: tuple[int, ...], spacing: tuple[float, ...], wavelength_mm: float, rng: np.random.Generator
) -> np.ndarray:
    """Noise of about one wavelength in all directions, standard deviation 1."""
    frequencies = np.meshgrid(*[np.fft.fftfreq(n, d) for n, d in zip(shape, spacing, strict=True)], indexing="ij")
    ratio = np.sqrt(sum(f**2 for f in frequencies)) * wavelength_mm
    noise = np.fft.ifftn(np.fft.fftn(rng.standard_normal(shape)) * np.exp(-(((ratio - 1) / 0.25) ** 2) / 2)).real
    return noise / noise.std()


def _tube(at: tuple[np.ndarray, ...], points: tuple[tuple[float, ...], ...], radius_mm: float) -> np.ndarray:
    x, y, z = at
    out = np.zeros(x.shape)
    for start, end in pairwise(points):
        for t in np.linspace(0, 1, 14):
            cx, cy, cz = np.add(np.multiply(start, 1 - t), np.multiply(end, t))
            distance = np.sqrt((x - cx) ** 2 + ((y - cy) / 1.25) ** 2 + ((z - cz) / 1.5) ** 2)
            out = np.maximum(out, _step(radius_mm - distance, 0.5))
    return out


def _ellipsoid(at: tuple[np.ndarray, ...], placed: tuple[float, ...]) -> np.ndarray:
    q = np.sqrt(sum(((a - c) / r) ** 2 for a, c, r in zip(at, placed[:3], placed[3:], strict=True)))
    return _step((1 - q) * min(placed[3:5]), 0.8)


def _depth_mm(x: np.ndarray, y: np.ndarray, heights_mm: np.ndarray) -> np.ndarray:
    """About how far below the brain's surface, negative outside."""
    shrunk = np.sqrt(np.clip(1 - ((heights_mm - 6) / 70) ** 2, 0.01, 1))[:, None, None]
    half_width, half_length = 68 * shrunk, 85 * shrunk
    along = y / half_length
    width = half_width * (1 - 0.10 * along - 0.06 * along**2)
    r = (np.abs(x / width) ** 2.2 + np.abs(along) ** 2.25) ** (1 / 2.2)
    return (1 - r) * half_width


def anatomy(
    heights_mm: np.ndarray, shape: tuple[int, int], pitch_mm: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Grey values (S,H,W) float32 in [0,1] and the brain (S,H,W) bool.

    Args:
        heights_mm: (S,) of the slices above the middle of the thalami, evenly spaced.
        shape: rows from the front to the back, columns.
    """
    rows, columns = shape
    ahead, aside = ((rows - 1) / 2 - np.arange(rows)) * pitch_mm, (np.arange(columns) - (columns - 1) / 2) * pitch_mm
    z, y, x = np.meshgrid(heights_mm, ahead, aside, indexing="ij")
    spacing = (float(heights_mm[1] - heights_mm[0]), pitch_mm, pitch_mm)

    def noise(wavelength_mm: float) -> np.ndarray:
        return band_noise(z.shape, spacing, wavelength_mm, rng)

    x, y = x + 1.5 * noise(60), y + 1.5 * noise(60)  # nobody is symmetric
    side = np.abs(x)
    at = (side, y, z)
    depth = _depth_mm(x, y, heights_mm) + 1.3 * noise(16)
    near = np.clip(1 - depth / 22, 0, 1)
    to_sulcus = np.minimum(6.5 * np.abs(noise(24)), 4.5 * np.abs(noise(13)) + 2)  # mm, about
    sulci = _step(1.6 * near + 0.1 - to_sulcus, 0.45) * (near > 0)
    cortex = np.maximum(_step(4 * near**0.6 - to_sulcus, 0.8) * (near > 0), _step(4 - depth, 0.7))

    def mixed(image: np.ndarray, weight: np.ndarray, level: float) -> np.ndarray:
        return image * (1 - weight) + level * weight

    above_callosum = _step(z - 28 + 0.006 * y**2, 1.5)
    split = np.clip(above_callosum + _step(y - 38, 2) + _step(-47 - y, 2), 0, 1)  # where the hemispheres part
    image = mixed(WHITE + 0.008 * noise(35), cortex, GREY)
    for nucleus in NUCLEI:
        image = mixed(image, _ellipsoid(at, nucleus), DEEP)
    image = mixed(image, 0.7 * split * np.exp(-((side / 6) ** 2)), GREY)
    low = np.clip(1 - np.abs(z) / 16, 0, 1)
    fluid = np.maximum.reduce(
        [
            sulci,
            _tube(at, LATERAL_VENTRICLE, 3.9),
            _tube(at, TEMPORAL_HORN, 2.6),
            0.9 * np.exp(-((side / 1.6) ** 2)) * np.sqrt(np.clip(1 - np.abs(y - 1) / 16, 0, 1)) * (np.abs(z) < 8),
            0.8 * split * np.exp(-((side / 1.3) ** 2)),
            0.8 * low * np.exp(-(((side - 44 + 0.1 * (y - 5)) / 1.7) ** 2)) * (np.abs(y - 6) < 22),  # insula
            0.7 * low * np.exp(-(((y - 4) / 1.5) ** 2)) * (side > 44),  # and its opening
        ]
    )
    return (mixed(image, np.clip(fluid, 0, 1), FLUID) * _step(depth, 0.6)).astype(np.float32), depth > 0
