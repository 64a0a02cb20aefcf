"""Running the rows of the healing table on the measured slices; what was made is kept: a stopped run goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from braindiffusion import __version__
from braindiffusion.cards import ModelCard, read_card
from braindiffusion.evaluation.healing.data import Measured
from braindiffusion.evaluation.healing.rows import COSTLY_CALLS, Row, calls_of
from braindiffusion.evaluation.models.data import spread
from braindiffusion.evaluation.result_cache import ResultCache, fingerprint
from braindiffusion.finders.contract import Found
from braindiffusion.finders.gate import CLASSIFIER
from braindiffusion.finders.given import DRAWN_MARGIN_MM
from braindiffusion.finders.segmenter import SEGMENT, SEGMENTERS, lesion_probabilities
from braindiffusion.healing.models import fitting, main_card, main_model, readable_cards
from braindiffusion.healing.registry import METHODS, operating_point
from braindiffusion.healing.run import heal_slices
from braindiffusion.healing.trajectories import Trajectories
from braindiffusion.models.device import choose_device, precision_for
from braindiffusion.models.registry import load_model
from braindiffusion.pipeline.provenance import plain
from braindiffusion.pipeline.stages import find_saliency, mask_of_saliency
from braindiffusion.settings import HealSettings
from braindiffusion.volume.masks import dilate, percentile_mask, smooth
from braindiffusion.volume.slices import SliceStack, window_of

SALIENCY_MODELS = (CLASSIFIER, "flair-acat-autoencoder")
MASK_SETTINGS = ("percentile", "mask_rule", "mask_order", "percentile_over", "margin_mm")
MASK_TUNED = ("percentile", "mask_sigma_px", "grow_level", "margin_mm", "bright")
FORMAT = 1
"""Raised when what is kept would come out differently from the same facts."""


@dataclass
class MethodOutput:
    """What a row made of the slices; (N,H,W) on the model grid.

    Attributes:
        values: healed less original, float16; or, where nothing was healed, the map that the lesions come from
            (saliency, probability, grey values), with a leading axis where there are several to choose from.
        region: bool, where a lesion can be found, the gate held open.
        weight: by which the method multiplies its anomaly map, or ``None``.
        measured: (N,) bool, slices the row is measured on.
        healed: (N,) bool, slices that were healed.
        calls, seconds: of the main network and in all, a healed slice, as if no inversion were shared with other rows.
        saliency_seconds: a slice, on top.
    """

    values: np.ndarray
    region: np.ndarray
    measured: np.ndarray
    healed: np.ndarray
    weight: np.ndarray | None = None
    calls: float = 0.0
    seconds: float = 0.0
    saliency_seconds: float = 0.0


def models_of(saliency: str) -> tuple[str, ...]:
    """The models behind a saliency map."""
    return (CLASSIFIER, SEGMENTERS[saliency]) if saliency in SEGMENTERS else SALIENCY_MODELS


def computing(base: HealSettings, device: torch.device) -> dict[str, Any]:
    """What every result depends on."""
    return {"device": device.type, "precision": precision_for(base.precision, device), "version": __version__}


def row_facts(row: Row, base: HealSettings, device: torch.device, seed: int = 0) -> dict[str, Any]:
    """What decides the outcome of a row beside the slices, as plain data; ``models`` are those it uses.

    Raises:
        ModelNotFoundError, SettingsError.
    """
    settings = row.of(base, seed)
    facts: dict[str, Any] = {"find": row.find, "region": row.region, "gated": row.gated}
    models = [row.model] if row.model else []
    if row.needs_saliency:
        models += models_of(settings.saliency)
        tuned = _tuned(main_card(base)) | row.point
        facts["saliency"] = settings.saliency
        if settings.saliency in SEGMENTERS:
            facts["segmenter"] = read_card(SEGMENTERS[settings.saliency]).get("operating_points", {}).get(SEGMENT)
        facts["mask"] = {k: getattr(settings, k) for k in MASK_SETTINGS} | {
            f"tuned_{k}": tuned.get(k) for k in MASK_TUNED
        }
    if row.find == "heal":
        main, method, cards = main_card(settings), METHODS[row.method], readable_cards()
        models += [
            main["name"],
            *(str(fitting(need, cards, main)[0]["name"]) for need in method.auxiliary_models.values()),
        ]
        options = method.options(settings, operating_point(main, row.method))
        facts |= {"method": row.method, "options": options, "seed": settings.seed}
        facts["keep_outline"] = settings.keep_outline
    if row.gated:
        models.append(CLASSIFIER)
    facts["models"] = {name: read_card(name)["sha256"] for name in dict.fromkeys(models)}
    return plain(facts | computing(base, device))


class Runner:
    """Runs rows on some slices.

    Args:
        base: settings of Dif-fuse as in use; rows change them.
        costly: lesion slices that rows of many network calls are measured on.
        told: called with the number of network calls times slices that were done, or need not be.
        folder: of what is kept; that of the split if not given.
    """

    def __init__(
        self, slices: Measured, base: HealSettings, kept: ResultCache, costly: int,
        told: Callable[[int], None] | None = None, folder: str | None = None,
    ) -> None:  # fmt: skip
        self.slices, self.base, self.kept, self.costly = slices, base, kept, costly
        self.folder = folder or slices.split
        self.told = told or (lambda calls: None)
        self.device = choose_device(base.device)
        self.card = main_card(base)
        self._saliency: dict[str, tuple[np.ndarray, float]] = {}
        self._segmented: dict[str, tuple[np.ndarray, float]] = {}
        self._stacks: dict[int, SliceStack] = {}
        self._memory = Trajectories()

    # what rows share

    def _by_part(
        self, name: str, facts: Any, run: Callable[[np.ndarray], dict[str, Any]], more: np.ndarray | None = None
    ) -> Iterator[dict[str, Any]]:
        """``run(indices of a part)`` for every part, kept under what decides it."""
        for number, index in enumerate(self.slices.parts):
            extra = [] if more is None else [more[index]]
            key = fingerprint({"facts": facts, "slices": self.slices.digest(index, *extra), "format": FORMAT})
            file = f"{self.folder}/{name}/{number:04d}"
            found = self.kept.load(file, key)
            if found is None:
                found = run(index)
                self.kept.save(file, key, found)
            yield found

    def saliency(self, kind: str) -> tuple[np.ndarray, float]:
        """(N,H,W) float32 in [0,1] of the slices worked on, and seconds a slice."""
        if kind not in self._saliency:
            models = [read_card(m)["sha256"] for m in models_of(kind)]
            facts = {"saliency": kind, "models": models, **computing(self.base, self.device)}
            settings = replace(self.base, saliency=kind, gate=0.0)

            def run(index: np.ndarray) -> dict[str, Any]:
                started, stack = time.perf_counter(), self.slices.stack(index)
                found = find_saliency(stack, settings, self.slices.worked[index], self.device)
                return {"maps": found.maps.astype(np.float16), "seconds": time.perf_counter() - started}

            parts = list(self._by_part(f"saliency_{kind}", facts, run, self.slices.worked))
            maps = self._whole([p["maps"] for p in parts])
            seconds = sum(float(p["seconds"]) for p in parts) / max(1, int(self.slices.worked.sum()))
            self._saliency[kind] = maps, seconds
        return self._saliency[kind]

    def segmented(self, name: str) -> tuple[np.ndarray, float]:
        """(C,N,H,W) float32 lesion probability by each output of a segmenter, and seconds a slice."""
        if name not in self._segmented:
            model = load_model(name, str(self.device))
            facts = {"model": model.card["sha256"], **computing(self.base, self.device)}

            def run(index: np.ndarray) -> dict[str, Any]:
                started, stack = time.perf_counter(), self.slices.stack(index)
                window = window_of(stack.brain, model.card.get("crop"))
                x = torch.from_numpy(stack.images[window])[:, None].to(self.device)
                p = lesion_probabilities(x, model.network).cpu()
                maps = np.zeros((len(index), p.shape[1], *stack.images.shape[1:]), np.float16)
                maps[:, :, window[1], window[2]] = p.numpy()
                seconds = time.perf_counter() - started
                return {"maps": maps * stack.brain[:, None], "seconds": seconds}

            parts = list(self._by_part(name, facts, run))
            whole = self._whole([p["maps"] for p in parts])
            seconds = sum(float(p["seconds"]) for p in parts) / len(self.slices)
            self._segmented[name] = np.moveaxis(whole, 1, 0), seconds
        return self._segmented[name]

    def _whole(self, parts: list[np.ndarray]) -> np.ndarray:
        order = np.concatenate(self.slices.parts)
        joined = np.concatenate(parts).astype(np.float32)
        out = np.empty_like(joined)
        out[order] = joined
        return out

    def _stack(self, index: np.ndarray) -> SliceStack:
        """A part as one stack, always the same object: inversions are remembered by it."""
        first = int(index[0])
        if first not in self._stacks:
            self._stacks[first] = self.slices.stack(index)
        return self._stacks[first]

    # regions

    def _by_saliency(self, row: Row) -> np.ndarray:
        data, settings = self.slices, row.of(self.base)
        maps, _ = self.saliency(settings.saliency)
        if row.region == "area":
            return _as_large_as_bright(maps, data, float(_tuned(self.card).get("bright", 0.6)))
        found = Found(maps, data.probability, data.worked)
        card = self.card
        if row.point:
            card = ModelCard(card | {"operating_points": {"dif_fuse": _tuned(card) | row.point}})
        return mask_of_saliency(found, data.stack(np.arange(len(data))), settings, card)

    def region(self, row: Row) -> np.ndarray:
        """(N,H,W) bool: where a row heals, the gate held open."""
        data = self.slices
        if row.region == "brain":
            return data.brain & data.worked[:, None, None]
        if row.region == "drawn":
            return dilate(data.on_grid, DRAWN_MARGIN_MM, data.pitch_mm) & data.brain
        return self._by_saliency(row) & data.worked[:, None, None]

    def measured(self, row: Row) -> np.ndarray:
        """(N,) bool: all slices; for a costly row, some with a lesion, evenly spaced."""
        if calls_of(row, self.base) <= COSTLY_CALLS:
            return np.ones(len(self.slices), bool)
        lesions, chosen = np.nonzero(self.slices.lesion)[0], np.zeros(len(self.slices), bool)
        chosen[lesions[spread(len(lesions), self.costly)]] = True
        return chosen

    # rows

    def run(self, row: Row, seed: int = 0) -> MethodOutput:
        """Everything a row makes.

        Raises:
            ModelNotFoundError, SettingsError, MemoryExhaustedError.
        """
        data = self.slices
        everywhere, nowhere = np.ones(len(data), bool), np.zeros(len(data), bool)
        if row.find == "segmenter":
            maps, seconds = self.segmented(row.model)
            return MethodOutput(maps, data.brain, everywhere, nowhere, seconds=seconds)
        if row.find == "saliency":
            maps, seconds = self.saliency(row.of(self.base).saliency)
            return MethodOutput(maps, data.brain, everywhere, nowhere, saliency_seconds=seconds)
        if row.find == "bright":
            grey = smooth(data.images).astype(np.float32)
            return MethodOutput(grey * data.brain, data.brain, everywhere, nowhere)
        if row.find == "nothing":
            return MethodOutput(np.zeros_like(data.images), np.zeros_like(data.brain), everywhere, nowhere)
        return self._heal(row, seed)

    def _heal(self, row: Row, seed: int) -> MethodOutput:
        data, settings = self.slices, row.of(self.base, seed)
        measured = self.measured(row)
        region = self.region(row) & measured[:, None, None]
        model = main_model(settings, str(self.device))
        calls = calls_of(row, self.base)

        def run(index: np.ndarray) -> dict[str, Any]:
            started = time.perf_counter()
            stack, mask = self._stack(index), region[index]
            on = mask.any((1, 2))
            memory = self._memory if settings.samples == 1 else None
            healed, _, ran = heal_slices(stack, mask, model, settings, self.device, memory=memory)
            # an inversion that another row has made is charged to this one all the same
            due = calls * int(on.sum()) if memory else ran.slice_calls
            seconds = (time.perf_counter() - started) * (due / ran.slice_calls if ran.slice_calls else 1.0)
            out = {
                "on": on, "difference": (healed.mean(0) - stack.images)[on].astype(np.float16),
                "calls": due, "seconds": seconds,
            }  # fmt: skip
            if ran.score is not None:
                out["weight"] = ran.score.mean(0)[on].astype(np.float16)
            return out

        parts = []
        for part in self._by_part(f"{row.name}/{seed}", row_facts(row, self.base, self.device, seed), run, region):
            self.told(calls * int(part["on"].sum()))
            parts.append(part)
        values, weight = np.zeros(data.images.shape, np.float16), None
        for index, part in zip(data.parts, parts, strict=True):
            on = index[part["on"]]
            values[on] = part["difference"]
            if "weight" in part:
                weight = np.zeros(data.images.shape, np.float16) if weight is None else weight
                weight[on] = part["weight"]
        healed = region.any((1, 2))
        n = max(1, int(healed.sum()))
        saliency = self.saliency(settings.saliency)[1] if row.needs_saliency else 0.0
        return MethodOutput(
            values, region, measured, healed, weight, sum(int(p["calls"]) for p in parts) / n,
            sum(float(p["seconds"]) for p in parts) / n, saliency,
        )  # fmt: skip


def _tuned(card: Mapping[str, Any]) -> dict[str, Any]:
    """What was tuned for Dif-fuse, and serves all that heal inside a mask."""
    return dict(card.get("operating_points", {}).get("dif_fuse", {}))


def _as_large_as_bright(maps: np.ndarray, data: Measured, level: float) -> np.ndarray:
    """(N,H,W) bool: in each slice the most salient pixels, as many as are bright."""
    bright = ((smooth(data.images) > level) & data.brain).sum((1, 2))
    out = np.zeros_like(data.brain)
    for n in np.nonzero(maps.any((1, 2)) & (bright > 0))[0]:
        share = 100.0 * min(1.0, bright[n] / data.brain[n].sum())
        out[n] = percentile_mask(maps[n : n + 1], 100.0 - share, brain=data.brain[n : n + 1])[0]
    return out
