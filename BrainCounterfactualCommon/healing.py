"""Healing, as both modules' logics do it: the method and its model, the mask, the job."""

import numpy as np

from BrainCounterfactualCommon.host import Problem
from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.scene import counterfactuals, masks, volumes
from BrainCounterfactualCommon.worker import models
from BrainCounterfactualCommon.worker.settings import checkedSettings


class Healing:
    """The part of a module's logic that heals; beside :class:`BrainCounterfactualCommon.modulelogic.ModuleLogic`."""

    # --- methods and models --------------------------------------------------------------------------------

    def methods(self):
        """Healing methods (dicts; see ``hello`` in docs/worker.md); Dif-fuse alone until the worker has told."""
        return models.methodsOf(self._client.info if self._client is not None else None)

    def modelsFor(self, volumeNode, method="dif_fuse"):
        """Cards of a method's models, those for the scan's modality first; ``card["fits"]`` says which are."""
        modality = self.modality(volumeNode) if volumeNode is not None else None
        found = models.serving(self.models(), models.methodNamed(self.methods(), method))
        cards = [dict(card, fits=models.fits(card, modality)) for card in found]
        return sorted(cards, key=lambda card: not card["fits"])

    # --- mask ----------------------------------------------------------------------------------------------

    def maskSegmentation(self, volumeNode):
        """The segmentation, with one segment ``Mask``, that belongs to the scan; made when missing."""
        return masks.maskOf(volumeNode)

    def maskArray(self, seg, volumeNode):
        """(k,j,i) bool."""
        return masks.arrayOf(seg, volumeNode)

    def setMaskArray(self, mask, seg, volumeNode):
        """Replace the mask by a (k,j,i) array."""
        masks.setSegmentArray(np.asarray(mask) != 0, seg, masks.MASK_SEGMENT, volumeNode)

    # --- the job -------------------------------------------------------------------------------------------

    def heal(self, volumeNode, settings=None, callbacks=None, maskNode=None, sliceIndex=None, viewSlice=None):
        """Heal the scan, or one slice of it.

        Args:
            settings: fields of the engine's HealSettings (see :mod:`BrainCounterfactualCommon.worker.settings`).
            callbacks: see ``Callbacks`` in jobs.py; a dict or any object with these attributes.
            maskNode: segmentation or labelmap drawn by the user; without it the saliency decides.
            sliceIndex: heal only this slice: index along the scan's axial voxel axis.
            viewSlice: the slice in view, which is previewed and healed first; same index.

        Returns:
            The worker's job.

        Raises:
            Problem: the scan, mask, a setting or the state does not allow it.
        """
        checked = self._checkedHealing(volumeNode, settings)
        arrays = {}
        if maskNode is not None:
            mask = self.maskArray(maskNode, volumeNode)
            if sliceIndex is not None:
                axis = 2 - volumes.axialAxis(volumes.ijkToRas(volumeNode))[0]
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
            stacked = volumes.stackIndex(volumeNode, sliceIndex)
            checked["slices"] = [stacked, stacked + 1]
        payload = {"view_slice": sliceIndex if viewSlice is None else int(viewSlice), "previews": True}
        return self._start("heal", volumeNode, checked, callbacks, counterfactuals.make, payload, arrays)

    def _checkedHealing(self, volumeNode, settings):
        """Settings, after everything that can be known to be wrong without asking the worker."""
        self._checkReady(volumeNode)
        checked = checkedSettings(settings)
        name = models.mainModel(self.models(), self.methods(), checked)
        self._checkModality(volumeNode, name, checked["force"])
        return checked

    def modalityProblem(self, volumeNode, settings):
        """Why the chosen model cannot heal such a contrast, as a Problem; ``None`` where it can."""
        main = models.mainModel(self.models(), self.methods(), settings)
        return self._modalityProblem(volumeNode, main, settings["force"])

    def _checkModality(self, volumeNode, name, force):
        """Raises Problem where the model never saw such a scan, unless it is forced."""
        problem = self._modalityProblem(volumeNode, name, force)
        if problem is not None:
            raise problem

    def _modalityProblem(self, volumeNode, name, force):
        card = next((card for card in self.models() if card["name"] == name), None)
        modality = self.modality(volumeNode)
        if not card or not modality or models.fits(card, modality) or force:
            return None
        return Problem(
            "ModalityError",
            _("This is a {modality} scan, and '{model}' was trained on {known}.").format(
                modality=modality, model=name, known=", ".join(card["modality"])
            ),
            _("A model shown a contrast it never saw paints that contrast away."),
            self._modalityAdvice(volumeNode),
        )

    def _modalityAdvice(self, volumeNode):
        other = next((card["name"] for card in self.modelsFor(volumeNode) if card["fits"]), None)
        if other is None:
            return _("Choose another scan or model, correct the modality, or allow it under Advanced.")
        return _("Draw a mask and heal it by Dif-fuse with {model}, or correct the modality.").format(model=other)
