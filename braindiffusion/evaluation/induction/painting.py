"""Painting the pairs of an evaluation by one method, with its cost; kept on disk so that a stopped run goes on."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.errors import BrainDiffusionError, ModelNotFoundError
from braindiffusion.evaluation.induction.pairs import Pairs
from braindiffusion.lesions.common import LesionModel, floor_for
from braindiffusion.lesions.models import choose_card, operating_point
from braindiffusion.lesions.registry import METHODS, options_of
from braindiffusion.models.device import in_batches, precision_for
from braindiffusion.models.registry import load_model
from braindiffusion.networks.build import EpsPredictor
from braindiffusion.pipeline.provenance import plain
from braindiffusion.settings import Condition, InduceSettings

CONTROL = "redrawn"
"""MedEdit that is told no lesion: what repainting the margin changes by itself."""
KNOWN_METHODS = (*METHODS, CONTROL)


@dataclass(frozen=True)
class Plan:
    """A method as it is run on a kind.

    Attributes:
        settings: the method's own; ``overrides`` of an ablation are in them.
    """

    method: str
    kind: str
    card: dict[str, Any]
    label: int | None
    guidance: float
    settings: Any
    pitch_mm: float
    keep_outline: bool = True

    @property
    def base(self) -> str:
        """The registered method behind it."""
        return "mededit" if self.method == CONTROL else self.method

    def floor(self, x0: Tensor, lesion: Tensor, brain: Tensor) -> dict[str, Tensor]:
        """How far the brain reaches, for the methods that can be told."""
        holds = self.keep_outline and METHODS[self.base].takes_floor
        return {"floor": floor_for(x0, lesion, brain, self.settings, self.pitch_mm)} if holds else {}

    def facts(self) -> dict[str, Any]:
        """What decides the outcome, as plain data."""
        return plain({
            "method": self.method, "kind": self.kind, "model": self.card["name"], "sha256": self.card["sha256"],
            "label": self.label, "guidance": self.guidance, "settings": self.settings,
            "keep_outline": self.keep_outline and METHODS[self.base].takes_floor,
        })  # fmt: skip


@dataclass(frozen=True)
class Painted:
    """Images (N,H,W) float32 in [0,1], where the method was free to paint, and what it cost a slice."""

    images: np.ndarray
    generate: np.ndarray
    calls: float
    seconds: float


def plan_for(
    method: str, kind: str, pitch_mm: float, *, condition: Condition = "mask", steps: int | None = 15, **overrides: Any
) -> Plan:
    """The method as the product would run it on this kind: its card's operating point, then ``overrides``.

    Raises:
        ModelNotFoundError: no model for the method, or none that knows the kind.
    """
    base = "mededit" if method == CONTROL else method
    return plan_of(InduceSettings(method=base, condition=condition, steps=steps), kind, pitch_mm, method, **overrides)


def plan_of(asked: InduceSettings, kind: str, pitch_mm: float, method: str | None = None, **overrides: Any) -> Plan:
    """What is asked, as the product would run it on this kind; arguments and errors as :func:`plan_for`."""
    asked = replace(asked, kind=kind.partition("_")[0])
    method, card = method or asked.method, choose_card(asked)
    if kind not in card["kinds"]:
        raise ModelNotFoundError(
            f"{card['name']} does not paint {kind}.", f"It paints {', '.join(card['kinds'])}.", "Choose another kind."
        )
    tuned = operating_point(card, kind, asked.condition)
    guided = METHODS[asked.method].condition == "lesion" and method != CONTROL
    guidance = tuned.get("guidance", 1.0) if asked.guidance is None else asked.guidance
    classes = card["network"].get("args", {}).get("num_class_embeds")
    settings = replace(options_of(asked, pitch_mm, tuned), **overrides)
    return Plan(
        method, kind, card, card["kinds"].index(kind) if classes else None,
        float(guidance) if guided else 1.0, settings, pitch_mm, asked.keep_outline,
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


def _generators(seed: int, rows: np.ndarray) -> list[torch.Generator]:
    """Each pair has noise of its own, which depends on the seed and its number only: methods share it."""
    return [torch.Generator().manual_seed(int(np.random.SeedSequence([seed, r]).generate_state(1)[0])) for r in rows]


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
        model = load_model(plan.card["name"], str(self.device))
        predictor = EpsPredictor(
            model.network, Schedule(), prediction=plan.card.get("prediction", "eps"), label=plan.label,
            precision=precision_for("auto", self.device), guidance=plan.guidance,
        )  # fmt: skip
        network = _without_lesion(predictor) if plan.method == CONTROL else predictor
        images, generate = pairs.prior.copy(), np.zeros(pairs.told.shape, bool)

        def run(part: np.ndarray, finished: int) -> None:
            x, p, b = (_tensor(v[part], self.device) for v in (pairs.prior, pairs.told, pairs.brain))
            out = METHODS[plan.base].run(
                x, p, b, network, plan.settings, _generators(self.seed, part), None, lambda step: self.told(len(part)),
                **plan.floor(x, p, b),
            )  # fmt: skip
            new = torch.where(out.generate, out.samples[0].clamp(0, 1), x)
            images[part], generate[part] = new[:, 0].float().cpu().numpy(), out.generate[:, 0].cpu().numpy()

        started = time.perf_counter()
        in_batches(np.arange(len(pairs)), self.batch, run)
        seconds = (time.perf_counter() - started) / len(pairs)
        made = Painted(images, generate, predictor.slice_calls / len(pairs), seconds)
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            partial = kept.with_suffix(f".{os.getpid()}.partial.npz")
            arrays: dict[str, Any] = vars(made)
            np.savez_compressed(partial, **arrays)
            partial.replace(kept)
        return made


def _tensor(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))[:, None].to(device)
