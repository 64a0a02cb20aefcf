"""What is typed into the page's fields, without a browser: numbers, and the defaults of the modules."""

from __future__ import annotations

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("trame_slicer", reason="trame-slicer is not installed")

from BrainLesionSimLib import settings as inducing
from BrainViewerLib.controllers.fields import heal_settings, induce_parameters
from BrainViewerLib.controllers.words import counted, duration, left, number, steps_of, typed
from BrainViewerLib.page.parts import sending
from BrainViewerLib.page.start import start_state

from braindiffusion.errors import SettingsError
from braindiffusion.settings import HealSettings, InduceSettings, ShapeSettings, defaults_of


class State(dict):
    """The page's state, as the viewer reads and writes it."""

    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__


@pytest.fixture
def state() -> State:
    return State(start_state())


def test_an_untouched_page_asks_for_the_modules_defaults(state) -> None:
    asked = induce_parameters(state)
    settings, shape = inducing.settingsOf(asked), inducing.shapeOf(asked)
    assert settings == {name: defaults_of(InduceSettings)[name] for name in settings}
    assert shape == {name: defaults_of(ShapeSettings)[name] for name in shape}
    settings = heal_settings(state)
    assert settings.pop("model")  # the page names the one it shows
    assert settings == {name: defaults_of(HealSettings)[name] for name in settings}


def test_fields_reach_the_settings(state) -> None:
    state.update(
        paint_margin="7,5", paint_resamples="2", paint_steps="full", paint_seed="9", shape_ml="12.5", shape_side="R"
    )
    asked = induce_parameters(state)
    settings = inducing.settingsOf(asked)
    assert (settings["margin_mm"], settings["resamples"], settings["steps"], settings["seed"]) == (7.5, 2, None, 9)
    assert inducing.shapeOf(asked)["ml"] == 12.5
    assert inducing.shapeOf(asked)["side"] == "R"
    state.update(set_seam="outside", set_rule="grown")
    settings = heal_settings(state)
    assert (settings["seam"], settings["mask_rule"]) == ("outside", "grown")
    state.paint_method = "sdedit"  # it has no margin: what was typed for another method is left out
    settings = inducing.settingsOf(induce_parameters(state))
    assert settings["margin_mm"] is settings["resamples"] is None


@pytest.mark.parametrize(("field", "name"), [("paint_margin", "margin"), ("shape_ml", "ml"), ("paint_steps", "steps")])
def test_what_is_no_number_is_said(state, field: str, name: str) -> None:
    state[field] = "wide"
    with pytest.raises(SettingsError, match=f"'wide' is not possible for {name}"):
        induce_parameters(state)


def test_a_click_takes_the_fields_along() -> None:
    """What was typed may be on its way still when the click arrives."""
    state, seen = State(shape_ml="", other=1), []
    act, fields = sending(state, lambda: seen.append(dict(state)), ("shape_ml", "shape_side"))
    assert fields == "[{shape_ml: shape_ml, shape_side: shape_side}]"
    act({"shape_ml": "12", "shape_side": "R"})
    assert seen == [{"shape_ml": "12", "shape_side": "R", "other": 1}]


def test_numbers_in_words_and_out() -> None:
    assert typed("3,5", float, "x") == 3.5
    assert typed("4", int, "x") == 4
    with pytest.raises(SettingsError, match="whole"):
        typed("3.5", int, "x")
    assert steps_of(" Full ", "10") is None
    assert steps_of("", "10") == 10
    assert (left(None), left(1.0), left(40.2), left(600)) == ("", "almost done", "40 s left", "10 min left")
    assert (duration(None), duration(0.2), duration(300)) == ("some time", "1 s", "5 min")
    assert (counted(1), counted(2)) == ("1 slice", "2 slices")
    assert (number(None, 1), number(float("nan"), 1), number(2.25, 1)) == ("–", "–", "2.2")
