"""docs/adding_a_method.md: the method on the page, taken from there, registers, heals, and keeps every promise made."""

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

from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.healing import registry
from braindiffusion.healing.models import main_model
from braindiffusion.healing.run import heal_slices
from braindiffusion.models.registry import release
from braindiffusion.pipeline.heal import heal_scan
from braindiffusion.settings import HealSettings
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import to_slices

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adding_a_method.md"
MOST_LINES = 60
CPU = torch.device("cpu")
SETTINGS = HealSettings(method="one_look", steps=2, precision="fp32", batch=2)


@pytest.fixture(scope="module")
def blocks() -> list[str]:
    """The page's Python: the file, and the registry's line."""
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)


@pytest.fixture
def method(blocks: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """The page's file as a module, registered by the page's line; small models in place of the shipped ones."""
    file, line = blocks
    module = ModuleType("braindiffusion.healing.one_look")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(file, str(PAGE), "exec", dont_inherit=True), module.__dict__)
    names = {**vars(registry), **vars(module)}
    exec(compile(line, str(PAGE), "exec", dont_inherit=True), names)
    add_all(tmp_path)
    monkeypatch.setenv("BRAINDIFFUSION_MODELS", str(tmp_path))
    yield module
    registry.METHODS.pop("one_look")
    release()


def test_it_is_short(blocks: list[str]) -> None:
    assert len(blocks) == 2
    assert sum(len(block.splitlines()) for block in blocks) < MOST_LINES


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
