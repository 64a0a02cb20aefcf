"""How a result is shown beside its scan: previews, fading and flickering are the same in every module."""

from BrainCounterfactualCommon import layouts


class ComparisonBase:
    """Fills compare views with a scan and a result.

    In the view ``top`` the scan lies below and the result on top, so that fading is one opacity: 1 shows the result,
    0 the scan. ``views`` are those of a result in the making.
    """

    views = ()
    top = ""

    def __init__(self):
        self.volumeNode = None
        self.result = None
        self.fade = 1.0

    @property
    def tags(self):
        """Views in use."""
        return self.views

    def showPreview(self, volumeNode, previewNode):
        """Show the state of a job under way."""
        layouts.link(self.views)
        for tag in self.views:
            layouts.showInView(tag, volumeNode, previewNode if tag == self.top else None)

    def setFade(self, fade):
        """0 shows the scan, 1 the result."""
        self.fade = min(max(float(fade), 0.0), 1.0)
        layouts.setOpacity(self.top, self.fade)

    def flicker(self):
        """Swap scan and result; whether the result is shown now."""
        self.setFade(0.0 if self.fade > 0.5 else 1.0)
        return self.fade > 0.5

    def showLegends(self):
        """Color bars, once the views have been built: they come with a change only."""

    def forget(self):
        """The scene was closed: hold nothing of it."""
        self.volumeNode = self.result = None
