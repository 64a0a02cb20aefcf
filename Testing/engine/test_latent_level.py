"""The level of latent healing comes from lesion-free val slices, and reaches the card and the method."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from healing_models import add_model
from tiny_training import write_pack

from braindiffusion.errors import PackError
from braindiffusion.evaluation import tuning
from braindiffusion.evaluation.healing.data import Case
from braindiffusion.evaluation.tuning import healthy_level, keep
from braindiffusion.healing.models import main_model
from braindiffusion.healing.run import heal_slices
from braindiffusion.models.registry import release
from braindiffusion.settings import HealSettings
from braindiffusion.training.packs import Pack, load_pack
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import SliceStack, to_slices

LATENT = HealSettings(method="latent", precision="fp32", steps=2, batch=3)


@pytest.fixture(autouse=True)
def models(no_user_models: Path) -> Iterator[Path]:
    for name in ("flair-vqvae", "flair-latent-healthy"):
        add_model(no_user_models, name)
    yield no_user_models
    release()


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    return load_pack(write_pack(tmp_path / "tiny.npz"))


@pytest.fixture
def stack(head_phantom: Scan, pack: Pack, monkeypatch: pytest.MonkeyPatch) -> SliceStack:
    """The phantom in place of the pack's patients: slices 8 to 13 are the six of its val patient."""
    made = to_slices(head_phantom, head_phantom.voxels > 200, 64)

    def cases(part: Pack, wanted: np.ndarray, size: int, device: str) -> Iterator[Case]:
        assert size == 64
        chosen = np.zeros(len(made), bool)
        chosen[8:14] = wanted
        yield Case("P2", made, np.zeros(0), np.zeros(0), chosen)

    monkeypatch.setattr(tuning, "cases", cases)
    return made


def test_the_level_is_a_quantile_over_lesion_free_slices_and_does_not_depend_on_batches(
    pack: Pack, stack: SliceStack
) -> None:
    found = healthy_level(pack, LATENT)
    assert found["level_from"]["lesion_free_slices"] == 3  # every second of six shows a lesion
    assert found["level_from"]["split"] == "val"
    alone = healthy_level(pack, HealSettings(**{**vars(LATENT), "batch": 1}))
    assert alone["level"] == pytest.approx(found["level"], rel=1e-3)
    assert healthy_level(pack, LATENT, limit=1)["level_from"]["lesion_free_slices"] == 1


def test_the_kept_level_is_the_methods_and_leaves_other_points_alone(
    pack: Pack, stack: SliceStack, models: Path
) -> None:
    path = models / "flair-latent-healthy.json"
    before = {"latent": {"threshold": 0.07}, "other": {"threshold": 0.2}}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"operating_points": before}))
    release()
    found = healthy_level(pack, LATENT)
    keep("flair-latent-healthy", "latent", found)
    release()
    points = json.loads(path.read_text())["operating_points"]
    assert points == {"latent": {"threshold": 0.07} | found, "other": {"threshold": 0.2}}
    empty = np.zeros_like(stack.brain)
    ran = heal_slices(stack, empty, main_model(LATENT, "cpu"), LATENT, torch.device("cpu"))[2]
    assert ran.options.level == found["level"]


def test_a_pack_without_healthy_val_slices_is_refused(pack: Pack) -> None:
    lesions = pack.select(pack.masks.any((1, 2)))
    with pytest.raises(PackError, match="nothing to measure on"):
        healthy_level(lesions, LATENT)
