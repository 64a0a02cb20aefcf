"""STAND-INS, not Slicer: PySide6 dressed as PythonQt, with simple widgets in place of ctk's and qMRML's.

They check names, wiring and state of the panel; how Slicer's own widgets behave is not tested here.
"""

import ctypes
import os
import re
import types
import typing

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

# PySide 6.12 gives one None, True or False too many back with many a call. Before Python 3.12 these are counted, and
# the process dies at its end when none are left: the references below are never let go.
_SPARE = [None, True, False] * 1_000_000
ctypes.pythonapi.Py_IncRef(ctypes.py_object(_SPARE))

application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["stand-in"])
METHODS_IN_PYTHONQT = {"layout", "parent"}


def asPythonQt(base):
    """A subclass whose Qt properties are attributes, and whose signals are connected by signature."""

    def makeProperty(name):
        return property(lambda self: self.property(name), lambda self, value: self.setProperty(name, value))

    meta = base.staticMetaObject
    names = {meta.property(n).name() for n in range(meta.propertyCount())} - METHODS_IN_PYTHONQT
    namespace = {name: makeProperty(name) for name in names}

    def connect(self, signal, slot):
        getattr(self, re.match(r"\w+", signal).group()).connect(slot)
        return True

    namespace["connect"] = connect
    return type(base.__name__, (base,), namespace)


class Timer:
    """QTimer that ticks when the test says so; ``later`` holds what waits for the event loop."""

    later: typing.ClassVar[list] = []

    @staticmethod
    def singleShot(_milliseconds, function):
        Timer.later.append(function)

    @staticmethod
    def eventLoop():
        """What waits happens, as when Slicer is idle again."""
        while Timer.later:
            Timer.later.pop(0)()

    def __init__(self):
        self.active = False
        self.slot = None

    def setInterval(self, milliseconds):
        self.interval = milliseconds

    def connect(self, _signal, slot):
        self.slot = slot

    def start(self):
        self.active = True

    def stop(self):
        self.active = False

    def tick(self):
        if self.active:
            self.slot()


class Shortcut:
    """QShortcut that is pressed when the test says so; ``made`` holds the latest of each key."""

    made: typing.ClassVar[dict] = {}

    def __init__(self, parent):
        self.enabled = True

    def setKey(self, key):
        Shortcut.made[key] = self

    def setEnabled(self, enabled):
        self.enabled = enabled

    def connect(self, _signal, slot):
        self.slot = slot

    def press(self):
        if self.enabled:
            self.slot()


def moduleQt():
    """The module ``qt``."""
    module = types.ModuleType("qt")
    for name in dir(QtWidgets):
        cls = getattr(QtWidgets, name)
        if isinstance(cls, type) and issubclass(cls, QtWidgets.QWidget):
            setattr(module, name, asPythonQt(cls))
    module.QTableWidgetItem = QtWidgets.QTableWidgetItem
    module.QIcon, module.QPixmap = QtGui.QIcon, QtGui.QPixmap
    module.QObject, module.QEvent, module.QAction = QtCore.QObject, QtCore.QEvent, asPythonQt(QtGui.QAction)
    module.QTimer = Timer
    module.QShortcut, module.QKeySequence = Shortcut, str
    module.QFileDialog = types.SimpleNamespace(
        getOpenFileName=lambda *arguments: "", getExistingDirectory=lambda *arguments: ""
    )
    return module


_QWidget = asPythonQt(QtWidgets.QWidget)


class ctkCollapsibleButton(asPythonQt(QtWidgets.QGroupBox)):
    """A frame with a title; collapsed, nothing but the title is left."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._collapsed = False

    def _setCollapsed(self, collapsed):
        self._collapsed = collapsed
        self.setMaximumHeight(self.fontMetrics().height() + 8 if collapsed else 16_777_215)

    text = QtCore.Property(str, lambda self: self.title, lambda self, text: self.setTitle(text))
    collapsed = QtCore.Property(bool, lambda self: self._collapsed, _setCollapsed)


class qMRMLWidget(_QWidget):
    """Hands the scene on, as the connections of the .ui file do in Slicer."""

    def setMRMLScene(self, scene):
        for child in self.findChildren(QtWidgets.QWidget):
            if child is not self and hasattr(child, "setMRMLScene"):
                child.setMRMLScene(scene)


class ctkSliderWidget(_QWidget):
    valueChanged = QtCore.Signal(float)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._value = 0.0

    def setValue(self, value):
        if value != self._value:
            self._value = value
            self.valueChanged.emit(value)

    value = property(lambda self: self._value, setValue)


class ctkPathLineEdit(_QWidget):
    def __init__(self, parent=None):
        super().__init__(parent)
        self.currentPath = ""


class qMRMLNodeComboBox(_QWidget):
    currentNodeChanged = QtCore.Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._node = self.scene = None
        self._proxy = types.SimpleNamespace(hiddenNodeIDs=[])

    def sortFilterProxyModel(self):
        return self._proxy

    def setMRMLScene(self, scene):
        self.scene = scene

    def currentNode(self):
        return self._node

    def setCurrentNode(self, node):
        if node is not self._node:
            self._node = node
            self.currentNodeChanged.emit(node)


class qMRMLSegmentEditorWidget(_QWidget):
    """Keeps what it is told. Like Slicer's, it loses its nodes with the scene, and edits only in the right order."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self.told = {}
        self.scene = None

    def setMRMLScene(self, scene):
        if self.scene is not None:
            for tag in self.tags:
                self.scene.RemoveObserver(tag)
        self.scene = scene
        if scene is not None:
            events = (scene.EndCloseEvent, scene.EndImportEvent)
            self.tags = [scene.AddObserver(event, lambda _caller, _event: self.told.clear(), 1.0) for event in events]

    def setSegmentationNode(self, node):
        assert node is None or self.told.get("setMRMLSegmentEditorNode", (None,))[0] is not None
        self.told["setSegmentationNode"] = (node,)

    def setSourceVolumeNode(self, node):
        assert self.segmentationNode() is not None, "need to set segment editor and segmentation nodes first"
        self.told["setSourceVolumeNode"] = (node,)

    def __getattr__(self, name):
        if name.startswith(("set", "install", "uninstall", "save")):
            return lambda *arguments: self.told.__setitem__(name, arguments)
        raise AttributeError(name)

    def segmentationNode(self):
        return self.told.get("setSegmentationNode", (None,))[0]


CUSTOM = {
    c.__name__: c for c in (ctkCollapsibleButton, qMRMLWidget, ctkSliderWidget, ctkPathLineEdit, qMRMLNodeComboBox)
}


class Loader(QtUiTools.QUiLoader):
    """Loads a .ui file with the stand-ins; classes nobody knows are kept in ``unknown``."""

    def __init__(self, qt):
        super().__init__()
        self.qt, self.unknown, self.made = qt, [], []

    def createWidget(self, className, parent=None, name=""):
        cls = CUSTOM.get(className) or getattr(self.qt, className, None)
        if cls is None:
            self.unknown.append((className, name))
            cls = _QWidget
        widget = cls(parent)
        widget.setObjectName(name)
        self.made.append(widget)
        return widget


def loadUi(path, qt):
    """The widget of a .ui file; ``widget.standinLoader`` keeps its children alive."""
    loader = Loader(qt)
    widget = loader.load(str(path))
    widget.standinLoader = loader
    return widget
