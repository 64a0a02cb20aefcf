"""The module's logic: healing, with the mask tools and the saliency that say where.

No Qt, no torch, no engine: the same file runs in desktop Slicer and on slicer-core. All methods belong to the main
thread.
"""

import logging

import numpy as np

from BrainCounterfactualCommon.exporting import Exporting
from BrainCounterfactualCommon.healing import Healing
from BrainCounterfactualCommon.host import Problem
from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.modulelogic import ModuleLogic
from BrainCounterfactualCommon.scene import masks, volumes
from BrainCounterfactualCommon.scene.counterfactuals import Counterfactual
from BrainCounterfactualCommon.worker.settings import checkedSettings
from BrainCounterfactualLib import saliency

CLASSIFIER = "flair-acat-classifier"


class BrainCounterfactualLogic(Healing, Exporting, ModuleLogic):
    """Heal scans of the scene.

    Args:
        client: a started or unstarted :class:`WorkerClient`; one is made at the first job otherwise.
    """

    Result = Counterfactual

    # --- mask ----------------------------------------------------------------------------------------------

    def maskIsEmpty(self, volumeNode):
        """Whether nothing is marked on the scan."""
        return not masks.voxelCount(masks.maskOf(volumeNode, make=False), masks.MASK_SEGMENT)

    def addBoxToMask(self, roiNode, seg, volumeNode):
        """Add the voxels inside a ROI, however it is turned; returns how many there are in it.

        Raises:
            Problem: the box holds no voxel of the scan.
        """
        box = masks.fromBox(roiNode, volumeNode)
        self.setMaskArray(self.maskArray(seg, volumeNode) | box, seg, volumeNode)
        return int(box.sum())

    def maskFromSaliency(self, saliencyNode, threshold, seg, volumeNode):
        """Replace the mask by where the saliency reaches ``threshold`` (0..1); returns the number of voxels.

        Raises:
            Problem: nothing does.
        """
        mask = volumes.voxels(saliencyNode) >= max(float(threshold), 1e-6)
        if not mask.any():
            raise Problem(
                "EmptyMaskError",
                _("The saliency selects nothing."),
                _("It stays below {threshold:.2f} everywhere.").format(threshold=threshold),
                _("Lower the threshold."),
            )
        self.setMaskArray(mask, seg, volumeNode)
        return int(mask.sum())

    def maskFromFile(self, path, seg, volumeNode, onNote=logging.warning):
        """Replace the mask by a file's (image or ``.seg.nrrd``, any grid); returns the number of voxels.

        Args:
            onNote: given sentences for the user about what was assumed.
        """
        mask = masks.fromFile(path, volumeNode, onNote)
        self.setMaskArray(mask, seg, volumeNode)
        return int(mask.sum())

    def maskFromNode(self, node, seg, volumeNode):
        """Replace the mask by a segmentation's or label map's of the scene; returns the number of voxels."""
        mask = masks.fromNode(node, volumeNode)
        self.setMaskArray(mask, seg, volumeNode)
        return int(mask.sum())

    def clearMask(self, seg, volumeNode):
        """Empty the mask."""
        self.setMaskArray(np.zeros(volumes.voxels(volumeNode).shape, bool), seg, volumeNode)

    # --- jobs ----------------------------------------------------------------------------------------------

    def estimate(self, volumeNode, settings, onResult, onError=None, slices=None, withSaliency=True):
        """What a healing will need on the chosen device: ``memory_bytes, device, batch, seconds, warning``.

        Args:
            slices: how many; all by default.
            withSaliency: whether the mask has to be found first.
        """
        payload = {
            "settings": checkedSettings(settings),
            "slices": slices or volumes.sliceCount(volumeNode),
            "saliency": bool(withSaliency),
        }
        return self.client.submit("estimate", payload, onResult=lambda answer: onResult(answer.data), onError=onError)

    def computeSaliency(self, volumeNode, settings=None, callbacks=None):
        """Find out where the classifier looks; ``onDone`` gets a Saliency, with ``saliencyNode`` and ``slices``.

        Raises:
            Problem: the scan, a setting or the state does not allow it.
        """
        self._checkReady(volumeNode)
        checked = checkedSettings(settings)
        self._checkModality(volumeNode, CLASSIFIER, checked["force"])
        return self._start("saliency", volumeNode, checked, callbacks, saliency.make)

    def saliencyProblem(self, volumeNode, settings):
        """Why the classifier cannot look at such a contrast, as a Problem; ``None`` where it can."""
        return self._modalityProblem(volumeNode, CLASSIFIER, settings["force"])

    def saliency(self, volumeNode):
        """The saliency last computed (``saliencyNode``, ``slices``), or ``None``."""
        return saliency.of(volumeNode)
