"""STAND-INS, not Slicer: ScriptedLoadableModule, parameterNodeWrapper, i18n and the GUI part of slicer.util.

The scene, its nodes and the array functions below are slicer-core's own. Written from the documented behavior.
"""

import contextlib
import types
import typing
import unittest
from pathlib import Path

import slicer
import standin_qt
from PySide6 import QtWidgets

ROOT = Path(__file__).resolve().parents[2]


class ScriptedLoadableModule:
    def __init__(self, parent):
        self.parent = parent


class ScriptedLoadableModuleLogic:
    def __init__(self, parent=None):
        self.parent = parent
        self.moduleName = type(self).__name__.replace("Logic", "")

    def getParameterNode(self):
        """The scene's one parameter node of this module."""
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.vtkMRMLScriptedModuleNode()
            node.SetSingletonTag(self.moduleName)
            node.SetModuleName(self.moduleName)
            node = slicer.mrmlScene.AddNode(node)
        return node


class ScriptedLoadableModuleWidget:
    def __init__(self, parent=None):
        self.moduleName = type(self).__name__.replace("Widget", "")
        self.parent = parent or types.SimpleNamespace(isEntered=True)
        self._container = QtWidgets.QWidget()
        self.layout = QtWidgets.QVBoxLayout(self._container)

    def setup(self):
        pass

    def onReload(self):
        pass

    def resourcePath(self, name):
        return str(ROOT / self.moduleName / "Resources" / name)


class ScriptedLoadableModuleTest(unittest.TestCase):
    def delayDisplay(self, message, msec=0):
        pass


class WithinRange:
    def __init__(self, minimum, maximum):
        self.minimum, self.maximum = minimum, maximum


def parameterNodeWrapper(cls):
    """Typed attributes over a scripted module node: numbers and texts as parameters, nodes as references."""
    hints = typing.get_type_hints(cls, include_extras=True)

    def make(name, hint):
        plain = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
        limits = next((a for a in typing.get_args(hint)[1:] if isinstance(a, WithinRange)), None)
        default = getattr(cls, name, None)

        def read(self):
            if isinstance(plain, type) and issubclass(plain, slicer.vtkMRMLNode):
                return self.parameterNode.GetNodeReference(name)
            text = self.parameterNode.GetParameter(name)
            if not text:
                return default
            return text == "True" if plain is bool else plain(text[1:] if plain is str else text)

        def write(self, value):
            if isinstance(plain, type) and issubclass(plain, slicer.vtkMRMLNode):
                self.parameterNode.SetNodeReferenceID(name, value.GetID() if value is not None else None)
                self.parameterNode.Modified()
                return
            if limits is not None and not limits.minimum <= value <= limits.maximum:
                raise ValueError(f"{name} = {value} is out of range")
            self.parameterNode.SetParameter(name, "=" + value if plain is str else str(plain(value)))

        return property(read, write)

    namespace = {name: make(name, hint) for name, hint in hints.items()}
    namespace.update(__init__=_init, connectGui=_connectGui, disconnectGui=_disconnectGui, names=tuple(hints))
    namespace["AddObserver"] = lambda self, *arguments: self.parameterNode.AddObserver(*arguments)
    namespace["RemoveObserver"] = lambda self, *arguments: self.parameterNode.RemoveObserver(*arguments)
    return type(cls.__name__, (), namespace)


def _init(self, parameterNode):
    self.parameterNode = parameterNode
    self.bound = []


def _connectGui(self, ui):
    """Bind every widget that names a parameter; both ways."""
    for widget in vars(ui).values():
        name = widget.property("SlicerParameterName") if hasattr(widget, "property") else None
        if not name:
            continue
        if name not in self.names:
            raise AttributeError(f"{widget.objectName} names a parameter that does not exist: {name}")
        self.bound.append(_Binding(self, name, widget))
    return len(self.bound)


def _disconnectGui(self, _connections):
    for binding in self.bound:
        binding.close()
    self.bound = []


class _Binding:
    def __init__(self, parameters, name, widget):
        self.parameters, self.name, self.widget, self.closed = parameters, name, widget, False
        self.signal, self.read, self.write = _adapter(widget)
        self.show()
        self.signal.connect(self.onWidget)
        self.tag = parameters.AddObserver("ModifiedEvent", lambda _caller, _event: self.show())

    def show(self):
        value = getattr(self.parameters, self.name)
        if self.read() != value:
            self.write(value)

    def onWidget(self, *_arguments):
        if not self.closed and getattr(self.parameters, self.name) != self.read():
            setattr(self.parameters, self.name, self.read())

    def close(self):
        self.parameters.RemoveObserver(self.tag)
        self.closed = True  # PySide 6.12's disconnect gives one reference of True too many back: the process would die


def _adapter(widget):
    if isinstance(widget, standin_qt.qMRMLNodeComboBox):
        return widget.currentNodeChanged, widget.currentNode, widget.setCurrentNode
    if isinstance(widget, QtWidgets.QCheckBox):
        return widget.toggled, lambda: widget.checked, widget.setChecked
    if isinstance(widget, (QtWidgets.QSpinBox, QtWidgets.QDoubleSpinBox, standin_qt.ctkSliderWidget)):
        return widget.valueChanged, lambda: widget.value, widget.setValue
    raise TypeError(f"no connector for {type(widget).__name__}: Slicer would refuse it as well")


class Dialogs:
    """What the module would have shown; questions are answered with ``answer``."""

    def __init__(self):
        self.errors, self.infos, self.questions, self.status = [], [], [], []
        self.answer = True

    @contextlib.contextmanager
    def tryWithErrorDisplay(self, message=None, show=True, waitCursor=False):
        try:
            yield
        except Exception as error:
            if show:
                self.errors.append(f"{message}\n\n{error}")

    def confirm(self, text, *_arguments, **_named):
        self.questions.append(text)
        return self.answer


def modules(qt, dialogs):
    """The modules by name, and the functions to be put into ``slicer.util`` and ``slicer``."""
    scripted = types.ModuleType("slicer.ScriptedLoadableModule")
    for cls in (
        ScriptedLoadableModule,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleTest,
    ):
        setattr(scripted, cls.__name__, cls)
    i18n = types.ModuleType("slicer.i18n")
    i18n.tr = lambda text: text
    i18n.translate = lambda _context, text: text
    wrapper = types.ModuleType("slicer.parameterNodeWrapper")
    wrapper.parameterNodeWrapper, wrapper.WithinRange = parameterNodeWrapper, WithinRange
    util = {
        "loadUI": lambda path: standin_qt.loadUi(path, qt),
        "childWidgetVariables": lambda widget: types.SimpleNamespace(
            **{child.objectName: child for child in widget.standinLoader.made if child.objectName}
        ),
        "tryWithErrorDisplay": dialogs.tryWithErrorDisplay,
        "errorDisplay": dialogs.errors.append,
        "infoDisplay": dialogs.infos.append,
        "confirmOkCancelDisplay": dialogs.confirm,
        "showStatusMessage": lambda text, _duration=0: dialogs.status.append(text),
        "WaitCursor": contextlib.nullcontext,
        "mainWindow": lambda: None,
    }
    named = {
        "qt": qt,
        "slicer.ScriptedLoadableModule": scripted,
        "slicer.i18n": i18n,
        "slicer.parameterNodeWrapper": wrapper,
    }
    return named, util
