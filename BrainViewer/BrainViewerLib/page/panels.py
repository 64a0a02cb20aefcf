"""What the panels of both tabs have: the scan, the drawing tools, fading, the status."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from trame.widgets import html

from BrainViewerLib.controllers.controllers import Controllers
from BrainViewerLib.page.parts import Step, button, checkbox, icon, icon_button, menu, row, sending, slider

TOOLS = (
    ("none", "contrast-box", "Look (N): left drag changes window and level"),
    ("paint", "brush", "Paint (P)"),
    ("erase", "eraser", "Erase (E)"),
    ("draw", "draw", "Draw an outline (D)"),
    ("scissors", "content-cut", "Scissors: cut away what lies inside an outline"),
)


def scan_step(do: Controllers, model: str) -> None:
    """Open, choose and close scans. ``model``: which step of the tab is open."""
    with Step(1, "Scan", "scan_loaded", "scan_loaded ? scan_name : ''", model):
        with html.Div(classes="bv-row"):
            html.Input(
                classes="bv-field grow id-path",
                placeholder="Path of a scan, DICOM folder or .mrb",
                aria_label="Path of a scan, DICOM folder or .mrb",
                value=("path",),
                input="path = $event.target.value",
            )
            button("Open", (do.scans.open_path, "[path]"), "open", disabled=("!path || busy",))
        with html.Div(classes="bv-grid2"):
            button("File …", "window.brainviewer.pick('scan', false)", "upload", mdi="file-outline", disabled=("busy",))
            button(
                "DICOM folder …", "window.brainviewer.pick('scan', true)", "upload-folder", mdi="folder-outline",
                disabled=("busy",),
            )  # fmt: skip
        button("Sample scan (synthetic FLAIR)", do.scans.open_sample, "sample", mdi="flask-outline", disabled=("busy",))
        with html.Div(v_if="series.length", classes="bv-column tight"):
            html.Div("This folder holds several series. Choose one:", classes="bv-note")
            html.Button(
                "{{ s.title }} ({{ s.count }})",
                v_for="s in series",
                key=("s.uid",),
                type="button",
                classes="bv-btn id-series",
                click=(do.scans.open_series, "[s.uid]"),
            )
        with html.Div(v_if="scan_loaded", classes="bv-column"):
            html.Hr(classes="bv-hr")
            with row("Shown", 60, v_if="scans.length > 1"):
                menu("scan_id", "scans", (do.scans.choose_scan, "[$event.target.value]"), "scans", classes="grow")
            with row("Contrast", 60):
                menu(
                    "modality",
                    "modalities",
                    (do.scans.choose_modality, "[$event.target.value]"),
                    "modality",
                    classes="grow",
                    title="What the scan is; the models are for one contrast each",
                )
                icon_button("close", do.scans.close_scan, "close-scan", "Close this scan and its results")


def draw_tools(do: Controllers, what: str) -> None:
    """Brushes, outlines and the box; ``what`` they draw."""
    with html.Div(classes="bv-tools"):
        for value, mdi, title in TOOLS:
            icon_button(
                mdi, f"tool = '{value}'", f"tool-{value}", title, f"tool === '{value}'", disabled=("!scan_loaded",)
            )
    with html.Div(v_if="tool === 'paint' || tool === 'erase'", classes="bv-column tight"):
        slider("Brush", "brush_mm", 2, 40, 1, "brush", "brush_mm + ' mm'")
        checkbox("Sphere (several slices at once)", "brush_sphere", "brush-sphere")
    with html.Div(classes="bv-row"):
        button("Place box", do.masks.place_box, "box", mdi="cube-outline", disabled=("!scan_loaded",),
               title="Click two opposite corners in a view (B)")  # fmt: skip
        button(f"Add box to {what}", do.masks.add_box, f"box-to-{what}", disabled=("!box_placed",))
        icon_button("delete-outline", do.masks.remove_box, "box-remove", "Remove the box", disabled=("!box_placed",))


def drawn_size(do: Controllers, what: str) -> None:
    """How large the drawing is; and away with it."""
    with html.Div(classes="bv-row"):
        with html.Span(classes=f"bv-chip id-{what}-ml"):
            html.Span(classes="bv-dot", style=f"background: var(--{what})")
            html.Span(
                f"{{{{ {what}_ml }}}} mL in {{{{ {what}_slices }}}} slice{{{{ {what}_slices === 1 ? '' : 's' }}}}",
                v_if=f"{what}_ml > 0",
            )
            html.Span("empty", v_else=True)
        html.Div(classes="bv-spacer")
        button("Clear", do.masks.clear, f"{what}-clear", mdi="close", disabled=(f"!({what}_ml > 0)",))


@dataclass(frozen=True)
class Start:
    """A button that starts a job; ``title`` may be an expression, in a tuple."""

    label: str
    act: Callable[[], Any]
    hook: str
    title: Any
    mdi: str = ""
    kind: str = ""


def start_buttons(do: Controllers, ready: str, fields: Iterable[str], *buttons: Start, shape: str = "row") -> None:
    """What starts a job while none runs, and stops it while one does.

    Args:
        ready: the expression without which none can be pressed.
        fields: of the page, taken along.
        shape: ``row`` or ``column``.
    """
    with html.Div(classes=f"bv-{shape}", v_if="!running"):
        for each in buttons:
            click = sending(do.state, each.act, fields)
            button(
                each.label, click, each.hook, mdi=each.mdi, kind=f"{each.kind} big".strip(), disabled=(f"!{ready}",),
                title=each.title,
            )  # fmt: skip
    cancel_button(do)


def cancel_button(do: Controllers) -> None:
    """Stops what is running."""
    button("Cancel", do.cancel, "cancel", mdi="stop", kind="cancel big wide", v_if="running", title="Esc")


def fade_row(do: Controllers, title: str) -> None:
    """Fade and flicker between scan and result."""
    with row("Fade", 44):
        html.Input(
            type="range", classes="bv-range grow id-blend", min=0, max=1, step=0.05, value=("blend",),
            input="blend = Number($event.target.value); layout = 'blend'", title=title,
            aria_label="Fade between scan and result",
        )  # fmt: skip
        icon_button("swap-horizontal", do.display.flicker, "flicker", "Flicker once (F)")
        icon_button(
            "play-pause",
            "flicker_auto = !flicker_auto; layout = 'blend'",
            "flicker-auto",
            "Flicker by itself",
            "flicker_auto",
        )


def status(do: Controllers) -> None:
    """At the foot of the panel: what is being done, how far, how long."""
    with html.Div(classes="bv-status id-status"):
        with html.Div(classes="bv-status-line"):
            with html.Span(v_if="worker_state === 'down'", style="color: var(--amber)", title="The worker has stopped"):
                icon("alert", 14)
            html.Span("{{ busy ? busy_text : message }}", classes="id-message", role="status", aria_live="polite")
            html.Span("{{ running ? time_left : '' }}", classes="right id-time-left")
        with html.Div(
            v_if="running || busy",
            classes=("'bv-bar id-progress' + (busy || progress <= 0 ? ' wait' : '')",),
        ):
            html.Div(style=("{width: progress + '%'}",))
