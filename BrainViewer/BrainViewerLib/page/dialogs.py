"""What opens over the page: keys, models and licences, notices."""

from __future__ import annotations

from trame.widgets import html

from BrainViewerLib.controllers.controllers import Controllers
from BrainViewerLib.page.parts import button, icon_button
from BrainViewerLib.server.messages import Messages

KEYS = (
    ("↑ ↓", "slice up, down (view under the pointer)"),
    ("Page ↑ ↓", "five slices"),
    ("Home  End", "first, last slice"),
    ("C", "cine"),
    ("W  N", "left button: window and level"),
    ("1 - 5", "window presets of the contrast"),
    ("Q  A", "measure a distance; mean in an ellipse"),
    ("J", "linked crosshair"),
    ("Enter", "one view large, and back"),
    ("F2  F3  F4", "edit, compare, fade and flicker"),
    ("T", "the other tab: heal, induce"),
    ("V", "show saliency"),
    ("H  I", "heal the volume, this slice"),
    ("G  X  K", "induce; a new variant; keep"),
    ("Esc", "cancel; close a card; put the tool down"),
    ("F", "flicker scan and result"),
    (",  .", "fade to the scan, to the result"),
    ("L  M", "outline of the lesion; of the edited region, of the margin"),
    ("O", "overlay on and off"),
    ("P  E  D", "paint, erase, draw"),
    ("[  ]", "smaller, larger brush"),
    ("B", "place a box"),
    ("Z  Y", "undo, redo"),
    ("R", "fit the views"),
    ("?", "this card"),
)
MOUSE = (
    ("left drag", "window and level, or the tool"),
    ("right drag, Ctrl wheel", "zoom"),
    ("middle drag, Shift drag", "move"),
    ("wheel", "slice"),
    ("double click", "one view large, and back"),
    ("Shift and move", "the other views follow the pointer"),
)


def _head(title: str) -> None:
    with html.H2():
        html.Span(title)
        icon_button("close", "dialog = ''", "dialog-close", "Close (Esc)")


def help_card() -> None:
    """All keys."""
    with (
        html.Div(classes="bv-cover", v_if="dialog === 'help'", click="dialog = ''"),
        html.Div(
            classes="bv-dialog id-help",
            role="dialog",
            aria_modal="true",
            aria_label="Keys and mouse",
            click="$event.stopPropagation()",
        ),
    ):
        _head("Keys and mouse")
        with html.Div(classes="bv-keys"):
            for keys, what in (*KEYS, *MOUSE):
                with html.Div():
                    html.Span(what)
                    html.Kbd(keys)
        html.P("Crashes and unexpected errors are noted in {{ log_path }}", classes="bv-note id-log", v_if="log_path")


def models_card() -> None:
    """Licences, training data, limits: from the model cards."""
    with (
        html.Div(classes="bv-cover", v_if="dialog === 'models'", click="dialog = ''"),
        html.Div(
            classes="bv-dialog id-models",
            role="dialog",
            aria_modal="true",
            aria_label="Models",
            tabindex=0,
            click="$event.stopPropagation()",
        ),
    ):
        _head("Models, licences, limits")
        html.Div(
            "Every counterfactual and every painted lesion is synthetic: one plausible picture out of many, never "
            "evidence. Two-dimensional, on a 1.9 mm grid; each model knows the contrasts named on its card. Lesions "
            "that are not bright, and diseases the models never saw, are missed. "
            "The program is Apache-2.0; weights carry the licence of what they learned from.",
            style="color: var(--muted)",
        )
        with html.Div(v_for="m in cards", key=("m.name",), classes="bv-card"):
            with html.Div(classes="bv-row", style="flex-wrap: wrap"):
                html.B("{{ m.name }}")
                html.Span("{{ m.modality }}", classes="bv-chip")
                html.Span("{{ m.licence }}", classes="bv-chip warn")
            html.Div("{{ m.purpose }}", style="margin: 4px 0")
            html.Div("Learned from", classes="bv-sub")
            with html.Ul():
                html.Li("{{ d }}", v_for="d in m.data", key=("d",))
            html.Div("Known failures", classes="bv-sub")
            with html.Ul():
                html.Li("{{ d }}", v_for="d in m.failures", key=("d",))
            html.Div("{{ m.use }}", classes="bv-note")


def notice(messages: Messages) -> None:
    """What happened, why, what to do."""
    with html.Div(v_if="notice.title", classes=("'bv-notice id-notice ' + notice.kind",), role="alert"):
        html.H4("{{ notice.title }}", classes="id-notice-title")
        html.P("{{ notice.cause }}", v_if="notice.cause")
        html.P("{{ notice.action }}", v_if="notice.action", classes="do")
        icon_button("close", messages.dismiss, "notice-close", "Dismiss")


def found_session(do: Controllers) -> None:
    """A session that an earlier viewer left behind, offered."""
    with html.Div(v_if="found_session.when", classes="bv-notice warning id-found-session", role="status"):
        html.H4("A session was not closed properly.")
        html.P("{{ found_session.when }}{{ found_session.scans ? ': ' + found_session.scans : '' }}")
        with html.Div(classes="bv-row"):
            button("Open it", do.keeping.take_found, "take-found", kind="primary")
            button("Delete it", do.keeping.drop_found, "drop-found")


def dialogs(do: Controllers) -> None:
    """Everything that lies over the page."""
    help_card()
    models_card()
    notice(do.messages)
    found_session(do)
    html.Div("Drop to open", classes="bv-dropping")
