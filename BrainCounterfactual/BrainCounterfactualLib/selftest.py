"""The module's self-test, run inside Slicer (Reload and Test, or ctest): valid and invalid inputs on the sample."""
# ruff: noqa: PT009, PT027 - Slicer's tests are unittest's

import slicer

from BrainCounterfactualCommon.host import Problem, resourceFolder
from BrainCounterfactualCommon.moduletest import ModuleTestBase
from BrainCounterfactualCommon.scene import counterfactuals, layouts, volumes
from BrainCounterfactualCommon.worker import dependencies
from BrainCounterfactualLib.comparison import Comparison
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
            self.logic.heal(self.sample, {"model": "flair-healthy-128"})

    def test_MaskToolsOnTheSample(self):
        self.delayDisplay("Mask from file, box and clear")
        seg = self._drawTruth()
        marked = int(self.logic.maskArray(seg, self.sample).sum())
        self.assertGreater(marked, 0)
        roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
        roi.SetCenter(*volumes.sliceCenter(self.sample, volumes.sliceCount(self.sample) // 2))
        roi.SetSize(30, 30, 30)
        self.logic.addBoxToMask(roi, seg, self.sample)
        self.assertGreater(int(self.logic.maskArray(seg, self.sample).sum()), marked)
        self.logic.clearMask(seg, self.sample)
        self.assertFalse(self.logic.maskArray(seg, self.sample).any())

    def test_ComparesSavesAndLoads(self):
        """The way through scene and views, with a result that needs no engine: the truth, painted over."""
        self.delayDisplay("Compare, undo, save, close, load, compare again")
        scan, seg = self.sample, self._drawTruth()
        lesion = self.logic.maskArray(seg, scan).transpose()
        voxels = volumes.engineVoxels(scan)
        healed = voxels.copy()
        healed[lesion] = voxels[~lesion & (voxels > 0)].mean()
        arrays = {"counterfactual": healed, "anomaly": lesion.astype("float32"), "lesion": lesion, "mask": lesion}
        self.walk(counterfactuals.make(scan, arrays, {"provenance": {"synthetic": True}, "lesion_ml": 1.0}))

    def walk(self, result):
        """Compare, undo, redo, save, close, load, compare again."""
        scan, comparison = result.volumeNode, Comparison()
        self.compare(comparison, scan, result)
        self.assertFalse(comparison.flicker())
        self.assertTrue(comparison.flicker())
        self.showInSpace(comparison, scan, result, result.lesionNode)
        self.assertIsNone(self.logic.undo(scan))
        comparison.show(scan, None)
        self.assertIsNone(self.shownIn(comparison.tops[0], "Foreground"))
        self.assertEqual(self.logic.redo(scan), result)
        scan = self.reopened(scan)
        loaded = self.logic.currentResult(scan)
        self.assertIn("SYNTHETIC", loaded.node.GetName())
        self.compare(Comparison(), scan, loaded)
        layouts.LayoutSwitch().restore()

    def test_HealsTheSample(self):
        if not dependencies.satisfied():
            self.delayDisplay("The engine's packages are not installed: healing is not tested")
            return
        self.delayDisplay("Saliency, then healing the sample")
        saliency = self.resultOf(self.logic.computeSaliency)
        self.assertGreater(volumes.voxels(saliency.saliencyNode).max(), 0)
        seg = self.logic.maskSegmentation(self.sample)
        self.assertGreater(self.logic.maskFromSaliency(saliency.saliencyNode, 0.3, seg, self.sample), 0)
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
        self.walk(result)
        self.delayDisplay("Test passed")

    def _drawTruth(self):
        seg = self.logic.maskSegmentation(self.sample)
        self.logic.maskFromFile(str(resourceFolder("Samples") / TRUTH), seg, self.sample)
        return seg
