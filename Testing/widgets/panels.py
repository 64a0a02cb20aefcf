"""What the tests of the panels share: a panel whose worker answers when the test says so, and work on a scan."""

from lesion_sim_helpers import FakeLesionClient, block
from logic_fake_client import FakeClient


def makeWidget(module):
    """The panel of BrainCounterfactual or BrainLesionSim, not set up yet."""
    name = module.__name__
    client = FakeLesionClient() if name == "BrainLesionSim" else FakeClient()
    widget = getattr(module, name + "Widget")()
    widget.makeLogic = lambda: getattr(module, name + "Logic")(client)
    return widget


def draw(widget, scan):
    """Mark :func:`block`, as the Segment Editor does: the segmentation tells that it changed."""
    if widget.moduleName == "BrainLesionSim":
        widget.logic.setLesion(block(), scan)
    else:
        widget.logic.setMaskArray(block(), widget.logic.maskSegmentation(scan), scan)


def finish(widget, **told):
    """The worker answers the job that the panel's main button has started."""
    client = widget.logic.client
    (client.finishInduction if widget.moduleName == "BrainLesionSim" else client.finish)(**told)


def work(widget, scan, **told):
    """Make a result."""
    draw(widget, scan)
    widget.ui.applyButton.click()
    finish(widget, **told)
