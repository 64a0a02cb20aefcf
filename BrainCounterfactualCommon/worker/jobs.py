"""One job of the worker and what the scene may do to it meanwhile: scan removed, scene closed, image changed."""

import numpy as np
import slicer

from BrainCounterfactualCommon.host import Problem, logger
from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.scene import layouts, overlays, volumes
from BrainCounterfactualCommon.scene.results import PREFIX, SYNTHETIC

CALLBACKS = ("onProgress", "onPreview", "onDone", "onError", "onCancelled")


class Callbacks:
    """What to call as a job goes on; any of them may be left out.

    ``onProgress(stage, done, total, secondsLeft or None)``, ``onPreview()``, ``onDone(Result)``,
    ``onError(WorkerError)``, ``onCancelled()``.
    """

    def __init__(self, onProgress=None, onPreview=None, onDone=None, onError=None, onCancelled=None):
        self.onProgress = onProgress
        self.onPreview = onPreview
        self.onDone = onDone
        self.onError = onError
        self.onCancelled = onCancelled

    @classmethod
    def of(cls, given):
        """From an object with these attributes, a dict, or ``None``."""
        if isinstance(given, dict):
            return cls(**given)
        return cls(**{name: getattr(given, name, None) for name in CALLBACKS})

    def tell(self, name, *arguments):
        """Call one of them. What it raises is logged: it must not stop the job's bookkeeping."""
        function = getattr(self, name)
        if function is None:
            return
        try:
            function(*arguments)
        except Exception:
            logger.exception("%s failed", name)


class Run:
    """A request under way about one scan. It ends once, whatever comes first; later events are ignored.

    Args:
        volumeNode: the scan.
        callbacks: of the caller.
        makeResult: ``(volumeNode, arrays, data) -> Result``, called with the worker's answer.
    """

    def __init__(self, volumeNode, callbacks, makeResult):
        self.volumeNode = volumeNode
        self.volumeId = volumeNode.GetID()
        self.callbacks = Callbacks.of(callbacks)
        self.job = None
        self.previewNode = None
        self.isOpen = True
        self._makeResult = makeResult
        self._geometry = (volumes.voxels(volumeNode).shape, volumes.ijkToRas(volumeNode))

    def end(self, name, *arguments):
        """End the run and tell how."""
        if not self.isOpen:
            return
        self.isOpen = False
        self.removePreview()  # first: Slicer's selectors answer a removal, and what is shown next is to stay
        self.callbacks.tell(name, *arguments)

    def stop(self, problem):
        """The scene took away what the job needs: stop the worker and say why."""
        if not self.isOpen:
            return
        if self.job is not None:
            self.job.cancel()
        self.end("onError", problem)

    # --- what the worker tells ---

    def onProgress(self, stage, done, total, secondsLeft):
        if self.isOpen:
            self.callbacks.tell("onProgress", stage, done, total, secondsLeft)

    def onPreview(self, axis, index, plane):
        if not self.isOpen:
            return
        if self.previewNode is None:
            self.previewNode = volumes.addVolume(
                np.array(volumes.voxels(self.volumeNode)), self.volumeNode, PREFIX + _("preview, not finished")
            )
            self.previewNode.SetAttribute(SYNTHETIC, "1")
            self.previewNode.SetSaveWithScene(False)
            self.previewNode.SetHideFromEditors(True)
            overlays.sameGrays(self.previewNode, self.volumeNode)
        volumes.updatePlane(self.previewNode, axis, index, plane)
        self.callbacks.tell("onPreview")

    def onResult(self, answer):
        if not self.isOpen:
            return
        shape, affine = self._geometry
        now = volumes.voxels(self.volumeNode).shape
        if now != shape or not np.allclose(volumes.ijkToRas(self.volumeNode), affine):
            self.end(
                "onError",
                Problem(
                    "ScanChangedError",
                    _("The scan was changed while it was worked on, so the result was dropped."),
                    _("Its voxels lie elsewhere now."),
                    _("Run it again."),
                ),
            )
            return
        try:
            result = self._makeResult(self.volumeNode, answer.arrays, answer.data)
        except Exception as error:
            logger.exception("The result could not be put into the scene")
            self.end(
                "onError",
                Problem(
                    "ResultError",
                    _("The result could not be put into the scene."),
                    str(error),
                    _("Free some memory and run it again."),
                ),
            )
            return
        self.end("onDone", result)

    def onError(self, error):
        self.end("onError", error)

    def onCancelled(self):
        self.end("onCancelled")

    def removePreview(self):
        node, self.previewNode = self.previewNode, None
        if node is not None and slicer.mrmlScene.IsNodePresent(node):
            layouts.takeOutOfViews(node)
            volumes.removeNode(node)
