"""Which models a healing method takes: by default, by wish, and what is said when one is missing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from healing_models import add_model

from braindiffusion import cards
from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.errors import ModalityError, ModelNotFoundError, SettingsError
from braindiffusion.healing.models import auxiliary_models_of, describe_methods, main_card, main_model, predictor_of
from braindiffusion.healing.registry import METHODS, Need, method_named
from braindiffusion.models.registry import load_model, release
from braindiffusion.networks.build import CLASSES, EpsPredictor, SlicePredictor
from braindiffusion.pipeline.estimate import estimate
from braindiffusion.pipeline.stages import check_modality
from braindiffusion.settings import HealSettings
from braindiffusion.training.loop import RECIPES, load_recipe
from braindiffusion.volume.scan import Scan
from braindiffusion.worker.handlers import Bench
from braindiffusion.worker.protocol import Request
from braindiffusion.worker.session import Job

NEEDS = {
    f"{name}:{role}": need
    for name, method in METHODS.items()
    for role, need in {"model": method.model, **method.auxiliary_models}.items()
}


@pytest.fixture(autouse=True)
def own(no_user_models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's own models; nothing else is installed."""
    monkeypatch.setattr(cards, "model_folders", lambda: [no_user_models])
    no_user_models.mkdir()
    yield no_user_models
    release()


def card_of(recipe: str) -> dict[str, Any]:
    """What training a recipe would say in the card."""
    data = load_recipe(recipe)
    said = {k: v for k, v in data.get("settings", {}).items() if k in ("condition", "context", "noise", "autoencoder")}
    return {"task": data["task"], **said, **data["card"]}


@pytest.mark.parametrize("use", list(NEEDS))
def test_a_need_is_met_by_its_own_recipe_and_by_no_other_kind(use: str) -> None:
    need: Need = NEEDS[use]
    fitting = {path.stem for path in RECIPES.glob("*.json") if need.fits(card_of(path.stem))}
    known = {"tissue-256": {"tissue-256", "flair-healthy-128"}}
    assert fitting == known.get(need.recipe, {need.recipe})


def test_the_recipes_own_model_is_the_default_and_another_can_be_asked_for(own: Path) -> None:
    for name in ("flair-healthy-128", "tissue-256"):
        add_model(own, "flair-healthy-128", name=name)
    assert main_card(HealSettings())["name"] == "tissue-256"
    assert main_card(HealSettings(model="flair-healthy-128"))["name"] == "flair-healthy-128"
    (own / "tissue-256.json").unlink()
    assert main_card(HealSettings())["name"] == "flair-healthy-128"  # the only one of its kind


@pytest.mark.parametrize("use", list(NEEDS))
def test_a_missing_model_is_one_error_that_names_its_recipe(use: str, own: Path) -> None:
    name, _, role = use.partition(":")
    method, need = method_named(name), NEEDS[use]
    for other in {method.model.recipe, *(n.recipe for n in method.auxiliary_models.values())} - {need.recipe}:
        add_model(own, other)
    for attempt in (main_card, lambda s: estimate(s, 1)):
        with pytest.raises(ModelNotFoundError) as caught:
            attempt(HealSettings(method=name))
        assert need.recipe in caught.value.what
        assert f"braindiffusion train {need.recipe}" in caught.value.action
    told = next(m for m in describe_methods() if m["name"] == name)
    assert not told["available"]
    assert need.recipe in told["why"]
    assert next(n for n in told["needs"] if n["role"] == role)["models"] == []


def test_a_model_for_something_else_is_refused(own: Path) -> None:
    for name in ("flair-healthy-128", "flair-guided-128", "flair-simplex-128"):
        add_model(own, name)
    for method, model in (
        ("dif_fuse", "flair-simplex-128"),
        ("anoddpm", "flair-healthy-128"),
        ("cfg", "flair-simplex-128"),
    ):
        with pytest.raises(SettingsError, match="cannot heal by") as caught:
            main_card(HealSettings(method=method, model=model))
        assert METHODS[method].model.recipe in caught.value.why
    with pytest.raises(ModelNotFoundError, match="no model 'nonesuch'"):
        main_card(HealSettings(model="nonesuch"))


def test_a_contrast_that_a_model_never_saw_is_refused_with_the_name_of_one_that_did(own: Path) -> None:
    scan = Scan(np.zeros((4, 4, 4), np.float32), np.eye(4), "T1", {})
    add_model(own, "flair-healthy-128")
    model = load_model("flair-healthy-128")
    with pytest.raises(ModalityError, match="'flair-healthy-128' was trained on FLAIR") as caught:
        check_modality(scan, model, False, "dif_fuse")
    assert "No model for T1 is installed" in caught.value.action
    add_model(own, "flair-healthy-128", name="tissue-256", modality=["ANY"])
    for method, advice in (
        ("dif_fuse", "Use --model tissue-256, which was trained on any contrast."),
        ("anoddpm", "Use --method dif_fuse --model tissue-256, which was trained on any contrast."),
    ):
        with pytest.raises(ModalityError) as caught:
            check_modality(scan, model, False, method)
        assert caught.value.action.startswith(advice)
    assert check_modality(scan, load_model("tissue-256"), False, "dif_fuse") == []


def test_settings_a_method_refuses_are_refused_before_anything_is_read(own: Path) -> None:
    add_model(own, "flair-guided-128")
    with pytest.raises(SettingsError, match="draws nothing"):
        main_card(HealSettings(method="cfg", samples=2))


def test_a_further_model_is_of_the_main_ones_modality(own: Path) -> None:
    add_model(own, "flair-healthy-128", modality=["T1"])
    add_model(own, "flair-noised-classifier")
    with pytest.raises(ModelNotFoundError, match="beside 'flair-healthy-128'"):
        main_card(HealSettings(method="guided"))
    assert auxiliary_models_of(HealSettings(), load_model("flair-healthy-128")) == {}


def test_latents_are_coded_by_the_autoencoder_they_were_learned_with(own: Path) -> None:
    add_model(own, "flair-vqvae")
    add_model(own, "flair-latent-healthy", autoencoder="my-vqvae")
    with pytest.raises(ModelNotFoundError, match="'my-vqvae'"):
        main_card(HealSettings(method="latent"))
    card = json.loads((own / "flair-vqvae.json").read_text())
    (own / "my-vqvae.json").write_text(json.dumps(card | {"name": "my-vqvae"}))
    settings = HealSettings(method="latent")
    auxiliary_models = auxiliary_models_of(settings, main_model(settings, "cpu"))
    assert {keyword: model.name for keyword, model in auxiliary_models.items()} == {"coder": "my-vqvae"}


def test_a_denoiser_is_asked_for_noise_and_an_autoencoder_for_the_slice(own: Path) -> None:
    for name in ("flair-healthy-128", "flair-denoising-ae"):
        add_model(own, name)
    assert isinstance(predictor_of(load_model("flair-healthy-128"), "fp32"), EpsPredictor)
    direct = predictor_of(load_model("flair-denoising-ae"), "fp32")
    assert isinstance(direct, SlicePredictor)
    assert direct(torch.zeros(3, 1, 32, 32)).shape == (3, 1, 32, 32)
    assert (direct.calls, direct.slice_calls) == (1, 3)


def test_a_call_may_bring_its_own_label(own: Path) -> None:
    add_model(own, "flair-guided-128")
    predictor = predictor_of(load_model("flair-guided-128"), "fp32")
    x = torch.rand((2, 1, 32, 32), generator=torch.Generator().manual_seed(0))
    answers = [predictor(x, 300, label=n) for n in range(len(CLASSES))]
    assert not torch.equal(answers[0], answers[2])
    network = load_model("flair-guided-128").network
    fixed = EpsPredictor(network, Schedule(), prediction="v", label=2)
    assert torch.equal(fixed(x, 300), answers[2])
    assert torch.equal(fixed(x, 300, label=0), answers[0])


def test_the_worker_tells_the_methods_with_what_they_need(own: Path) -> None:
    add_model(own, "flair-healthy-128")
    told = Bench().hello(Job(Request(1, "hello", {}), lambda *_, **__: None))["methods"]
    json.dumps(told)
    assert [m["name"] for m in told] == list(METHODS)
    by_name = {m["name"]: m for m in told}
    assert by_name["dif_fuse"]["available"]
    assert by_name["dif_fuse"]["needs"] == [{"role": "model", "recipe": "tissue-256", "models": ["flair-healthy-128"]}]
    assert not by_name["latent"]["available"]
    assert [n["role"] for n in by_name["latent"]["needs"]] == ["model", "coder"]
    for method in told:
        assert set(method) == {"name", "label", "about", "masked", "needs", "available", "why"}
        assert len(method["about"]) <= 90
        assert bool(method["why"]) != method["available"]


def test_each_method_has_a_card_in_the_docs() -> None:
    """Ablations share one; every card tells paper, cost and the original's licence."""
    folder = Path(__file__).resolve().parents[2] / "docs" / "methods"
    for name in METHODS:
        card = folder / f"{name}.md"
        text = (card if card.is_file() else folder / "ablations.md").read_text(encoding="utf-8")
        assert name in text
        assert re.search(r"^\| (Paper|Source) \|.*(19|20)\d\d", text, re.MULTILINE), name
        assert re.search(r"^\| Cost \|.*\d", text, re.MULTILINE), name
        assert re.search(r"^\| (Original|Licence of the original) \|.*used", text, re.MULTILINE), name


def test_the_network_of_the_labelled_recipe_has_a_class_for_each_label() -> None:
    recipe = load_recipe("flair-guided-128")
    assert recipe["card"]["classes"] == list(CLASSES)
    assert recipe["network"]["args"]["num_class_embeds"] == len(CLASSES)
