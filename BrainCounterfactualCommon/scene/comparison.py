"""How a result is shown beside its scan: previews, fading and flickering are the same in every module."""

from BrainCounterfactualCommon.scene import layouts


class ComparisonBase:
    """Fills compare views with a scan and a result.

    In the views ``tops`` the scan lies below and the result on top, so that fading is one opacity: 1 shows the result,
    0 the scan.
    """

    tops = ()

    def __init__(self):
        self.volumeNode = None
        self.result = None
        self.fade = 1.0
        self.surfaces = False
        self.contours = True

    @property
    def tags(self):
        """Views in use."""
        return layouts.LAYOUTS[self.layoutOf(self.result)]

    def layoutOf(self, result):
        """Number of the layout that fits a result (``None``: the scan alone) and the window."""
        raise NotImplementedError

    def showContours(self, visible):
        """Contours of what is marked."""
        self.contours = bool(visible)
        self._showMarks()

    def showSurfaces(self, visible):
        """The lesion, and what else is marked in space, as closed surfaces; the layout has a 3-D view then."""
        self.surfaces = bool(visible)
        self._showMarks()

    def _showMarks(self):
        """Contours and surfaces of the result in view."""
        raise NotImplementedError

    def showPreview(self, volumeNode, previewNode):
        """Show the state of a job under way."""
        layouts.link(self.tags)
        for tag in self.tags:
            layouts.showInView(tag, volumeNode, previewNode if tag in self.tops else None)

    def setFade(self, fade):
        """0 shows the scan, 1 the result."""
        self.fade = min(max(float(fade), 0.0), 1.0)
        for tag in self.tops:
            layouts.setOpacity(tag, self.fade)

    def flicker(self):
        """Swap scan and result; whether the result is shown now."""
        self.setFade(0.0 if self.fade > 0.5 else 1.0)
        return self.fade > 0.5

    def showLegends(self):
        """Color bars, once the views have been built: they come with a change only."""

    def forget(self):
        """The scene was closed: hold nothing of it."""
        self.volumeNode = self.result = None
