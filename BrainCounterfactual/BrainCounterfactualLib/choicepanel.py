"""The combo boxes of the panel: model with its licence, methods. Needs no Qt of its own."""

from BrainCounterfactualCommon.panels.choicepanel import ChoicePanelBase
from BrainCounterfactualLib import texts


class ChoicePanel(ChoicePanelBase):
    """Methods and models, as the worker told them."""

    bound = (
        ("method", "method"),
        ("model", "modelName"),
        ("saliency", "saliencyMethod"),
        ("fusion", "fusion"),
        ("maskRule", "maskRule"),
        ("seam", "seam"),
        ("device", "device"),
    )

    def _fill(self, parameters, modality):
        methods = self._logic.methods()
        cards = self._logic.modelsFor(parameters.inputVolume, parameters.method)
        if cards and parameters.modelName not in [card["name"] for card in cards]:
            parameters.modelName = cards[0]["name"]  # that of another method
        barred = [method["name"] for method in methods if not method["available"]]
        choices = texts.methodChoices(methods, parameters.method)
        self._show("method", choices, texts.methodTips(methods), barred)
        self._show("model", texts.modelChoices(cards))
        self._show("saliency", texts.saliencyChoices())
        self._show("fusion", texts.fusionChoices())
        self._show("maskRule", texts.maskRuleChoices())
        self._show("seam", texts.seamChoices())
        card = next((card for card in cards if card["name"] == parameters.modelName), None)
        self._tellLicence([card])
