"""The combo boxes of the panel: kind of lesion, generator, method. Needs no Qt of its own."""

from BrainCounterfactualCommon.panels.choicepanel import ChoicePanelBase
from BrainLesionSimLib import texts

SAME = ("kind", "shapeKind", "shapeSide", "shapeLobe", "method", "condition", "device", "healRegion")
"""Parameters shown by a combo box of the same name."""


class ChoicePanel(ChoicePanelBase):
    """Kinds of lesions, as the models offer them for the scan."""

    bound = tuple(zip(SAME, SAME))

    def _fill(self, parameters, modality):
        volumeNode = parameters.inputVolume
        offered = self._logic.kindsFor(volumeNode, parameters.method)
        if volumeNode is not None and offered and parameters.kind not in offered:
            parameters.kind = next(iter(offered))
        self._show("kind", texts.kindChoices(offered))
        self._show("shapeKind", texts.shapeKindChoices())
        self._show("shapeSide", texts.sideChoices())
        self._show("shapeLobe", texts.lobeChoices())
        self._show("method", texts.methodChoices(bool(self._logic.kindsFor(None, "palette"))))
        self._show("condition", texts.conditionChoices())
        self._show("healRegion", texts.regionChoices())
        told = texts.offer(offered, modality, self._logic.lesionModels()) if volumeNode is not None else ""
        self._tellLicence({card["name"]: card for card in offered.values()}.values(), told)
