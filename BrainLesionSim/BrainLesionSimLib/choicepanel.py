"""The combo boxes of the panel: modality, kind of lesion, generator, method, device. Needs no Qt of its own."""

from BrainCounterfactualLib import models
from BrainCounterfactualLib import texts as healing
from BrainCounterfactualLib.bindings import ChoiceBinding

from BrainCounterfactualCommon.host import tr as _
from BrainLesionSimLib import texts

BOUND = ("kind", "shapeKind", "shapeSide", "shapeLobe", "method", "condition", "device", "healRegion")
"""Parameters shown by a combo box of the same name."""


class ChoicePanel:
    """Keeps the combo boxes and the parameter node together.

    Args:
        ui: the panel's widgets by name.
        logic: BrainLesionSimLogic.
        parameters: ``() -> parameter node or None``.
        onModality: ``(name)``, called when the user says what the scan is.
    """

    def __init__(self, ui, logic, parameters, onModality):
        self._ui = ui
        self._logic = logic
        self._parameters = parameters
        self._bindings = {name: ChoiceBinding(getattr(ui, name + "ComboBox"), self._to(name)) for name in BOUND}
        self._modality = ChoiceBinding(ui.modalityComboBox, onModality)
        self._devices = []

    def _to(self, field):
        def choose(value):
            if self._parameters() is not None:
                setattr(self._parameters(), field, value)

        return choose

    def update(self):
        """Lists and choices as parameters, scan, models and devices say."""
        p = self._parameters()
        if p is None:
            return
        self._devices = (self._logic.client.info or {}).get("devices", self._devices)
        volumeNode = p.inputVolume
        offered = self._logic.kindsFor(volumeNode, p.method)
        if volumeNode is not None and offered and p.kind not in offered:
            p.kind = next(iter(offered))
        lists = {
            "kind": texts.kindChoices(offered),
            "shapeKind": texts.shapeKindChoices(),
            "shapeSide": texts.sideChoices(),
            "shapeLobe": texts.lobeChoices(),
            "method": texts.methodChoices(bool(self._logic.kindsFor(None, "palette"))),
            "condition": texts.conditionChoices(),
            "healRegion": texts.regionChoices(),
            "device": healing.deviceChoices(self._devices),
        }
        for name in BOUND:
            self._bindings[name].fill(lists[name], getattr(p, name))
        modality = self._logic.modality(volumeNode) if volumeNode is not None else None
        self._modality.fill([("", _("unknown")), *((name, name) for name in models.MODALITIES)], modality or "")
        told = texts.offer(offered, modality, self._logic.lesionModels()) if volumeNode is not None else ""
        self._ui.licenceLabel.setText(told)
