"""The module's logic: models, mask, jobs of the worker, results in the scene.

It needs ``slicer.mrmlScene``, ``slicer.util`` and the worker's client; no Qt, no torch, no engine. The same file runs
in desktop Slicer and on slicer-core. All methods belong to the main thread; somebody calls :meth:`poll` regularly.
"""

import hashlib
import os
import shutil

import numpy as np
import slicer
import vtk

from BrainCounterfactualCommon import overlays, scene
from BrainCounterfactualCommon.host import LogicBase, Problem, packageRoot
from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.workerclient import WorkerClient
from BrainCounterfactualLib import masks, models, results
from BrainCounterfactualLib.exporting import Exporting
from BrainCounterfactualLib.jobs import Run
from BrainCounterfactualLib.saving import saveResult
from BrainCounterfactualLib.settings import checkedSettings

SALIENCY_CLASSIFIER = "flair-acat-classifier"


def enginePython():
    """The Python that runs the worker: ``BRAINDIFFUSION_PYTHON``, else Slicer's own, else ``None`` (this one)."""
    return os.environ.get("BRAINDIFFUSION_PYTHON") or shutil.which("PythonSlicer")


class BrainCounterfactualLogic(Exporting, LogicBase):
    """Heal scans of the scene.

    Args:
        client: a started or unstarted :class:`WorkerClient`; one is made at the first job otherwise.
    """

    def __init__(self, client=None):
        LogicBase.__init__(self)
        self._client = client
        self._run = None
        self._observed = None
        self._tags = []
        self._shippedCards = None
        self._observeScene()

    # --- the scene -----------------------------------------------------------------------------------------

    def _observeScene(self):
        mrmlScene = slicer.mrmlScene
        if self._observed is mrmlScene:
            return
        self._unobserveScene()

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def onNodeAboutToBeRemoved(_caller, _event, node):
            self._onNodeAboutToBeRemoved(node)

        events = (
            (slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, onNodeAboutToBeRemoved),
            (slicer.vtkMRMLScene.StartCloseEvent, lambda _caller, _event: self._onStartClose()),
        )
        self._observed = mrmlScene
        self._tags = [mrmlScene.AddObserver(event, function) for event, function in events]

    def _unobserveScene(self):
        for tag in self._tags:
            self._observed.RemoveObserver(tag)
        self._observed, self._tags = None, []

    def _onNodeAboutToBeRemoved(self, node):
        if self._run is not None and self._run.isOpen and node is self._run.volumeNode:
            self._run.stop(
                Problem(
                    "ScanRemovedError",
                    _("The scan was removed, so the work on it was stopped."),
                    _("A result needs its scan."),
                    _("Load the scan again."),
                )
            )

    def _onStartClose(self):
        if self._run is not None and self._run.isOpen:
            self._run.stop(
                Problem(
                    "SceneClosedError",
                    _("The scene was closed, so the work was stopped."),
                    _("A result needs its scan."),
                    _("Load a scan."),
                )
            )

    def close(self):
        """Stop the worker and let go of the scene. The logic can be used again afterwards."""
        if self._run is not None and self._run.isOpen:
            self._run.end("onCancelled")
        self._run = None
        if self._client is not None:
            self._client.stop()
        self._unobserveScene()

    # --- models and modality -------------------------------------------------------------------------------

    def models(self, task=None):
        """Model cards (dicts), those of the worker where it has told, else the shipped ones; of one task if given."""
        info = self._client.info if self._client is not None else None
        if self._shippedCards is None:
            self._shippedCards = models.installedCards()
        cards = (info or {}).get("models") or self._shippedCards
        return [card for card in cards if task is None or card.get("task") == task]

    def methods(self):
        """Healing methods (dicts; see ``hello`` in docs/worker.md); Dif-fuse alone until the worker has told."""
        return models.methodsOf(self._client.info if self._client is not None else None)

    def modelsFor(self, volumeNode, method="dif_fuse"):
        """Cards of a method's models, those for the scan's modality first; ``card["fits"]`` says which are."""
        modality = self.modality(volumeNode) if volumeNode is not None else None
        found = models.serving(self.models(), models.methodNamed(self.methods(), method))
        cards = [dict(card, fits=models.fits(card, modality)) for card in found]
        return sorted(cards, key=lambda card: not card["fits"])

    def modality(self, volumeNode):
        """``FLAIR``, ``T1``, ``T1GD``, ``T2``, ``DWI``, ``CT`` or ``None``: as the user said, or guessed from names."""
        return models.modalityOf(volumeNode)

    def setModality(self, volumeNode, name):
        """Say what the scan is (kept in the scene); ``None`` goes back to guessing."""
        models.setModality(volumeNode, name)

    # --- mask ----------------------------------------------------------------------------------------------

    def maskSegmentation(self, volumeNode):
        """The segmentation, with one segment ``Mask``, that belongs to the scan; made when missing."""
        return masks.maskOf(volumeNode)

    def maskArray(self, seg, volumeNode):
        """(k,j,i) bool."""
        return masks.arrayOf(seg, volumeNode)

    def maskIsEmpty(self, volumeNode):
        """Whether nothing is marked on the scan."""
        seg = masks.maskOf(volumeNode, make=False)
        return seg is None or masks.isEmpty(seg)

    def setMaskArray(self, mask, seg, volumeNode):
        """Replace the mask by a (k,j,i) array."""
        masks.setSegmentArray(np.asarray(mask) != 0, seg, masks.MASK_SEGMENT, volumeNode)

    def placeBox(self, roiNode, volumeNode, sliceIndex=None):
        """Put a box of 40 mm into the middle of a slice, five slices high, to be moved and sized by its handles."""
        scene.placeBox(roiNode, volumeNode, scene.sliceCount(volumeNode) // 2 if sliceIndex is None else sliceIndex)

    def addBoxToMask(self, roiNode, seg, volumeNode):
        """Add the voxels inside a ROI, however it is turned; returns how many there are in it.

        Raises:
            Problem: the box holds no voxel of the scan.
        """
        box = scene.insideBox(roiNode, volumeNode)
        if not box.any():
            raise Problem(
                "BoxError", _("The box holds nothing of the scan."), _("It lies outside."), _("Draw it on the scan.")
            )
        self.setMaskArray(self.maskArray(seg, volumeNode) | box, seg, volumeNode)
        return int(box.sum())

    def maskFromSaliency(self, saliencyNode, threshold, seg, volumeNode):
        """Replace the mask by where the saliency reaches ``threshold`` (0..1); returns the number of voxels.

        Raises:
            Problem: nothing does.
        """
        mask = scene.voxels(saliencyNode) >= max(float(threshold), 1e-6)
        if not mask.any():
            raise Problem(
                "EmptyMaskError",
                _("The saliency selects nothing."),
                _("It stays below {threshold:.2f} everywhere.").format(threshold=threshold),
                _("Lower the threshold."),
            )
        self.setMaskArray(mask, seg, volumeNode)
        return int(mask.sum())

    def maskFromFile(self, path, seg, volumeNode):
        """Replace the mask by a file's (image or ``.seg.nrrd``, any grid); returns the number of voxels."""
        mask = masks.fromFile(path, volumeNode)
        self.setMaskArray(mask, seg, volumeNode)
        return int(mask.sum())

    def clearMask(self, seg, volumeNode):
        """Empty the mask."""
        self.setMaskArray(np.zeros(scene.voxels(volumeNode).shape, bool), seg, volumeNode)

    # --- jobs ----------------------------------------------------------------------------------------------

    @property
    def client(self):
        """The client of the worker; made when first asked for."""
        if self._client is None:
            self._client = WorkerClient(enginePython(), extraPaths=[str(packageRoot())])
        return self._client

    @property
    def busy(self):
        """Whether a saliency or a healing is under way."""
        return self._run is not None and self._run.isOpen

    @property
    def previewNode(self):
        """The volume that shows the state of the healing under way, or ``None``."""
        return self._run.previewNode if self.busy else None

    def poll(self):
        """Hand over what the worker has told; to be called some 20 times a second from the main thread."""
        return self._client.poll() if self._client is not None else 0

    def cancel(self):
        """Ask the job under way to stop; ``onCancelled`` follows from a later :meth:`poll`."""
        if self.busy and self._run.job is not None:
            self._run.job.cancel()

    def hello(self, onResult=None, onError=None):
        """Ask the worker for its versions, devices and models (a dict goes to ``onResult``)."""
        return self.client.hello(lambda answer: onResult and onResult(answer.data), onError)

    def estimate(self, volumeNode, settings, onResult, onError=None, slices=None, withSaliency=True):
        """What a healing will need on the chosen device: ``memory_bytes, device, batch, seconds, warning``.

        Args:
            slices: how many; all by default.
            withSaliency: whether the mask has to be found first.
        """
        payload = {
            "settings": checkedSettings(settings),
            "slices": slices or scene.sliceCount(volumeNode),
            "saliency": bool(withSaliency),
        }
        return self.client.submit("estimate", payload, onResult=lambda answer: onResult(answer.data), onError=onError)

    def releaseMemory(self):
        """Let the worker drop its models and scans."""
        if self._client is not None and self._client.isRunning() and not self.busy:
            self._client.submit("release")

    def computeSaliency(self, volumeNode, settings=None, callbacks=None):
        """Find out where the classifier looks; ``onDone`` gets a Result with ``saliencyNode`` and ``slices``.

        Raises:
            Problem: the scan, a setting or the state does not allow it.
        """
        checked = self._checked(volumeNode, settings, "classifier")
        return self._start("saliency", volumeNode, checked, callbacks, results.makeSaliency)

    def heal(self, volumeNode, settings=None, callbacks=None, maskNode=None, sliceIndex=None, viewSlice=None):
        """Heal the scan, or one slice of it.

        Args:
            settings: fields of the engine's HealSettings (see :mod:`BrainCounterfactualLib.settings`).
            callbacks: see :class:`BrainCounterfactualLib.jobs.Callbacks`; a dict or any object with these attributes.
            maskNode: segmentation or labelmap drawn by the user; without it the saliency decides.
            sliceIndex: heal only this slice: index along the scan's axial voxel axis.
            viewSlice: the slice in view, which is previewed and healed first; same index.

        Returns:
            The worker's job.

        Raises:
            Problem: the scan, mask, a setting or the state does not allow it.
        """
        checked = self._checked(volumeNode, settings, "denoiser")
        arrays = {}
        if maskNode is not None:
            mask = self.maskArray(maskNode, volumeNode)
            if sliceIndex is not None:
                axis = 2 - scene.axialAxis(scene.ijkToRas(volumeNode))[0]
                mask = mask & (
                    np.arange(mask.shape[axis]).reshape([-1 if a == axis else 1 for a in range(3)]) == sliceIndex
                )
            if not mask.any():
                raise Problem(
                    "EmptyMaskError",
                    _("The mask is empty.") if sliceIndex is None else _("The mask is empty on this slice."),
                    _("Nothing has been drawn there."),
                    _("Draw, box or load a mask, or choose to heal by saliency."),
                )
            arrays["mask"] = np.ascontiguousarray(mask.transpose())
        if sliceIndex is not None:
            stacked = scene.stackIndex(volumeNode, sliceIndex)
            checked["slices"] = [stacked, stacked + 1]
        payload = {"view_slice": sliceIndex if viewSlice is None else int(viewSlice), "previews": True}
        return self._start("heal", volumeNode, checked, callbacks, results.makeResult, payload, arrays)

    def _checkReady(self, volumeNode):
        """Raises Problem where no job about this volume can be started."""
        if volumeNode is None:
            raise Problem("NoScanError", _("There is no scan."), _("None is chosen."), _("Choose or load a scan."))
        if self.busy:
            raise Problem(
                "BusyError", _("Something is under way already."), _("One job runs at a time."), _("Cancel it first.")
            )
        scene.voxels(volumeNode)
        scene.ijkToWorld(volumeNode)

    def _checked(self, volumeNode, settings, task):
        """Settings, after everything that can be known to be wrong without asking the worker."""
        self._checkReady(volumeNode)
        checked = checkedSettings(settings)
        healing = task == "denoiser"
        name = models.mainModel(self.models(), self.methods(), checked) if healing else SALIENCY_CLASSIFIER
        card = next((card for card in self.models() if card["name"] == name), None)
        modality = self.modality(volumeNode)
        if card and modality and not models.fits(card, modality) and not checked["force"]:
            raise Problem(
                "ModalityError",
                _("This is a {modality} scan, and '{model}' was trained on {known}.").format(
                    modality=modality, model=name, known=", ".join(card["modality"])
                ),
                _("A model shown a contrast it never saw paints that contrast away."),
                _("Choose another scan or model, correct the modality, or allow it under Advanced."),
            )
        return checked

    def _start(self, request, volumeNode, checked, callbacks, makeResult, payload=None, arrays=None, facts=None):
        self._observeScene()
        voxels = scene.engineVoxels(volumeNode)
        affine = scene.ijkToRas(volumeNode)
        key = hashlib.sha1(voxels.tobytes() + affine.tobytes()).hexdigest()
        scan = {
            "affine": affine.tolist(),
            "modality": self.modality(volumeNode),
            "name": None,  # node names may hold the patient's name; provenance is told the hash of the voxels only
            "key": key,
        }
        run = Run(volumeNode, callbacks, makeResult)
        self._run = run
        run.job = self.client.submit(
            request,
            dict(payload or {}, scan=dict(scan, **(facts or {})), settings=checked),
            dict(arrays or {}, voxels=voxels),
            onProgress=run.onProgress,
            onPreview=run.onPreview,
            onResult=run.onResult,
            onError=run.onError,
            onCancelled=run.onCancelled,
        )
        return run.job

    # --- results -------------------------------------------------------------------------------------------

    def results(self, volumeNode):
        """All results of the scan, in the order of making."""
        return results.resultsOf(volumeNode)

    def currentResult(self, volumeNode):
        """The result in view, ``None`` for the scan as it is."""
        return results.currentOf(volumeNode)

    def saliency(self, volumeNode):
        """The saliency last computed (``saliencyNode``, ``slices``), or ``None``."""
        return results.saliencyOf(volumeNode)

    def restoreResult(self, result):
        """Bring a result back into view; ``None`` is not a result: use :meth:`undo`."""
        results.setCurrent(result.volumeNode, result)
        return result

    def undo(self, volumeNode):
        """One result back. Nothing is deleted. Returns the result now in view, ``None`` for the scan as it is."""
        return results.step(volumeNode, -1)

    def redo(self, volumeNode):
        """One result on; returns the result now in view."""
        return results.step(volumeNode, +1)

    def canUndo(self, volumeNode):
        return results.canStep(volumeNode, -1)

    def canRedo(self, volumeNode):
        return results.canStep(volumeNode, +1)

    def removeResult(self, result):
        """Delete a result's nodes; the one before it comes into view."""
        results.remove(result)

    def saveResult(self, result, folder, fileFormat="nifti"):
        """Write the result as files whose names begin with SYNTHETIC, and provenance.json; the paths written.

        Raises:
            Problem: no room, no permission.
        """
        return saveResult(result, folder, fileFormat)

    def styleOverlay(self, node, colorName, low, high, threshold=None):
        """Show a map in a color table (see :mod:`BrainCounterfactualCommon.overlays`) between two values."""
        overlays.style(node, colorName, low, high, threshold)
