"""Layouts to compare volumes, and what each slice view shows. MRML only: the layout node does the work in Slicer.

Views are known by the singleton tag of their slice node (``GetLayoutName``); any host may make views of these tags.
"""

import slicer

from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.scene import volumes

ORIGINAL, COUNTERFACTUAL, DIFFERENCE, UNCERTAINTY = (
    "BrainOriginal",
    "BrainCounterfactual",
    "BrainDifference",
    "BrainUncertainty",
)
COMPARE_TAGS = (ORIGINAL, COUNTERFACTUAL, DIFFERENCE)
CORONAL, SURFACES = "BrainCoronal", "BrainSurfaces"
PRIOR, LESION, DISEASED, HEALED = "BrainPrior", "BrainLesion", "BrainDiseased", "BrainHealed"
LESION_TAGS = (PRIOR, LESION, DISEASED)
CASE, CASE_PRIOR, CASE_LEFT, CASE_RIGHT = "StudyCase", "StudyPrior", "StudyLeft", "StudyRight"
VIEW_GROUP = 741
"""Views of one group that are linked move and zoom together, and leave the others alone."""
COMPARE_LAYOUT, UNCERTAINTY_LAYOUT, LESION_LAYOUT = 74101, 74102, 74103
CASE_LAYOUT, CASE_PRIOR_LAYOUT, CASE_PAIR_LAYOUT = 74104, 74105, 74106
COMPARE_GRID_LAYOUT, LESION_GRID_LAYOUT, ROUND_TRIP_LAYOUT = 74107, 74108, 74109
COMPARE_3D_LAYOUT, LESION_3D_LAYOUT = 74110, 74111
LAYOUTS = {
    COMPARE_LAYOUT: COMPARE_TAGS,
    UNCERTAINTY_LAYOUT: (*COMPARE_TAGS, UNCERTAINTY),
    COMPARE_GRID_LAYOUT: (*COMPARE_TAGS, CORONAL),
    LESION_LAYOUT: LESION_TAGS,
    LESION_GRID_LAYOUT: (*LESION_TAGS, CORONAL),
    ROUND_TRIP_LAYOUT: (*LESION_TAGS, HEALED),
    COMPARE_3D_LAYOUT: (*COMPARE_TAGS, SURFACES),
    LESION_3D_LAYOUT: (*LESION_TAGS, SURFACES),
    CASE_LAYOUT: (CASE,),
    CASE_PRIOR_LAYOUT: (CASE_PRIOR, CASE),
    CASE_PAIR_LAYOUT: (CASE_LEFT, CASE_RIGHT),
}

USERS_LAYOUT = "BrainCounterfactual.UsersLayout"
"""Attribute of the layout node: what the user had before one of ours was shown."""
RULER = "BrainCounterfactual.Ruler"
"""Attribute of a slice node that has had its scale bar."""
CAPTION = "BrainCounterfactual.Caption"
OUR_TAGS = frozenset(tag for tags in LAYOUTS.values() for tag in tags)

_COLORS = {
    ORIGINAL: "#6F8FAF",
    COUNTERFACTUAL: "#E0A030",
    DIFFERENCE: "#B04A5A",
    UNCERTAINTY: "#4A9A8A",
    PRIOR: "#6F8FAF",
    LESION: "#B04A5A",
    DISEASED: "#E0A030",
    HEALED: "#4A9A8A",
}
_GRAY = "#7D8A99"


def viewTitles():
    """Names of the views, for people."""
    return {
        ORIGINAL: _("Original"),
        COUNTERFACTUAL: _("Counterfactual"),
        DIFFERENCE: _("Difference"),
        UNCERTAINTY: _("Uncertainty"),
        PRIOR: _("Prior"),
        LESION: _("Lesion"),
        DISEASED: _("Diseased"),
        HEALED: _("Healed again"),
        CORONAL: _("From the front"),
        SURFACES: _("3-D view"),
        CASE: _("Case"),
        CASE_PRIOR: _("Prior"),
        CASE_LEFT: _("Scan 1"),  # never left or right: those are sides of the patient
        CASE_RIGHT: _("Scan 2"),
    }


def compareXml(tags):
    """Layout description: views of these tags side by side; four are put two by two."""
    rows = [tags[:2], tags[2:]] if len(tags) == 4 else [tags]
    parts = []
    for row in rows:
        views = "".join("<item>{}</item>".format(_viewXml(tag)) for tag in row)
        parts.append('<layout type="horizontal" split="true">{}</layout>'.format(views))
    if len(parts) == 1:
        return parts[0]
    return '<layout type="vertical" split="true">{}</layout>'.format("".join("<item>%s</item>" % p for p in parts))


def _viewXml(tag):
    properties = {
        "viewlabel": viewTitles()[tag],
        "viewcolor": _COLORS.get(tag, _GRAY),
        "viewgroup": VIEW_GROUP,
    }
    if tag != SURFACES:
        properties["orientation"] = _orientation(tag)
    className = "vtkMRMLViewNode" if tag == SURFACES else "vtkMRMLSliceNode"
    inner = "".join('<property name="{}" action="default">{}</property>'.format(*item) for item in properties.items())
    return '<view class="{}" singletontag="{}">{}</view>'.format(className, tag, inner)


def register():
    """Make our layouts known to the layout node; harmless when they are."""
    node = LayoutSwitch.node()
    for number, tags in LAYOUTS.items():
        if node is not None and not node.IsLayoutDescription(number):
            node.AddLayoutDescription(number, compareXml(tags))


class KnownLayouts:
    """Keeps our layouts known to every scene's layout node, so that a saved scene finds the one it names."""

    def __init__(self):
        self._tags = []

    def start(self):
        """Register now, and whenever a scene has been closed or is about to be read."""
        events = (slicer.vtkMRMLScene.EndCloseEvent, slicer.vtkMRMLScene.StartImportEvent)
        self._tags = [slicer.mrmlScene.AddObserver(event, lambda _caller, _event: register()) for event in events]
        register()

    def stop(self):
        """Let go of the scene."""
        for tag in self._tags:
            slicer.mrmlScene.RemoveObserver(tag)
        self._tags = []


def _orientation(tag):
    return "Coronal" if tag == CORONAL else "Axial"


def viewsAreWide():
    """Whether three views side by side are larger than two by two in the main window; true where there is none."""
    manager = slicer.app.layoutManager()
    area = manager.viewport() if hasattr(manager, "viewport") else None
    return area is None or area.width > 1.5 * area.height


class LayoutSwitch:
    """Shows our layouts and gives the user's own back, which the layout node keeps: it outlives a reload."""

    @staticmethod
    def node():
        """The scene's layout node, or ``None`` (slicer-core without one)."""
        return next(iter(slicer.util.getNodesByClass("vtkMRMLLayoutNode")), None)

    @property
    def isOurs(self):
        return self.shows(LAYOUTS)

    def shows(self, numbers):
        """Whether the layout is one of these."""
        node = self.node()
        return node is not None and node.GetViewArrangement() in numbers

    def showLayout(self, number):
        """Go to one of our layouts; the user's own is remembered."""
        node = self.node()
        if node is None:
            return
        register()
        if not self.isOurs:
            node.SetAttribute(USERS_LAYOUT, str(node.GetViewArrangement()))
        node.SetViewArrangement(number)

    def restore(self):
        """Back to the user's layout, if ours is shown."""
        node = self.node()
        if node is not None and self.isOurs:
            own = node.GetAttribute(USERS_LAYOUT)
            node.SetViewArrangement(int(own) if own else slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
            node.RemoveAttribute(USERS_LAYOUT)


# --- captions and sides ------------------------------------------------------------------------------------


def setCaption(tag, words=None):
    """What is written into the corner of one of our views; its title by default."""
    node = composite(tag)
    if node is not None:
        node.SetAttribute(CAPTION, words or viewTitles()[tag])


def captionOf(compositeNode):
    """The words in the corner of a view; empty for views that are not ours."""
    tag = compositeNode.GetLayoutName()
    return compositeNode.GetAttribute(CAPTION) or viewTitles()[tag] if tag in OUR_TAGS else ""


def sides(node):
    """Letters of the patient's sides at the left, right, upper and lower edge of a slice view."""
    toRas = volumes.matrixOf(lambda m: m.DeepCopy(node.GetSliceToRAS()))

    def letter(direction):
        axis = int(abs(direction).argmax())
        return "RAS"[axis] if direction[axis] > 0 else "LPI"[axis]

    across, up = toRas[:3, 0], toRas[:3, 1]
    return letter(-across), letter(across), letter(up), letter(-up)


# --- what a view shows -------------------------------------------------------------------------------------


def sliceNode(tag):
    """The slice node of a view, or ``None``."""
    return _byLayoutName("vtkMRMLSliceNode", tag)


def composite(tag):
    """The node that says which volumes a view shows, or ``None``; see :func:`keepApart`."""
    node = _byLayoutName("vtkMRMLSliceCompositeNode", tag)
    if node is not None:
        keepApart(node)
    return node


def keepApart(compositeNode):
    """What our views show is never copied from one linked view to the others; they still move and zoom together.

    Slicer's controller of a view answers every change of a volume or an opacity, a program's too, as if the user had
    made it, and linked views follow the user. Scene files do not keep this, so it is said whenever the node is used.
    """
    if compositeNode.GetLayoutName() in OUR_TAGS:
        compositeNode.SetInteractionFlagsModifier(0)


def _byLayoutName(className, tag):
    return next((node for node in slicer.util.getNodesByClass(className) if node.GetLayoutName() == tag), None)


def showInView(tag, background, foreground=None, opacity=1.0, label=None, labelOpacity=1.0):
    """Show volumes in one view (``None``: nothing); returns whether there is such a view."""
    node = composite(tag)
    if node is None:
        return False
    node.SetBackgroundVolumeID(background.GetID() if background is not None else None)
    node.SetForegroundVolumeID(foreground.GetID() if foreground is not None else None)
    node.SetForegroundOpacity(float(opacity) if foreground is not None else 0.0)
    node.SetLabelVolumeID(label.GetID() if label is not None else None)
    node.SetLabelOpacity(float(labelOpacity))
    return True


def showOverlay(tag, background, overlay, visible, opacity):
    """Lay a map over what a view shows, or take it away; what else the user has put there is left alone."""
    node = composite(tag)
    if node is None:
        return
    if visible:
        if not node.GetBackgroundVolumeID():
            node.SetBackgroundVolumeID(background.GetID())
        node.SetForegroundVolumeID(overlay.GetID())
        node.SetForegroundOpacity(float(opacity))
    elif node.GetForegroundVolumeID() == overlay.GetID():
        node.SetForegroundVolumeID(None)


def setOpacity(tag, opacity):
    """Opacity of what lies on top in a view."""
    node = composite(tag)
    if node is not None:
        node.SetForegroundOpacity(float(opacity))


def link(tags, linked=True):
    """Let views move and zoom together, while dragging too; what each shows stays its own."""
    for tag in tags:
        node = composite(tag)
        if node is not None:
            node.SetLinkedControl(linked)
            node.SetHotLinkedControl(linked)


def takeOutOfViews(volumeNode):
    """Let no view show a volume any more, before it is removed: each view is asked once, not by Slicer's selectors."""
    for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if node.GetForegroundVolumeID() == volumeNode.GetID():
            node.SetForegroundVolumeID(None)
        if node.GetBackgroundVolumeID() == volumeNode.GetID():
            node.SetBackgroundVolumeID(None)


def viewIds(tags):
    """IDs of these views, for display nodes that belong to some views only."""
    found = (sliceNode(tag) or _byLayoutName("vtkMRMLViewNode", tag) for tag in tags)
    return [node.GetID() for node in found if node is not None]


def restrictToViews(node, tags):
    """Show a segmentation or ROI in these views only."""
    display = node.GetDisplayNode() if node is not None else None
    if display is not None:
        display.SetViewNodeIDs(viewIds(tags))


def hideFromViews(node, tags):
    """Show a segmentation or ROI in all views but these; views made later have to be told again."""
    display = node.GetDisplayNode() if node is not None else None
    if display is not None:
        views = slicer.util.getNodesByClass("vtkMRMLAbstractViewNode")
        display.SetViewNodeIDs([view.GetID() for view in views if view.GetLayoutName() not in tags])


def alignWithVolume(tags, volumeNode):
    """Turn views to the volume's own slices, and give them a scale bar the first time."""
    for tag in tags:
        node = sliceNode(tag)
        if node is not None:
            node.SetOrientation(_orientation(tag))
            node.RotateToVolumePlane(volumeNode)
            if node.GetAttribute(RULER) is None:  # the user may take it away again
                node.SetAttribute(RULER, "1")
                node.SetRulerType(node.RulerTypeThin)


def fitToBackground(tags):
    """Zoom views to what they show, where the application has slice logics; they must have their size by now."""
    for tag in tags:
        node = sliceNode(tag)
        logic = _sliceLogic(node) if node is not None else None
        if logic is not None:
            logic.FitSliceToBackground(*node.GetDimensions()[:2])  # the size may be left out since 5.8 only


def fitSurfaces():
    """Let the camera of the 3-D view look at all there is, where the application has one."""
    manager = slicer.app.layoutManager()
    for n in range(getattr(manager, "threeDViewCount", 0)):
        widget = manager.threeDWidget(n)
        if widget.mrmlViewNode().GetLayoutName() == SURFACES:
            widget.threeDView().resetFocalPoint()
            widget.threeDView().resetCamera()


def _sliceLogic(node):
    application = getattr(getattr(slicer, "app", None), "applicationLogic", None)
    logics = application().GetSliceLogics() if application else None
    for n in range(logics.GetNumberOfItems() if logics is not None else 0):
        if logics.GetItemAsObject(n).GetSliceNode() is node:
            return logics.GetItemAsObject(n)
    return None


def jumpToSlice(volumeNode, index, tags=None):
    """Move axial views (of these tags, or all) to a slice of the volume, without moving them sideways."""
    center = volumes.sliceCenter(volumeNode, index)
    normal = volumes.ijkToWorld(volumeNode)[:3, volumes.axialAxis(volumes.ijkToRas(volumeNode))[0]]
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        own = volumes.matrixOf(lambda m, node=node: m.DeepCopy(node.GetSliceToRAS()))[:3, 2]
        if tags is not None and node.GetLayoutName() not in tags:
            continue
        if abs(float(own @ normal)) > 0.7 * float((normal @ normal) ** 0.5):
            node.JumpSliceByOffsetting(*center)
