"""Inductions: the strip of thumbnails, figures, effects, the round trip."""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path
from typing import Any

from BrainLesionSimLib import texts

from BrainViewerLib.controllers.history import History
from BrainViewerLib.controllers.resultdesk import NO_RESULT, figures
from BrainViewerLib.server.messages import Messages
from BrainViewerLib.shown import Shown
from BrainViewerLib.views.display import Display

DRAWN = "DrawnMl"
"""Kept with an induction: how large the lesion was as drawn."""
NO_INDUCTION: dict[str, Any] = {**NO_RESULT, "effects": [], "round_trip": "", "kept": False}


class InductionDesk:
    """The inductions of the scan shown.

    Args:
        workspace: a folder for files in passing.
    """

    def __init__(
        self, state: Any, messages: Messages, shown: Shown, display: Display, history: History, workspace: Path
    ) -> None:
        self.state, self.messages, self.shown = state, messages, shown
        self.display, self.history = display, history
        self._workspace = workspace
        self._pictures: dict[str, str] = {}

    @property
    def _volume(self) -> Any:
        return self.shown.volume

    def current(self) -> Any:
        """The induction in view, or ``None``."""
        return self.shown.induce.logic.currentResult(self._volume) if self._volume is not None else None

    def refresh(self) -> None:
        """Bring strip, figures and effects up to date."""
        state = self.state
        found = self.shown.induce.logic.results(self._volume) if self._volume is not None else []
        current = self.current()
        kept_pictures = {induction.node.GetID() for induction in found}
        self._pictures = {key: picture for key, picture in self._pictures.items() if key in kept_pictures}
        state.inductions = [self._entry(induction) for induction in found]
        state.induction_id = current.order if current is not None else 0
        state.induction = self._figures(current) if current is not None else NO_INDUCTION
        state.others = sum(not induction.kept for induction in found) if any(one.kept for one in found) else 0
        state.confirm_remove = False
        state.healed_view = self.shown.induce.healing or bool(current is not None and current.healed)
        if state.mode == "induce":
            state.shown_id = state.induction_id
            if current is None and state.layout != "edit":
                state.layout = "edit"
            self.history.refresh()
            self.display.refresh()

    def _entry(self, induction: Any) -> dict[str, Any]:
        key = induction.node.GetID()
        if key not in self._pictures:
            self._pictures[key] = self._picture(induction)
        return {
            "id": induction.order,
            "label": f"#{induction.order}, seed {induction.seed}",
            "kept": induction.kept,
            "picture": self._pictures[key],
            "healed": bool(induction.roundTrip),
        }

    def _picture(self, induction: Any) -> str:
        """A small PNG, as an address that holds it."""
        with tempfile.TemporaryDirectory(dir=self._workspace) as folder:
            path = Path(self.shown.induce.logic.thumbnail(induction, Path(folder) / "picture.png"))
            return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")

    @staticmethod
    def _figures(induction: Any) -> dict[str, Any]:
        summary, settings = induction.summary, induction.provenance.get("settings", {})
        subtitle = f"Painted in {summary.get('seconds') or 0:.0f} s, {settings.get('steps') or 'all'} steps"
        drawn, ml = float(induction._told(DRAWN, "0")), summary.get("lesion_ml") or 0.0
        if drawn and abs(drawn - ml) > max(0.1, 0.02 * drawn):
            subtitle += f". {drawn:.1f} mL were drawn: what lies outside the brain is left out"
        return {
            **figures(induction, subtitle, texts.kindNames().get(settings.get("kind"), "")),
            "effects": [{"name": name, "value": value} for name, value in texts.effectRows(induction)],
            "round_trip": texts.roundTrip(induction.roundTrip),
            "kept": induction.kept,
        }

    def jump_to_lesion(self, induction: Any) -> None:
        """Show the slice with the largest lesion, unless the one in view was painted itself."""
        rows = {row["index"]: row for row in induction.slices}
        best = max(rows.values(), key=lambda row: row.get("lesion_mm2") or 0, default=None)
        if best is not None and self.display.slice_index() not in rows:
            self.display.go_to_slice(best["index"])

    # -- choosing and keeping

    def choose(self, order: int) -> None:
        """Bring an induction into view."""
        found = self.shown.induce.logic.results(self._volume)
        chosen = next((induction for induction in found if induction.order == int(order)), None)
        if chosen is not None:
            self.shown.induce.logic.restoreResult(chosen)
            if self.state.layout == "edit":
                self.state.layout = "compare"
            self.refresh()
            self.messages.say(f"Result {chosen.order} is in view.")

    def keep(self, order: int = 0) -> None:
        """Keep an induction (0: the one in view) because it is liked, or not any more."""
        found = self.shown.induce.logic.results(self._volume) if self._volume is not None else []
        wanted = int(order) or self.state.induction_id
        for induction in found:
            if induction.order == wanted:
                induction.kept = not induction.kept
        self.refresh()

    def remove(self) -> None:
        """Delete the induction in view."""
        current = self.current()
        if current is not None:
            name = f"Result {current.order}"
            self.shown.induce.logic.removeResult(current)
            self.refresh()
            self.messages.say(f"{name} was removed.")

    def remove_others(self) -> None:
        """Delete all that are not kept."""
        count = self.shown.induce.logic.removeOthers(self._volume)
        self.refresh()
        self.messages.say(f"{count} results were removed.")
