"""The picture side of the page: slice views with their labels, the information tile, the results dock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trame.widgets import client, html

from BrainViewerLib.controllers.controllers import Controllers
from BrainViewerLib.page.parts import button, icon

NOT_FOR_DIAGNOSIS = "SYNTHETIC - NOT FOR DIAGNOSIS"
TWO_COLOURS = (("inside", "inside the lesion"), ("outside", "outside it"))


def _live_figures(tag: str) -> None:
    """Window and level, crosshair, and the value under it."""
    html.Div("W {{ Math.round(level_high - level_low) }}  L {{ Math.round((level_high + level_low) / 2) }}",
             classes=f"bv-level id-level-{tag}", v_show="scan_loaded")  # fmt: skip
    html.Div(v_html=f"probe.lines.{tag}", classes=f"bv-over id-cross-{tag}", v_if=f"probe.lines.{tag}")
    with html.Div(classes=f"bv-probe id-probe-{tag}", v_if=f"probe.values.{tag}"):
        html.B(f"{{{{ probe.values.{tag} }}}}")
        html.Span("{{ probe.where }}", v_if=f"active_view === '{tag}'")
    html.Div(classes=f"bv-measure id-measure-{tag}", v_if="tool === 'distance' || tool === 'roi'",
             data_tag=tag, data_kind=("tool",))  # fmt: skip


def overlay(go_to: Callable[[str, int], None], tag: str, levels: bool = True) -> None:
    """Labels over one view, and its slice slider.

    Args:
        go_to: moves a view to a slice.
        levels: with window and level, crosshair and measures.
    """
    info = f"view_{tag}"
    with html.Div(classes=f"bv-tag id-tag-{tag}"):
        html.I(style=(f"{{background: {info}.color}}",))
        html.Span(f"{{{{ {info}.title }}}}")
    html.Div(f"{{{{ {info}.under }}}}", classes="bv-under")
    html.Div(f"{{{{ {info}.at }}}}", classes=f"bv-at id-at-{tag}")
    for side in ("left", "right", "top", "bottom"):
        html.Div(f"{{{{ {info}.{side} }}}}", classes=f"bv-side {side} id-{side}-{tag}")
    html.Div(v_html=f"{info}.marks", classes=f"bv-over id-marks-{tag}", v_show=f"{info}.marks")
    with html.Div(classes="bv-scale", style=(f"{{width: {info}.scale + '%'}}",), v_show=f"{info}.scale > 0"):
        html.Span(f"{{{{ {info}.scale_mm }}}} mm", classes=f"id-scale-{tag}")
    if levels:
        _live_figures(tag)
    html.Div(NOT_FOR_DIAGNOSIS, classes=f"bv-synthetic id-synthetic-{tag}", v_if=f"{info}.synthetic")
    html.Div("live preview", classes=f"bv-preview id-preview-{tag}", v_if=f"{info}.live")
    html.Input(
        type="range",
        classes=f"bv-range bv-slice id-slice-{tag}",
        title="Slice",
        aria_label=f"Slice of the view {tag}",
        min=0,
        max=(f"{info}.count - 1",),
        value=(f"{info}.index",),
        v_show=f"{info}.count > 1",
        input=(go_to, f"['{tag}', Number($event.target.value)]"),
    )


def colorbar(values: str, hook: str, **attributes: Any) -> None:
    """A colour bar with three ticks."""
    with html.Div(classes=f"bv-colorbar id-{hook}", **attributes):
        with html.Div(classes="ticks", style="text-align: right"):
            for key in ("high", "middle", "low"):
                html.Span(f"{{{{ {values}.{key} }}}}")
        html.Div(classes="bar", style=(f"{{background: {values}.gradient}}",))


def two_colours() -> None:
    """What the colours of the change mean."""
    with html.Div(classes="bv-two-colours id-two-colours", v_if="change_opacity > 0"):
        html.Span("visible change")
        for name, text in TWO_COLOURS:
            with html.Span():
                html.Span(classes="bv-dot", style=f"background: var(--{name})")
                html.Span(text)


def view(tag: str, maximised: bool = True, **attributes: Any) -> None:
    """The frame of one view; ``maximised``: it can cover the others."""
    with html.Div(
        classes=(
            f"'bv-view id-view-{tag}' + (active_view === '{tag}' ? ' active' : '')"
            + (f" + (maximised === '{tag}' ? ' max' : '')" if maximised else ""),
        ),
        data_tag=tag,
        mouseenter=f"active_view = '{tag}'",
        **attributes,
    ):
        client.ServerTemplate(name=tag)
        if tag == "Difference":
            colorbar("bar", "colorbar", v_if="bar.gradient")
        if tag == "Lesion":
            two_colours()
        if tag == "Axial":
            colorbar("saliency_bar", "saliency-bar", v_if="has_saliency && saliency_on && !previewing")


def chart(field: str, top: str, hit: str, kind: str, do: Controllers) -> None:
    """Columns over the slices; a click goes there."""
    with (
        html.Div(classes=f"bv-chart id-chart-{kind}", role="img", aria_label="Chart over the slices; see the table"),
        html.Div(
            v_for="r in rows",
            key=("r.slice",),
            classes=(f"'col {kind}' + ({hit} ? ' hit' : '') + (r.slice === slice_now ? ' now' : '')",),
            title=("r.hover",),
            click=(do.display.go_to_slice, "[r.slice]"),
        ),
    ):
        html.Span(style=(f"{{height: Math.max(0, Math.min(1, (r.{field} || 0) / ({top} || 1))) * 100 + '%'}}",))


def slice_table(do: Controllers) -> None:
    """Slice by slice: probability and lesion area; a click goes there."""
    client.ClientStateChange(value="slice_now", change="window.brainviewer.showRow()")
    with html.Table(classes="bv-table id-table"):
        with html.Thead(), html.Tr():
            for title in ("Slice", "Probability", "Lesion mm²", ""):
                html.Th(title)
        with (
            html.Tbody(),
            html.Tr(
                v_for="r in rows",
                key=("r.slice",),
                classes=("'id-row-' + r.slice + (r.slice === slice_now ? ' now' : '')",),
                tabindex=0,
                click=(do.display.go_to_slice, "[r.slice]"),
            ),
        ):
            html.Td("{{ r.number }}")
            html.Td("{{ r.probability_text }}")
            html.Td("{{ r.area_text }}")
            html.Td("{{ r.healed ? 'healed' : '' }}", style="color: var(--muted)")


def info_tile(do: Controllers) -> None:
    """The fourth tile of the editing desk: what this scan is, and where its lesion may be."""
    with html.Div(classes="bv-info id-info"):
        with html.Dl(classes="bv-facts"), html.Template(v_for="f in facts", key=("f.name",)):
            html.Dt("{{ f.name }}")
            html.Dd("{{ f.value }}", title=("f.value",))
        html.Div("{{ scan_notes }}", v_if="scan_notes", classes="bv-warning id-scan-notes")
        with html.Div(v_for="w in mode === 'heal' ? warnings : []", key=("w",), classes="bv-warning id-warning"):
            html.Span("{{ w }}")
        with html.Div(v_if="rows.length && mode === 'heal'"):
            html.H3("Lesion probability by slice")
            chart("probability", "1", "r.judged", "prob", do)
            with html.Div(classes="bv-legend"):
                html.Span("1", title="the lowest slice")
                html.Span("{{ flagged }} of {{ rows_found }} judged to show a lesion")
                html.Span("{{ rows.length }}")
        html.Div(
            "No findings yet. Step 2 shows where the classifier looks; or draw a mask in step 3 and heal there.",
            classes="bv-note",
            v_if="!rows.length && scan_loaded && mode === 'heal'",
        )
        html.Div(
            "Place a lesion in step 2: its outline and the margin around it appear in the views. Step 3 paints it.",
            classes="bv-note",
            v_if="scan_loaded && mode === 'induce'",
        )


def region_list(do: Controllers) -> None:
    """The regions that were changed; each can be dropped, and a click goes there."""
    with (
        html.Ul(classes="bv-regions id-regions", v_if="regions.length"),
        html.Li(v_for="r in regions", key=("r.id",), classes=("'id-region-' + r.id + (r.kept ? '' : ' dropped')",)),
    ):
        html.Input(
            type="checkbox", checked=("r.kept",), change=(do.results.turn_region, "[r.id]"),
            disabled=("!!running",), classes=("'id-keep-region-' + r.id",),
            aria_label=("'Keep the region of ' + r.ml + ' mL, ' + r.side + ', ' + r.slices",),
            title="Kept. Without the tick the scan's own voxels are put back there",
        )  # fmt: skip
        with html.Button(type="button", classes="bv-link", click=(do.display.go_to_slice, "[r.slice]")):
            html.Span("{{ r.ml.toFixed(1) }} mL, {{ r.side }}, {{ r.slices }}")
        html.Span("{{ r.note }}", v_if="r.note", classes="bv-chip warn")


def result_figures(result: str, prefix: str = "", regions: Controllers | None = None) -> None:
    """Lesion, time, check, chips and warnings of a result; ``result`` holds them, ``prefix`` begins their hooks.

    Args:
        regions: of the result in view are listed, too.
    """
    hook = f"{prefix}-" if prefix else ""
    with html.Div(classes=f"bv-big id-{hook}lesion-ml"):
        html.Span(f"{{{{ {result}.lesion_ml }}}}")
        html.Small("mL lesion")
        if regions is not None:
            html.Small("in {{ regions.filter(r => r.kept).length }} regions", v_if="regions.length > 1")
    html.Div(f"{{{{ {result}.subtitle }}}}", classes="bv-note", style="margin: 3px 0 8px")
    if regions is not None:
        region_list(regions)
    with html.Div(classes="bv-row", style="flex-wrap: wrap; gap: 5px"):
        html.Span(
            f"{{{{ {result}.check_text }}}}",
            classes=(f"'bv-chip id-{hook}check ' + ({result}.check_ok ? 'good' : 'bad')",),
            v_if=f"{result}.check_text",
            title="Every voxel outside the region edited here was compared with the scan.",
        )
        html.Span("{{ c }}", v_for=f"c in {result}.chips", key=("c",), classes="bv-chip")
    html.Div("{{ w }}", v_for=f"w in {result}.warnings", key=("w",), classes="bv-warning", style="margin-top: 8px")


def dock(do: Controllers) -> None:
    """Under the comparison: the result in figures, its slices, and all results."""
    with html.Div(classes="bv-dock id-dock"):
        with html.Div():
            result_figures("result", regions=do)
        with html.Div():
            with html.H3():
                html.Span("Lesion area by slice")
            chart("area", "area_top", "r.area > 0", "area", do)
            with html.Div(classes="bv-legend"):
                html.Span("1", title="the lowest slice")
                html.Span("highest {{ area_top_text }} mm²")
                html.Span("{{ rows.length }}")
        with html.Div(tabindex=0, role="region", aria_label="Slices of the result"):
            slice_table(do)
        with html.Div(style="border-right: 0"):
            with html.H3():
                html.Span("Results")
                html.Span("{{ results.length }}", classes="bv-chip")
            with (
                html.Div(style="display: flex; flex-direction: column; gap: 6px"),
                html.Button(
                    v_for="r in results",
                    key=("r.id",),
                    type="button",
                    classes=("'bv-result id-result-' + r.id + (r.id === result_id ? ' on' : '')",),
                    click=(do.results.choose_result, "[r.id]"),
                    title="Show this result",
                ),
            ):
                with html.Div(style="flex: 1 1 auto; min-width: 0"):
                    html.Div("{{ r.title }}", classes="t")
                    html.Div("{{ r.subtitle }}", classes="s")
                html.Span("{{ r.ml }} mL", classes="bv-value")


def welcome(do: Controllers) -> None:
    """What is seen before a scan is loaded."""
    with html.Div(classes="bv-empty id-welcome", v_if="!scan_loaded", style="z-index: 5"):
        icon("brain", 54)
        html.H2("Ask a brain scan “what if?”")
        html.Div(
            "Open a FLAIR scan: NIfTI, NRRD or a DICOM folder. Drop it here, or begin with the sample.",
            style="max-width: 420px",
        )
        with html.Div(classes="bv-row"):
            button(
                "Open the sample scan",
                do.scans.open_sample,
                "welcome-sample",
                mdi="flask-outline",
                kind="primary big",
            )
            button(
                "Choose a file",
                "window.brainviewer.pick('scan', false)",
                "welcome-file",
                mdi="file-outline",
                kind="big",
            )
        html.Div("Nothing leaves this computer.", style="font-size: 12px")
