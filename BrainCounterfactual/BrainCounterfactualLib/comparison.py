"""How a result is shown: original, counterfactual and difference side by side, fading and flickering between them."""

from BrainCounterfactualCommon import layouts, overlays
from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualLib import masks

COVERED = (layouts.COUNTERFACTUAL, layouts.DIFFERENCE, layouts.UNCERTAINTY)
"""Views that are kept free of the mask being drawn and of the box."""


class Comparison:
    """Fills the compare views with a scan and a result.

    In the counterfactual's view the scan lies below and the counterfactual on top, so that fading is one opacity:
    1 shows the counterfactual, 0 the scan.
    """

    def __init__(self):
        self.volumeNode = None
        self.result = None
        self.fade = 1.0
        self.differenceOpacity = 0.8

    @property
    def tags(self):
        """Views in use."""
        several = self.result is not None and self.result.deviationNode is not None
        return (*layouts.COMPARE_TAGS, layouts.UNCERTAINTY) if several else layouts.COMPARE_TAGS

    def show(self, volumeNode, result):
        """Show a result (``None``: the scan alone, in all views)."""
        if self.result is not None and self.result != result:
            self._hideMarks(self.result)
        self.volumeNode, self.result = volumeNode, result
        layouts.showInView(layouts.ORIGINAL, volumeNode)
        on = result.counterfactualNode if result else None
        layouts.showInView(layouts.COUNTERFACTUAL, volumeNode, on, self.fade)
        difference = result.differenceNode if result else None
        layouts.showInView(layouts.DIFFERENCE, volumeNode, difference, self.differenceOpacity)
        deviation = result.deviationNode if result else None
        layouts.showInView(layouts.UNCERTAINTY, volumeNode, deviation, self.differenceOpacity)
        layouts.link(self.tags)
        if volumeNode is not None:  # what is drawn belongs to the scan: it must not cover what is compared
            layouts.hideFromViews(masks.maskOf(volumeNode, make=False), COVERED)
        if result is not None:
            layouts.restrictToViews(result.lesionNode, (layouts.DIFFERENCE,))
            layouts.restrictToViews(result.maskNode, (layouts.ORIGINAL, layouts.COUNTERFACTUAL))
            self.showMarks(True, True)
            ids = layouts.viewIds((layouts.DIFFERENCE,))
            if difference is not None and ids:
                overlays.colorBar(difference, _("difference"), True, ids)
            ids = layouts.viewIds((layouts.UNCERTAINTY,))
            if deviation is not None and ids:
                overlays.colorBar(deviation, _("uncertainty"), True, ids)

    def showPreview(self, volumeNode, previewNode):
        """Show the state of a healing under way."""
        layouts.showInView(layouts.ORIGINAL, volumeNode)
        layouts.showInView(layouts.COUNTERFACTUAL, volumeNode, previewNode, 1.0)
        layouts.showInView(layouts.DIFFERENCE, volumeNode)
        layouts.link(layouts.COMPARE_TAGS)

    def setFade(self, fade):
        """0 shows the scan, 1 the counterfactual."""
        self.fade = min(max(float(fade), 0.0), 1.0)
        layouts.setOpacity(layouts.COUNTERFACTUAL, self.fade)

    def flicker(self):
        """Swap between scan and counterfactual; what is shown now: ``"original"`` or ``"counterfactual"``."""
        self.setFade(0.0 if self.fade > 0.5 else 1.0)
        return "counterfactual" if self.fade > 0.5 else "original"

    def setDifferenceOpacity(self, opacity):
        """Opacity of the difference over the scan."""
        self.differenceOpacity = float(opacity)
        layouts.setOpacity(layouts.DIFFERENCE, opacity)
        layouts.setOpacity(layouts.UNCERTAINTY, opacity)

    def showMarks(self, mask, lesion):
        """Contours of the edited region and of the lesion."""
        if self.result is None:
            return
        for node, visible in ((self.result.maskNode, mask), (self.result.lesionNode, lesion)):
            if node is not None and node.GetDisplayNode() is not None:
                node.GetDisplayNode().SetVisibility(visible)

    @staticmethod
    def _hideMarks(result):
        for node in (result.maskNode, result.lesionNode):
            if node is not None and node.GetDisplayNode() is not None:
                node.GetDisplayNode().SetVisibility(False)
        for node in (result.differenceNode, result.deviationNode):
            if node is not None:
                overlays.colorBar(node, "", False)

    def forget(self):
        """The scene was closed: hold nothing of it."""
        self.volumeNode = self.result = None
