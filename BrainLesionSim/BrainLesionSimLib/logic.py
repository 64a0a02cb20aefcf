"""The module's logic: the lesion to be painted, induction by the worker, the round trip.

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
from BrainCounterfactualCommon.worker.jobs import Callbacks
from braindiffusion.settings import MARGIN_INDUCERS, MARGIN_MM, MAX_ML
from BrainLesionSimLib import drawing, inductions, kinds, roundtrip, thumbnails
from BrainLesionSimLib.settings import checkedSettings, checkedShape


class BrainLesionSimLogic(Healing, Exporting, ModuleLogic):
    """Induce lesions in scans of the scene, and heal them again; its results are inductions.

    Args:
        client: a started or unstarted :class:`WorkerClient`; one is made at the first job otherwise.
    """

    Result = inductions.Induction

    # --- what can be painted -------------------------------------------------------------------------------

    def kindsFor(self, volumeNode, method="mededit"):
        """Kind of lesion -> card of the model that paints it on the scan; empty where there is none."""
        modality = self.modality(volumeNode) if volumeNode is not None else None
        return kinds.offered(self.models(), modality, method)

    def lesionModels(self):
        """All lesion models in words."""
        return kinds.whatThereIs(self.models())

    # --- the lesion ----------------------------------------------------------------------------------------

    def lesionSegmentation(self, volumeNode):
        """The segmentation, with one segment ``Lesion``, that is painted on the scan; made when missing."""
        return drawing.lesionOf(volumeNode)

    def marginSegmentation(self, volumeNode):
        """The segmentation, with one segment ``Margin``, that shows what may change around the lesion."""
        return drawing.marginOf(volumeNode)

    def lesionArray(self, volumeNode):
        """(k,j,i) bool."""
        return drawing.lesionArray(volumeNode)

    def setLesion(self, mask, volumeNode):
        """Replace the lesion by a (k,j,i) array."""
        drawing.setLesion(mask, volumeNode)

    def lesionMl(self, volumeNode):
        """Volume of the lesion as drawn, mL."""
        return drawing.lesionMl(volumeNode)

    def marginMm(self, volumeNode, settings=None):
        """How far the margin reaches with these settings, as the engine rounds it; ``None``: the method has none."""
        wanted = checkedSettings(settings)
        if wanted["method"] not in MARGIN_INDUCERS:
            return None
        modality = self.modality(volumeNode)
        card = kinds.offered(self.models(), modality, wanted["method"]).get(wanted["kind"])
        condition = wanted["condition"]
        return kinds.reachMm(card, wanted["kind"], modality, condition, wanted["margin_mm"], MARGIN_MM[condition])

    def updateMargin(self, volumeNode, settings=None):
        """Draw the margin around the lesion as it is now."""
        drawing.updateMargin(volumeNode, self.marginMm(volumeNode, settings))

    def addBox(self, roiNode, volumeNode):
        """Add the voxels inside a ROI, however it is turned, to the lesion; returns how many there are in it.

        Raises:
            Problem: the box holds no voxel of the scan.
        """
        box = masks.fromBox(roiNode, volumeNode)
        self.setLesion(self.lesionArray(volumeNode) | box, volumeNode)
        return int(box.sum())

    def lesionFromFile(self, path, volumeNode, onNote=logging.warning):
        """Replace the lesion by a file's (image or ``.seg.nrrd``, any grid); returns the number of voxels.

        Args:
            onNote: given sentences for the user about what was assumed.
        """
        mask = masks.fromFile(path, volumeNode, onNote)
        self.setLesion(mask, volumeNode)
        return int(mask.sum())

    def lesionFromNode(self, node, volumeNode):
        """Replace the lesion by a segmentation's or label map's of the scene; returns the number of voxels."""
        mask = masks.fromNode(node, volumeNode)
        self.setLesion(mask, volumeNode)
        return int(mask.sum())

    def clearLesion(self, volumeNode):
        """Empty the lesion."""
        self.setLesion(np.zeros(volumes.voxels(volumeNode).shape, bool), volumeNode)

    # --- jobs ----------------------------------------------------------------------------------------------

    def makeLesion(self, volumeNode, shape=None, settings=None, callbacks=None):
        """Replace the lesion by one from the random generator; ``onDone`` gets what was drawn (a dict).

        Args:
            shape: fields of the engine's ShapeSettings: ``kind`` (stroke, tumour, spots), ``ml``, ``side``, ``lobe``.
            settings: of the induction; their seed decides where it lies.

        Raises:
            Problem: the scan, a setting or the state does not allow it.
        """
        checked, wanted = self._checkedInduction(volumeNode, settings), checkedShape(shape)

        def fill(volumeNode, arrays, data):
            self.setLesion(arrays["lesion"].transpose() > 0, volumeNode)
            facts = dict(data.get("shape", {}), seed=checked["seed"])
            drawing.remember(volumeNode, facts)
            return facts

        return self._start("shape", volumeNode, checked, callbacks, fill, {"shape": wanted})

    def induce(self, volumeNode, settings=None, callbacks=None, viewSlice=None):
        """Paint the lesion into the scan; ``onDone`` gets an Induction.

        Args:
            settings: fields of the engine's InduceSettings (see :mod:`BrainLesionSimLib.settings`).
            callbacks: see ``Callbacks`` in jobs.py; a dict or any object with these attributes.
            viewSlice: the slice in view, index along the axial voxel axis: painted first and previewed.

        Returns:
            The worker's job.

        Raises:
            Problem: the scan, lesion, a setting or the state does not allow it.
        """
        checked = self._checkedInduction(volumeNode, settings)
        lesion = self.lesionArray(volumeNode)
        if not lesion.any():
            raise Problem(
                "EmptyMaskError",
                _("There is no lesion to paint."),
                _("Nothing has been drawn on the scan."),
                _("Paint, add a box, load a file, or let one be made."),
            )
        ml = float(lesion.sum()) * volumes.voxelVolumeMl(volumeNode)
        if ml > MAX_ML:
            raise Problem(
                "LesionSizeError",
                _("The lesion has {ml:.0f} mL.").format(ml=ml),
                _("At most {most:.0f} mL are painted.").format(most=MAX_ML),
                _("Make it smaller."),
            )
        made = drawing.remembered(volumeNode, lesion)

        def make(volumeNode, arrays, data):
            return inductions.make(volumeNode, arrays, data, made)

        payload = {"previews": True, "view_slice": None if viewSlice is None else int(viewSlice)}
        arrays = {"mask": np.ascontiguousarray(lesion.transpose())}
        return self._start("induce", volumeNode, checked, callbacks, make, payload, arrays)

    def roundTrip(self, induction, callbacks=None, region=roundtrip.LESION, healSettings=None):
        """Heal what was induced, and keep how much of the prior came back; ``onDone`` gets the induction.

        Args:
            region: what is healed: the same ``lesion`` mask that was painted, or all of the ``margin``.
            healSettings: fields of the engine's HealSettings that are not to be as usual.

        Raises:
            Problem: there is no model that heals such a scan, or the state does not allow it.
        """
        told, node = Callbacks.of(callbacks), induction.node
        settings = self._healSettings(node, induction.provenance.get("settings", {}), region, healSettings)
        seg = self.maskSegmentation(node)
        self.setMaskArray(induction.marked(roundtrip.REGIONS[region]), seg, node)
        masks.hide(seg)  # nobody drew it: it must not cover what is compared

        def onHealed(healing):
            masks.hide(healing.maskNode)
            masks.hide(healing.lesionNode)
            if induction.volumeNode is not None:  # the prior may have been removed meanwhile
                roundtrip.record(induction, healing, region)
            told.tell("onDone", induction)

        return self.heal(node, settings, _withDone(told, onHealed), maskNode=seg)

    def induceThenHeal(
        self, volumeNode, settings=None, callbacks=None, viewSlice=None, region=roundtrip.LESION, healSettings=None
    ):
        """Paint the lesion, then heal it; ``onDone`` gets the induction, with its ``roundTrip`` figures.

        An error of the healing leaves the induction in the scene.

        Raises:
            Problem: as :meth:`induce` and :meth:`roundTrip`; nothing is started then.
        """
        told = Callbacks.of(callbacks)
        self._checkedInduction(volumeNode, settings)
        self._checkedHealing(volumeNode, self._healSettings(volumeNode, settings or {}, region, healSettings))

        def onInduced(induction):
            try:
                self.roundTrip(induction, callbacks, region, healSettings)
            except Problem as problem:
                told.tell("onError", problem)

        return self.induce(volumeNode, settings, _withDone(told, onInduced), viewSlice)

    def _healSettings(self, volumeNode, settings, region, own):
        cards = self.modelsFor(volumeNode)
        return dict(roundtrip.healSettings(settings, cards[0] if cards else None, region), **(own or {}))

    def _checkedInduction(self, volumeNode, settings):
        self._checkReady(volumeNode)
        checked = checkedSettings(settings)
        if not checked["force"]:
            kinds.cardFor(self.models(), checked["kind"], self.modality(volumeNode), checked["method"])
        return checked

    def nextSeed(self, volumeNode):
        """A seed no induction of the scan was made with."""
        return 1 + max([found.seed for found in self.results(volumeNode)], default=-1)

    # --- inductions ----------------------------------------------------------------------------------------

    def removeOthers(self, volumeNode):
        """Delete all inductions of the scan that are not kept; how many they were."""
        others = [found for found in self.results(volumeNode) if not found.kept]
        for found in others:
            found.remove()
        return len(others)

    def thumbnail(self, result, path):
        """Write a small picture (PNG) of an induction; returns the path."""
        return thumbnails.write(result, path)


def _withDone(told, onDone):
    """The callbacks, with another end."""
    return Callbacks(told.onProgress, told.onPreview, onDone, told.onError, told.onCancelled)
