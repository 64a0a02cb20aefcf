"""How far a set of images lies from a set of real ones, in the features of a network: FID and KID.

Features are (N,D) float64. Both numbers depend on the features, and FID on the number of images too: it is biased
upwards, the more so the fewer there are. Only numbers of the same features and the same n compare.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BOOTSTRAPS = 10


def _factor(x: np.ndarray) -> np.ndarray:
    """(D, min(N,D)) A with ``A A^T`` the sample covariance (n - 1) of (N,D)."""
    centred = (x - x.mean(0)) / np.sqrt(len(x) - 1)
    if len(x) > x.shape[1]:
        centred = np.asarray(np.linalg.qr(centred, mode="r"))
    return centred.T


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Fréchet distance of the two Gaussians with the sets' means and covariances (FID, Heusel et al. 2017).

    ``|mu_a - mu_b|^2 + tr(S_a) + tr(S_b) - 2 tr((S_a S_b)^(1/2))``. With ``S = A A^T`` the last trace is the sum of the
    singular values of ``A^T B``: the same as by a matrix square root, and exact where there are fewer images than
    features and the root of the singular product is ill defined.

    Args:
        a, b: (N,D) and (M,D), N and M at least 2.

    Raises:
        ValueError: fewer than two rows, or different features.
    """
    if len(a) < 2 or len(b) < 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"{a.shape} and {b.shape} have no Fréchet distance")
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    fa, fb = _factor(a), _factor(b)
    shared = np.linalg.svd(fa.T @ fb, compute_uv=False).sum()
    apart = ((a.mean(0) - b.mean(0)) ** 2).sum()
    return float(max(0.0, apart + (fa**2).sum() + (fb**2).sum() - 2.0 * shared))


def kernel_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared maximum mean discrepancy with the kernel ``(x . y / D + 1)^3`` (KID, Binkowski et al. 2018).

    The unbiased estimator over all pairs, no subsets: pairs of an image with itself are left out, so that two sets of
    the same source give 0 on average, and may give less than 0.

    Raises:
        ValueError: fewer than two rows, or different features.
    """
    if len(a) < 2 or len(b) < 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"{a.shape} and {b.shape} have no kernel distance")
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1.0) ** 3

    def within(x: np.ndarray) -> float:
        k, n = kernel(x, x), len(x)
        return float((k.sum() - np.trace(k)) / (n * (n - 1)))

    return within(a) + within(b) - 2.0 * float(kernel(a, b).mean())


@dataclass(frozen=True)
class Distances:
    """FID and KID of a set against the real one.

    Attributes:
        fid: against all real images; fid_mean, fid_sd: over bootstraps of the real set (ddof 0), the set itself fixed.
        kid: unbiased, against all real images; kid_sd: over random halves of the real set (a bootstrap would repeat
            images, and no longer be unbiased).
        n, n_real, features: images, real images, feature dimensions.
    """

    fid: float
    fid_mean: float
    fid_sd: float
    kid: float
    kid_sd: float
    n: int
    n_real: int
    features: int


def distances(made: np.ndarray, real: np.ndarray, seed: int = 0, draws: int = BOOTSTRAPS) -> Distances:
    """Both numbers with their spread; the lists of drawn real images depend on seed and n only, so methods share them.

    Raises:
        ValueError: fewer than two images of either, or different features.
    """
    rng, n = np.random.default_rng(seed), len(real)
    fids = [frechet_distance(made, real[rng.integers(0, n, n)]) for _ in range(draws)]
    kids = [kernel_distance(made, real[rng.permutation(n)[: max(2, n // 2)]]) for _ in range(draws)]
    return Distances(
        frechet_distance(made, real), float(np.mean(fids)), float(np.std(fids)), kernel_distance(made, real),
        float(np.std(kids)), len(made), n, made.shape[1],
    )  # fmt: skip
