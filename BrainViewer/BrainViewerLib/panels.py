"""Steps 1 to 3 of the panel: the scan, where the classifier looks, the mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trame.widgets import html

from BrainViewerLib.parts import Step, button, checkbox, icon, icon_button, select, slider

if TYPE_CHECKING:
    from BrainViewerLib.app import BrainViewer

TOOLS = (
    ("none", "cursor-default-outline", "Look (N): scroll, zoom, move"),
    ("paint", "brush", "Paint (P)"),
    ("erase", "eraser", "Erase (E)"),
    ("draw", "draw", "Draw an outline (D)"),
    ("scissors", "content-cut", "Scissors: cut away what lies inside an outline"),
    ("level", "contrast-box", "Drag to change window and level"),
)


def scan_step(viewer: BrainViewer) -> None:
    """Open, choose and close scans."""
    with Step(1, "Scan", "scan_loaded", "scan_loaded ? scan_name : ''"):
        with html.Div(classes="bv-row"):
            html.Input(
                classes="bv-field grow id-path",
                placeholder="Path of a scan, DICOM folder or .mrb",
                value=("path",),
                input="path = $event.target.value",
            )
            button("Open", (viewer.scans.open_path, "[path]"), "open", disabled=("!path || busy",))
        with html.Div(classes="bv-grid2"):
            button("File …", "window.brainviewer.pick('scan', false)", "upload", mdi="file-outline", disabled=("busy",))
            button(
                "DICOM folder …", "window.brainviewer.pick('scan', true)", "upload-folder", mdi="folder-outline",
                disabled=("busy",),
            )  # fmt: skip
        button(
            "Sample scan (synthetic FLAIR)", viewer.scans.open_sample, "sample", mdi="flask-outline", disabled=("busy",)
        )
        with html.Div(v_if="series.length", style="display: flex; flex-direction: column; gap: 5px"):
            html.Div("This folder holds several series. Choose one:", classes="bv-note")
            html.Button(
                "{{ s.title }} ({{ s.count }})",
                v_for="s in series",
                key=("s.uid",),
                type="button",
                classes="bv-btn id-series",
                click=(viewer.scans.open_series, "[s.uid]"),
            )
        with html.Div(v_if="scan_loaded", style="display: flex; flex-direction: column; gap: 8px"):
            html.Hr(classes="bv-hr")
            with html.Div(classes="bv-row", v_if="scans.length > 1"):
                html.Span("Shown", classes="bv-label", style="width: 60px")
                with html.Select(
                    classes="bv-field grow id-scans",
                    value=("scan_id",),
                    change=(viewer.scans.choose_scan, "[$event.target.value]"),
                ):
                    html.Option("{{ o.title }}", v_for="o in scans", key=("o.value",), value=("o.value",))
            with html.Div(classes="bv-row"):
                html.Span("Contrast", classes="bv-label", style="width: 60px")
                with html.Select(
                    classes="bv-field grow id-modality",
                    value=("modality",),
                    change=(viewer.scans.choose_modality, "[$event.target.value]"),
                    title="What the scan is; the models are for one contrast each",
                ):
                    html.Option("{{ o.title }}", v_for="o in modalities", key=("o.value",), value=("o.value",))
                icon_button("close", viewer.scans.close_scan, "close-scan", "Close this scan and its results")


def find_step(viewer: BrainViewer) -> None:
    """Saliency: compute it, and how it is shown."""
    with Step(2, "Find", "has_saliency", "has_saliency ? flagged + ' of ' + rows_found + ' slices' : ''"):
        html.Div(
            "Where does the classifier see a lesion? The map shows which voxels would change its mind.",
            classes="bv-note",
        )
        with html.Div(classes="bv-row"):
            select("saliency_method", "saliency_methods", "saliency-method", disabled=("!!running",))
            button(
                "Show saliency", viewer.jobs.find, "saliency", mdi="magnify-scan", kind="primary",
                disabled=("!scan_loaded || running || busy",),
            )  # fmt: skip
        with html.Div(v_if="has_saliency", style="display: flex; flex-direction: column; gap: 6px"):
            checkbox("Show the map", "saliency_on", "saliency-on")
            slider(
                "Opacity",
                "saliency_opacity",
                0,
                1,
                0.05,
                "saliency-opacity",
                "Math.round(saliency_opacity * 100) + ' %'",
            )
            slider(
                "Threshold", "saliency_threshold", 0, 0.95, 0.05, "saliency-threshold", "saliency_threshold.toFixed(2)"
            )


def mask_step(viewer: BrainViewer) -> None:
    """Draw, box, threshold; from saliency, from a file."""
    with Step(3, "Mask", "mask_ml > 0", "mask_ml > 0 ? mask_ml + ' mL drawn' : 'optional'"):
        html.Div("Mark what to heal yourself, or leave it empty: step 4 then finds it.", classes="bv-note")
        with html.Div(classes="bv-tools"):
            for value, mdi, title in TOOLS:
                icon_button(
                    mdi, f"tool = '{value}'", f"tool-{value}", title, f"tool === '{value}'", disabled=("!scan_loaded",)
                )
        with html.Div(
            v_if="tool === 'paint' || tool === 'erase'", style="display: flex; flex-direction: column; gap: 4px"
        ):
            slider("Brush", "brush_mm", 2, 40, 1, "brush", "brush_mm + ' mm'")
            checkbox("Sphere (several slices at once)", "brush_sphere", "brush-sphere")
        with html.Div(classes="bv-row"):
            button("Place box", viewer.masks.place_box, "box", mdi="cube-outline", disabled=("!scan_loaded",),
                   title="Click two opposite corners in a view (B)")  # fmt: skip
            button("Add box to mask", viewer.masks.box_to_mask, "box-to-mask", disabled=("!box_placed",))
            icon_button(
                "delete-outline", viewer.masks.remove_box, "box-remove", "Remove the box", disabled=("!box_placed",)
            )
        with html.Div(classes="bv-row"):
            button("From saliency", viewer.masks.mask_from_saliency, "mask-from-saliency", mdi="auto-fix",
                   disabled=("!has_saliency",), title="Where the map lies above the threshold of step 2")  # fmt: skip
            button("From file …", "window.brainviewer.pick('mask', false)", "mask-from-file", mdi="file-outline",
                   disabled=("!scan_loaded",))  # fmt: skip
        with html.Div(v_if="scan_loaded", style="display: flex; flex-direction: column; gap: 4px"):
            html.Div("By grey value", classes="bv-sub")
            slider(
                "From",
                "threshold_low",
                "gray_low",
                "gray_high",
                "gray_step",
                "threshold-low",
                "Math.round(threshold_low)",
            )
            slider(
                "To",
                "threshold_high",
                "gray_low",
                "gray_high",
                "gray_step",
                "threshold-high",
                "Math.round(threshold_high)",
            )
            with html.Div(classes="bv-row"):
                checkbox("inside the mask only", "threshold_inside", "threshold-inside")
                html.Div(classes="bv-spacer")
                button("Apply", viewer.masks.apply_threshold, "threshold-apply")
        html.Hr(classes="bv-hr")
        with html.Div(classes="bv-row"):
            with html.Span(classes="bv-chip id-mask-ml"):
                html.Span(classes="bv-dot", style="background: var(--mask)")
                html.Span(
                    "{{ mask_ml }} mL in {{ mask_slices }} slice{{ mask_slices === 1 ? '' : 's' }}", v_if="mask_ml > 0"
                )
                html.Span("empty", v_else=True)
            html.Div(classes="bv-spacer")
            button("Clear", viewer.masks.clear_mask, "mask-clear", mdi="close", disabled=("!(mask_ml > 0)",))


def status(viewer: BrainViewer) -> None:
    """At the foot of the panel: what is being done, how far, how long."""
    with html.Div(classes="bv-status id-status"):
        with html.Div(classes="bv-status-line"):
            with html.Span(v_if="worker_state === 'down'", style="color: var(--amber)", title="The worker has stopped"):
                icon("alert", 14)
            html.Span("{{ busy ? busy_text : message }}", classes="id-message")
            html.Span("{{ running ? time_left : '' }}", classes="right id-time-left")
        with html.Div(
            v_if="running || busy",
            classes=("'bv-bar id-progress' + (busy || progress <= 0 ? ' wait' : '')",),
        ):
            html.Div(style=("{width: progress + '%'}",))
