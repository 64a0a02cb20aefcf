"""The module's self-test, run inside Slicer (Reload and Test, or ctest): valid and invalid inputs on the sample."""
# ruff: noqa: PT009, PT027 - Slicer's tests are unittest's

import time

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from BrainCounterfactualCommon import dependencies, scene
from BrainCounterfactualCommon.host import Problem, resourceFolder
from BrainCounterfactualLib.logic import BrainCounterfactualLogic

SAMPLE = "SYNTHETIC_FLAIR_lesion.nii.gz"
TRUTH = "SYNTHETIC_FLAIR_lesion_truth.nii.gz"


class BrainCounterfactualTest(ScriptedLoadableModuleTest):
    """What a user does, in order; each part also with inputs that must be refused."""

    def setUp(self):
        slicer.mrmlScene.Clear(0)

    def runTest(self):
        self.setUp()
        self.test_RefusesWhatCannotBeHealed()
        self.setUp()
        self.test_MaskToolsOnTheSample()
        self.setUp()
        self.test_HealsTheSample()

    def test_RefusesWhatCannotBeHealed(self):
        self.delayDisplay("Inputs that must be refused")
        logic = BrainCounterfactualLogic()
        with self.assertRaises(Problem):
            logic.heal(None)
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
        with self.assertRaises(Problem):
            logic.heal(empty)
        sample = slicer.util.loadVolume(str(resourceFolder("Samples") / SAMPLE))
        with self.assertRaises(Problem):
            logic.heal(sample, {"percentile": 200.0})
        with self.assertRaises(Problem):
            logic.heal(sample, {}, maskNode=logic.maskSegmentation(sample))
        logic.setModality(sample, "T1")
        with self.assertRaises(Problem):
            logic.heal(sample)
        logic.close()

    def test_MaskToolsOnTheSample(self):
        self.delayDisplay("Mask from file, box and clear")
        logic = BrainCounterfactualLogic()
        sample = slicer.util.loadVolume(str(resourceFolder("Samples") / SAMPLE))
        seg = logic.maskSegmentation(sample)
        self.assertGreater(logic.maskFromFile(str(resourceFolder("Samples") / TRUTH), seg, sample), 0)
        marked = int(logic.maskArray(seg, sample).sum())
        roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
        roi.SetCenter(*scene.sliceCenter(sample, scene.sliceCount(sample) // 2))
        roi.SetSize(30, 30, 30)
        logic.addBoxToMask(roi, seg, sample)
        self.assertGreater(int(logic.maskArray(seg, sample).sum()), marked)
        logic.clearMask(seg, sample)
        self.assertFalse(logic.maskArray(seg, sample).any())
        logic.close()

    def test_HealsTheSample(self):
        if not dependencies.satisfied():
            self.delayDisplay("The engine's packages are not installed: healing is not tested")
            return
        self.delayDisplay("Healing the sample")
        logic = BrainCounterfactualLogic()
        try:
            sample = slicer.util.loadVolume(str(resourceFolder("Samples") / SAMPLE))
            seg = logic.maskSegmentation(sample)
            logic.maskFromFile(str(resourceFolder("Samples") / TRUTH), seg, sample)
            told = {}
            callbacks = {"onDone": lambda r: told.update(result=r), "onError": lambda e: told.update(error=e)}
            logic.heal(sample, {"steps": 5}, callbacks, maskNode=seg)
            deadline = time.monotonic() + 600
            while logic.busy and time.monotonic() < deadline:
                logic.poll()
                slicer.app.processEvents()
                time.sleep(0.02)
            self.assertNotIn("error", told, str(told.get("error")))
            result = told["result"]
            self.assertTrue(result.counterfactualNode.GetName().startswith("SYNTHETIC"))
            self.assertTrue(result.provenance["check"]["outside_identical"])
            self.assertGreater(result.summary["lesion_ml"], 0)
            self.assertIsNone(logic.undo(sample))
            self.assertEqual(logic.redo(sample), result)
            before = slicer.util.arrayFromVolume(sample)
            after = slicer.util.arrayFromVolume(result.counterfactualNode)
            edited = logic.maskArray(result.maskNode, sample)
            self.assertGreater(before[edited].mean(), after[edited].mean())
        finally:
            logic.close()
        self.delayDisplay("Test passed")
