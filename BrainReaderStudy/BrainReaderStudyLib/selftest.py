"""The module's self-test, run inside Slicer (Reload and Test, or ctest): a study of two cases, read and resumed."""
# ruff: noqa: PT009, PT027 - Slicer's tests are unittest's

import hashlib
import json
import os
import shutil
import tempfile

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from BrainCounterfactualCommon.host import NOT_FOR_DIAGNOSIS, RESEARCH_USE_ONLY, Problem, resourceFolder
from BrainCounterfactualCommon.scene import layouts
from BrainReaderStudyLib.logic import LAYOUTS, BrainReaderStudyLogic

SAMPLE = "SYNTHETIC_FLAIR_lesion.nii.gz"
CASES = ("aaaa0000", "bbbb1111")
GRADES = [{"value": v, "label": str(v), "definition": str(v)} for v in range(5)]


def makeStudy(folder):
    """The sample as both cases of a study for the reader R1."""
    os.makedirs(os.path.join(folder, "cases"))
    cases = {}
    for name in CASES:
        path = os.path.join(folder, "cases", name + "-scan.nii.gz")
        shutil.copyfile(str(resourceFolder("Samples") / SAMPLE), path)
        with open(path, "rb") as stream:
            digest = hashlib.sha256(stream.read()).hexdigest()
        entry = {"role": "scan", "file": "cases/" + name + "-scan.nii.gz", "sha256": digest, "window": [900, 450]}
        cases[name] = {"images": [entry]}
    question = {"id": "realism", "prompt": "How real?", "type": "grades", "grades": GRADES, "required": True}
    protocol = {"show": "single", "window": {"policy": "locked"}, "going_back": False, "questions": [question]}
    study = {"format": "braindiffusion-study", "version": 1, "study": "0" * 16, "title": "Self-test"}
    study.update(notice=NOT_FOR_DIAGNOSIS, use=RESEARCH_USE_ONLY, protocol=protocol, cases=cases)
    study.update(readers={"R1": list(CASES)})
    with open(os.path.join(folder, "study.json"), "w", encoding="utf-8") as stream:
        json.dump(study, stream)


class BrainReaderStudyTest(ScriptedLoadableModuleTest):
    """What a reader does, in order; also with inputs that must be refused."""

    def setUp(self):
        slicer.mrmlScene.Clear(0)
        self.folder = tempfile.mkdtemp()
        self.logic = BrainReaderStudyLogic()

    def tearDown(self):
        self.logic.close()
        shutil.rmtree(self.folder)

    def runTest(self):
        for test in (self.test_RefusesWhatIsNoStudy, self.test_ReadsAndResumes):
            self.setUp()
            try:
                test()
            finally:
                self.tearDown()

    def test_RefusesWhatIsNoStudy(self):
        self.delayDisplay("Folders and readers that must be refused")
        with self.assertRaises(Problem):
            self.logic.open(self.folder)
        makeStudy(self.folder)
        self.logic.open(self.folder)
        with self.assertRaises(Problem):
            self.logic.begin("R2", "self-test")

    def test_ReadsAndResumes(self):
        self.delayDisplay("Reading a case, pausing, leaving, going on at the next")
        makeStudy(self.folder)
        study = self.logic.open(self.folder)
        switch = layouts.LayoutSwitch()
        switch.showLayout(LAYOUTS[study.protocol["show"]])
        self.logic.begin("R1", "self-test")
        self.logic.show()
        names = [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")]
        self.assertEqual(names, ["case"])
        display = self.logic.nodes["scan"].GetDisplayNode()
        display.SetWindowLevel(10, 10)
        self.assertEqual((display.GetWindow(), display.GetLevel()), (900, 450))
        case = layouts.composite(layouts.CASE)
        if case is not None:
            self.logic.hideViews()
            self.assertIsNone(case.GetBackgroundVolumeID())
            self.logic.showViews()
            self.assertEqual(case.GetBackgroundVolumeID(), self.logic.nodes["scan"].GetID())
        seen = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "answer key")
        seen.CreateDefaultDisplayNodes()
        with self.assertRaises(Problem):  # it would be seen over the case
            self.logic.checkAlone()
        slicer.mrmlScene.RemoveNode(seen)
        self.assertTrue(self.logic.save())  # nothing answered
        self.logic.sheet.press("3")
        self.assertEqual(self.logic.save(), "")
        self.logic.end()
        self.logic.begin("R1", "self-test")
        self.assertEqual(self.logic.session.current.case, CASES[1])
        switch.restore()
        self.delayDisplay("Test passed")
