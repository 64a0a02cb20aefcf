"""A study in the scene: the case at hand, its prior beside it, grey levels as sealed, marks. MRML only.

Nodes are called by their role alone and keep no file: neither the scene nor what is saved of it says where a scan is
from. The views are known by their tags; the module's layout or the viewer makes them.
"""

import time

import slicer
import vtk

from BrainCounterfactualCommon.host import LogicBase, Problem
from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.scene import layouts, volumes

from .answersheet import AnswerSheet
from .session import Session, openStudy
from .tooluse import ToolUse, interactionNode

VIEWS = {
    "scan": layouts.CASE,
    "prior": layouts.CASE_PRIOR,
    "left": layouts.CASE_LEFT,
    "right": layouts.CASE_RIGHT,
}
"""Role -> tag of its view."""
NAMES = {"scan": "case", "prior": "prior", "left": "left", "right": "right"}
"""Role -> name of its node."""
LAYOUTS = {
    "single": layouts.CASE_LAYOUT,
    "with_prior": layouts.CASE_PRIOR_LAYOUT,
    "pair": layouts.CASE_PAIR_LAYOUT,
}
MARKS = "mark"
PLACE_EVENTS = ("PointPositionDefinedEvent", "PointRemovedEvent", "PointModifiedEvent")


class BrainReaderStudyLogic(LogicBase):
    """One reader at one study.

    Attributes:
        study, session: what is read and by whom; ``None`` before.
        sheet: the answers to the case on screen; nodes: role -> volume; tools: how views were used.
        onMarked: called without arguments when the reader marked or moved a place.
        onForeign: called without arguments when something else than the case has come into the scene.

    Args:
        clock: seconds that only ever grow.
    """

    def __init__(self, clock=time.monotonic):
        LogicBase.__init__(self)
        self._clock = clock
        self.study = self.session = self.sheet = None
        self.nodes, self.tools, self.onMarked, self.onForeign = {}, ToolUse(clock), lambda: None, lambda: None
        self._watched, self._loading = None, False
        self._observed, self._marks, self._marking = [], None, False

    # --- the sitting ---

    def open(self, folder):
        """Open a study; an earlier one is closed.

        Raises:
            Problem: see ``openStudy``.
        """
        self.close()
        self.study = openStudy(folder)
        return self.study

    def begin(self, reader, software, answersFolder=None):
        """Begin a sitting at the first case without an answer; nothing is shown yet.

        Raises:
            Problem: something else is in the scene; see ``Session``.
        """
        self.end()
        self.checkAlone()
        self.session = Session(self.study, reader, software, answersFolder, self._clock)
        self._watch()

    # --- blinding ---

    def foreign(self):
        """Names of what the scene holds beside the case and would be seen over it: scans, segmentations, marks ..."""
        own = [*self.nodes.values(), self._marks]
        found = slicer.util.getNodesByClass("vtkMRMLDisplayableNode")
        return [n.GetName() for n in found if n not in own and n.GetDisplayNode() and not n.GetHideFromEditors()]

    def checkAlone(self):
        """Raises Problem where the scene holds anything but the case: it could be seen over it, or tell of it."""
        names = self.foreign()
        if names:
            raise Problem(
                "SceneNotEmptyError",
                _("The scene is not empty."),
                _("{names} would be seen over the cases, or during a pause.").format(names=", ".join(names[:3])),
                _("Save what is yours, close the scene, and begin again."),
            )

    def _watch(self):
        @vtk.calldata_type(vtk.VTK_OBJECT)
        def onNodeAdded(_caller, _event, node):
            displayable = node.IsA("vtkMRMLDisplayableNode") and not node.GetHideFromEditors()
            if displayable and not self._loading:
                self.onForeign()

        tag = slicer.mrmlScene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, onNodeAdded)
        self._watched = (slicer.mrmlScene, tag)

    def _unwatch(self):
        if self._watched is not None:
            self._watched[0].RemoveObserver(self._watched[1])
        self._watched = None

    @property
    def tags(self):
        """Tags of the views of this study, from left to right."""
        return layouts.LAYOUTS[LAYOUTS[self.study.protocol["show"]]]

    @property
    def locked(self):
        """Whether the grey levels are as sealed."""
        return self.study.protocol["window"]["policy"] == "locked"

    @property
    def linked(self):
        """Whether the views move together: a scan and its prior do, a pair need not be of one head."""
        return self.study.protocol["show"] == "with_prior"

    def end(self):
        """End the sitting and empty the views; what was answered is saved already."""
        self._unwatch()
        self.clear()
        if self.session is not None:
            self.session.close()
        self.session = None

    def close(self):
        """End the sitting and forget the study."""
        self.end()
        self.study = None

    # --- a case ---

    def show(self):
        """Show the case at hand; its clock starts.

        Raises:
            Problem: a scan is missing, changed or cannot be read, or is not alone; nothing is shown then.
        """
        self.clear()
        self.checkAlone()
        case = self.session.current
        self._loading = True
        try:
            for role, image in case.images.items():
                self.nodes[role] = self._load(role, image)
        except Problem:
            self.clear()
            raise
        finally:
            self._loading = False
        self.sheet = AnswerSheet(self.study.questions, case.answers)
        self.showViews()
        for role, node in self.nodes.items():
            layouts.alignWithVolume((VIEWS[role],), node)
        self.toMiddle()
        layouts.link(self.tags, self.linked)
        self._makeMarks()
        self.tools.start(self._countedViews())
        self.session.shown()

    def _load(self, role, image):
        try:
            properties = {"name": NAMES[role], "show": False, "autoWindowLevel": False}
            node = slicer.util.loadVolume(str(image.path), properties)
        except RuntimeError as error:
            raise Problem(
                "StudyFolderError",
                _("A scan of this case cannot be read."),
                _("It is as it was sealed, but no image."),
                _("Tell who runs the study."),
            ) from error
        node.SetName(NAMES[role])
        storage = node.GetStorageNode()
        if storage is not None:
            slicer.mrmlScene.RemoveNode(storage)  # it holds the file's name
        display = node.GetScalarVolumeDisplayNode()
        display.AutoWindowLevelOff()
        display.SetWindowLevel(image.window, image.level)
        tag = display.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_args: self._onLevels(role, image))
        self._observed.append((display, tag))
        return node

    def _onLevels(self, role, image):
        """Grey levels were changed: taken back where they are locked, else counted and the same beside it."""
        display = self.nodes[role].GetScalarVolumeDisplayNode() if role in self.nodes else None
        if display is None:
            return
        if self.locked:
            if display.GetAutoWindowLevel():
                display.AutoWindowLevelOff()
            if (display.GetWindow(), display.GetLevel()) != (image.window, image.level):
                display.SetWindowLevel(image.window, image.level)
            return
        others = [n.GetScalarVolumeDisplayNode() for r, n in self.nodes.items() if r != role]
        now = (display.GetWindow(), display.GetLevel())
        if now != getattr(self, "_levels", None):
            self._levels = now
            self.tools.used("window")
        if self.linked:
            for other in others:
                if (other.GetWindow(), other.GetLevel()) != now:
                    other.SetWindowLevel(*now)

    def levels(self):
        """Role -> (window, level) as shown."""
        displays = {role: node.GetScalarVolumeDisplayNode() for role, node in self.nodes.items()}
        return {role: (display.GetWindow(), display.GetLevel()) for role, display in displays.items()}

    def showViews(self):
        """The case in its views, where they were left."""
        for role, node in self.nodes.items():
            layouts.showInView(VIEWS[role], node)
        self._showMarks(True)

    def hideViews(self):
        """Empty views during a pause; the case stays in the scene."""
        for tag in self.tags:
            layouts.showInView(tag, None)
        self._showMarks(False)

    def toMiddle(self):
        """All views at the middle slice of their scans."""
        for role, node in self.nodes.items():
            layouts.jumpToSlice(node, volumes.sliceCount(node) // 2, (VIEWS[role],))

    def fit(self):
        """Show the case whole, where the application can; no use of a tool by the reader."""

        def move():
            layouts.fitToBackground(self.tags)
            self.toMiddle()

        self.tools.ours(move)

    def _countedViews(self):
        """Linked views move together and count once."""
        nodes = [node for node in map(layouts.sliceNode, self.tags) if node is not None]
        return nodes[:1] if self.linked else nodes

    def clear(self):
        """Take the case away, unsaved answers with it."""
        self.stopMarking()
        self.tools.stop()
        for display, tag in self._observed:
            display.RemoveObserver(tag)
        nodes, self._observed, self._levels = list(self.nodes.values()), [], None
        self.nodes, self.sheet, marks, self._marks = {}, None, self._marks, None
        if self.study is not None:
            self.hideViews()
        for node in [*nodes, marks]:
            if node is not None and slicer.mrmlScene.IsNodePresent(node):
                volumes.removeNode(node)

    # --- answers ---

    def save(self):
        """Save the answers; the case is taken away. What is missing, in words; empty when it was saved.

        Raises:
            Problem: it could not be saved; the case stays.
        """
        lacking = self.sheet.askMissing()
        if not lacking:
            self.session.record(self.sheet.answers, self.tools.counts, self.levels())
            self.clear()
        return lacking

    def goBack(self):
        """Take this case away for the one before.

        Raises:
            Problem: the protocol does not allow it.
        """
        self.session.goBack()
        self.clear()

    # --- places ---

    def _makeMarks(self):
        if self.sheet.markQuestion is None:
            return
        self._loading = True
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", MARKS)
        self._loading = False
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetTextScale(0)
        display.SetGlyphScale(3)
        for paint in (display.SetSelectedColor, display.SetActiveColor):
            paint(1.0, 0.75, 0.1)
        for point in self.sheet.points:
            node.AddControlPoint(vtk.vtkVector3d(*point))
        for name in PLACE_EVENTS:
            node.AddObserver(getattr(slicer.vtkMRMLMarkupsNode, name), lambda *_args: self._onMarks())
        self._marks = node

    def _showMarks(self, visible):
        if self._marks is not None:
            self._marks.GetDisplayNode().SetVisibility(visible)

    def startMarking(self):
        """The next click in a view marks a place."""
        pointer = interactionNode()
        if self._marks is None or pointer is None:
            return
        slicer.modules.markups.logic().SetActiveList(self._marks)
        pointer.SetPlaceModePersistence(0)
        pointer.SetCurrentInteractionMode(slicer.vtkMRMLInteractionNode.Place)

    def stopMarking(self):
        """Clicks mark nothing any more; where grey levels are free, dragging changes them."""
        pointer = interactionNode()
        if pointer is not None and self.study is not None:
            modes = slicer.vtkMRMLInteractionNode
            pointer.SetCurrentInteractionMode(modes.ViewTransform if self.locked else modes.AdjustWindowLevel)

    def markNothing(self):
        """The reader says there is nothing to mark."""
        if self._marks is not None:
            self.stopMarking()
            self._quietly(self._marks.RemoveAllControlPoints)
            self.sheet.mark([])
            self.onMarked()

    def _quietly(self, change):
        self._marking = True
        try:
            change()
        finally:
            self._marking = False

    def _onMarks(self):
        """Places were marked, moved or taken away; the oldest goes where there are too many."""
        node = self._marks
        if self._marking or node is None or self.sheet is None:
            return
        most = self.sheet.markQuestion["max_points"]
        placed = [n for n in range(node.GetNumberOfControlPoints()) if _isPlaced(node, n)]
        if len(placed) > most:
            self._quietly(lambda: [node.RemoveNthControlPoint(n) for n in reversed(placed[: len(placed) - most])])
            placed = [n for n in range(node.GetNumberOfControlPoints()) if _isPlaced(node, n)]
        points = [list(node.GetNthControlPointPositionWorld(n)) for n in placed]
        if points != self.sheet.points:
            self.sheet.mark(points or None)
            self.onMarked()


def _isPlaced(node, n):
    """Whether a point was set, and does not only follow the pointer."""
    return node.GetNthControlPointPositionStatus(n) == slicer.vtkMRMLMarkupsNode.PositionDefined
