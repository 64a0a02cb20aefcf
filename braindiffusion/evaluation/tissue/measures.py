"""What the hole test measures, at the scan's own resolution, inside the hole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from braindiffusion.errors import DependencyMissingError
from braindiffusion.training.tasks.classifier import auroc

SSIM_SIGMA = 1.5
ERODED_PX = 2
SCALES = (1.0, 2.0, 4.0)
PIXELS = 150
"""Pixels of a patch that the forest sees."""
FOLDS = 5


def psnr(true: np.ndarray, healed: np.ndarray, hole: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of images in [0,1], inside the hole; at most 99."""
    error = float(((true - healed)[hole] ** 2).mean())
    return float(-10 * np.log10(max(error, 1e-10)))


def ssim(true: np.ndarray, healed: np.ndarray, hole: np.ndarray) -> float:
    """Structural similarity of images in [0,1] (Wang et al. 2004; Gaussian window), averaged over the hole."""
    from skimage.metrics import structural_similarity

    _, values = structural_similarity(
        true, healed, data_range=1.0, gaussian_weights=True, sigma=SSIM_SIGMA, use_sample_covariance=False, full=True
    )
    return float(values[hole].mean())


def _eroded(hole: np.ndarray) -> np.ndarray:
    inner = ndimage.binary_erosion(hole, iterations=ERODED_PX)
    return inner if inner.any() else hole


def gradient_energy(image: np.ndarray, hole: np.ndarray) -> float:
    """Mean squared gradient inside the hole eroded by 2 pixels, where the hole's border cannot reach."""
    rows, columns = np.gradient(image)
    return float((rows**2 + columns**2)[_eroded(hole)].mean())


def sharpness(true: np.ndarray, healed: np.ndarray, hole: np.ndarray) -> float:
    """Gradient energy of the healed region divided by that of the true tissue in the same place; 1 is right."""
    return gradient_energy(healed, hole) / max(gradient_energy(true, hole), 1e-12)


def texture_features(image: np.ndarray) -> np.ndarray:
    """(H,W) -> (H,W,9): |gradient|, |Laplacian| and local standard deviation, each smoothed at sigma 1, 2 and 4."""
    rows, columns = np.gradient(image)
    gradient, laplacian = np.hypot(rows, columns), np.abs(ndimage.laplace(image))
    found = []
    for s in SCALES:
        mean = ndimage.gaussian_filter(image, s)
        variance = ndimage.gaussian_filter(image**2, s) - mean**2
        found += [
            ndimage.gaussian_filter(gradient, s),
            ndimage.gaussian_filter(laplacian, s),
            np.sqrt(np.maximum(variance, 0.0)),
        ]
    return np.stack(found, -1).astype(np.float32)


def told_apart(
    true: Sequence[np.ndarray],
    healed: Sequence[np.ndarray],
    holes: Sequence[np.ndarray],
    groups: Sequence[str],
    seed: int = 0,
) -> tuple[float, np.ndarray]:
    """AUROC of a random forest on local texture that separates healed from true patches (a classifier two-sample test).

    Pixels of a patch are its examples; folds never share a slice or a patient; a patch's score is the mean over its
    pixels. 0.5 means that nobody can tell.

    Args:
        true, healed: (H,W) images, the same slices in the same order. holes: (H,W) bool. groups: patients.

    Returns:
        the AUROC, and (2n,) patch scores: the true ones first.

    Raises:
        DependencyMissingError: scikit-learn is not installed.
    """
    images, masks = [*true, *healed], [*holes, *holes]
    scores = forest_scores(images, masks, np.repeat([0, 1], len(holes)), [*groups, *groups], seed)
    return auroc(scores, np.repeat([0, 1], len(holes))), scores


def forest_scores(
    images: Sequence[np.ndarray], masks: Sequence[np.ndarray], labels: np.ndarray, groups: Sequence[str], seed: int = 0
) -> np.ndarray:
    """(n,) how much each patch looks, by its local texture, like those of label 1: mean probability of its pixels.

    Args:
        images: (H,W) each. masks: (H,W) bool each, the patch. labels: (n,) 0 or 1.
        groups: folds share none; a patch of label 1 and one of label 0 may be of one group.

    Raises:
        DependencyMissingError: scikit-learn is not installed.
    """
    try:
        from sklearn.ensemble import RandomForestClassifier
        from sklearn.model_selection import GroupKFold
    except ImportError as error:
        raise DependencyMissingError(
            "This test needs scikit-learn.",
            "It is not installed.",
            'Install it with: pip install "slicer-brain-counterfactual[evaluate]"',
        ) from error

    rng = np.random.default_rng(seed)
    drawn: dict[int, np.ndarray] = {}
    for mask in masks:
        if id(mask) not in drawn:
            at = np.argwhere(mask)
            drawn[id(mask)] = at[rng.permutation(len(at))[:PIXELS]]
    chosen = [drawn[id(mask)] for mask in masks]
    x = np.concatenate([texture_features(i)[at[:, 0], at[:, 1]] for i, at in zip(images, chosen, strict=True)])
    patch = np.repeat(np.arange(len(images)), [len(at) for at in chosen])
    y, group = np.asarray(labels)[patch], np.array(list(groups))[patch]
    scores = np.zeros(len(images))
    for train, test in GroupKFold(min(FOLDS, len(set(groups)))).split(x, y, group):
        forest = RandomForestClassifier(150, min_samples_leaf=5, max_features="sqrt", n_jobs=1, random_state=seed)
        forest.fit(x[train], y[train])
        probability = forest.predict_proba(x[test])[:, 1]
        for n in np.unique(patch[test]):
            scores[n] = probability[patch[test] == n].mean()
    return scores


def interval_of(values: np.ndarray, groups: np.ndarray, statistic, draws: int = 1000, seed: int = 0):
    """95 % percentile bootstrap over patients of a statistic of rows; each patient is drawn with all his rows.

    Args:
        values: (n,...) rows; statistic: (m,...) -> float.
    """
    rng = np.random.default_rng(seed)
    known = [np.nonzero(groups == g)[0] for g in np.unique(groups)]
    found = []
    for _ in range(draws):
        rows = np.concatenate([known[i] for i in rng.integers(len(known), size=len(known))])
        found.append(statistic(values[rows]))
    return tuple(float(v) for v in np.nanpercentile(found, [2.5, 97.5]))
