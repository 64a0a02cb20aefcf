"""What was computed of one scan and serves again: its slices, their saliency and inversions by method and settings."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch

from braindiffusion.events import OnEvent
from braindiffusion.finders.contract import Found
from braindiffusion.finders.gate import CLASSIFIER
from braindiffusion.healing.models import is_conditioned
from braindiffusion.healing.trajectories import Trajectories
from braindiffusion.models.registry import load_model
from braindiffusion.pipeline.stages import brain_of, find_saliency
from braindiffusion.settings import HealSettings
from braindiffusion.volume.brain import Origin
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import SliceStack, to_slices, whole_slices

MOST_STACKS, MOST_SALIENCIES = 3, 8


class ScanCache:
    """The memory of one scan between runs. A run gives the same result with it as without it.

    Args:
        scan: it must not be changed afterwards.

    Attributes:
        trajectories: inversions of the slices of its stacks.
    """

    def __init__(self, scan: Scan) -> None:
        self.scan = scan
        self.trajectories = Trajectories()
        self._brains: dict[tuple[Any, ...], tuple[np.ndarray, Origin]] = {}
        self._stacks: dict[tuple[Any, ...], tuple[SliceStack, Origin]] = {}
        self._saliency: dict[tuple[Any, ...], Found] = {}

    @staticmethod
    def _given(brain: np.ndarray | None) -> bytes | None:
        return None if brain is None else hashlib.sha256(np.packbits(brain).tobytes()).digest()

    def brain(
        self, brain: np.ndarray | None, device: torch.device, on_event: OnEvent | None = None
    ) -> tuple[np.ndarray, Origin]:
        """See :func:`~braindiffusion.pipeline.stages.brain_of`."""
        key = (str(device), self._given(brain))
        if key not in self._brains:
            if len(self._brains) >= MOST_STACKS:
                self._brains.clear()
            self._brains[key] = brain_of(self.scan, brain, str(device), on_event=on_event)
        return self._brains[key]

    def stack(
        self,
        size: int,
        brain: np.ndarray | None,
        device: torch.device,
        scaling: str | None = None,
        on_event: OnEvent | None = None,
    ) -> tuple[SliceStack, Origin]:
        """The scan's slices on a model grid of ``size``, and where the brain is from."""
        key = (size, scaling or "brain_median", str(device), self._given(brain))
        if key not in self._stacks:
            found, origin = self.brain(brain, device, on_event)
            self._make_room()
            self._stacks[key] = to_slices(self.scan, found, size, key[1]), origin
        return self._stacks[key]

    def stack_for(
        self,
        card: dict[str, Any],
        brain: np.ndarray | None,
        device: torch.device,
        on_event: OnEvent | None = None,
    ) -> tuple[SliceStack, Origin]:
        """The slices that a model, by its card, works on."""
        if not is_conditioned(card):
            return self.stack(int(card["grid"]), brain, device, card.get("scaling"), on_event)
        key = (int(card["grid"]), "whole", str(device), self._given(brain))
        if key not in self._stacks:
            found, origin = self.brain(brain, device, on_event)
            self._make_room()
            self._stacks[key] = whole_slices(self.scan, found, key[0]), origin
        return self._stacks[key]

    def classifier_stack(self, brain: np.ndarray | None, device: torch.device) -> SliceStack:
        """The slices that the finders' classifier works on."""
        return self.stack_for(load_model(CLASSIFIER, str(device)).card, brain, device)[0]

    def _make_room(self) -> None:
        if len(self._stacks) >= MOST_STACKS:
            self._stacks.clear()
            self._saliency.clear()
            self.trajectories.clear()

    @staticmethod
    def _key(stack: SliceStack, settings: HealSettings, wanted: np.ndarray, device: torch.device) -> tuple[Any, ...]:
        return (id(stack), settings.saliency, settings.gate, wanted.tobytes(), str(device))

    def has_saliency(self, stack: SliceStack, settings: HealSettings, wanted: np.ndarray, device: torch.device) -> bool:
        """Whether :meth:`saliency` would answer at once."""
        return self._key(stack, settings, wanted, device) in self._saliency

    def saliency(
        self,
        stack: SliceStack,
        settings: HealSettings,
        wanted: np.ndarray,
        device: torch.device,
        on_event: OnEvent | None = None,
    ) -> Found:
        """See :func:`~braindiffusion.pipeline.stages.find_saliency`; ``stack`` is one of ours."""
        key = self._key(stack, settings, wanted, device)
        if key not in self._saliency:
            if len(self._saliency) >= MOST_SALIENCIES:
                self._saliency.pop(next(iter(self._saliency)))
            self._saliency[key] = find_saliency(stack, settings, wanted, device, on_event)
        return self._saliency[key]


def prepared_for(scan: Scan, prepared: ScanCache | None) -> ScanCache:
    """``prepared``, or a new one.

    Raises:
        ValueError: it belongs to another scan.
    """
    if prepared is not None and prepared.scan is not scan:
        raise ValueError("prepared belongs to another scan")
    return prepared or ScanCache(scan)
