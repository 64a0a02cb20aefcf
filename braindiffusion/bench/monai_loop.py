"""The same network driven by MONAI's own scheduler: what its users would write, for comparison."""

from __future__ import annotations

import numpy as np
import torch

from braindiffusion.models.device import batch_for, in_batches, memory_of
from braindiffusion.models.registry import LoadedModel
from braindiffusion.settings import HealSettings
from braindiffusion.volume.slices import SliceStack, window_of

NOISE_LEVEL = 500


def heal_with_monai(
    stack: SliceStack, mask: np.ndarray, model: LoadedModel, settings: HealSettings, device: torch.device
) -> tuple[np.ndarray, int]:
    """Invert with ``DDIMScheduler.reversed_step``, come down with ``step`` (eta 1) inside the mask; float32.

    The scheduler's levels are spaced evenly, as it does it; ``settings.steps`` of them lie up to level 500.

    Returns:
        (S,H,W) float32 counterfactual in [0,1], and network calls times slices.
    """
    from monai.networks.schedulers import DDIMScheduler

    steps = settings.steps or NOISE_LEVEL
    scheduler = DDIMScheduler(
        1000, "linear_beta", beta_start=1e-4, beta_end=0.02,
        prediction_type="v_prediction" if model.card.get("prediction") == "v" else "epsilon",
    )  # fmt: skip
    scheduler.set_timesteps(2 * steps)
    window = window_of(stack.brain, model.card.get("crop"))
    healed, calls = stack.images.copy(), 0
    times = [int(t) for t in scheduler.timesteps.flip(0) if t <= NOISE_LEVEL]

    @torch.no_grad()
    def run(part: np.ndarray, finished: int) -> None:
        nonlocal calls
        x0, m = (torch.from_numpy(v[part][window])[:, None].to(device) for v in (stack.images, mask))
        generator = torch.Generator(device).manual_seed(settings.seed)
        x, stored = x0, {}
        for t in times[:-1]:
            stored[t] = x
            x, _ = scheduler.reversed_step(_ask(model, x, t), t, x)
            calls += len(x)
        for before, t in zip([*times[-2::-1], None], times[::-1], strict=True):
            x, _ = scheduler.step(_ask(model, x, t), t, x, eta=1.0, generator=generator)
            calls += len(x)
            x = torch.where(m, x, x0 if before is None else stored[before])
        healed[part, window[1], window[2]] = x[:, 0].clamp(0, 1).float().cpu().numpy()

    pixels = int(np.prod(stack.images[window].shape[1:]))
    in_batches(np.nonzero(mask.any((1, 2)))[0], batch_for(settings.batch, device, pixels, memory_of(device)[1]), run)
    return healed * stack.brain, calls


def _ask(model: LoadedModel, x: torch.Tensor, t: int) -> torch.Tensor:
    return model.network(x, torch.full((len(x),), t, device=x.device, dtype=torch.long))
