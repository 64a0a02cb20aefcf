"""Combo boxes over lists that change (models, devices, results), and buttons of jobs. Needs no Qt of its own."""

from BrainCounterfactualCommon.host import tr as _

# Qt's numbers: a panel's part needs no Qt of its own
TOOLTIP_ROLE, FLAGS_ROLE = 3, 255  # Qt.ToolTipRole; Qt.UserRole - 1, where a combo box keeps whether it can be chosen
BARRED, OPEN = 0, 33  # Qt.NoItemFlags; Qt.ItemIsSelectable | Qt.ItemIsEnabled


class ChoiceBinding:
    """A combo box over ``(value, text)`` pairs.

    Args:
        combo: the widget.
        onChosen: ``(value)``, called when the user chooses.
    """

    def __init__(self, combo, onChosen):
        self._combo = combo
        self._onChosen = onChosen
        self._choices = []
        combo.connect("currentIndexChanged(int)", self._onIndex)

    @property
    def values(self):
        return [value for value, _text in self._choices]

    def fill(self, choices, value, tips=None, barred=()):
        """Offer these choices, and show one of them; nobody is told.

        Args:
            tips: value -> tool tip.
            barred: values that are shown but cannot be chosen.
        """
        choices = list(choices)
        wasBlocked = self._combo.blockSignals(True)
        if choices != self._choices:
            self._choices = choices
            self._combo.clear()
            for _value, text in choices:
                self._combo.addItem(text)
        for index, entry in enumerate(self.values):
            self._combo.setItemData(index, (tips or {}).get(entry, ""), TOOLTIP_ROLE)
            self._combo.setItemData(index, BARRED if entry in barred else OPEN, FLAGS_ROLE)
        self._combo.setCurrentIndex(self.values.index(value) if value in self.values else -1)
        self._combo.blockSignals(wasBlocked)

    def _onIndex(self, index):
        if 0 <= index < len(self._choices):
            self._onChosen(self._choices[index][0])


def onClicks(*pairs):
    """Call a slot without arguments when its button is clicked; ``(button, slot)`` each."""
    for button, slot in pairs:
        button.connect("clicked(bool)", lambda _checked, slot=slot: slot())


def showJobButton(button, text, tip, why, busy, running):
    """A button that starts a job, and cancels it meanwhile.

    Args:
        text: what it does.
        tip: more of that.
        why: why it cannot be done now, in words; empty where it can.
        busy: whether any job is under way.
        running: the button whose job that is.
    """
    cancels = busy and button is running
    button.setText(_("Cancel") if cancels else text)
    button.setEnabled(cancels or (not busy and not why))
    button.setToolTip(_("Stop it.") if cancels else why or tip)
