"""The module's self-test, run inside Slicer (Reload and Test, or ctest): valid and invalid inputs on the sample."""
# ruff: noqa: PT009, PT027 - Slicer's tests are unittest's

import slicer

from BrainCounterfactualCommon.host import Problem
from BrainCounterfactualCommon.moduletest import ModuleTestBase
from BrainCounterfactualCommon.scene import layouts, volumes
from BrainCounterfactualCommon.worker import dependencies
from BrainLesionSimLib import inductions
from BrainLesionSimLib.comparison import Comparison
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
        roi.SetCenter(*volumes.sliceCenter(self.sample, volumes.sliceCount(self.sample) // 2))
        roi.SetSize(30, 30, 30)
        count = self.logic.addBox(roi, self.sample)
        self.assertAlmostEqual(self.logic.lesionMl(self.sample), count * volumes.voxelVolumeMl(self.sample), 3)
        self.logic.updateMargin(self.sample)
        self.assertIsNotNone(self.logic.marginSegmentation(self.sample))
        self.logic.clearLesion(self.sample)
        self.assertEqual(self.logic.lesionMl(self.sample), 0)

    def test_ComparesSavesAndLoads(self):
        """The way through scene and views, with an induction that needs no engine: a brighter box."""
        self.delayDisplay("Compare, undo, save, close, load, compare again")
        scan = self.sample
        roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
        self.logic.placeBox(roi, scan)
        self.logic.addBox(roi, scan)
        lesion = self.logic.lesionArray(scan).transpose()
        diseased = volumes.engineVoxels(scan)
        diseased[lesion] += 50
        arrays = {"diseased": diseased, "lesion": lesion, "generate_mask": lesion, "edited": lesion}
        arrays["difference"] = lesion.astype("uint8")
        self.walk(inductions.make(scan, arrays, {"provenance": {"synthetic": True}, "lesion_ml": 1.0}))

    def walk(self, induction):
        """Compare, undo, redo, save, close, load, compare again."""
        scan, comparison = induction.volumeNode, Comparison()
        self.compare(comparison, scan, induction)
        self.assertFalse(comparison.flicker())
        self.assertTrue(comparison.flicker())
        self.showInSpace(comparison, scan, induction, induction.marksNode)
        self.assertIsNone(self.logic.undo(scan))
        self.assertEqual(self.logic.redo(scan), induction)
        scan = self.reopened(scan)
        loaded = self.logic.currentResult(scan)
        self.assertIn("SYNTHETIC", loaded.node.GetName())
        self.compare(Comparison(), scan, loaded)
        layouts.LayoutSwitch().restore()

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
        self.walk(induction)
        self.delayDisplay("Test passed")
