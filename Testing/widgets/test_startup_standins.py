"""What holds before any module is opened: the mark of synthetic volumes, known layouts. On STAND-INS for windows."""

import types

import numpy as np
import pytest
import slicer
import vtk
from logic_helpers import makeLayoutNode, makeViews, makeVolume

pytestmark = pytest.mark.parametrize(
    "module", ["BrainCounterfactual", "BrainLesionSim", "BrainReaderStudy"], indirect=True
)
MARK = "SYNTHETIC - NOT FOR DIAGNOSIS"


class Windows:
    """Slice views of the layout manager: renderers, there from when ``built`` is set."""

    def __init__(self):
        self.built, self.renderers = True, {}

    def sliceWidget(self, name):
        if not self.built:
            return None
        if name not in self.renderers:
            self.renderers[name] = vtk.vtkRenderer()
        renderers = types.SimpleNamespace(GetFirstRenderer=lambda: self.renderers[name])
        window = types.SimpleNamespace(GetRenderers=lambda: renderers)
        view = types.SimpleNamespace(renderWindow=lambda: window, scheduleRender=lambda: None)
        return types.SimpleNamespace(sliceView=lambda: view)

    def marked(self):
        """Names of the views in which the words stand."""
        out = []
        for name, renderer in self.renderers.items():
            props = renderer.GetViewProps()
            actors = [props.GetItemAsObject(n) for n in range(props.GetNumberOfItems())]
            out += [name for actor in actors if actor.GetInput() == MARK]
        return sorted(out)


@pytest.fixture
def windows(standins, monkeypatch):
    made = Windows()
    monkeypatch.setattr(slicer.app, "layoutManager", lambda: made, raising=False)
    return made


@pytest.fixture
def started(module, windows, monkeypatch):
    """Slicer has started with the module; nobody has opened it."""
    slots = []
    monkeypatch.setattr(slicer.app, "commandOptions", lambda: types.SimpleNamespace(noMainWindow=False), raising=False)
    monkeypatch.setattr(slicer.app, "connect", lambda signal, slot: slots.append((signal, slot)), raising=False)
    makeLayoutNode()
    getattr(module, module.__name__)(types.SimpleNamespace())
    for slot in [slot for signal, slot in slots if signal == "startupCompleted()"][:1]:
        slot()
    return dict(slots)


def makeSynthetic(name="Counterfactual 1 (SYNTHETIC)"):
    node = makeVolume(np.ones((4, 5, 6), np.int16), np.eye(4), name)
    node.SetAttribute("BrainCounterfactual.Synthetic", "1")
    return node


def show(tag, node, layer="Background"):
    for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if view.GetLayoutName() == tag:
            getattr(view, f"Set{layer}VolumeID")(node.GetID())


@pytest.mark.parametrize("suffix", ["mrb", "mrml"])
def test_standin_a_loaded_scene_is_marked_though_views_precede_volumes(started, windows, standins, tmp_path, suffix):
    makeViews("Red", "Green", "BrainCounterfactual")  # written, and read, before the volumes they name
    scan = makeVolume(np.ones((4, 5, 6), np.int16), np.eye(4), "scan")
    show("Red", makeSynthetic())
    show("BrainCounterfactual", makeSynthetic("Counterfactual 2 (SYNTHETIC)"), "Foreground")
    show("Green", scan)
    path = tmp_path / f"saved.{suffix}"
    for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        slicer.util.saveNode(node, str(tmp_path / f"{node.GetName().split()[0]}{node.GetID()[-1]}.nrrd"))
    slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear(0)
    standins.eventLoop()
    assert windows.marked() == []
    windows.built = False  # a layout of the scene is built after it has been read
    slicer.util.loadScene(str(path))
    assert windows.marked() == []
    windows.built = True
    standins.eventLoop()
    assert windows.marked() == ["BrainCounterfactual", "Red"]


@pytest.mark.parametrize("state", ["ImportState", "RestoreState", "BatchProcessState"])
def test_standin_views_that_name_a_volume_before_it_is_there_are_marked_at_the_end(started, windows, standins, state):
    """A scene file and a scene view bring back views first, then the volumes; nothing tells of a view again."""
    makeViews("Red")
    synthetic = makeSynthetic()
    slicer.mrmlScene.RemoveNode(synthetic)
    state = getattr(slicer.vtkMRMLScene, state)
    slicer.mrmlScene.StartState(state)
    show("Red", synthetic)
    assert slicer.mrmlScene.AddNode(synthetic).GetID() == synthetic.GetID()
    assert windows.marked() == []
    slicer.mrmlScene.EndState(state)
    assert windows.marked() == ["Red"]
    slicer.mrmlScene.StartState(state)
    show("Red", makeVolume(np.ones((4, 5, 6), np.int16), np.eye(4), "scan"))
    slicer.mrmlScene.EndState(state)
    assert windows.marked() == []


def test_standin_what_is_shown_says_so_without_this_extension(started, windows, standins, tmp_path):
    """The name, and a legend that Slicer itself draws wherever the volume is shown, both saved with the scene."""
    makeViews("Red")
    synthetic = makeSynthetic()
    show("Red", synthetic)
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(synthetic)
    assert legend.GetTitleText() == MARK
    assert legend.GetVisibility()
    slicer.util.saveScene(str(tmp_path / "marked.mrb"))
    started["aboutToQuit()"]()  # another Slicer, that has no module of ours
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "marked.mrb"))
    (node,) = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    assert "SYNTHETIC" in node.GetName()
    assert slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node).GetTitleText() == MARK
    assert windows.marked() == []


def test_standin_a_saved_scene_finds_the_layout_it_names(started, tmp_path):
    from BrainCounterfactualCommon.scene import layouts

    node = layouts.LayoutSwitch.node()
    assert all(node.IsLayoutDescription(number) for number in layouts.LAYOUTS)
    node.SetViewArrangement(layouts.COMPARE_LAYOUT)
    slicer.util.saveScene(str(tmp_path / "compared.mrml"))
    slicer.mrmlScene.Clear(0)
    slicer.mrmlScene.RemoveNode(node)
    makeLayoutNode()  # as Slicer does; it knows nothing yet
    slicer.util.loadScene(str(tmp_path / "compared.mrml"))
    node = layouts.LayoutSwitch.node()
    assert node.GetViewArrangement() == layouts.COMPARE_LAYOUT
    assert layouts.ORIGINAL in node.GetCurrentLayoutDescription()
