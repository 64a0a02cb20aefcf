"""Base of the self-tests of modules whose jobs make results: each test has a scene with the sample, and a logic."""

import time
import unittest

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from BrainCounterfactualCommon.host import resourceFolder

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
