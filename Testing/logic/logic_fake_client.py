"""A worker client that answers only when the test says so; it has WorkerClient's face and keeps what was sent."""

import numpy as np

from BrainCounterfactualCommon.worker.client import Result, WorkerError


class FakeJob:
    def __init__(self, request, payload, arrays, callbacks):
        self.request = request
        self.payload = payload
        self.arrays = arrays
        self.callbacks = callbacks
        self.state = "running"

    @property
    def isOpen(self):
        return self.state == "running"

    def cancel(self):
        if self.isOpen:
            self.state = "cancelling"

    def tell(self, name, *arguments):
        if self.callbacks.get(name):
            self.callbacks[name](*arguments)


def methodsTold():
    """Methods as a worker tells them: one that heals inside a mask, two that find their region, one without a model."""

    def told(name, label, masked, recipe, models):
        need = {"role": "model", "recipe": recipe, "models": models}
        why = "" if models else f"the model of recipe {recipe} is not installed"
        return {
            "name": name,
            "label": label,
            "about": f"About {label}.",
            "masked": masked,
            "needs": [need],
            "available": bool(models),
            "why": why,
        }

    return [
        told("dif_fuse", "Dif-fuse", True, "flair-healthy-128", ["flair-healthy-128", "tissue-256"]),
        told("ddpm", "DDPM", False, "flair-healthy-128", ["flair-healthy-128"]),
        told("swift", "Swift", False, "flair-swift", ["brain-mask"]),
        told("latent", "Latent diffusion", False, "flair-latent-healthy", []),
    ]


class FakeClient:
    info = None

    def __init__(self):
        self.jobs = []
        self.stopped = False

    @property
    def last(self):
        return self.jobs[-1]

    @property
    def busy(self):
        return any(job.isOpen for job in self.jobs)

    def isRunning(self):
        return bool(self.jobs) and not self.stopped

    def start(self):
        pass

    def stop(self, timeoutSeconds=2.0):
        self.stopped = True

    def submit(self, request, payload=None, arrays=None, **callbacks):
        self.jobs.append(FakeJob(request, payload or {}, arrays or {}, callbacks))
        return self.last

    def hello(self, onResult=None, onError=None):
        return self.submit("hello", {}, {}, onResult=onResult, onError=onError)

    def poll(self):
        """Confirm what was cancelled."""
        waiting = [job for job in self.jobs if job.state == "cancelling"]
        for job in waiting:
            job.state = "cancelled"
            job.tell("onCancelled")
        return len(waiting)

    # --- what a test makes the worker say ---

    def progress(self, *arguments):
        self.last.tell("onProgress", *arguments)

    def preview(self, axis, index, plane):
        self.last.tell("onPreview", axis, index, plane)

    def fail(self, className="WorkerDiedError", what="The worker ended.", cause="Killed.", action="Try again."):
        self.last.state = "failed"
        self.last.tell("onError", WorkerError(className, what, cause, action))

    def finish(self, arrays=None, samples=1, **data):
        """Answer the last request as the worker would: a healing that darkens the mask, or a saliency."""
        self.last.state = "done"
        voxels = self.last.arrays["voxels"]
        mask = self.last.arrays.get("mask")
        if mask is None:
            mask = np.zeros(voxels.shape, bool)
            mask[3:6, 2:5, 2:4] = True
        if self.last.request == "saliency":
            made = {"saliency": mask.astype(np.float32), "brain": np.ones(voxels.shape, bool)}
        else:
            healed = voxels.copy()
            healed[mask] = 0
            made = {
                "counterfactual": healed,
                "anomaly": mask.astype(np.float32),
                "lesion": mask,
                "mask": mask,
                "edited": mask,
                "saliency": mask.astype(np.float32),
            }
            if samples > 1:
                made.update(deviation=0.1 * mask.astype(np.float32), agreement=mask.astype(np.float32))
        made.update(arrays or {})
        facts = {
            "provenance": {"synthetic": True, "seed": 0, "note": 'a: "b"; c|d\n'},
            "lesion_ml": 1.5,
            "seconds": 2.0,
        }
        rows = [{"slice": 1, "lesion_probability": 0.25, "mask_mm2": 10.0, "lesion_mm2": 7.5}]
        self.last.tell("onResult", Result(made, {**facts, "slices": rows, "warnings": ["careful"], **data}))
