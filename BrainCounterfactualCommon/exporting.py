"""Results as DICOM and as teaching files: the worker writes them, for the engine knows how.

Nothing that may name the patient is written. The names in the scene go along only so that they can be looked for in
what was written.
"""

import os

import slicer

from BrainCounterfactualCommon.host import Problem
from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.scene import volumes
from BrainCounterfactualCommon.scene.results import isSynthetic

DICOM_FOLDER, CASE_FOLDER = "SYNTHETIC_dicom", "SYNTHETIC_case"
"""Names of new folders, before their number; they tell nothing of the scan."""
FACES = ("remove", "blur", "keep")


class Exporting:
    """The part of a module's logic that exports; beside :class:`BrainCounterfactualCommon.modulelogic.ModuleLogic`."""

    def saveDicom(self, result, folder, callbacks=None, burnIn=False):
        """Write a result as DICOM into ``folder``, a study of its own; ``onDone`` gets the paths written.

        Args:
            callbacks: see ``Callbacks`` in jobs.py.
            burnIn: draw the synthetic mark into a corner of every image.

        Returns:
            The worker's job.

        Raises:
            Problem: the state does not allow it.
        """
        self._checkReady(result.volumeNode)
        return self._export("export", result, folder, callbacks, result.exported(), {"burn_in": bool(burnIn)})

    def saveTeachingFile(self, result, folder, texts, callbacks=None, face="remove"):
        """Write a teaching file into ``folder``, which must be new or empty; ``onDone`` gets the paths written.

        Args:
            texts: ``title``, and of ``history, findings, diagnosis, discussion, question, choices, answer, unknown``
                what there is (see braindiffusion/export/teaching/case.py).
            callbacks: see ``Callbacks`` in jobs.py; a doubt about the patient's identity comes as
                an error of class ``QuarantineError``, and nothing is written then.
            face: what lies more than 12 mm from the brain: ``remove``, ``blur`` or ``keep`` it.

        Returns:
            The worker's job.

        Raises:
            Problem: the state does not allow it, or there is no title.
        """
        if not str(texts.get("title", "")).strip():
            raise Problem(
                "SettingsError", _("The teaching file has no title."), _("A list of cases shows it."), _("Give one.")
            )
        self._checkReady(result.volumeNode)
        arrays = result.exported()
        kept = {role: arrays[role] for role in ("counterfactual", "diseased", "lesion") if role in arrays}
        names, paths = identifyingWords(result.volumeNode)
        payload = {"texts": dict(texts), "face": face, "names": names, "paths": paths}
        return self._export("teach", result, folder, callbacks, kept, payload)

    def _export(self, request, result, folder, callbacks, arrays, payload):
        target = os.path.abspath(os.path.expanduser(str(folder)))

        def paths(_volumeNode, _arrays, data):
            return [os.path.join(target, *name.split("/")) for name in data["files"]]

        told = dict(payload, task=result.task, target=target, provenance=result.provenance)
        told["source"] = sourceFiles(result.volumeNode)
        sent = {role: array.transpose() for role, array in arrays.items()}
        extra = {"synthetic": isSynthetic(result.volumeNode)}
        return self._start(request, result.volumeNode, {}, callbacks, paths, told, sent, extra)


def textsOf(choices="", answer=0, **texts):
    """A filled-in form as :meth:`Exporting.saveTeachingFile` wants it.

    Args:
        choices: one a line; empty lines do not count.
        answer: number of the right one, from 1; 0 for none.
        texts: the other fields, as they were typed.
    """
    told = {name: text.strip() if isinstance(text, str) else bool(text) for name, text in texts.items()}
    lines = [line.strip() for line in choices.splitlines() if line.strip()]
    return dict(told, choices=lines, answer=int(answer) or None)


def sourceFiles(volumeNode):
    """The DICOM files a volume was loaded from, as far as Slicer or the viewer knows them; may be empty."""
    known = volumeNode.GetAttribute("DICOM.instanceUIDs") or ""
    database = getattr(slicer, "dicomDatabase", None)
    files = [database.fileForInstance(uid) for uid in known.split()] if database is not None else []
    path = volumeNode.GetAttribute("BrainViewer.Path")
    return [str(f) for f in files if f] or ([path] if path and not path.endswith((".nii", ".nii.gz", ".nrrd")) else [])


def identifyingWords(volumeNode):
    """``(names, paths)`` in the scene that may tell who the patient is: of the volume, its files, its patient."""
    names, paths = [], [volumeNode.GetName() or "", volumeNode.GetAttribute("BrainViewer.Path") or ""]
    storage = volumeNode.GetStorageNode()
    if storage is not None:
        paths.append(storage.GetFileName() or "")
    hierarchy = volumes.hierarchy()
    item = volumes.itemOf(volumeNode)
    while item and item != hierarchy.GetSceneItemID():
        for attribute in ("DICOM.PatientName", "DICOM.PatientID", "DICOM.PatientBirthDate", "DICOM.StudyDate"):
            names.append(hierarchy.GetItemAttribute(item, attribute))
        paths.append(hierarchy.GetItemName(item))
        item = hierarchy.GetItemParent(item)
    return [name for name in names if name], [path for path in paths if path]
