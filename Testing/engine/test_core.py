"""The torch-free core: settings, events, cards, modality, errors, registries; one declaration of every setting."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from braindiffusion.cards import ModelCard, installed, read_card
from braindiffusion.errors import LesionSizeError, SettingsError
from braindiffusion.finders.registry import METHODS as FINDERS
from braindiffusion.healing.registry import METHODS as HEALERS
from braindiffusion.lesions.registry import METHODS as INDUCERS
from braindiffusion.lesions.shapes import KINDS, LOBES, TERRITORIES
from braindiffusion.settings import (
    HealSettings,
    InduceSettings,
    ShapeSettings,
    choices_of,
    declared,
    defaults_of,
    settings_from,
)
from braindiffusion.volume.anomaly import VARIANTS

ROOT = Path(__file__).resolve().parents[2]
CORE = sorted(path.stem for path in (ROOT / "braindiffusion").glob("*.py") if path.stem not in ("__init__", "__main__"))
KINDS_OF_SETTINGS = (HealSettings, InduceSettings, ShapeSettings)


def test_the_root_of_the_package_is_the_core() -> None:
    assert len(list((ROOT / "braindiffusion").glob("*.py"))) <= 8
    assert set(CORE) == {"cards", "errors", "events", "modality", "registries", "settings"}


@pytest.mark.parametrize("name", ["", *CORE, "volume.mask_values"])
def test_the_core_loads_neither_torch_nor_numpy_nor_a_viewer(name: str) -> None:
    """Each module alone, in a process of its own."""
    module = f"braindiffusion.{name}".rstrip(".")
    program = (
        f"import sys, {module}\n"
        "heavy = {'torch', 'monai', 'numpy', 'SimpleITK', 'typer', 'slicer', 'qt', 'vtk', 'trame'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", KINDS_OF_SETTINGS)
def test_every_setting_is_declared_whole(kind: type[Any]) -> None:
    """Help for everybody, a default that passes its own check, a range for every number."""
    assert [f.name for f in dataclasses.fields(kind)] == list(declared(kind))
    assert dataclasses.asdict(kind(**defaults_of(kind))) == defaults_of(kind)
    for name, known in declared(kind).items():
        assert known.help, name
        if isinstance(defaults_of(kind)[name], int) and not isinstance(defaults_of(kind)[name], bool):
            assert known.least is not None, name


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (HealSettings, {"fusion": "mixed"}), (HealSettings, {"saliency": "eyes"}), (HealSettings, {"percentile": 101}),
        (HealSettings, {"samples": 0}), (HealSettings, {"seed": -1}), (HealSettings, {"anomaly": "loud"}),
        (HealSettings, {"gate": float("nan")}), (HealSettings, {"colour": 1}), (HealSettings, {"steps": 2.5}),
        (InduceSettings, {"method": "paint"}), (InduceSettings, {"ratio": 0}), (InduceSettings, {"jump": 0}),
        (ShapeSettings, {"kind": "star"}), (ShapeSettings, {"kind": "spots", "lobe": "left"}), (ShapeSettings, {}),
    ],
)  # fmt: skip
def test_what_a_setting_cannot_be_is_refused(kind: type[Any], changes: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        settings_from(kind, changes)


def test_sizes_of_a_lesion_are_refused_by_their_own_error() -> None:
    with pytest.raises(LesionSizeError):
        ShapeSettings("stroke", ml=401.0)


def test_choices_are_those_of_the_registries() -> None:
    """The core names what the registries hold, without loading them."""
    heal, induce, shape = (declared(kind) for kind in KINDS_OF_SETTINGS)
    assert choices_of(heal["saliency"]) == list(FINDERS)
    assert choices_of(induce["method"]) == list(INDUCERS)
    assert heal["anomaly"].choices == VARIANTS
    assert shape["kind"].choices == tuple(KINDS)
    assert shape["lobe"].choices == tuple(LOBES)
    assert shape["territory"].choices == tuple(TERRITORIES)
    assert HealSettings().method in HEALERS


def test_a_card_says_what_its_model_is_given() -> None:
    """What a lesion model is conditioned on is said, not guessed from its channels."""
    plain = {"name": "m", "network": {"args": {"in_channels": 3}}}
    assert ModelCard(plain).condition is None
    assert ModelCard(plain | {"kinds": ["stroke_flair"]}).condition == "lesion"
    assert ModelCard(plain | {"kinds": ["stroke_flair"], "condition": "palette"}).condition == "palette"
    assert ModelCard(plain).fits("FLAIR")  # a card without contrasts is for any
    assert not ModelCard(plain | {"modality": ["T1"]}).fits(None)


@pytest.mark.weights
def test_shipped_cards_are_read_whole() -> None:
    for name in installed():
        card = read_card(name)
        assert (card.name, card.task) == (name, card["task"])
