"""Steps 4 and 5 of the panel: heal, compare and save."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trame.widgets import html

from BrainViewerLib.parts import Step, button, checkbox, icon_button, segments, select, slider, text_field

if TYPE_CHECKING:
    from BrainViewerLib.app import BrainViewer


def heal_step(viewer: BrainViewer) -> None:
    """What to heal, with what, how; Heal and Cancel are one button."""
    with Step(
        4,
        "Heal",
        "results.length > 0",
        "results.length ? results.length + (results.length > 1 ? ' results' : ' result') : ''",
    ):
        with html.Div(classes="bv-row"):
            html.Span("Where", classes="bv-label", style="width: 44px")
            segments(
                "heal_mask",
                [
                    ("auto", "Found by saliency", "The classifier's saliency decides, completed to the whole lesion"),
                    ("drawn", "My mask", "Only inside the mask of step 3"),
                ],
                "heal-mask",
                {"drawn": "!(mask_ml > 0)"},
            )
        with html.Div(classes="bv-row"):
            html.Span("Model", classes="bv-label", style="width: 44px")
            select("model", "models", "model", disabled=("!!running",))
        with html.Div(classes="bv-note bv-row"):
            html.Span("{{ model_note }}")
            html.Button("Licence and limits", classes="bv-link id-licence", type="button", click="dialog = 'models'")
        with html.Div(classes="bv-row", v_if="!running"):
            button(
                "Heal volume", viewer.jobs.heal_volume, "heal", mdi="creation-outline", kind="primary big grow",
                disabled=("!can_heal",), title=("heal_hint",),
            )  # fmt: skip
            button(
                "This slice", viewer.jobs.heal_slice, "heal-slice", kind="big", disabled=("!can_heal",),
                title="Heal only the axial slice in view: a second or two (I)",
            )  # fmt: skip
        button("Cancel", viewer.jobs.cancel, "cancel", mdi="stop", kind="cancel big wide", v_if="running", title="Esc")
        html.Div("{{ estimate }}", classes="bv-note id-estimate", v_if="estimate && can_heal && !running")
        html.Div("{{ estimate_warning }}", classes="bv-warning", v_if="estimate_warning && can_heal && !running")
        html.Div("{{ heal_hint }}", classes="bv-note id-heal-hint", v_if="heal_hint && !running")
        with html.Button(
            type="button", classes="bv-link bv-note id-advanced", style="text-align: left", click="advanced = !advanced"
        ):
            html.Span("{{ advanced ? '▾' : '▸' }} Advanced settings")
        with html.Div(v_if="advanced", style="display: flex; flex-direction: column; gap: 8px"):
            with html.Div(classes="bv-grid2"):
                text_field(
                    "Steps",
                    "set_steps",
                    "set-steps",
                    "10",
                    "Network steps each way; 25 or more gives finer texture; 'full' is all of them",
                )
                text_field(
                    "Samples",
                    "set_samples",
                    "set-samples",
                    "1",
                    "Independent counterfactuals; more than one adds an uncertainty map",
                )
                text_field("Noise level (K)", "set_noise", "set-noise", "500", "How far the scan is noised, 1 to 999")
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
                with html.Label(title="Where the networks run"):
                    html.Span("Device")
                    select("set_device", "devices", "set-device")
            checkbox("Run although the contrast is not the model's", "set_force", "set-force")
            button("Defaults", viewer.jobs.default_settings, "defaults", mdi="restore")


def compare_step(viewer: BrainViewer) -> None:
    """How a result is looked at, and saving it."""
    with Step(5, "Compare and save", "saved", "result_id ? result.title : ''"):
        html.Div("Nothing healed yet.", classes="bv-note", v_if="!result_id")
        with html.Div(v_if="result_id", style="display: flex; flex-direction: column; gap: 9px"):
            with html.Div(classes="bv-row"):
                html.Span("Fade", classes="bv-label", style="width: 44px")
                html.Input(
                    type="range", classes="bv-range grow id-blend", min=0, max=1, step=0.05, value=("blend",),
                    input="blend = Number($event.target.value); layout = 'blend'",
                    title="Original on the left, counterfactual on the right",
                )  # fmt: skip
                icon_button("swap-horizontal", viewer.display.flicker, "flicker", "Flicker once (F)")
                icon_button(
                    "play-pause",
                    "flicker_auto = !flicker_auto; layout = 'blend'",
                    "flicker-auto",
                    "Flicker by itself",
                    "flicker_auto",
                )
            with html.Div(classes="bv-row", style="gap: 18px"):
                checkbox("Lesion", "show_lesion", "show-lesion", "lesion", title="Contour of what is called lesion (L)")
                checkbox("Edited region", "show_mask", "show-mask", "mask", title="Contour of what was edited (M)")
            with html.Div(classes="bv-row"):
                html.Span("Third view", classes="bv-label", style="width: 62px")
                select("third", "thirds", "third")
            slider(
                "Overlay", "overlay_opacity", 0, 1, 0.05, "overlay-opacity", "Math.round(overlay_opacity * 100) + ' %'"
            )
            slider("Range", "overlay_range", 0.1, 1.5, 0.05, "overlay-range", "'× ' + overlay_range.toFixed(2)")
            html.Hr(classes="bv-hr")
            html.Div("Save", classes="bv-sub")
            with html.Div(classes="bv-row"):
                html.Input(
                    classes="bv-field grow id-folder", placeholder="Folder", value=("save_folder",),
                    input="save_folder = $event.target.value", title="The folder on this computer that gets the files",
                )  # fmt: skip
                with html.Div(style="width: 92px"):
                    select("save_format", "formats", "save-format")
            with html.Div(classes="bv-row"):
                button(
                    "Save",
                    viewer.results.save,
                    "save",
                    mdi="content-save-outline",
                    kind="primary",
                    disabled=("!save_folder || busy",),
                )
                button(
                    "Download",
                    viewer.results.download,
                    "download",
                    mdi="download-outline",
                    disabled=("busy",),
                    title="The same files as a .zip",
                )
                html.Div(classes="bv-spacer")
                icon_button("trash-can-outline", viewer.results.remove_result, "remove-result", "Remove this result")
            html.Div("{{ saved_text }}", classes="bv-note id-saved", v_if="saved_text")
