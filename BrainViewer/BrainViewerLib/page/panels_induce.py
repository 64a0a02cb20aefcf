"""The tab Induce: place a lesion, paint it, compare, keep, heal it again."""

from __future__ import annotations

from trame.widgets import html

from BrainViewerLib.controllers.controllers import Controllers
from BrainViewerLib.controllers.fields import INDUCE_SENT as SENT
from BrainViewerLib.controllers.fields import SHAPE_SENT
from BrainViewerLib.page.panels import Start, cancel_button, draw_tools, drawn_size, fade_row, scan_step, start_buttons
from BrainViewerLib.page.panels_save import save_rows
from BrainViewerLib.page.parts import Step, button, checkbox, fold, row, select, sending, slider, text_field

MODEL = "induce_step"


def lesion_step(do: Controllers) -> None:
    """Draw, box, file, or have one made; its size and its margin."""
    with Step(2, "Lesion", "lesion_ml > 0", "lesion_ml > 0 ? lesion_ml + ' mL' : ''", MODEL):
        html.Div("Where shall the lesion be? Draw it, box it, load it, or have one made.", classes="bv-note")
        draw_tools(do, "lesion")
        html.Div("Have one made", classes="bv-sub")
        with html.Div(classes="bv-grid2"):
            for label, model, options in (("Shape", "shape_kind", "shape_kinds"), ("Side", "shape_side", "sides")):
                with html.Label():
                    html.Span(label)
                    select(model, options, model.replace("_", "-"))
            with html.Label():
                html.Span("Lobe")
                select("shape_lobe", "lobes", "shape-lobe")
            with html.Div(classes="bv-grid2"):
                text_field("mL", "shape_ml", "shape-ml", "usual", "Volume; empty: one that is usual for the shape")
                text_field("Seed", "shape_seed", "shape-seed", "0", "Decides where it lies; one higher after each")
        with html.Div(classes="bv-row"):
            button(
                "Make a lesion",
                sending(do.state, do.inducing.make_lesion, SHAPE_SENT),
                "make-lesion",
                mdi="dice-5-outline",
                disabled=("!can_make",),
                title="Replaces what is drawn; undo brings it back",
            )
            button("From file …", "window.brainviewer.pick('mask', false)", "lesion-from-file", mdi="file-outline",
                   disabled=("!scan_loaded",))  # fmt: skip
        html.Hr(classes="bv-hr")
        drawn_size(do, "lesion")
        with html.Div(classes="bv-row", v_if="has_margin"):
            checkbox("Margin", "show_margin", "show-margin", "margin", title="What may change around the lesion (M)")
            html.Span("{{ margin_mm }} mm around it may change", classes="bv-note id-margin-mm", v_if="margin_mm > 0")


def induce_step(do: Controllers) -> None:
    """What is painted, and how; Induce and Cancel are one button."""
    with Step(3, "Induce", "inductions.length > 0", "inductions.length ? inductions.length + ' painted' : ''", MODEL):
        with row("Kind", v_if="can_offer"):
            select("paint_kind", "paint_kinds", "paint-kind", disabled=("!!running",))
        with row("Method"):
            select("paint_method", "paint_methods", "paint-method", disabled=("!!running",))
        html.Div(v_html="paint_offer", classes=("'id-paint-offer ' + (can_offer ? 'bv-note' : 'bv-warning')",))
        paint, both = "Paint the lesion into the scan (G)", "Paint it, heal it, and see what comes back"
        titles = [(f"induce_hint || '{text}'",) for text in (paint, both)]
        start_buttons(
            do, "can_induce", SENT,
            Start("Induce", do.inducing.induce, "induce", titles[0], "brush-variant", "primary wide"),
            Start("Induce, then heal", do.inducing.round_trip, "round-trip", titles[1], "sync", "wide"),
            shape="column",
        )  # fmt: skip
        html.Div("{{ induce_hint }}", classes="bv-note id-induce-hint", v_if="induce_hint && !running")
        fold("Advanced settings", "advanced_paint", "advanced-paint")
        _advanced(do)


def _advanced(do: Controllers) -> None:
    with html.Div(v_if="advanced_paint", classes="bv-column"):
        with html.Div(classes="bv-grid2"):
            text_field("Steps", "paint_steps", "paint-steps", "15", "Network steps; 'full' is all of them")
            text_field("Samples", "paint_samples", "paint-samples", "1",
                       "Independent draws; more than one adds a deviation")  # fmt: skip
            text_field("Margin, mm", "paint_margin", "paint-margin", "tuned",
                       "How far around the lesion the picture may change (MedEdit); empty: tuned")  # fmt: skip
            text_field("Resamples", "paint_resamples", "paint-resamples", "tuned",
                       "Goes at each step (MedEdit); empty: the method's own")  # fmt: skip
            text_field("Seed", "paint_seed", "paint-seed", "0", "Same seed, same device: same result")
            with html.Label(title="A box is filled as the model sees fit"):
                html.Span("The model is told")
                select("paint_condition", "conditions", "paint-condition")
            with html.Label(title="In 'Induce, then heal'"):
                html.Span("Healed again")
                select("heal_region", "heal_regions", "heal-region")
            with html.Label(title="Where the networks run"):
                html.Span("Device")
                select("set_device", "devices", "paint-device")
        button("Defaults", do.inducing.default_settings, "paint-defaults", mdi="restore")


def induced_step(do: Controllers) -> None:
    """How an induction is looked at; again, keep, heal, save."""
    with Step(4, "Compare and keep", "saved", "induction_id ? induction.title : ''", MODEL):
        html.Div("Nothing painted yet.", classes="bv-note", v_if="!induction_id && !running")
        cancel_button(do)
        with html.Div(v_if="induction_id", classes="bv-column"):
            with html.Div(classes="bv-row", v_if="!running"):
                button(
                    "New variant",
                    sending(do.state, do.inducing.reroll, SENT),
                    "reroll",
                    mdi="dice-multiple-outline",
                    kind="primary grow",
                    disabled=("!can_induce",),
                    title="The same lesion, painted with a new seed (X)",
                )
                button("Heal again", do.inducing.heal_again, "heal-again", mdi="sync", kind="grow",
                       disabled=("!!running || busy",), title="Heal what was painted, and compare")  # fmt: skip
            fade_row(do, "Original on the left, diseased on the right")
            with html.Div(classes="bv-row", style="gap: 18px"):
                checkbox("Lesion", "show_lesion", "show-lesion", "lesion", title="Outline of the lesion (L)")
                checkbox("Margin", "show_margin", "show-margin", "margin", title="Outline of what could change (M)",
                         v_if="has_margin")  # fmt: skip
            slider("Change", "change_opacity", 0, 1, 0.05, "change-opacity", "Math.round(change_opacity * 100) + ' %'")
            save_rows(do, do.inductions.remove)


def induce_tab(do: Controllers) -> None:
    """All of its steps."""
    scan_step(do, MODEL)
    lesion_step(do)
    induce_step(do)
    induced_step(do)
