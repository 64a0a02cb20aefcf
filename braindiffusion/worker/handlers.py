"""What the worker can do: one handler a request, over the engine. A new request is one function and one line."""

from __future__ import annotations

import hashlib
import os
import platform
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from braindiffusion import __version__
from braindiffusion.errors import BrainDiffusionError, OutputError
from braindiffusion.pipeline.provenance import plain
from braindiffusion.settings import settings_from
from braindiffusion.volume.scan import Scan
from braindiffusion.worker import PROTOCOL
from braindiffusion.worker.exports import export, teach
from braindiffusion.worker.protocol import Request, folder_of, load_array, malformed, read_scan, save_array, text, whole
from braindiffusion.worker.session import Handler, Job

_IMPORT = threading.Lock()
WARM_MODELS = ("brain-mask", "tissue-256", "flair-acat-classifier", "flair-acat-autoencoder")


def engine() -> Any:
    """:mod:`braindiffusion.pipeline.heal`, which brings torch along; imported once, whichever thread asks first."""
    with _IMPORT:
        import braindiffusion.pipeline.heal

        return braindiffusion.pipeline.heal


class Bench:
    """Loaded models, and what was computed of the last scan.

    Attributes:
        jobs: handlers of requests that compute; one at a time.
        answers: handlers of requests that are answered while a job runs.
    """

    def __init__(self) -> None:
        self._key: tuple[Any, ...] | None = None
        self._prepared: Any = None
        self.jobs: dict[str, Handler] = {
            "prepare": self.prepare, "saliency": self.saliency, "heal": self.heal, "shape": self.shape,
            "displace": self.displace, "induce": self.induce, "release": self.release, "export": export, "teach": teach,
        }  # fmt: skip
        self.answers: dict[str, Handler] = {"hello": self.hello, "estimate": self.estimate, "notes": self.notes}

    # --- answered at once ------------------------------------------------------------------------------------

    def hello(self, job: Job) -> dict[str, Any]:
        """Versions, devices, installed models, and the methods with what they need."""
        engine()
        import torch

        from braindiffusion.cards import installed, read_card
        from braindiffusion.healing.models import describe_methods
        from braindiffusion.models.device import devices

        cards: list[dict[str, Any]] = []
        for name in sorted(installed()):
            try:
                cards.append(read_card(name))
            except BrainDiffusionError as error:
                cards.append({"name": name, "error": error.as_dict()})
        return {
            "protocol": PROTOCOL, "version": __version__, "python": platform.python_version(),
            "torch": torch.__version__, "process": os.getpid(), "devices": devices(), "models": cards,
            "methods": describe_methods(),
        }  # fmt: skip

    def estimate(self, job: Job) -> dict[str, Any]:
        """What a heal will need: memory, batch, device, seconds."""
        engine()
        from braindiffusion.pipeline.estimate import estimate
        from braindiffusion.settings import HealSettings

        settings = settings_from(HealSettings, job.request.fields.get("settings"))
        slices = whole(job.request.fields.get("slices"), "slices", 0)
        with_saliency = job.request.fields.get("saliency") is True
        return asdict(estimate(settings, 1 if slices is None else slices, with_saliency=with_saliency))

    def notes(self, job: Job) -> dict[str, Any]:
        """What had to be assumed to read a scan's file, and where it puts the voxels."""
        from braindiffusion.io.read import read_scan as read_file

        scan = read_file(Path(text(job.request.fields, "path") or ""))
        return {"notes": list(scan.notes), "affine": scan.affine.tolist()}

    # --- jobs ------------------------------------------------------------------------------------------------

    def prepare(self, job: Job) -> dict[str, Any]:
        """The brain and the slices of a scan, before anybody asks for a result of them."""
        heal = engine()
        from braindiffusion.settings import HealSettings

        settings = settings_from(HealSettings, job.request.fields.get("settings"))
        scan = self._scan(job)
        brain = _optional_mask(job.request, "brain", scan)
        settings, _ = _planned(settings, scan, with_saliency=False)
        heal.prepare_scan(scan, settings, self._prepared, brain=brain, on_event=_listener(job, None))
        return {}

    def saliency(self, job: Job) -> dict[str, Any]:
        """Saliency and lesion probabilities of a scan."""
        heal = engine()
        from braindiffusion.pipeline.saliency import saliency_scan
        from braindiffusion.settings import HealSettings

        settings = settings_from(HealSettings, job.request.fields.get("settings"))
        folder, scan = folder_of(job.request), self._scan(job)
        brain = _optional_mask(job.request, "brain", scan)
        settings, warning = _planned(settings, scan, with_saliency=True)
        found = saliency_scan(scan, settings, brain=brain, on_event=_listener(job, None), prepared=self._prepared)
        arrays = {"saliency": found.saliency, "brain": heal.map_to_scan(found.stack.brain, found.stack.placement) > 0.5}
        return {
            "arrays": _save(job, folder, arrays),
            "slices": found.slices,
            "provenance": found.provenance,
            "warnings": [*warning, *found.warnings],
        }

    def heal(self, job: Job) -> dict[str, Any]:
        """Heal a scan, or one slice of it."""
        heal = engine()
        from braindiffusion.settings import HealSettings

        fields = job.request.fields
        settings = settings_from(HealSettings, fields.get("settings"))
        view = whole(fields.get("view_slice"), "view_slice")
        folder, scan = folder_of(job.request), self._scan(job)
        mask, brain = (_optional_mask(job.request, name, scan) for name in ("mask", "brain"))
        settings, warning = _planned(settings, scan, with_saliency=mask is None)
        listener = _listener(job, folder if fields.get("previews", True) else None)
        result = heal.heal_scan(
            scan, settings, mask=mask, brain=brain, on_event=listener, view_slice=view, prepared=self._prepared
        )
        names = ("counterfactual", "anomaly", "lesion", "mask", "edited", "saliency", "deviation", "agreement")
        return {
            "arrays": _save(job, folder, {name: getattr(result, name) for name in names} | _moved(result.mass_effect)),
            "slices": result.slices,
            "provenance": result.provenance,
            "warnings": [*warning, *result.warnings],
            "lesion_ml": result.provenance["lesion_ml"],
            "seconds": result.provenance["seconds"],
        }

    def shape(self, job: Job) -> dict[str, Any]:
        """The lesion that ``induce`` would make of a ``shape``, before it is painted."""
        engine()
        from braindiffusion.pipeline.induce import shape_scan
        from braindiffusion.settings import InduceSettings, ShapeSettings

        fields = job.request.fields
        settings = settings_from(InduceSettings, fields.get("settings"))
        wanted = settings_from(ShapeSettings, fields.get("shape"))
        folder, scan = folder_of(job.request), self._scan(job)
        brain = _optional_mask(job.request, "brain", scan)
        listener = _listener(job, None)
        made = shape_scan(scan, wanted, settings, brain=brain, on_event=listener, prepared=self._prepared)
        return {"arrays": _save(job, folder, {"lesion": made.mask}), "shape": plain(made.facts), "lesion_ml": made.ml}

    def displace(self, job: Job) -> dict[str, Any]:
        """What ``induce`` would move before it paints, by its ``mass_effect``; ``mask`` or ``shape`` as there."""
        engine()
        from braindiffusion.pipeline.induce import displace_scan

        settings, lesion, brain, folder, scan = self._induction(job)
        effect = displace_scan(
            scan, lesion, settings, brain=brain, on_event=_listener(job, None), prepared=self._prepared
        )
        return {
            "arrays": _save(job, folder, _moved(effect)), "mass_effect": plain(effect.figures) if effect else None,
            "warnings": effect.warnings if effect else [],
        }  # fmt: skip

    def _induction(self, job: Job) -> tuple[Any, Any, np.ndarray | None, Path, Scan]:
        """Settings, lesion (a mask or what to make), brain, folder and scan of a request to induce."""
        from braindiffusion.settings import InduceSettings, ShapeSettings

        fields = job.request.fields
        settings = settings_from(InduceSettings, fields.get("settings"))
        folder, scan = folder_of(job.request), self._scan(job)
        mask, brain = (_optional_mask(job.request, name, scan) for name in ("mask", "brain"))
        if (mask is None) == (fields.get("shape") is None):
            raise malformed("It needs either 'mask' or 'shape'.")
        lesion = mask if mask is not None else settings_from(ShapeSettings, fields["shape"])
        return settings, lesion, brain, folder, scan

    def induce(self, job: Job) -> dict[str, Any]:
        """Paint a lesion: the ``mask`` drawn by the user, or one made from a ``shape``."""
        engine()
        from braindiffusion.pipeline.induce import induce_scan

        fields = job.request.fields
        view = whole(fields.get("view_slice"), "view_slice")
        settings, lesion, brain, folder, scan = self._induction(job)
        listener = _listener(job, folder if fields.get("previews", True) else None)
        result = induce_scan(
            scan, lesion, settings, brain=brain, on_event=listener, view_slice=view, prepared=self._prepared
        )
        names = ("diseased", "lesion", "generate_mask", "difference", "edited", "deviation")
        return {
            "arrays": _save(job, folder, {name: getattr(result, name) for name in names} | _moved(result.mass_effect)),
            "effects": plain(result.effects),
            "slices": plain(result.slices),
            "provenance": result.provenance,
            "warnings": result.warnings,
            "lesion_ml": result.provenance["lesion_ml"],
            "seconds": result.provenance["seconds"],
        }

    def release(self, job: Job) -> dict[str, Any]:
        """Forget models and scans, and give the GPU's memory back."""
        import gc

        engine()
        import torch

        from braindiffusion.models.registry import release

        self._key = self._prepared = None
        release()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return {}

    def warm_up(self) -> list[Callable[[], None]]:
        """Tasks that load the models of a first heal, and time them, before anybody asks."""
        return [*(partial(_load, name) for name in WARM_MODELS), _calibrate]

    def _scan(self, job: Job) -> Scan:
        """The scan of a request; its ``ScanCache`` is the last one's where key, voxels and place are the same."""
        given = job.request.fields.get("scan")
        job.progress("load", 0, 1)
        scan = read_scan(given)
        key = text(given, "key")
        digest = hashlib.sha256(scan.voxels.tobytes()).digest()
        facts = (key, digest, scan.voxels.shape, scan.voxels.dtype.str, scan.affine.tobytes(), scan.modality, scan.path)
        if key is None or facts != self._key:
            from braindiffusion.pipeline.scan_cache import ScanCache

            self._key, self._prepared = facts, ScanCache(scan)
        job.progress("load", 1, 1)
        return self._prepared.scan


def _load(name: str) -> None:
    engine()
    from braindiffusion.cards import installed
    from braindiffusion.models.device import choose_device
    from braindiffusion.models.registry import load_model

    if name in installed():
        load_model(name, str(choose_device("auto")))


def _calibrate() -> None:
    engine()
    from braindiffusion.models.device import choose_device
    from braindiffusion.pipeline.estimate import calibrate

    calibrate(choose_device("auto"))


def _planned(settings: Any, scan: Scan, *, with_saliency: bool) -> tuple[Any, list[str]]:
    """Settings with the device and batch that fit this machine's memory, and what to warn of."""
    from braindiffusion.pipeline.estimate import estimate
    from braindiffusion.volume.slices import place

    a, b = settings.slices or (None, None)
    count = len(range(*slice(a, b).indices(place(scan).shape[0])))
    plan = estimate(settings, count, with_saliency=with_saliency)
    return replace(settings, device=plan.device, batch=plan.batch), [plan.warning] if plan.warning else []


def _optional_mask(request: Request, name: str, scan: Scan) -> np.ndarray | None:
    path = request.fields.get(name)
    return None if path is None else load_array(path, name, scan.voxels.shape) != 0


def _save(job: Job, folder: Path, arrays: dict[str, np.ndarray | None]) -> dict[str, str]:
    paths = {}
    for name, values in arrays.items():
        if values is not None:
            job.check()
            paths[name] = save_array(folder, name, values)
    return paths


def _moved(effect: Any) -> dict[str, np.ndarray | None]:
    """Arrays of a mass effect: the scan as displaced, how far it moved, borders of the ventricles before and after."""
    if effect is None:
        return {}
    return {"displaced": effect.voxels, "displacement_mm": effect.way, "displaced_outline": effect.outline}


def _listener(job: Job, folder: Path | None) -> Any:
    """Engine events -> progress and previews; the newest preview waits until the last is long enough ago."""
    waiting: Any = None
    count = 0

    def listen(event: Any) -> None:
        nonlocal waiting, count
        job.progress(event.stage, event.done, event.total)
        if folder is None:
            return
        waiting = event if event.plane else waiting
        if waiting is None or not (waiting.coarse or job.preview_due()):
            return
        (plane, coarse), waiting = (waiting.plane(), waiting.coarse), None
        try:
            path = save_array(folder, f"preview-{count}", plane.values)
        except OutputError:
            return  # a full disk shows when the result is written
        count += 1
        job.preview(plane.axis, plane.index, path, coarse)

    return listen
