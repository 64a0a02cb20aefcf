"""Painting the pairs of an evaluation by one method, with its cost; kept on disk so that a stopped run goes on."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from braindiffusion.cards import ModelCard
from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.errors import BrainDiffusionError, ModelNotFoundError
from braindiffusion.evaluation.induction.pairs import Pairs
from braindiffusion.healing.models import is_conditioned
from braindiffusion.lesions.common import LesionModel, floor_for
from braindiffusion.lesions.models import choose_card, lesion_models, operating_point
from braindiffusion.lesions.registry import METHODS, options_of
from braindiffusion.models.device import in_batches, precision_for
from braindiffusion.models.registry import load_model
from braindiffusion.networks.build import EpsPredictor
from braindiffusion.pipeline.provenance import plain
from braindiffusion.settings import OWN_STEPS, Condition, InduceSettings
from braindiffusion.volume.scan import Scan

CONTROL = "redrawn"
"""MedEdit that is told no lesion: what repainting the margin changes by itself."""
KNOWN_METHODS = (*METHODS, CONTROL)
FINER, NOMINAL_MM = 2, 5.0


@dataclass(frozen=True)
class Plan:
    """A method as it is run on a kind.

    Attributes:
        method: its name in the table: METHOD or METHOD:MODEL.
        settings: the method's own; ``overrides`` of an ablation are in them.
        asked: what the product is asked.
    """

    method: str
    kind: str
    card: ModelCard
    label: int | None
    guidance: float
    settings: Any
    pitch_mm: float
    asked: InduceSettings

    @property
    def base(self) -> str:
        """The registered method behind it."""
        return self.asked.method

    def floor(self, x0: Tensor, lesion: Tensor, brain: Tensor) -> dict[str, Tensor]:
        """How far the brain reaches, for the methods that can be told."""
        holds = self.asked.keep_outline and METHODS[self.base].takes_floor
        return {"floor": floor_for(x0, lesion, brain, self.settings, self.pitch_mm)} if holds else {}

    def facts(self) -> dict[str, Any]:
        """What decides the outcome, as plain data."""
        return plain({
            "method": self.method, "kind": self.kind, "model": self.card["name"], "sha256": self.card["sha256"],
            "label": self.label, "guidance": self.guidance, "settings": self.settings,
            "keep_outline": self.asked.keep_outline and METHODS[self.base].takes_floor,
        })  # fmt: skip


@dataclass(frozen=True)
class Painted:
    """Images (N,H,W) float32 in [0,1], where the method was free to paint, and what it cost a slice."""

    images: np.ndarray
    generate: np.ndarray
    calls: float
    seconds: float


def plan_for(
    name: str, kind: str, pitch_mm: float, *, condition: Condition = "mask", steps: int | None = OWN_STEPS,
    **overrides: Any,
) -> Plan:  # fmt: skip
    """METHOD or METHOD:MODEL as the product would run it on this kind: its card's operating point, then ``overrides``.

    Raises:
        ModelNotFoundError: no model for the method, or none that knows the kind.
    """
    base, _, model = name.partition(":")
    if base == CONTROL:  # a model that can be told no lesion
        told = [name for name, card in lesion_models().items() if card.condition == "lesion" and kind in card.kinds]
        base, model = "mededit", model or next(iter(told), "")
    asked = InduceSettings(method=base, model=model or None, condition=condition, steps=steps)
    return plan_of(asked, kind, pitch_mm, name, **overrides)


def plan_of(asked: InduceSettings, kind: str, pitch_mm: float, name: str | None = None, **overrides: Any) -> Plan:
    """What is asked, as the product would run it on this kind; arguments and errors as :func:`plan_for`."""
    asked = replace(asked, kind=kind.partition("_")[0])
    name, card = name or asked.method, choose_card(asked)
    if kind not in card["kinds"]:
        raise ModelNotFoundError(
            f"{card['name']} does not paint {kind}.", f"It paints {', '.join(card['kinds'])}.", "Choose another kind."
        )
    tuned = operating_point(card, kind, asked.condition)
    guided = card.condition == "lesion" and not name.startswith(CONTROL)
    guidance = tuned.get("guidance", 1.0) if asked.guidance is None else asked.guidance
    classes = card["network"].get("args", {}).get("num_class_embeds")
    settings = replace(options_of(asked, pitch_mm, tuned), **overrides)
    return Plan(
        name, kind, card, card["kinds"].index(kind) if classes else None,
        float(guidance) if guided else 1.0, settings, pitch_mm, asked,
    )  # fmt: skip


def runnable(
    methods: list[str], kind: str, pitch_mm: float, condition: Condition, steps: int | None
) -> tuple[dict[str, Plan], dict[str, str]]:
    """Plans of the methods that can run, and why the others cannot."""
    plans, skipped = {}, {}
    for method in methods:
        try:
            plans[method] = plan_for(method, kind, pitch_mm, condition=condition, steps=steps)
        except BrainDiffusionError as error:
            skipped[method] = f"{error.what} {error.why}".strip()
    return plans, skipped


def _without_lesion(model: LesionModel) -> LesionModel:
    """The same model, told an empty mask."""
    return lambda x, level, told: model(x, level, torch.cat([torch.zeros_like(told[:, :1]), told[:, 1:]], dim=1))


def _seeds(seed: int, rows: np.ndarray) -> list[int]:
    """Each pair has noise of its own, which depends on the seed and its number only: methods share it."""
    return [int(np.random.SeedSequence([seed, r]).generate_state(1)[0]) for r in rows]


def _averaged(values: np.ndarray) -> np.ndarray:
    """(2h,2w) -> (h,w)."""
    h, w = (n // FINER for n in values.shape)
    return np.asarray(values.reshape(h, FINER, w, FINER).mean((1, 3)), np.float32)


def modality_of(card: Mapping[str, Any], kind: str) -> str:
    """The contrast on which a model paints a kind of lesion."""
    return str(card.get("kind_modality", {}).get(kind, kind.rpartition("_")[2].upper()))


class Painter:
    """Paints pairs by plans.

    Args:
        cache: folder of earlier results; ``None`` keeps none.
        told: called with the number of network calls times slices done since it was last called.
    """

    def __init__(
        self, device: torch.device, seed: int, batch: int, cache: Path | None, told: Callable[[int], None]
    ) -> None:
        self.device, self.seed, self.batch, self.cache, self.told = device, seed, batch, cache, told

    def _kept(self, plan: Plan, pairs: Pairs) -> Path | None:
        if self.cache is None:
            return None
        digest = hashlib.sha256(json.dumps([plan.facts(), self.seed, str(self.device)], sort_keys=True).encode())
        for array in (pairs.prior, pairs.brain, pairs.told):
            digest.update(np.ascontiguousarray(array).tobytes())
        return self.cache / f"painted-{digest.hexdigest()[:20]}.npz"

    def paint(self, plan: Plan, pairs: Pairs) -> Painted:
        """All pairs by one plan.

        Raises:
            MemoryExhaustedError, ModelCorruptError.
        """
        kept = self._kept(plan, pairs)
        total = plan.settings.calls() * len(pairs)
        if kept and kept.is_file():
            with np.load(kept, allow_pickle=False) as d:
                self.told(total)
                return Painted(d["images"], d["generate"], float(d["calls"]), float(d["seconds"]))
        made = self._in_context(plan, pairs) if is_conditioned(plan.card) else self._batched(plan, pairs)
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            partial = kept.with_suffix(f".{os.getpid()}.partial.npz")
            arrays: dict[str, Any] = vars(made)
            np.savez_compressed(partial, **arrays)
            partial.replace(kept)
        return made

    def _in_context(self, plan: Plan, pairs: Pairs) -> Painted:
        """A model that is shown the surroundings works on a finer grid: slices are enlarged, painted, and averaged."""
        from braindiffusion.pipeline.induce import induce_scan

        images, generate = pairs.prior.copy(), np.zeros(pairs.told.shape, bool)
        calls, seeds = 0, _seeds(self.seed, np.arange(len(pairs)))
        affine = np.diag([*[-pairs.pitch_mm / FINER] * 2, NOMINAL_MM, 1.0])
        modality = modality_of(plan.card, plan.kind)
        started = time.perf_counter()
        for n in range(len(pairs)):
            voxels = ndimage.zoom(pairs.prior[n], FINER, order=3, mode="nearest", grid_mode=True).clip(0, None)
            brain, told = (np.kron(v[n], np.ones((FINER, FINER), bool)) for v in (pairs.brain, pairs.asked))
            scan = Scan(np.ascontiguousarray(voxels.T[..., None]), affine, modality, {"format": "pack"})
            asked = replace(
                plan.asked, kind=plan.kind.partition("_")[0], seed=seeds[n] % 2**31, device=str(self.device)
            )
            result = induce_scan(scan, told.T[..., None], asked, brain=brain.T[..., None])
            generate[n] = _averaged(result.generate_mask[..., 0].T.astype(np.float32)) > 0
            images[n] = np.where(generate[n], _averaged(result.diseased[..., 0].T).clip(0, 1), images[n])
            calls += result.provenance["network_calls"]["per_slice"]
            self.told(plan.settings.calls())
        return Painted(images, generate, calls / len(pairs), (time.perf_counter() - started) / len(pairs))

    def _batched(self, plan: Plan, pairs: Pairs) -> Painted:
        model = load_model(plan.card["name"], str(self.device))
        predictor = EpsPredictor(
            model.network, Schedule(), prediction=plan.card.get("prediction", "eps"), label=plan.label,
            precision=precision_for("auto", self.device), guidance=plan.guidance,
        )  # fmt: skip
        network = _without_lesion(predictor) if plan.method.startswith(CONTROL) else predictor
        images, generate = pairs.prior.copy(), np.zeros(pairs.told.shape, bool)

        def run(part: np.ndarray, finished: int) -> None:
            x, p, b = (_tensor(v[part], self.device) for v in (pairs.prior, pairs.told, pairs.brain))
            generators = [torch.Generator().manual_seed(n) for n in _seeds(self.seed, part)]
            out = METHODS[plan.base].run(
                x, p, b, network, plan.settings, generators, None, lambda step: self.told(len(part)),
                **plan.floor(x, p, b),
            )  # fmt: skip
            new = torch.where(out.generate, out.samples[0].clamp(0, 1), x)
            images[part], generate[part] = new[:, 0].float().cpu().numpy(), out.generate[:, 0].cpu().numpy()

        started = time.perf_counter()
        in_batches(np.arange(len(pairs)), self.batch, run)
        seconds = (time.perf_counter() - started) / len(pairs)
        return Painted(images, generate, predictor.slice_calls / len(pairs), seconds)


def _tensor(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))[:, None].to(device)
