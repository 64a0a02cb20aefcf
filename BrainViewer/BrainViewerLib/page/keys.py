"""What each key does; the page (static/viewer.js) says which was pressed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from BrainViewerLib.controllers.controllers import Controllers
from BrainViewerLib.page.start import CHANGE_OPACITY


def bindings(do: Controllers) -> dict[str, Callable[[], Any]]:
    """Names of keys and what they do."""
    state = do.state

    def put(name: str, value: Any) -> Callable[[], None]:
        def set_it() -> None:
            state[name] = value

        return set_it

    def toggle(name: str) -> Callable[[], None]:
        def turn() -> None:
            state[name] = not state[name]

        return turn

    def layout(name: str) -> Callable[[], None]:
        def show() -> None:
            if do.scans.volume is not None and (name == "edit" or state.shown_id):
                state.layout = name

        return show

    def brush(by: int) -> Callable[[], None]:
        def change() -> None:
            state.brush_mm = min(40, max(2, state.brush_mm + by))

        return change

    def blend(by: float) -> Callable[[], None]:
        def change() -> None:
            if state.shown_id:
                state.layout = "blend"
                state.blend = round(min(1.0, max(0.0, float(state.blend) + by)), 2)

        return change

    def tool(name: str) -> Callable[[], None]:
        def take() -> None:
            if do.scans.volume is not None:
                state.tool = name

        return take

    def overlay() -> None:
        if state.mode == "induce":
            state.change_opacity = 0.0 if float(state.change_opacity) > 0 else CHANGE_OPACITY
        elif state.layout == "edit":
            state.saliency_on = not state.saliency_on
        else:
            state.overlay_opacity = 0.0 if float(state.overlay_opacity) > 0 else 0.85

    def in_tab(name: str, act: Callable[[], Any], ready: str = "") -> Callable[[], None]:
        """Something that only one tab does, while ``ready`` of the page is true."""

        def do() -> None:
            if state.mode == name and (not ready or state[ready]):
                act()

        return do

    def escape() -> None:
        if state.dialog:
            state.dialog = ""
        elif state.running:
            do.cancel()
        elif state.tool != "none":
            state.tool = "none"
        elif state.cine or state.maximised:
            state.cine, state.maximised = False, ""
        else:
            do.masks.stop_placing()
            do.messages.dismiss()

    return {
        "up": lambda: do.display.step(1),
        "down": lambda: do.display.step(-1),
        "up5": lambda: do.display.step(5),
        "down5": lambda: do.display.step(-5),
        "first": lambda: do.display.step_to_end(False),
        "last": lambda: do.display.step_to_end(True),
        "cine": lambda: do.scans.volume is not None and toggle("cine")(),
        "window-level": tool("none"),
        "distance": tool("distance"),
        "roi": tool("roi"),
        "crosshair": toggle("crosshair"),
        "maximise": lambda: do.display.maximise(state.active_view),
        **{f"preset{n}": partial(do.display.levels.choose, n) for n in range(1, 6)},
        "layout1": layout("edit"),
        "layout2": layout("compare"),
        "layout3": layout("blend"),
        "flicker": do.display.flicker,
        "undo": do.history.undo,
        "redo": do.history.redo,
        "heal": in_tab("heal", do.jobs.heal_volume, "can_heal"),
        "heal-slice": in_tab("heal", do.jobs.heal_slice, "can_heal"),
        "saliency": in_tab("heal", do.jobs.find),
        "induce": in_tab("induce", do.inducing.induce, "can_induce"),
        "reroll": in_tab("induce", do.inducing.reroll, "can_induce"),
        "keep": in_tab("induce", do.inductions.keep),
        "tab": lambda: put("mode", "heal" if state.mode == "induce" else "induce")(),
        "escape": escape,
        "mask": lambda: toggle("show_margin" if state.mode == "induce" else "show_mask")(),
        "lesion": toggle("show_lesion"),
        "overlay": overlay,
        "paint": tool("paint"),
        "erase": tool("erase"),
        "draw": tool("draw"),
        "no-tool": tool("none"),
        "box": do.masks.place_box,
        "fit": do.display.fit,
        "help": put("dialog", "help"),
        "brush-": brush(-2),
        "brush+": brush(2),
        "blend-": blend(-0.1),
        "blend+": blend(0.1),
    }
