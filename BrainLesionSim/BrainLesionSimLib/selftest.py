"""The module's self-test, run inside Slicer (Reload and Test, or ctest): valid and invalid inputs on the sample."""
# ruff: noqa: PT009, PT027 - Slicer's tests are unittest's

import time

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from BrainCounterfactualCommon import dependencies, scene
from BrainCounterfactualCommon.host import Problem, resourceFolder
from BrainLesionSimLib.logic import BrainLesionSimLogic

SAMPLE = "SYNTHETIC_FLAIR_lesion.nii.gz"


class BrainLesionSimTest(ScriptedLoadableModuleTest):
    """What a user does, in order; each part also with inputs that must be refused."""

    def setUp(self):
        slicer.mrmlScene.Clear(0)
        self.logic = BrainLesionSimLogic()
        self.sample = slicer.util.loadVolume(str(resourceFolder("Samples") / SAMPLE))

    def tearDown(self):
        self.logic.close()

    def runTest(self):
        for test in (
            self.test_RefusesWhatCannotBePainted,
            self.test_DrawingOnTheSample,
            self.test_InducesInTheSample,
        ):
            self.setUp()
            try:
                test()
            finally:
                self.tearDown()

    def test_RefusesWhatCannotBePainted(self):
        self.delayDisplay("Inputs that must be refused")
        with self.assertRaises(Problem):
            self.logic.induce(None)
        with self.assertRaises(Problem):  # nothing drawn
            self.logic.induce(self.sample)
        with self.assertRaises(Problem):
            self.logic.induce(self.sample, {"method": "crayon"})
        self.logic.setModality(self.sample, "DWI")
        with self.assertRaises(Problem):
            self.logic.makeLesion(self.sample)

    def test_DrawingOnTheSample(self):
        self.delayDisplay("Box, size, margin and clear")
        roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
        roi.SetCenter(*scene.sliceCenter(self.sample, scene.sliceCount(self.sample) // 2))
        roi.SetSize(30, 30, 30)
        count = self.logic.addBox(roi, self.sample)
        self.assertAlmostEqual(self.logic.lesionMl(self.sample), count * scene.voxelVolumeMl(self.sample), 3)
        self.logic.updateMargin(self.sample)
        self.assertIsNotNone(self.logic.marginSegmentation(self.sample))
        self.logic.clearLesion(self.sample)
        self.assertEqual(self.logic.lesionMl(self.sample), 0)

    def test_InducesInTheSample(self):
        if not dependencies.satisfied() or not self.logic.kindsFor(self.sample):
            self.delayDisplay("The engine's packages or a lesion model are missing: inducing is not tested")
            return
        self.delayDisplay("Making a lesion, painting and healing it")
        settings = {"kind": next(iter(self.logic.kindsFor(self.sample))), "steps": 5, "resamples": 1}
        self._wait(self.logic.makeLesion, {"kind": "stroke", "ml": 10.0, "side": "L"}, settings)
        self.assertAlmostEqual(self.logic.lesionMl(self.sample), 10.0, delta=1.0)
        induction = self._wait(self.logic.induceThenHeal, settings)
        self.assertTrue(induction.node.GetName().startswith("SYNTHETIC"))
        self.assertTrue(induction.provenance["check"]["outside_identical"])
        self.assertGreater(induction.roundTrip["induced"], 0)
        self.assertIsNone(self.logic.undo(self.sample))
        self.assertEqual(self.logic.redo(self.sample), induction)
        self.delayDisplay("Test passed")

    def _wait(self, start, *arguments):
        told = {}
        callbacks = {"onDone": lambda r: told.update(result=r), "onError": lambda e: told.update(error=e)}
        start(self.sample, *arguments, callbacks=callbacks)
        deadline = time.monotonic() + 600
        while self.logic.busy and time.monotonic() < deadline:
            self.logic.poll()
            slicer.app.processEvents()
            time.sleep(0.02)
        self.assertNotIn("error", told, str(told.get("error")))
        return told["result"]
