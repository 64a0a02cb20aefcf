"""The picture side of the Induce tab: four linked views, the figures, the strip of results."""

from __future__ import annotations

from trame.widgets import html

from BrainViewerLib.controllers.controllers import Controllers
from BrainViewerLib.page.parts import button, icon, icon_button
from BrainViewerLib.page.view_ui import result_figures, view
from BrainViewerLib.views.board import HEALED, LAYOUTS


def induced_views() -> None:
    """Prior, lesion, diseased, and after a round trip healed."""
    with html.Div(classes=("'bv-trio' + (healed_view ? ' four' : '')",)):
        for tag in LAYOUTS["induced"]:
            if tag == HEALED:
                view(tag, v_if="healed_view")
            else:
                view(tag)


def induced_dock(do: Controllers) -> None:
    """Under the views: the induction in figures, its effects, and all inductions as thumbnails."""
    with html.Div(classes="bv-dock induced id-induced-dock"):
        with html.Div():
            result_figures("induction", "induced")
            html.Div(
                v_html="induction.round_trip",
                classes="bv-round-trip id-round-trip-figures",
                v_if="induction.round_trip",
            )
        with html.Div():
            with html.H3():
                html.Span("Effects")
                html.Span("of the picture, not of a disease", classes="bv-note")
            with (
                html.Table(classes="bv-table plain id-effects"),
                html.Tbody(),
                html.Tr(v_for="e in induction.effects", key=("e.name",)),
            ):
                html.Td("{{ e.name }}")
                html.Td("{{ e.value }}")
        with html.Div(style="border-right: 0"):
            with html.H3():
                html.Span("Results")
                html.Span("{{ inductions.length }}", classes="bv-chip")
                html.Div(classes="bv-spacer")
                _remove_others(do)
            strip(do)


def _remove_others(do: Controllers) -> None:
    """Asked once more, as there is no way back."""
    html.Button(
        "Remove the {{ others }} not kept", type="button", classes="bv-link bv-note id-remove-others",
        v_if="others > 0 && !running && !confirm_remove", click="confirm_remove = true",
    )  # fmt: skip
    with html.Span(v_if="confirm_remove", classes="bv-row"):
        button("Remove {{ others }} for good", do.inductions.remove_others, "confirm-remove", kind="cancel")
        icon_button("close", "confirm_remove = false", "spare-others", "Do not remove them")


def strip(do: Controllers) -> None:
    """Thumbnails: a click shows one, its star keeps it."""
    with (
        html.Div(classes="bv-strip id-strip"),
        html.Div(
            v_for="r in inductions",
            key=("r.id",),
            classes=("'bv-thumb id-thumb-' + r.id + (r.id === induction_id ? ' on' : '') + (r.kept ? ' kept' : '')",),
        ),
    ):
        with html.Button(
            type="button", classes="picture", click=(do.inductions.choose, "[r.id]"), title="Show this result"
        ):
            html.Img(src=("r.picture",), alt=("r.label",))
            html.Span("{{ r.label }}")
        with html.Button(
            type="button",
            classes=("'star id-keep-' + r.id",),
            click=(do.inductions.keep, "[r.id]"),
            title=("r.kept ? 'Kept. Click to let go' : 'Keep this one (K)'",),
        ):
            html.Span("{{ r.kept ? '★' : '☆' }}")
        with html.Span(v_if="r.healed", classes="healed", title="Healed again"):
            icon("sync", 13)
