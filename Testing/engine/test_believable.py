"""Real lesions beside induced ones: edges and texture as measured on lesions that are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from braindiffusion.evaluation.induction.believable import (
    BelievableReport,
    Lesion,
    edge_width_mm,
    measures_of,
    told_apart,
)
from braindiffusion.evaluation.induction.blinded import blinded_sheet

N = 96
Y, X = np.mgrid[:N, :N]
BRAIN = (Y - 48) ** 2 + (X - 48) ** 2 < 44**2
MASK = (Y - 48) ** 2 + (X - 48) ** 2 < 14**2


def lesion(seed: int, texture: float, edge: float = 1.0) -> Lesion:
    noise = np.random.default_rng(seed).standard_normal((N, N))
    image = 0.45 + 0.3 * ndimage.gaussian_filter(MASK.astype(float), edge) + texture * noise
    out = Lesion((image * BRAIN).astype(np.float32), MASK, seed, f"p{seed}")
    out.measured = measures_of(out, BRAIN, 1.0)
    return out


@pytest.mark.parametrize("sigma", [1.5, 2.5])
def test_the_width_of_an_edge_is_that_of_its_blur(sigma: float) -> None:
    image = 0.45 + 0.3 * ndimage.gaussian_filter(MASK.astype(float), sigma)
    assert edge_width_mm(image, MASK, BRAIN, 1.0) == pytest.approx(2.56 * sigma, rel=0.3)


def test_a_lesion_that_does_not_show_has_no_edge() -> None:
    assert np.isnan(edge_width_mm(np.full((N, N), 0.45), MASK, BRAIN, 1.0))


def test_contrast_and_spread_are_those_put_in() -> None:
    found = lesion(0, 0.02).measured
    assert found["contrast"] == pytest.approx(0.29, abs=0.02)
    assert found["spread"] == pytest.approx(0.02, rel=0.2)


def test_flat_lesions_are_told_apart_and_like_ones_are_not() -> None:
    pytest.importorskip("sklearn")
    real = [lesion(n, 0.03) for n in range(8)]
    flat = told_apart(real, [lesion(n + 20, 0.005) for n in range(8)])
    like = told_apart(real, [lesion(n + 40, 0.03) for n in range(8)])
    assert flat["told_apart"] > 0.95
    assert like["told_apart"] < 0.85


def test_a_sheet_shows_a_brain_once_where_there_are_others() -> None:
    """A reader who sees one slice with two lesions knows that they were painted."""
    real, made = [lesion(n, 0.03) for n in range(6)], [lesion(20 + n % 3, 0.01) for n in range(9)]
    _, key = blinded_sheet(BelievableReport({}, real, {"mededit": made}), "mededit", 3, 0)
    assert len({k["patient"] for k in key}) == 6


def test_two_sheets_do_not_share_a_key() -> None:
    """Who has seen one key would know the other sheet."""
    real, made = [lesion(n, 0.03) for n in range(8)], [lesion(n + 20, 0.01) for n in range(8)]
    orders = [
        [entry["is"] for entry in blinded_sheet(BelievableReport({}, real, {name: made}), name, 8, 0)[1]]
        for name in ("mededit", "mededit_paired")
    ]
    assert orders[0] != orders[1]


def test_the_key_says_what_each_number_is() -> None:
    real, made = [lesion(n, 0.03) for n in range(5)], [lesion(n + 20, 0.01) for n in range(5)]
    image, key = blinded_sheet(BelievableReport({}, real, {"mededit": made}), "mededit", 3, 0)
    assert image.startswith(b"\x89PNG")
    assert [k["number"] for k in key] == list(range(1, 7))
    assert sorted(k["is"] for k in key) == ["induced"] * 3 + ["real"] * 3
    assert all((int(k["patient"][1:]) >= 20) == (k["is"] == "induced") for k in key)
