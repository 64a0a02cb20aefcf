"""Masks as people have them: labels, probabilities, cropped, layered, on another grid; never a guess in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scan_files import write

from braindiffusion import errors
from braindiffusion.finders.given import mostly_brain
from braindiffusion.io.read import read_mask
from braindiffusion.volume.scan import Scan

GRID = np.array([[-2.0, 0, 0, 30], [0, 2, 0, -25], [0, 0, 4, -20], [0, 0, 0, 1]])
SHAPE = (20, 18, 10)


@pytest.fixture
def scan() -> Scan:
    return Scan(np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE), GRID)


@pytest.fixture
def lesion() -> np.ndarray:
    out = np.zeros(SHAPE, bool)
    out[5:9, 6:11, 3:6] = True
    return out


def read(
    path: Path, scan: Scan, voxels: np.ndarray, grid: np.ndarray = GRID, **options: object
) -> tuple[np.ndarray, list[str]]:
    told: list[str] = []
    mask = read_mask(write(path / "m.nrrd", voxels, grid), scan, on_note=told.append, **options)  # type: ignore[arg-type]
    return mask, told


@pytest.mark.parametrize(
    ("on", "off", "dtype"), [(1, 0, "uint8"), (255, 0, "uint8"), (0.25, 0, "float32"), (1, np.nan, "float32")]
)
def test_one_value_beside_the_background(
    tmp_path: Path, scan: Scan, lesion: np.ndarray, on: float, off: float, dtype: str
) -> None:
    mask, told = read(tmp_path, scan, np.where(lesion, on, off).astype(dtype))
    assert np.array_equal(mask, lesion)
    assert told == []


def test_labels(tmp_path: Path, scan: Scan, lesion: np.ndarray) -> None:
    labels = lesion.astype(np.int16)
    labels[5:7][lesion[5:7]] = 4
    mask, told = read(tmp_path, scan, labels)
    assert np.array_equal(mask, lesion)
    assert "labels 1, 4; all are used" in told[0]
    mask, told = read(tmp_path, scan, labels, labels=[4])
    assert np.array_equal(mask, labels == 4)
    assert told == []
    with pytest.raises(errors.MaskValueError, match="no label 2"):
        read(tmp_path, scan, labels, labels=[2, 4])


def test_probabilities_are_cut_and_it_is_told(tmp_path: Path, scan: Scan) -> None:
    away = np.linalg.norm(np.indices(SHAPE) - np.array([8, 8, 5])[:, None, None, None], axis=0)
    soft = (1 / (1 + np.exp(away - 3.3))).astype(np.float32)
    assert (soft > 0).all()
    mask, told = read(tmp_path, scan, soft)
    assert np.array_equal(mask, soft >= 0.5)
    assert "0.5 or more" in told[0]
    with pytest.raises(errors.EmptyMaskError, match=r"the highest is 0\.0"):
        read(tmp_path, scan, soft * 0.05)


@pytest.mark.parametrize("background", [-1, -1024])
def test_another_background_is_refused_with_its_values(
    tmp_path: Path, scan: Scan, lesion: np.ndarray, background: int
) -> None:
    voxels = np.where(lesion, 1, background).astype(np.float32)
    with pytest.raises(errors.MaskValueError, match=rf"It holds {background}, 1") as caught:
        read(tmp_path, scan, voxels)
    assert "--mask-label" in caught.value.action
    assert np.array_equal(read(tmp_path, scan, voxels, labels=[1])[0], lesion)


def test_smoothed_masks_are_refused(tmp_path: Path, scan: Scan, lesion: np.ndarray) -> None:
    from scipy import ndimage

    smoothed = ndimage.gaussian_filter(lesion * 255.0, 1.5)
    for voxels in (smoothed.astype(np.uint8), smoothed.astype(np.float32)):
        with pytest.raises(errors.MaskValueError, match="different values"):
            read(tmp_path, scan, voxels)


def test_a_cropped_segmentation_is_placed(tmp_path: Path, scan: Scan, lesion: np.ndarray) -> None:
    first = (4, 5, 2)
    grid = GRID.copy()
    grid[:3, 3] = (GRID @ [*first, 1])[:3]
    part = lesion[4:12, 5:12, 2:7].astype(np.uint8)
    assert np.array_equal(read(tmp_path, scan, part, grid)[0], lesion)
    turned = grid @ np.array([[-1, 0, 0, 7], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    assert np.array_equal(read(tmp_path, scan, part[::-1], turned)[0], lesion)
    beyond = GRID.copy()
    beyond[:3, 3] = (GRID @ [-6, 0, 0, 1])[:3]
    mask, told = read(tmp_path, scan, lesion.astype(np.uint8), beyond)
    assert mask.sum() == lesion[6:].sum()
    assert "voxels of the mask lie outside the scan" in told[0]


def test_a_layered_segmentation(tmp_path: Path, scan: Scan, lesion: np.ndarray) -> None:
    layers = np.zeros((2, *SHAPE), np.uint8)
    layers[0][lesion], layers[1][10:12, 2:4, 7] = 1, 3
    lines = [
        "NRRD0004", "type: uchar", "dimension: 4", f"sizes: 2 {' '.join(map(str, SHAPE))}", "encoding: raw",
        "space: right-anterior-superior", "kinds: list domain domain domain",
        "space directions: none (-2,0,0) (0,2,0) (0,0,4)", "space origin: (30,-25,-20)",
        "Segment0_LabelValue:=1", "Segment1_LabelValue:=3",
    ]  # fmt: skip
    path = tmp_path / "two.seg.nrrd"
    path.write_bytes(("\n".join(lines) + "\n\n").encode() + layers.tobytes(order="F"))
    assert np.array_equal(read_mask(path, scan), lesion | (layers[1] > 0))
    assert np.array_equal(read_mask(path, scan, labels=[3]), layers[1] > 0)


def test_another_grid_is_resampled_only_when_asked(tmp_path: Path, scan: Scan, lesion: np.ndarray) -> None:
    fine, grid = np.repeat(np.repeat(lesion, 2, 0), 2, 1).astype(np.uint8), GRID @ np.diag([0.5, 0.5, 1, 1])
    grid[:3, 3] = (GRID @ [-0.25, -0.25, 0, 1])[:3]
    with pytest.raises(errors.MaskGeometryError) as caught:
        read(tmp_path, scan, fine, grid)
    assert "--resample-mask" in caught.value.action
    mask, told = read(tmp_path, scan, fine, grid, resample=True)
    assert np.array_equal(mask, lesion)
    assert "nearest neighbour" in told[-1]


def test_a_mask_of_most_of_the_brain_is_told(lesion: np.ndarray) -> None:
    brain = np.zeros(SHAPE, bool)
    brain[4:12, 4:14, 2:8] = True
    assert mostly_brain(lesion, brain) == []
    assert "takes 100% of the brain" in mostly_brain(np.ones(SHAPE, bool), brain)[0]
