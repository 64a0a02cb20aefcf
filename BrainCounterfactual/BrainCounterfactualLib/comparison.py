"""How a result is shown: original, counterfactual and difference side by side, fading and flickering between them."""

from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.scene import layouts, masks, overlays
from BrainCounterfactualCommon.scene.comparison import ComparisonBase

COVERED = (layouts.COUNTERFACTUAL, layouts.DIFFERENCE, layouts.UNCERTAINTY, layouts.CORONAL)
"""Views that are kept free of the mask being drawn and of the box."""


class Comparison(ComparisonBase):
    """Fills the compare views with a scan and a result; the counterfactual lies over the scan."""

    tops = (layouts.COUNTERFACTUAL, layouts.CORONAL)

    def __init__(self):
        ComparisonBase.__init__(self)
        self.differenceOpacity = 0.8

    def layoutOf(self, result):
        if result is not None and self.surfaces:
            return layouts.COMPARE_3D_LAYOUT
        if result is not None and result.deviationNode is not None:
            return layouts.UNCERTAINTY_LAYOUT
        return layouts.COMPARE_LAYOUT if layouts.viewsAreWide() else layouts.COMPARE_GRID_LAYOUT

    def show(self, volumeNode, result):
        """Show a result (``None``: the scan alone, in all views)."""
        if self.result is not None and self.result != result:
            self._hideMarks()
        self.volumeNode, self.result = volumeNode, result
        layouts.showInView(layouts.ORIGINAL, volumeNode)
        on = result.counterfactualNode if result else None
        layouts.showInView(layouts.COUNTERFACTUAL, volumeNode, on, self.fade)
        difference = result.differenceNode if result else None
        layouts.showInView(layouts.DIFFERENCE, volumeNode, difference, self.differenceOpacity)
        deviation = result.deviationNode if result else None
        layouts.showInView(layouts.UNCERTAINTY, volumeNode, deviation, self.differenceOpacity)
        layouts.showInView(layouts.CORONAL, volumeNode, on, self.fade)
        layouts.setCaption(layouts.COUNTERFACTUAL, _("Counterfactual {n}").format(n=result.order) if result else None)
        layouts.setCaption(layouts.DIFFERENCE, _("Difference {n}").format(n=result.order) if result else None)
        layouts.link(self.tags)
        if volumeNode is not None:  # what is drawn belongs to the scan: it must not cover what is compared
            layouts.hideFromViews(masks.maskOf(volumeNode, make=False), COVERED)
        if result is not None:
            layouts.restrictToViews(result.lesionNode, (layouts.DIFFERENCE, layouts.SURFACES))
            layouts.restrictToViews(result.maskNode, (layouts.ORIGINAL, layouts.COUNTERFACTUAL))
            self._showMarks()
        self.showLegends()

    def showLegends(self):
        if self.result is None:
            return
        for node, tag, title in (
            (self.result.differenceNode, layouts.DIFFERENCE, _("Difference (SYNTHETIC)")),
            (self.result.deviationNode, layouts.UNCERTAINTY, _("Uncertainty (SYNTHETIC)")),
        ):
            ids = layouts.viewIds((tag,))
            if node is not None and ids:
                overlays.colorBar(node, title, True, ids)

    def setDifferenceOpacity(self, opacity):
        """Opacity of the difference over the scan."""
        self.differenceOpacity = float(opacity)
        layouts.setOpacity(layouts.DIFFERENCE, opacity)
        layouts.setOpacity(layouts.UNCERTAINTY, opacity)

    def _showMarks(self):
        if self.result is not None:
            for node, inSpace in ((self.result.maskNode, False), (self.result.lesionNode, self.surfaces)):
                segments = masks.segmentsOf(node) if node is not None else ()
                masks.showMarks(node, segments if self.contours else (), segments if inSpace else ())

    def _hideMarks(self):
        for node in (self.result.maskNode, self.result.lesionNode):
            masks.hide(node)
        for node in (self.result.differenceNode, self.result.deviationNode):
            if node is not None:
                overlays.colorBar(node, "", False)
