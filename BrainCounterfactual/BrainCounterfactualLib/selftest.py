"""The module's self-test, run inside Slicer (Reload and Test, or ctest): valid and invalid inputs on the sample."""
# ruff: noqa: PT009, PT027 - Slicer's tests are unittest's

import slicer

from BrainCounterfactualCommon import dependencies, scene
from BrainCounterfactualCommon.host import Problem, resourceFolder
from BrainCounterfactualCommon.moduletest import ModuleTestBase
from BrainCounterfactualLib.logic import BrainCounterfactualLogic

TRUTH = "SYNTHETIC_FLAIR_lesion_truth.nii.gz"


class BrainCounterfactualTest(ModuleTestBase):
    """What a user does; each part also with inputs that must be refused."""

    Logic = BrainCounterfactualLogic

    def test_RefusesWhatCannotBeHealed(self):
        self.delayDisplay("Inputs that must be refused")
        with self.assertRaises(Problem):
            self.logic.heal(None)
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
        with self.assertRaises(Problem):
            self.logic.heal(empty)
        with self.assertRaises(Problem):
            self.logic.heal(self.sample, {"percentile": 200.0})
        with self.assertRaises(Problem):
            self.logic.heal(self.sample, {}, maskNode=self.logic.maskSegmentation(self.sample))
        self.logic.setModality(self.sample, "T1")
        with self.assertRaises(Problem):
            self.logic.heal(self.sample)

    def test_MaskToolsOnTheSample(self):
        self.delayDisplay("Mask from file, box and clear")
        seg = self._drawTruth()
        marked = int(self.logic.maskArray(seg, self.sample).sum())
        self.assertGreater(marked, 0)
        roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
        roi.SetCenter(*scene.sliceCenter(self.sample, scene.sliceCount(self.sample) // 2))
        roi.SetSize(30, 30, 30)
        self.logic.addBoxToMask(roi, seg, self.sample)
        self.assertGreater(int(self.logic.maskArray(seg, self.sample).sum()), marked)
        self.logic.clearMask(seg, self.sample)
        self.assertFalse(self.logic.maskArray(seg, self.sample).any())

    def test_HealsTheSample(self):
        if not dependencies.satisfied():
            self.delayDisplay("The engine's packages are not installed: healing is not tested")
            return
        self.delayDisplay("Healing the sample")
        result = self.resultOf(self.logic.heal, {"steps": 5}, maskNode=self._drawTruth())
        self.assertIn("SYNTHETIC", result.counterfactualNode.GetName())
        self.assertTrue(result.provenance["check"]["outside_identical"])
        self.assertGreater(result.summary["lesion_ml"], 0)
        self.assertIsNone(self.logic.undo(self.sample))
        self.assertEqual(self.logic.redo(self.sample), result)
        before = slicer.util.arrayFromVolume(self.sample)
        after = slicer.util.arrayFromVolume(result.counterfactualNode)
        edited = self.logic.maskArray(result.maskNode, self.sample)
        self.assertGreater(before[edited].mean(), after[edited].mean())
        self.delayDisplay("Test passed")

    def _drawTruth(self):
        seg = self.logic.maskSegmentation(self.sample)
        self.logic.maskFromFile(str(resourceFolder("Samples") / TRUTH), seg, self.sample)
        return seg
