"""The combo boxes of the panel: modality, model with its licence, methods, device. Needs no Qt of its own."""

from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualLib import models, texts
from BrainCounterfactualLib.bindings import ChoiceBinding

BOUND = (
    ("method", "method"),
    ("model", "modelName"),
    ("saliency", "saliencyMethod"),
    ("fusion", "fusion"),
    ("maskRule", "maskRule"),
    ("device", "device"),
)
"""Combo box (without its ending) and the parameter it shows."""


class ChoicePanel:
    """Keeps the combo boxes and the parameter node together.

    Args:
        ui: the panel's widgets by name.
        logic: BrainCounterfactualLogic.
        parameters: ``() -> parameter node or None``.
        onModality: ``(name)``, called when the user says what the scan is.
    """

    def __init__(self, ui, logic, parameters, onModality):
        self._ui = ui
        self._logic = logic
        self._parameters = parameters
        self._bindings = {name: ChoiceBinding(getattr(ui, name + "ComboBox"), self._to(field)) for name, field in BOUND}
        self._modality = ChoiceBinding(ui.modalityComboBox, onModality)
        self.devices = []

    def _to(self, field):
        def set(value):  # noqa: A001
            if self._parameters() is not None:
                setattr(self._parameters(), field, value)

        return set

    def update(self):
        """Lists and choices as parameters, models and devices say."""
        p = self._parameters()
        if p is None:
            return
        self.devices = (self._logic.client.info or {}).get("devices", self.devices)
        methods = self._logic.methods()
        cards = self._logic.modelsFor(p.inputVolume, p.method)
        if cards and p.modelName not in [card["name"] for card in cards]:
            p.modelName = cards[0]["name"]  # that of another method
        lists = {
            "method": texts.methodChoices(methods, p.method),
            "model": texts.modelChoices(cards),
            "saliency": texts.saliencyChoices(),
            "fusion": texts.fusionChoices(),
            "maskRule": texts.maskRuleChoices(),
            "device": texts.deviceChoices(self.devices),
        }
        tips = {"method": texts.methodTips(methods)}
        barred = {"method": [method["name"] for method in methods if not method["available"]]}
        for name, field in BOUND:
            self._bindings[name].fill(lists[name], getattr(p, field), tips.get(name), barred.get(name, ()))
        card = next((card for card in cards if card["name"] == p.modelName), None)
        self._ui.licenceLabel.setText(texts.licence(card))
        self._ui.licenceLabel.setToolTip(texts.knownFailures(card))
        found = self._logic.modality(p.inputVolume) if p.inputVolume is not None else None
        self._modality.fill([("", _("unknown")), *((name, name) for name in models.MODALITIES)], found or "")
