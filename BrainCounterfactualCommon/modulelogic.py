"""What the logics of the modules that make results have in common: the worker, its jobs, models, results and undo.

It needs ``slicer.mrmlScene``, ``slicer.util`` and the worker's client; no Qt, no torch, no engine. The same file runs
in desktop Slicer and on slicer-core. All methods belong to the main thread; somebody calls :meth:`poll` regularly.
"""

import hashlib

import slicer
import vtk

from BrainCounterfactualCommon.host import LogicBase, Problem, packageRoot
from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.scene import saving, volumes
from BrainCounterfactualCommon.worker import dependencies, models
from BrainCounterfactualCommon.worker.client import WorkerClient
from BrainCounterfactualCommon.worker.jobs import Run
from braindiffusion import errors

MOST_VOXELS_APART = 0.5
"""Between Slicer's and the engine's place of a scan, before it is told."""


class ModuleLogic(LogicBase):
    """Base of a module's logic; a subclass names the kind of its results.

    Args:
        client: a started or unstarted :class:`WorkerClient`; one is made at the first job otherwise.
    """

    Result = None
    """A subclass of :class:`BrainCounterfactualCommon.scene.results.Result`."""

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

    def modality(self, volumeNode):
        """``FLAIR``, ``T1``, ``T1GD``, ``T2``, ``DWI``, ``CT`` or ``None``: as the user said, or guessed from names."""
        return models.modalityOf(volumeNode)

    def setModality(self, volumeNode, name):
        """Say what the scan is (kept in the scene); ``None`` goes back to guessing."""
        models.setModality(volumeNode, name)

    def placeBox(self, roiNode, volumeNode, sliceIndex=None):
        """Put a box of 40 mm into the middle of a slice, five slices high, to be moved and sized by its handles."""
        volumes.placeBox(roiNode, volumeNode, volumes.sliceCount(volumeNode) // 2 if sliceIndex is None else sliceIndex)

    # --- jobs ----------------------------------------------------------------------------------------------

    @property
    def client(self):
        """The client of the worker; made when first asked for."""
        if self._client is None:
            self._client = WorkerClient(
                dependencies.enginePython(),
                extraPaths=[str(packageRoot())],
                environment=dependencies.engineEnvironment(),
            )
        return self._client

    @property
    def busy(self):
        """Whether a job is under way."""
        return self._run is not None and self._run.isOpen

    @property
    def previewNode(self):
        """The volume that shows the state of the job under way, or ``None``."""
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

    def readingNotes(self, volumeNode, onNotes):
        """Ask what had to be assumed to read a scan's file; sentences for the user go to ``onNotes``, if there are any.

        Slicer reads the file itself: the engine's reader tells what Slicer does not, and whether both put the scan in
        the same place. Nothing is asked about a scan that has no file, or was changed since it was loaded.
        """
        path = volumes.fileOf(volumeNode)
        if path is None:
            return

        def onResult(answer):
            notes = list(answer.data.get("notes", []))
            mm, voxels = volumes.apart(volumeNode, answer.data["affine"])
            if voxels > MOST_VOXELS_APART:
                notes.append(
                    _(
                        "Slicer puts this scan up to {mm:.1f} mm from where nibabel, SPM and the command line do. "
                        "Results lie where Slicer shows them; compare the sides before you use them elsewhere."
                    ).format(mm=mm)
                )
            if notes:
                onNotes(notes)

        def onError(error):
            if issubclass(getattr(errors, error.className, Exception), errors.InputError):
                onNotes(
                    [_("The engine would not read this file: {what} {why}").format(what=error.what, why=error.cause)]
                )

        self.client.submit("notes", {"path": path}, onResult=onResult, onError=onError)

    def releaseMemory(self):
        """Let the worker drop its models and scans."""
        if self._client is not None and self._client.isRunning() and not self.busy:
            self._client.submit("release")

    def _checkReady(self, volumeNode):
        """Raises Problem where no job about this volume can be started."""
        if volumeNode is None:
            raise Problem("NoScanError", _("There is no scan."), _("None is chosen."), _("Choose or load a scan."))
        if self.busy:
            raise Problem(
                "BusyError", _("Something is under way already."), _("One job runs at a time."), _("Cancel it first.")
            )
        volumes.voxels(volumeNode)
        volumes.ijkToWorld(volumeNode)

    def _start(self, request, volumeNode, checked, callbacks, makeResult, payload=None, arrays=None, facts=None):
        self._observeScene()
        voxels = volumes.engineVoxels(volumeNode)
        affine = volumes.ijkToRas(volumeNode)
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
        return self.Result.of(volumeNode)

    def currentResult(self, volumeNode):
        """The result in view, ``None`` for the scan as it is."""
        return self.Result.current(volumeNode)

    def restoreResult(self, result):
        """Bring a result back into view; ``None`` is not a result: use :meth:`undo`."""
        result.setCurrent(result.volumeNode, result)
        return result

    def undo(self, volumeNode):
        """One result back. Nothing is deleted. Returns the result now in view, ``None`` for the scan as it is."""
        return self.Result.step(volumeNode, -1)

    def redo(self, volumeNode):
        """One result on; returns the result now in view."""
        return self.Result.step(volumeNode, +1)

    def canUndo(self, volumeNode):
        return self.Result.canStep(volumeNode, -1)

    def canRedo(self, volumeNode):
        return self.Result.canStep(volumeNode, +1)

    def removeResult(self, result):
        """Delete a result's nodes; the one before it comes into view."""
        result.remove()

    def saveResult(self, result, folder, fileFormat="nifti"):
        """Write the result as files whose names begin with SYNTHETIC, and provenance.json; the paths written.

        Raises:
            Problem: no room, no permission.
        """
        return saving.saveResult(result, folder, fileFormat)
