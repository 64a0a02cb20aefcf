"""Healing methods by name: those that find their region themselves, and what is said where a model is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from healing_models import add_model
from product_run import Head, names, provenance, refused, run, succeed

from braindiffusion import cards
from braindiffusion.models.registry import release

SHORT = ("--slices", "11:12", "--steps", 2, "--progress", "none")


@pytest.mark.parametrize("method", ["anoddpm", "guided", "cfg", "latent", "denoising_ae"])
def test_a_method_without_its_model_is_4(
    head: Head, tmp_path: Path, own_models: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(cards, "model_folders", lambda: [own_models])  # some of them ship
    for card in own_models.glob("*.json"):
        if not card.stem.startswith(("brain-mask", "flair-acat", "flair-healthy")):
            card.unlink()
    release()
    refused(tmp_path, 4, "ModelNotFoundError", "heal", head.scan, "--method", method, *SHORT)


def test_a_region_finder_heals_without_saliency_and_tells_all_its_models(
    head: Head, tmp_path: Path, own_models: Path
) -> None:
    for name in ("flair-vqvae", "flair-latent-healthy"):
        add_model(own_models, name, grid=128)
    out = tmp_path / "out"
    done = succeed("heal", head.scan, "--out", out, "--method", "latent", "--brain", head.brain, *SHORT)
    assert "uses no mask" in done.err
    assert {"counterfactual.nii.gz", "anomaly.nii.gz", "lesion.nii.gz", "overview.png"} <= names(out)
    facts = provenance(out)
    assert [model["name"] for model in facts["models"]] == ["flair-latent-healthy", "flair-vqvae"]
    assert all(len(model["sha256"]) == 64 for model in facts["models"])
    assert facts["method"]["name"] == "latent"
    assert facts["method"]["settings"]["steps"] == 2
    assert facts["network_calls"]["per_slice"] == 5 + 3
    assert facts["mask"]["origin"] == "whole brain"


def test_the_methods_are_listed_with_what_they_need() -> None:
    listed = succeed("models", "methods").out
    for word in ("dif_fuse", "latent", "flair-vqvae", "flair-healthy-128"):
        assert word in listed


def test_a_setting_of_another_method_is_2(head: Head, tmp_path: Path) -> None:
    refused(tmp_path, 2, "SettingsError", "heal", head.scan, "--guidance", 3, "--box", head.box, *SHORT)
    result = run("heal", head.scan, "--method", "repaint", "--noise-level", 100, "--out", tmp_path / "out")
    assert "has no noise_level" in result.err
