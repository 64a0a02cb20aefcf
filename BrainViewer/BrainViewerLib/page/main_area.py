"""All views of the page; tab and layout decide which are there."""

from __future__ import annotations

from trame.widgets import html

from BrainViewerLib.controllers.controllers import Controllers
from BrainViewerLib.page.view_induced import induced_dock, induced_views
from BrainViewerLib.page.view_ui import dock, info_tile, view, welcome
from BrainViewerLib.views.board import LAYOUTS


def main_area(do: Controllers) -> None:
    """Edit, compare (of either tab), fade; and the welcome over them."""
    with html.Div(style="position: relative; min-width: 0; min-height: 0; display: grid"):
        with html.Div(
            classes=("'bv-main edit id-layout-edit-area' + (large_axial ? ' large' : '')",), v_if="layout === 'edit'"
        ):
            view("Axial")
            view("Coronal")
            view("Sagittal")
            info_tile(do)
        with html.Div(classes="bv-main compare id-layout-compare-area", v_if="layout === 'compare' && mode === 'heal'"):
            with html.Div(classes="bv-trio"):
                for tag in LAYOUTS["compare"]:
                    view(tag)
            dock(do)
        with html.Div(
            classes="bv-main compare id-layout-induced-area", v_if="layout === 'compare' && mode === 'induce'"
        ):
            induced_views()
            induced_dock(do)
        with html.Div(classes="bv-main blend id-layout-blend-area", v_if="layout === 'blend'"):
            view("Blend")
            with html.Div(v_if="mode === 'heal'", style="display: contents"):
                dock(do)
            with html.Div(v_if="mode === 'induce'", style="display: contents"):
                induced_dock(do)
        welcome(do)
