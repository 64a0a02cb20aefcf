"""How an induction is shown: prior, lesion with the change in two colors, diseased; fading and flickering."""

from BrainCounterfactualCommon import layouts
from BrainLesionSimLib import drawing
from BrainLesionSimLib.inductions import LESION, MARGIN


class Comparison:
    """Fills the three views with a scan and an induction.

    In the diseased view the scan lies below and the diseased volume on top, so that fading is one opacity. The change
    lies over the lesion's view as a label map; the diseased view stays free of marks.
    """

    tags = layouts.LESION_TAGS

    def __init__(self):
        self.volumeNode = None
        self.induction = None
        self.fade = 1.0
        self.changeOpacity = 0.5

    def show(self, volumeNode, induction):
        """Show an induction (``None``: the scan alone, with the lesion being drawn)."""
        if self.induction is not None and self.induction != induction:
            self.showContours(False)
        self.volumeNode, self.induction = volumeNode, induction
        diseased = induction.diseasedNode if induction is not None else None
        change = induction.differenceNode if induction is not None else None
        layouts.showInView(layouts.PRIOR, volumeNode)
        layouts.showInView(layouts.LESION, volumeNode, label=change, labelOpacity=self.changeOpacity)
        layouts.showInView(layouts.DISEASED, volumeNode, diseased, self.fade)
        layouts.link(self.tags)
        covered = (layouts.LESION, layouts.DISEASED) if induction is not None else (layouts.DISEASED,)
        if volumeNode is not None:  # what is drawn must not cover what is compared
            for node in (drawing.lesionOf(volumeNode, make=False), drawing.marginOf(volumeNode, make=False)):
                layouts.hideFromViews(node, covered)
        if induction is not None:
            layouts.restrictToViews(induction.marksNode, (layouts.LESION,))
            self.showContours(True)

    def showPreview(self, volumeNode, previewNode):
        """Show the state of a run under way."""
        layouts.showInView(layouts.PRIOR, volumeNode)
        layouts.showInView(layouts.LESION, volumeNode)
        layouts.showInView(layouts.DISEASED, volumeNode, previewNode, 1.0)
        layouts.link(self.tags)

    def setFade(self, fade):
        """0 shows the prior, 1 the diseased volume."""
        self.fade = min(max(float(fade), 0.0), 1.0)
        layouts.setOpacity(layouts.DISEASED, self.fade)

    def flicker(self):
        """Swap between prior and diseased volume; what is shown now: ``"prior"`` or ``"diseased"``."""
        self.setFade(0.0 if self.fade > 0.5 else 1.0)
        return "diseased" if self.fade > 0.5 else "prior"

    def setChangeOpacity(self, opacity):
        """Opacity of the two colors."""
        self.changeOpacity = float(opacity)
        node = layouts.composite(layouts.LESION)
        if node is not None:
            node.SetLabelOpacity(self.changeOpacity)

    def showContours(self, visible):
        """Outlines of the lesion and of what was free to change."""
        display = self.induction.marksNode.GetDisplayNode() if self._hasMarks() else None
        if display is not None:
            display.SetVisibility(True)
            for segment in (LESION, MARGIN):
                display.SetSegmentVisibility(segment, bool(visible))

    def _hasMarks(self):
        return self.induction is not None and self.induction.marksNode is not None

    def forget(self):
        """The scene was closed: hold nothing of it."""
        self.volumeNode = self.induction = None
