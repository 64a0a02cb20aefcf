"""docs/adding_a_method.md: a package with one of each kind, taken from the page, is found, heals, finds and paints."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from healing_models import add_all
from lesion_models import add_lesion_model

from braindiffusion import registries
from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.errors import PluginError, SettingsError
from braindiffusion.finders.maps import MAPS
from braindiffusion.finders.registry import METHODS as FINDERS
from braindiffusion.finders.registry import finder
from braindiffusion.healing.models import describe_methods, main_model
from braindiffusion.healing.registry import METHODS as HEALERS
from braindiffusion.healing.run import heal_slices
from braindiffusion.lesions.registry import METHODS as INDUCERS
from braindiffusion.models.registry import release
from braindiffusion.pipeline.heal import heal_scan
from braindiffusion.pipeline.induce import induce_scan
from braindiffusion.pipeline.saliency import saliency_scan
from braindiffusion.settings import HealSettings, InduceSettings, choices_of, declared
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import to_slices

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adding_a_method.md"
MOST_LINES = 65
CPU = torch.device("cpu")
SETTINGS = HealSettings(method="one_look", steps=2, precision="fp32", batch=2)


PARTS = ("healer", "finder", "inducer")


@pytest.fixture(scope="module")
def blocks() -> dict[str, str]:
    """The page's Python: a file for each kind."""
    found = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    return dict(zip(PARTS, found, strict=True))


@pytest.fixture
def package(blocks: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The page's files as an installed package, not imported; small models in place of the shipped ones."""
    site, models = tmp_path / "site", tmp_path / "models"
    facts = site / "onelook-1.0.dist-info"
    (site / "onelook").mkdir(parents=True)
    facts.mkdir()
    models.mkdir()
    (site / "onelook" / "__init__.py").write_text("", encoding="utf-8")
    for name, text in blocks.items():
        (site / "onelook" / f"{name}.py").write_text(text, encoding="utf-8")
    (toml,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    points = toml.replace('[project.entry-points."', "[").replace('"]', "]").replace('"', "")
    (facts / "entry_points.txt").write_text(points, encoding="utf-8")
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: onelook\nVersion: 1.0\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(site))
    registries._entry_points.cache_clear()
    add_all(models)
    add_lesion_model(models)
    monkeypatch.setenv("BRAINDIFFUSION_MODELS", str(models))
    yield site
    for registry, name in ((HEALERS, "one_look"), (FINDERS, "brightness"), (INDUCERS, "flat"), (HEALERS, "broken")):
        registry.pop(name, None)
    MAPS.pop("brightness", None)
    for name in [n for n in sys.modules if n.partition(".")[0] == "onelook"]:
        del sys.modules[name]
    registries._entry_points.cache_clear()
    release()


@pytest.fixture
def method(package: Path) -> ModuleType:
    """The healer's module, loaded as a run would load it: by its name."""
    assert "onelook" not in sys.modules
    assert HEALERS.named("one_look").label == "One look"
    return sys.modules["onelook.healer"]


def test_each_is_short(blocks: dict[str, str]) -> None:
    assert all(len(text.splitlines()) < MOST_LINES for text in blocks.values())


def test_installed_packages_are_listed_and_loaded_when_asked_for(package: Path) -> None:
    assert "one_look" in HEALERS.names()
    assert "brightness" in choices_of(declared(HealSettings)["saliency"])
    assert "flat" in choices_of(declared(InduceSettings)["method"])
    assert "onelook" not in sys.modules  # asking for names imports nothing
    listed = {told["name"]: told for told in describe_methods()}
    assert listed["one_look"]["available"]


def test_a_finder_of_another_package_finds(package: Path, head_phantom: Scan) -> None:
    settings = HealSettings(saliency="brightness", gate=0.0, device="cpu", force=True)
    found = saliency_scan(head_phantom, settings, brain=head_phantom.voxels > 200)
    assert found.saliency.max() > 0.3
    with pytest.raises(SettingsError, match="brightness"):  # others are told of it
        HealSettings(saliency="darkness")


def test_an_inducer_of_another_package_paints(package: Path, head_phantom: Scan) -> None:
    brain = head_phantom.voxels > 200
    lesion = np.zeros_like(brain)
    lesion[28:36, 30:38, 9:11] = True
    result = induce_scan(head_phantom, lesion & brain, InduceSettings(method="flat", device="cpu"), brain=brain)
    assert result.edited.any()
    assert result.provenance["network_calls"]["batched"] == 0
    assert np.array_equal(result.diseased[~result.edited], head_phantom.voxels[~result.edited])


def test_a_package_that_is_broken_is_named_and_stops_nothing_else(package: Path) -> None:
    points = package / "onelook-1.0.dist-info" / "entry_points.txt"
    points.write_text("[braindiffusion.healers]\nbroken = onelook.missing\n", encoding="utf-8")
    registries._entry_points.cache_clear()
    with pytest.raises(PluginError, match=r"onelook\.missing"):
        HEALERS.named("broken")
    listed = {told["name"]: told for told in describe_methods()}
    assert not listed["broken"]["available"]
    assert listed["dif_fuse"]["available"]


def test_a_name_is_registered_once(package: Path) -> None:
    with pytest.raises(PluginError, match="acat"):
        finder("acat")(lambda x, models, on_share=None: x)


def test_with_a_network_that_knows_the_noise_it_gives_the_slice_back(method: ModuleType) -> None:
    """The limiting case: the guess below the noise is then the clean slice itself."""
    schedule, level = Schedule(), 500
    x0 = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    signal = schedule.signal(level)

    def knows(x: torch.Tensor, t: int) -> torch.Tensor:
        return (x - signal**0.5 * x0.repeat(len(x) // 3, 1, 1, 1)) / (1 - signal) ** 0.5

    settings = method.OneLookSettings(level, samples=2)
    out = method.one_look(x0, torch.ones_like(x0).bool(), knows, settings, torch.Generator().manual_seed(1))
    assert out.calls == settings.calls() == 1
    torch.testing.assert_close(out.samples, x0[None].repeat(2, 1, 1, 1, 1), atol=1e-4, rtol=0)


def test_it_heals_inside_the_mask_at_one_call_and_by_its_seed(method: ModuleType, head_phantom: Scan) -> None:
    stack = to_slices(head_phantom, head_phantom.voxels > 200, 64)
    mask = np.zeros_like(stack.brain)
    mask[10:12] = stack.brain[10:12]
    model = main_model(SETTINGS, "cpu")
    seen: list[int] = []
    healed, _, ran = heal_slices(stack, mask, model, SETTINGS, CPU, lambda event: seen.append(event.done))
    other, _, _ = heal_slices(stack, mask, model, replace(SETTINGS, seed=1), CPU)
    again, _, _ = heal_slices(stack, mask, model, SETTINGS, CPU)
    assert ran.calls == 1
    assert max(seen) == ran.slice_calls == 2
    assert np.array_equal(healed[0][~mask], stack.images[~mask])
    assert (healed[0] != stack.images)[10:12].any((1, 2)).all()
    assert np.array_equal(healed, again)
    assert not np.array_equal(healed, other)


def test_a_scan_is_healed_by_it_and_its_provenance_names_it(method: ModuleType, head_phantom: Scan) -> None:
    brain = head_phantom.voxels > 200
    mask = np.zeros_like(brain)
    mask[20:30, 20:30, 10:12] = True
    result = heal_scan(head_phantom, SETTINGS, mask=mask & brain, brain=brain)
    assert result.provenance["settings"]["method"] == "one_look"
    outside = ~result.edited
    assert np.array_equal(result.counterfactual[outside], head_phantom.voxels[outside])
