"""What the tests of BrainLesionSim use: a worker that answers when told to, and lesion models by their cards alone."""

import numpy as np
from logic_fake_client import FakeClient

from BrainCounterfactualCommon.worker.client import Result

LESION_CARD = {
    "name": "lesion-128",
    "task": "denoiser",
    "modality": ["FLAIR", "T1GD"],
    "kinds": ["stroke_flair", "tumour_flair", "tumour_t1gd"],
    "condition": "lesion",
    "grid": 128,
    "licence": "CC BY-NC-SA 4.0",
    "operating_points": {"tumour_flair": {"margin_mm": 11.25}},
}
HEALER_CARD = {
    "name": "flair-healthy-128",
    "task": "denoiser",
    "modality": ["FLAIR"],
    "licence": "CC BY-NC-SA 4.0",
}
EFFECTS = {
    "synthetic": True,
    "lesion_ml": 1.25,
    "ventricle": {"before_ml": 20.0, "after_ml": 19.5, "change_ml": -0.5},
    "midline_shift_mm": {"largest": -1.5, "mean": -0.4},
    "contrast": {"before": 0.01, "after": 0.2},
    "change_by_distance": [
        {"from_mm": None, "to_mm": 0.0, "pixels": 9, "mean": 0.2, "mean_absolute": 0.2},
        {"from_mm": 0.0, "to_mm": 2.0, "pixels": 4, "mean": None, "mean_absolute": None},
    ],
}


class FakeLesionClient(FakeClient):
    """Its worker has told of a lesion model and a healer."""

    def __init__(self):
        FakeClient.__init__(self)
        self.info = {"models": [LESION_CARD, HEALER_CARD], "devices": [{"name": "cpu"}]}

    def finishShape(self, mask, **facts):
        """Answer a request for a made lesion; ``mask`` is (k,j,i)."""
        self.last.state = "done"
        told = {"kind": "stroke", "ml": 3.0, "side": "L", **facts}
        self.last.tell("onResult", Result({"lesion": mask.transpose()}, {"shape": told, "lesion_ml": 3.0}))

    def finishInduction(self, brighter=50, samples=1, arrays=None):
        """Answer an induction: the lesion brighter, one voxel either way along i a little; the rest as it was."""
        self.last.state = "done"
        voxels, lesion = self.last.arrays["voxels"], self.last.arrays["mask"] > 0
        margin = lesion | np.roll(lesion, 1, 0) | np.roll(lesion, -1, 0)
        diseased = voxels.copy()
        diseased[lesion] += brighter
        diseased[margin & ~lesion] += 5
        made = {
            "diseased": diseased,
            "lesion": lesion,
            "generate_mask": margin,
            "difference": np.where(lesion, 1, np.where(margin, 2, 0)).astype(np.uint8),
            "edited": margin,
        }
        if samples > 1:
            made["deviation"] = lesion.astype(np.float32)
        provenance = {
            "synthetic": True,
            "settings": self.last.payload["settings"],
            "lesion": {"origin": "given"},
            "check": {"outside_identical": True},
            "device": "cpu",
        }
        rows = [
            {"slice": int(s), "lesion_mm2": float(lesion[..., s].sum()), "generate_mm2": float(margin[..., s].sum())}
            for s in np.nonzero(lesion.any((0, 1)))[0]
        ]
        data = {"effects": EFFECTS, "provenance": provenance, "lesion_ml": 1.25, "seconds": 3.0, "slices": rows}
        self.last.tell("onResult", Result(made | (arrays or {}), dict(data, warnings=["careful"])))

    def finishHealing(self, left=2):
        """Answer the healing of a round trip: what was edited comes back, but for ``left`` in every voxel."""
        mask = self.last.arrays["mask"] > 0
        healed = self.last.arrays["voxels"].copy()
        healed[mask] = self.prior[mask] + left
        self.finish({"counterfactual": healed, "mask": mask, "edited": mask, "lesion": mask})

    @property
    def prior(self):
        """(i,j,k) voxels of the scan last painted on."""
        return next(job for job in reversed(self.jobs) if job.request == "induce").arrays["voxels"]


def block(shape=(6, 8, 10)):
    """(k,j,i) bool: a lesion of 18 voxels on two slices."""
    mask = np.zeros(shape, bool)
    mask[2:4, 2:5, 3:6] = True
    return mask


def induced(logic, volumeNode, samples=1, **settings):
    """A finished induction of :func:`block`."""
    from logic_helpers import Heard

    heard = Heard()
    logic.setLesion(block(), volumeNode)
    logic.induce(volumeNode, settings, heard)
    logic.client.finishInduction(samples=samples)
    assert heard.names == ["onDone"], heard.said
    return heard.last
