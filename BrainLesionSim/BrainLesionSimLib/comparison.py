"""How an induction is shown: prior, lesion with the change in two colors, diseased; fading and flickering."""

from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.scene import layouts, masks
from BrainCounterfactualCommon.scene.comparison import ComparisonBase
from BrainLesionSimLib import drawing
from BrainLesionSimLib.inductions import LESION, MARGIN

COVERED = (layouts.LESION, layouts.DISEASED, layouts.HEALED, layouts.CORONAL)
"""Views that are kept free of what is drawn and of the box."""


class Comparison(ComparisonBase):
    """Fills the three views with a scan and an induction; the diseased volume lies over the scan, free of marks.

    The change lies over the lesion's view as a label map.
    """

    tops = (layouts.DISEASED, layouts.CORONAL)

    def layoutOf(self, induction):
        if induction is not None and self.surfaces:
            return layouts.LESION_3D_LAYOUT
        if induction is not None and induction.healed is not None:
            return layouts.ROUND_TRIP_LAYOUT
        return layouts.LESION_LAYOUT if layouts.viewsAreWide() else layouts.LESION_GRID_LAYOUT

    def __init__(self):
        ComparisonBase.__init__(self)
        self.differenceOpacity = 0.5

    def show(self, volumeNode, induction):
        """Show an induction (``None``: the scan alone, with the lesion being drawn)."""
        if self.result is not None and self.result != induction:
            for node in (self.result.marksNode, self.result.displacedNode):
                masks.hide(node)
        self.volumeNode, self.result = volumeNode, induction
        diseased = induction.diseasedNode if induction is not None else None
        change = induction.differenceNode if induction is not None else None
        layouts.showInView(layouts.PRIOR, volumeNode)
        layouts.showInView(layouts.LESION, volumeNode, label=change, labelOpacity=self.differenceOpacity)
        layouts.showInView(layouts.DISEASED, volumeNode, diseased, self.fade)
        layouts.showInView(layouts.CORONAL, volumeNode, diseased, self.fade)
        healed = induction.healed.node if induction is not None and induction.healed is not None else None
        layouts.showInView(layouts.HEALED, volumeNode, healed)
        layouts.setCaption(layouts.DISEASED, _("Diseased {n}").format(n=induction.order) if induction else None)
        layouts.link(self.tags)
        covered = COVERED if induction is not None else (layouts.DISEASED,)
        if volumeNode is not None:  # what is drawn must not cover what is compared
            for node in (drawing.lesionOf(volumeNode, make=False), drawing.marginOf(volumeNode, make=False)):
                layouts.hideFromViews(node, covered)
        if induction is not None:
            layouts.restrictToViews(induction.marksNode, (layouts.LESION, layouts.SURFACES))
            layouts.restrictToViews(induction.displacedNode, (layouts.SURFACES,))
            self._showMarks()

    def setDifferenceOpacity(self, opacity):
        """Opacity of the two colors."""
        self.differenceOpacity = float(opacity)
        node = layouts.composite(layouts.LESION)
        if node is not None:
            node.SetLabelOpacity(self.differenceOpacity)

    def _showMarks(self):
        """Outlines of the lesion and of what was free to change; in 3-D the lesion and what it has displaced."""
        if self.result is not None:
            masks.showMarks(
                self.result.marksNode, (LESION, MARGIN) if self.contours else (), (LESION,) if self.surfaces else ()
            )
            displaced = self.result.displacedNode
            if displaced is not None:
                masks.showMarks(displaced, (), masks.segmentsOf(displaced) if self.surfaces else ())
