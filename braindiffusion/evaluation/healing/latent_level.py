"""The level of latent healing: how far the latents of healthy slices diverge, on validation slices without a lesion."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.errors import PackError
from braindiffusion.evaluation.healing.data import cases
from braindiffusion.evaluation.models.data import spread
from braindiffusion.events import Event, OnEvent
from braindiffusion.healing.latent import SHARE, LatentSettings, cells_of, score_latents
from braindiffusion.healing.models import auxiliary_models_of, main_model, predictor_of
from braindiffusion.models.device import CPU_BATCH, choose_device, precision_for
from braindiffusion.models.registry import update_card
from braindiffusion.settings import HealSettings
from braindiffusion.training.packs import Pack
from braindiffusion.volume.slices import window_of


def healthy_level(
    pack: Pack, settings: HealSettings, limit: int | None = None, on_event: OnEvent | None = None
) -> dict[str, Any]:
    """The ``1 - SHARE`` quantile of the score over all latent cells in the brain of lesion-free val slices.

    Args:
        settings: ``method`` is ``latent``.
        limit: at most this many slices, evenly spaced.

    Returns:
        ``level``, and from how much of what.

    Raises:
        PackError: the val split has no lesion-free slice; ModelNotFoundError.
    """
    device = choose_device(settings.device)
    main = main_model(settings, str(device))
    coder = auxiliary_models_of(settings, main)["coder"].network
    predictor = predictor_of(main, precision_for(settings.precision, device))
    part = pack.of_split("val")
    free = np.nonzero(~part.masks.any((1, 2)))[0]
    if not pack.has_masks or not len(free):
        raise PackError(
            "There is nothing to measure on.", "No val slice is known to be free of lesions.", "Give a pack with masks."
        )
    wanted = np.zeros(len(part), bool)
    wanted[free[spread(len(free), limit)]] = True
    scores: list[np.ndarray] = []
    done = 0

    def look(images: np.ndarray, brain: np.ndarray) -> None:
        x, b = (torch.from_numpy(v)[:, None].to(device) for v in (images, brain))
        generator = torch.Generator().manual_seed(settings.seed)  # as a healing draws it
        z = coder.encode(x).float()
        inside = cells_of(b, z)
        score = score_latents(z, inside, predictor, LatentSettings(), generator, Schedule())  # type: ignore[arg-type]
        scores.append(score[inside].cpu().numpy())

    for case in cases(part, wanted, int(main.card["grid"]), str(device)):
        if on_event:
            on_event(Event("evaluate", done, int(wanted.sum())))
        window = window_of(case.stack.brain, main.card.get("crop"))
        images, brain = (v[window][case.wanted] for v in (case.stack.images, case.stack.brain))
        batch = settings.batch or CPU_BATCH
        for start in range(0, len(images), batch):
            look(images[start : start + batch], brain[start : start + batch])
        done += int(case.wanted.sum())
    cells = np.concatenate(scores)
    return {
        "level": float(np.quantile(cells, 1 - SHARE)),
        "level_from": {
            "split": "val", "lesion_free_slices": done, "cells": len(cells), "quantile": 1 - SHARE,
            "positions": "all together",
        },
    }  # fmt: skip


def keep_level(settings: HealSettings, found: dict[str, Any]) -> str:
    """Put the level into the ``operating_points`` of the latent denoiser's card; returns the model's name."""
    card = main_model(settings, "cpu").card
    points = card.get("operating_points", {})
    update_card(card["name"], {"operating_points": {**points, "latent": {**points.get("latent", {}), **found}}})
    return str(card["name"])
