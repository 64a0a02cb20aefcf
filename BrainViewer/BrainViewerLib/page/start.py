"""What the page knows when it opens."""

from __future__ import annotations

from typing import Any

from BrainCounterfactualLib.texts import saliencyChoices

from BrainCounterfactualCommon.exporting import FACES
from BrainCounterfactualCommon.worker.models import DEFAULT_MODEL
from BrainViewerLib.controllers import fields
from BrainViewerLib.controllers.inductiondesk import NO_INDUCTION
from BrainViewerLib.controllers.resultdesk import NO_RESULT
from BrainViewerLib.controllers.saving import FORMATS, TEACHING
from BrainViewerLib.controllers.scans import MODALITY_CHOICES
from BrainViewerLib.views.levels import PRESET_CHOICES

CHANGE_OPACITY = 0.5
"""Of the two colours over the lesion's view."""


def choices(*names: str) -> list[dict[str, str]]:
    """A list for a drop-down whose values name themselves."""
    return [{"value": name, "title": name} for name in names]


PAGE: dict[str, Any] = {
    "trame__title": "BrainViewer",
    "mode": "heal",
    "layout": "edit",
    "shown_id": 0,
    "active_view": "Axial",
    "maximised": "",
    "large_axial": False,
    "plane": "Axial",
    "planes": [{"value": name, "title": name} for name in ("Axial", "Coronal", "Sagittal")],
    "cine": False,
    "crosshair": True,
    "measured": 0,
    "step": 1,
    "dialog": "",
    "advanced": False,
    "busy": False,
    "busy_text": "",
    "message": "Ready.",
    "notice": {"title": "", "cause": "", "action": "", "kind": ""},
    "can_undo": False,
    "can_redo": False,
    "cards": [],
}

SCAN: dict[str, Any] = {
    "scan_loaded": False,
    "scan_name": "",
    "scan_id": "",
    "scans": [],
    "facts": [],
    "warnings": [],
    "scan_notes": "",
    "series": [],
    "path": "",
    "modality": "",
    "modalities": MODALITY_CHOICES,
    "preset": "standard",
    "presets": PRESET_CHOICES,
    "level_low": 0,
    "level_high": 1,
    "gray_low": 0,
    "gray_high": 1,
    "gray_step": 1,
}

FIND: dict[str, Any] = {
    "saliency_method": "acat",
    "saliency_methods": [{"value": value, "title": title} for value, title in saliencyChoices()],
    "has_saliency": False,
    "can_find": False,
    "saliency_on": True,
    "saliency_opacity": 0.55,
    "saliency_threshold": 0.3,
    "saliency_bar": {},
    "flagged": 0,
    "rows_found": 0,
}

MASK: dict[str, Any] = {
    "tool": "none",
    "brush_mm": 10,
    "brush_sphere": False,
    "box_placed": False,
    "mask_ml": 0,
    "mask_slices": 0,
    "threshold_low": 0,
    "threshold_high": 1,
    "threshold_inside": False,
}

HEAL: dict[str, Any] = {
    "running": "",
    "progress": 0,
    "time_left": "",
    "previewing": False,
    "worker_state": "starting",
    "first_preview_s": 0,
    "cancelled_s": 0,
    "heal_mask": "auto",
    "method": "dif_fuse",
    "methods": [],
    "method_masked": True,
    "method_about": "",
    "model": DEFAULT_MODEL,
    "models": [],
    "model_note": "",
    "estimate": "",
    "estimate_warning": "",
    "can_heal": False,
    "heal_hint": "",
    "fusions": choices("cached", "joint", "independent"),
    "seams": [{"value": "", "title": "automatic"}, *choices("inside", "outside")],
    "rules": [{"value": "", "title": "tuned"}, *choices("grown", "percentile")],
    "devices": [{"value": "auto", "title": "automatic"}, {"value": "cpu", "title": "CPU"}],
}

COMPARE: dict[str, Any] = {
    "results": [],
    "result_id": 0,
    "result": NO_RESULT,
    "regions": [],
    "rows": [],
    "slice_now": -1,
    "area_top": 0,
    "area_top_text": "0",
    "blend": 1.0,
    "flicker_auto": False,
    "show_lesion": True,
    "show_mask": True,
    "third": "difference",
    "thirds": [],
    "overlay_opacity": 0.85,
    "overlay_range": 1.0,
    "bar": {},
    "save_folder": "",
    "save_format": "nifti",
    "formats": FORMATS,
    "burn_in": False,
    "faces": choices(*FACES),
    "answers": [{"value": "0", "title": "none"}, *choices(*"123456789")],
    "writing_case": False,
    "saved": False,
    "saved_text": "",
}


LESION: dict[str, Any] = {
    "induce_step": 1,
    "lesion_ml": 0,
    "lesion_slices": 0,
    "margin_mm": 0,
    "show_margin": True,
    "shape_kind": "stroke",
    "shape_ml": "",
    "shape_side": "",
    "shape_lobe": "",
    "shape_seed": "0",
    "can_make": False,
}

INDUCE: dict[str, Any] = {
    "paint_kind": "stroke",
    "paint_kinds": [],
    "paint_methods": [],
    "paint_offer": "",
    "can_offer": False,
    "has_margin": True,
    "can_induce": False,
    "induce_hint": "",
    "advanced_paint": False,
}

INDUCED: dict[str, Any] = {
    "inductions": [],
    "induction_id": 0,
    "induction": NO_INDUCTION,
    "others": 0,
    "confirm_remove": False,
    "healed_view": False,
    "change_opacity": CHANGE_OPACITY,
}


def start_state() -> dict[str, Any]:
    """All of it."""
    heal = {**FIND, **MASK, **HEAL, **COMPARE, **TEACHING, **fields.HEAL}
    induce = {**LESION, **INDUCE, **INDUCED, **fields.INDUCE}
    return {**PAGE, **SCAN, **heal, **induce}
