"""The module's self-test, run inside Slicer (Reload and Test, or ctest): valid and invalid inputs on the sample."""
# ruff: noqa: PT009, PT027 - Slicer's tests are unittest's

import slicer

from BrainCounterfactualCommon import dependencies, scene
from BrainCounterfactualCommon.host import Problem
from BrainCounterfactualCommon.moduletest import ModuleTestBase
from BrainLesionSimLib.logic import BrainLesionSimLogic


class BrainLesionSimTest(ModuleTestBase):
    """What a user does; each part also with inputs that must be refused."""

    Logic = BrainLesionSimLogic

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
        self.resultOf(self.logic.makeLesion, {"kind": "stroke", "ml": 10.0, "side": "L"}, settings)
        self.assertAlmostEqual(self.logic.lesionMl(self.sample), 10.0, delta=1.0)
        induction = self.resultOf(self.logic.induceThenHeal, settings)
        self.assertIn("SYNTHETIC", induction.node.GetName())
        self.assertTrue(induction.provenance["check"]["outside_identical"])
        self.assertGreater(induction.roundTrip["induced"], 0)
        self.assertIsNone(self.logic.undo(self.sample))
        self.assertEqual(self.logic.redo(self.sample), induction)
        self.delayDisplay("Test passed")
