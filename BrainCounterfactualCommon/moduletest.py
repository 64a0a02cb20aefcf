"""Base of the self-tests of modules whose jobs make results: each test has a scene with the sample, and a logic."""

import os
import tempfile
import time
import unittest

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from BrainCounterfactualCommon.host import resourceFolder
from BrainCounterfactualCommon.scene import layouts, startup

SAMPLE = "SYNTHETIC_FLAIR_lesion.nii.gz"
MOST_SECONDS = 600


class ModuleTestBase(ScriptedLoadableModuleTest):
    """Runs all ``test_`` methods, in Slicer's *Reload and Test* as under ctest."""

    Logic = None
    """The class of the module's logic."""

    def setUp(self):
        slicer.mrmlScene.Clear(0)
        self.logic = self.Logic()
        self.sample = slicer.util.loadVolume(str(resourceFolder("Samples") / SAMPLE))

    def tearDown(self):
        self.logic.close()

    def runTest(self):
        for name in unittest.TestLoader().getTestCaseNames(type(self)):
            self.setUp()
            try:
                getattr(self, name)()
            finally:
                self.tearDown()

    def compare(self, comparison, scan, result):
        """Show a result beside its scan, as the panel does, and look at what each view has."""
        layouts.LayoutSwitch().showLayout(comparison.layoutOf(result))
        comparison.show(scan, result)
        slicer.app.processEvents()
        if layouts.composite(comparison.tops[0]) is None:
            return  # a run without views
        self.delayDisplay("Each view shows its own, and synthetic volumes are marked")
        for tag in comparison.tags:
            self.assertIs(self.shownIn(tag, "Background"), scan)  # noqa: PT009
        for tag in comparison.tops:
            if layouts.composite(tag) is not None:
                self.assertIs(self.shownIn(tag, "Foreground"), result.node)  # noqa: PT009
        if slicer.app.layoutManager() is not None:
            self.assertIn(comparison.tops[0], startup.markedViews())  # noqa: PT009
            self.assertNotIn(comparison.tags[0], startup.markedViews())  # noqa: PT009

    def showInSpace(self, comparison, scan, result, marks):
        """Show a result's lesion as a closed surface, as the panel's check box does, and put it away again.

        Args:
            marks: the segmentation that holds the lesion.
        """
        self.delayDisplay("The lesion in 3-D")
        comparison.showSurfaces(True)
        layouts.LayoutSwitch().showLayout(comparison.layoutOf(result))
        comparison.show(scan, result)
        slicer.app.processEvents()
        layouts.fitSurfaces()
        display = marks.GetDisplayNode()
        self.assertTrue(display.GetVisibility3D())  # noqa: PT009
        self.assertTrue(marks.GetSegmentation().ContainsRepresentation("Closed surface"))  # noqa: PT009
        comparison.showSurfaces(False)
        self.assertFalse(display.GetVisibility3D())  # noqa: PT009

    @staticmethod
    def shownIn(tag, layer):
        """The volume in a layer of a view, ``None`` where there is none or no such view."""
        node = layouts.composite(tag)
        name = getattr(node, "Get{}VolumeID".format(layer))() if node is not None else None
        return slicer.mrmlScene.GetNodeByID(name) if name else None

    def reopened(self, scan):
        """The scan, after the scene has been saved, closed and loaded again."""
        self.delayDisplay("Saving, closing and loading the scene")
        name = scan.GetName()
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "selftest-{}.mrb".format(type(self).__name__))
            self.assertTrue(slicer.util.saveScene(path))  # noqa: PT009
            slicer.mrmlScene.Clear(0)
            slicer.app.processEvents()
            slicer.util.loadScene(path)
        slicer.app.processEvents()
        return slicer.util.getNode(name)

    def resultOf(self, start, *arguments, **named):
        """What ``start(sample, ..., callbacks=)`` makes; the test fails on an error, or after 10 minutes."""
        told = {}
        callbacks = {"onDone": lambda r: told.update(result=r), "onError": lambda e: told.update(error=e)}
        start(self.sample, *arguments, callbacks=callbacks, **named)
        deadline = time.monotonic() + MOST_SECONDS
        while self.logic.busy and time.monotonic() < deadline:
            self.logic.poll()
            slicer.app.processEvents()
            time.sleep(0.02)
        self.assertNotIn("error", told, str(told.get("error")))  # noqa: PT009 - Slicer's tests are unittest's
        return told["result"]
