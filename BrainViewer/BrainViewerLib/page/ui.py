"""The page: banner, top bar, panel, views."""

from __future__ import annotations

from typing import Any

from trame.ui.vuetify3 import VAppLayout
from trame.widgets import client, html

from BrainCounterfactualCommon.host import RESEARCH_USE_ONLY
from BrainViewerLib.controllers.controllers import Controllers
from BrainViewerLib.page.dialogs import dialogs
from BrainViewerLib.page.main_area import main_area
from BrainViewerLib.page.panels import status
from BrainViewerLib.page.panels_heal import heal_tab
from BrainViewerLib.page.panels_induce import induce_tab
from BrainViewerLib.page.parts import icon, icon_button, select
from BrainViewerLib.page.theme import LOGO, VUETIFY

LAYOUT_CHOICES = (
    ("edit", "Edit", "Four tiles: axial, coronal, sagittal, facts (F2)"),
    ("compare", "Compare", "Scan and result side by side (F3)"),
    ("blend", "Fade", "Scan and result in one place (F4)"),
)
LOOK_TOOLS = (
    ("distance", "ruler", "Measure a distance (Q): drag"),
    ("roi", "ellipse-outline", "Mean and deviation in an ellipse (A): drag"),
)
TABS = (
    ("heal", "Heal", "bandage", "Take a lesion out of the scan (T)", heal_tab),
    ("induce", "Induce", "brush-variant", "Paint a lesion into the scan (T)", induce_tab),
)


def banner() -> None:
    """Always there."""
    with html.Div(classes="bv-banner id-banner", role="note"):
        html.B("Research use only.")
        html.Span(RESEARCH_USE_ONLY.removeprefix("Research use only. "))
        html.Button(
            "Models, licences, limits", classes="bv-link id-models-link", type="button", click="dialog = 'models'"
        )


def top_bar(do: Controllers) -> None:
    """Name, layouts, grey levels, undo."""
    with html.Div(classes="bv-top"):
        with html.Div(classes="bv-brand"):
            html.Span(LOGO)
            html.Span("BrainViewer")
        html.Span("{{ scan_loaded ? scan_name : '' }}", classes="bv-scan-name id-scan-name", title=("scan_name",))
        html.Div(classes="bv-spacer")
        with html.Div(classes="bv-seg id-layouts"):
            for name, label, title in LAYOUT_CHOICES:
                ready = "scan_loaded" if name == "edit" else "shown_id"
                html.Button(
                    label,
                    type="button",
                    title=title,
                    classes=(f"'id-layout-{name}' + (layout === '{name}' ? ' on' : '')",),
                    click=f"layout = '{name}'",
                    aria_pressed=(f"layout === '{name}'",),
                    disabled=(f"!({ready})",),
                )
        html.Div(classes="bv-spacer")
        with html.Div(classes="bv-row", v_show="scan_loaded", title="Grey levels"):
            with html.Div(style="width: 118px"):
                select("preset", "presets", "preset")
            for model, label in (("level_low", "black"), ("level_high", "white")):
                html.Input(
                    classes=f"bv-field id-{model.replace('_', '-')}",
                    style="width: 54px; text-align: right",
                    title=f"Grey value shown {label}",
                    aria_label=f"Grey value shown {label}",
                    inputmode="decimal",
                    value=(model,),
                    change=f"{model} = Number($event.target.value); preset = 'manual'",
                )
        with html.Div(classes="bv-row bv-look"):
            with html.Div(style="width: 92px", v_if="layout !== 'edit'", title="Plane of the comparison"):
                select("plane", "planes", "plane")
            icon_button("view-quilt-outline", "large_axial = !large_axial", "large-axial", "Large axial view",
                        "large_axial", v_if="layout === 'edit'", disabled=("!scan_loaded",))  # fmt: skip
            for value, mdi, title in LOOK_TOOLS:
                icon_button(mdi, f"tool = tool === '{value}' ? 'none' : '{value}'", f"look-{value}", title,
                            f"tool === '{value}'", disabled=("!scan_loaded",))  # fmt: skip
            icon_button("ruler-square-compass", do.pointer.clear, "measures-clear", "Remove all measurements",
                        v_if="measured > 0")  # fmt: skip
            icon_button("crosshairs", "crosshair = !crosshair", "crosshair", "Linked crosshair (J)", "crosshair")
            icon_button("play-circle-outline", "cine = !cine", "cine", "Cine (C)", "cine", disabled=("!scan_loaded",))
        icon_button("undo", do.history.undo, "undo", "Undo (Z)", disabled=("!can_undo",))
        icon_button("redo", do.history.redo, "redo", "Redo (Y)", disabled=("!can_redo",))
        icon_button("fit-to-screen-outline", do.display.fit, "fit", "Fit the views (R)", disabled=("!scan_loaded",))
        icon_button("keyboard-outline", "dialog = 'help'", "help-button", "Keys (?)")


def tabs() -> None:
    """Heal or induce; the scan stays."""
    with html.Div(classes="bv-tabs id-tabs", role="tablist"):
        for mode, label, mdi, title, _tab in TABS:
            with html.Button(
                type="button",
                role="tab",
                title=title,
                classes=(f"'id-mode-{mode}' + (mode === '{mode}' ? ' on' : '')",),
                click=f"mode = '{mode}'",
                aria_selected=(f"mode === '{mode}'",),
            ):
                icon(mdi, 17)
                html.Span(label)


def build(server: Any, do: Controllers) -> Any:
    """Make the page; what is returned lets it fetch an address of ours (``exec``)."""
    with VAppLayout(server, vuetify_config=VUETIFY) as layout:
        layout.root.theme = "calm"
        go = client.JSEval(exec="window.brainviewer.take($event)")
        with html.Div(classes="bv-root"):
            banner()
            top_bar(do)
            with html.Div(classes="bv-body"):
                with html.Div(classes="bv-panel"):
                    tabs()
                    for mode, _label, _mdi, _title, tab in TABS:
                        with html.Div(classes="bv-steps", v_if=f"mode === '{mode}'"):
                            tab(do)
                    status(do)
                main_area(do)
            dialogs(do)
    return go
