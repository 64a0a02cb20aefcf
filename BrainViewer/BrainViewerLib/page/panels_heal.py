"""The tab Heal: find, mask, heal, compare and save."""

from __future__ import annotations

from BrainCounterfactualLib.texts import uncertainty
from trame.widgets import html

from BrainViewerLib.controllers.controllers import Controllers
from BrainViewerLib.controllers.fields import HEAL_SENT as SENT
from BrainViewerLib.page.panels import Start, cancel_button, draw_tools, drawn_size, fade_row, scan_step, start_buttons
from BrainViewerLib.page.panels_save import save_rows
from BrainViewerLib.page.parts import Step, button, checkbox, fold, row, segments, select, sending, slider, text_field


def find_step(do: Controllers) -> None:
    """Saliency: compute it, and how it is shown."""
    with Step(2, "Find", "has_saliency", "has_saliency ? flagged + ' of ' + rows_found + ' slices' : ''"):
        html.Div(
            "Where does the classifier see a lesion? The map shows which voxels would change its mind.",
            classes="bv-note",
        )
        with html.Div(classes="bv-row"):
            select("saliency_method", "saliency_methods", "saliency-method", disabled=("!!running",))
            button(
                "Show saliency",
                sending(do.state, do.jobs.find, SENT),
                "saliency",
                mdi="magnify-scan",
                kind="primary",
                disabled=("!can_find || running || busy",),
            )
        with html.Div(v_if="running === 'saliency'"):
            cancel_button(do)
        html.Div(
            "No classifier is installed for {{ modality }} scans. Draw a mask in step 3.",
            classes="bv-note id-no-finder", v_if="scan_loaded && !can_find",
        )  # fmt: skip
        with html.Div(v_if="has_saliency", classes="bv-column"):
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


def mask_step(do: Controllers) -> None:
    """Draw, box, threshold; from saliency, from a file."""
    with Step(3, "Mask", "mask_ml > 0", "mask_ml > 0 ? mask_ml + ' mL drawn' : 'optional'"):
        html.Div("Mark what to heal yourself, or leave it empty: step 4 then finds it.", classes="bv-note")
        draw_tools(do, "mask")
        with html.Div(classes="bv-row"):
            button("From saliency", do.masks.mask_from_saliency, "mask-from-saliency", mdi="auto-fix",
                   disabled=("!has_saliency",), title="Where the map lies above the threshold of step 2")  # fmt: skip
            button("From file …", "window.brainviewer.pick('mask', false)", "mask-from-file", mdi="file-outline",
                   disabled=("!scan_loaded",))  # fmt: skip
        with html.Div(v_if="scan_loaded", classes="bv-column tight"):
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
                button("Apply", do.masks.apply_threshold, "threshold-apply")
        html.Hr(classes="bv-hr")
        drawn_size(do, "mask")


def heal_step(do: Controllers) -> None:
    """What to heal, with what, how; Heal and Cancel are one button."""
    with Step(
        4,
        "Heal",
        "results.length > 0",
        "results.length ? results.length + (results.length > 1 ? ' results' : ' result') : ''",
    ):
        with row("Where"):
            segments(
                "heal_mask",
                [
                    ("auto", "Found by saliency", "The classifier's saliency decides, completed to the whole lesion"),
                    ("drawn", "My mask", "Only inside the mask of step 3"),
                ],
                "heal-mask",
                {"auto": "!method_masked", "drawn": "!method_masked || !(mask_ml > 0)"},
            )
        with row("Method"):
            select("method", "methods", "method", disabled=("!!running",), title=("method_about",))
        html.Div(
            "{{ method_about }}{{ method_masked ? '' : ' It finds its region itself: no mask is used.' }}",
            classes="bv-note id-method-about",
            v_if="method_about",
        )
        with row("Model"):
            select("model", "models", "model", disabled=("!!running",))
        with html.Div(classes="bv-note bv-row"):
            html.Span("{{ model_note }}")
            html.Button("Licence and limits", classes="bv-link id-licence", type="button", click="dialog = 'models'")
        tip = "Heal only the axial slice in view: a second or two (I)"
        start_buttons(
            do, "can_heal", SENT,
            Start("Heal volume", do.jobs.heal_volume, "heal", ("heal_hint",), "creation-outline", "primary grow"),
            Start("This slice", do.jobs.heal_slice, "heal-slice", tip),
        )  # fmt: skip
        html.Div("{{ estimate }}", classes="bv-note id-estimate", v_if="estimate && can_heal && !running")
        html.Div("{{ estimate_warning }}", classes="bv-warning", v_if="estimate_warning && can_heal && !running")
        html.Div("{{ heal_hint }}", classes="bv-note id-heal-hint", v_if="heal_hint && !running")
        fold("Advanced settings", "advanced", "advanced")
        with html.Div(v_if="advanced", classes="bv-column"):
            with html.Div(classes="bv-grid2"):
                text_field(
                    "Steps",
                    "set_steps",
                    "set-steps",
                    "automatic",
                    "Network steps each way; 25 or more gives finer texture; 'full' is all of them",
                )
                text_field(
                    "Samples",
                    "set_samples",
                    "set-samples",
                    "1",
                    "Independent counterfactuals; more than one adds an uncertainty map",
                )
                text_field(
                    "Noise level (K)", "set_noise", "set-noise", "the method's", "How far the scan is noised, 1 to 999"
                )
                text_field(
                    "Margin, mm",
                    "set_margin",
                    "set-margin",
                    "tuned",
                    "Widen the mask; empty: the model's tuned value (2 mm for drawn masks)",
                )
                text_field(
                    "Percentile",
                    "set_percentile",
                    "set-percentile",
                    "tuned",
                    "Saliency above it is healed; empty: the model's tuned value",
                )
                text_field(
                    "Gate",
                    "set_gate",
                    "set-gate",
                    "tuned",
                    "Heal slices with at least this lesion probability, 0 to 1; empty: tuned",
                )
                text_field("Seed", "set_seed", "set-seed", "0", "Same seed, same device: same result")
                with html.Label(title="cached: outside exact; joint: the paper; independent: the published code"):
                    html.Span("Fusion")
                    select("set_fusion", "fusions", "set-fusion")
                with html.Label(title="grown: to the whole lesion; percentile: as in the paper"):
                    html.Span("Mask rule")
                    select("set_rule", "rules", "set-rule")
                with html.Label(title="Where the edit fades out; automatic: inside what is drawn, else outside"):
                    html.Span("Seam")
                    select("set_seam", "seams", "set-seam")
                with html.Label(title="Where the networks run"):
                    html.Span("Device")
                    select("set_device", "devices", "set-device")
            checkbox("Run although the contrast is not the model's", "set_force", "set-force")
            button("Defaults", do.jobs.default_settings, "defaults", mdi="restore")


def compare_step(do: Controllers) -> None:
    """How a result is looked at, and saving it."""
    with Step(5, "Compare and save", "saved", "result_id ? result.title : ''"):
        html.Div("Nothing healed yet.", classes="bv-note", v_if="!result_id")
        with html.Div(v_if="result_id", classes="bv-column"):
            fade_row(do, "Original on the left, counterfactual on the right")
            with html.Div(classes="bv-row", style="gap: 18px"):
                checkbox("Lesion", "show_lesion", "show-lesion", "lesion", title="Contour of what is called lesion (L)")
                checkbox("Edited region", "show_mask", "show-mask", "mask", title="Contour of what was edited (M)")
            with row("Third view", 62):
                select("third", "thirds", "third")
            html.Div(uncertainty(), v_if="third === 'deviation'", classes="bv-note id-uncertainty-note")
            slider(
                "Overlay", "overlay_opacity", 0, 1, 0.05, "overlay-opacity", "Math.round(overlay_opacity * 100) + ' %'"
            )
            slider("Range", "overlay_range", 0.1, 1.5, 0.05, "overlay-range", "'× ' + overlay_range.toFixed(2)")
            save_rows(do, do.results.remove_result)
            cancel_button(do)


def heal_tab(do: Controllers) -> None:
    """All of its steps."""
    scan_step(do, "step")
    find_step(do)
    mask_step(do)
    heal_step(do)
    compare_step(do)
