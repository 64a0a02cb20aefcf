"""The combo boxes of a panel: those bound to parameters, and the scan's modality. Needs no Qt of its own."""

import slicer

from BrainCounterfactualCommon.panels import texts
from BrainCounterfactualCommon.panels.bindings import ChoiceBinding


class ChoicePanelBase:
    """Keeps the combo boxes and the parameter node together.

    A subclass says which combo box (without its ending) shows which parameter (``bound``), and fills all but the
    device's (:meth:`_fill`).

    Args:
        ui: the panel's widgets by name.
        logic: the module's.
        parameters: ``() -> parameter node or None``.
        onModality: ``(name)``, called when the user says what the scan is.
    """

    bound = ()

    def __init__(self, ui, logic, parameters, onModality):
        self._ui = ui
        self._logic = logic
        self._parameters = parameters
        self._fields = dict(self.bound)
        self._bindings = {
            name: ChoiceBinding(getattr(ui, name + "ComboBox"), self._to(field)) for name, field in self.bound
        }
        self._modality = ChoiceBinding(ui.modalityComboBox, onModality)
        self._devices = []
        self._cards = []

    def _to(self, field):
        def choose(value):
            if self._parameters() is not None:
                setattr(self._parameters(), field, value)

        return choose

    def _tellLicence(self, cards, before=""):
        """One line, with the whole text behind a link."""
        self._cards = [card for card in cards if card is not None]
        lines = [before] if before else []
        lines += [texts.licenceLink(card) for card in self._cards]
        self._ui.licenceLabel.setText("<br>".join(lines))

    def showLicence(self):
        """The whole of what is to be known of the weights: licence, data, use, known failures."""
        lines = [line for card in self._cards for line in (texts.licence(card), *card.get("known_failures", []))]
        slicer.util.infoDisplay("<br>".join(lines))

    def _fill(self, parameters, modality):
        """Lists, choices and what is said of the model, as parameters, the scan's modality and models say."""
        raise NotImplementedError

    def _show(self, name, choices, tips=None, barred=()):
        """Offer choices in a combo box, and show the parameter's."""
        value = getattr(self._parameters(), self._fields[name])
        self._bindings[name].fill(choices, value, tips, barred)

    def update(self):
        """Everything as parameters, scan, models and devices say."""
        p = self._parameters()
        if p is None:
            return
        modality = self._logic.modality(p.inputVolume) if p.inputVolume is not None else None
        self._fill(p, modality)
        self._devices = (self._logic.client.info or {}).get("devices", self._devices)
        self._show("device", texts.deviceChoices(self._devices))
        self._modality.fill(texts.modalityChoices(), modality or "")
