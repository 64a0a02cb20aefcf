"""The context-conditioned denoiser: what is in the hole, given the surroundings, the mirror image and a neighbour.

The network gets the noisy slice and the six channels of :mod:`braindiffusion.healing.surroundings`, and predicts v
(Salimans & Ho 2022) of a slice whose grey values are stretched to about unit variance. The loss counts in the hole, a
little around it, and nowhere in a lesion, so that slices with lesions teach too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.training import augment as aug
from braindiffusion.training.augment import grown
from braindiffusion.training.holes import lesion_shapes, random_hole
from braindiffusion.training.tasks.base import Batch, Settings, Task
from braindiffusion.volume.midline import reflect

SPAN = (-2.25, 2.75)
"""Model values of grey 0 and 1."""
RIM_WEIGHT, OUTSIDE_WEIGHT = 0.1, 0.02


def draw_ratio_levels(
    n: int, g: torch.Generator, schedule: Schedule, mean: float = -0.4, spread: float = 1.3
) -> Tensor:
    """(N,) levels whose noise-to-signal ratio is log-normal (Karras et al. 2022), 5 % of them from the top half.

    Grey values have about unit variance, so texture is decided at ratios of 0.05 to 0.5: levels that a uniform draw
    would hardly visit.
    """
    abar = torch.from_numpy(schedule.abar)
    ratio = ((1 - abar) / abar).sqrt()
    wanted = torch.exp(torch.randn((n,), generator=g) * spread + mean).double()
    level = torch.searchsorted(ratio, wanted).clamp(0, schedule.levels - 1)
    high = torch.randint(schedule.levels // 2, schedule.levels, (n,), generator=g)
    return torch.where(torch.rand((n,), generator=g) < 0.05, high, level)


def some(n: int, share: float, g: torch.Generator) -> Tensor:
    """(N,1,1,1) bool, True for a share."""
    return (torch.rand((n,), generator=g) < share).view(n, 1, 1, 1)


def _blurred(x: Tensor, sigma: float) -> Tensor:
    reach = max(1, int(3 * sigma))
    kernel = torch.exp(-(torch.arange(-reach, reach + 1).float() ** 2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1).repeat(x.shape[1], 1, 1, 1)
    x = F.conv2d(x, kernel, padding=(0, reach), groups=x.shape[1])
    return F.conv2d(x, kernel.transpose(-1, -2), padding=(reach, 0), groups=x.shape[1])


def other_looks(x: Tensor, g: torch.Generator) -> Tensor:
    """(N,C,H,W) planes of a slice in [0,1], in another contrast, blur and grain: the same for all its planes."""
    n = len(x)
    remapped = aug.random_contrast(x, g, ordered=0.67)
    x = torch.where(some(n, 0.18, g), remapped, x)
    power, gain = (torch.exp(aug.uniform((n, 1, 1, 1), -s, s, g)) for s in (0.2, 0.15))
    x = (x.clamp(0, 1) ** power * gain).clamp(0, 1)
    if float(torch.rand((1,), generator=g)) < 0.08:
        x = _blurred(x, float(aug.uniform((1,), 0.4, 1.0, g)))
    if float(torch.rand((1,), generator=g)) < 0.25:
        grain, sigma = torch.randn(x.shape, generator=g), float(torch.rand((1,), generator=g))
        grain = _blurred(grain, sigma) if sigma > 0.35 else grain
        x = (x + grain / grain.std() * aug.uniform((n, 1, 1, 1), 0.0, 0.05, g) * (x > 0.02)).clamp(0, 1)
    return x


def cropped(planes: Tensor, hole: int, brain: int, side: int, g: torch.Generator) -> Tensor:
    """A square of each slice near its hole (channel numbers given)."""
    h, w = planes.shape[-2:]
    side = min(side, h, w)
    out = []
    for p in planes:
        inside = torch.nonzero(p[hole] > 0.5)
        inside = inside if len(inside) else torch.nonzero(p[brain] > 0.5)
        at = inside[int(torch.randint(len(inside), (1,), generator=g))]
        shift = torch.randint(-side // 4, side // 4 + 1, (2,), generator=g)
        top, left = (int(v) - side // 2 for v in at + shift)
        top, left = min(max(top, 0), h - side), min(max(left, 0), w - side)
        out.append(p[:, top : top + side, left : left + side])
    return torch.stack(out)


def thinned(batch: Batch, share: float, training: bool, g: torch.Generator) -> tuple[Batch, bool]:
    """A batch, and whether its slices stay whole, as a share does in training: they cost more, so a third is kept."""
    whole = training and float(torch.rand((1,), generator=g)) < share
    return ({k: v[: max(1, len(v) // 3)] for k, v in batch.items()} if whole else batch), whole


def mirror_facts(unusable: Tensor, brain: Tensor, line: Tensor) -> tuple[Tensor, Tensor]:
    """(N,1,H,W) bool each: where the mirror image can be used, and the mirrored brain."""
    planes = torch.cat([unusable, brain, torch.ones_like(brain)], 1).float()
    there = reflect(planes, line[:, 0], line[:, 1], "nearest")
    return (there[:, :1] < 0.5) & (there[:, 2:] > 0.5), there[:, 1:2] > 0.5


def stripped(
    images: tuple[Tensor, Tensor, Tensor], brain: Tensor, mirrored_brain: Tensor, g: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Slice, mirror image and neighbour, some of them with nothing but the brain."""
    image, mirror, neighbour = images
    strip = some(len(image), 0.35, g)
    return (
        torch.where(strip, image * brain, image), torch.where(strip, mirror * mirrored_brain, mirror),
        torch.where(strip, neighbour * grown(brain, 2), neighbour),
    )  # fmt: skip


def turned_and_cropped(
    stack: Tensor, near: int, brain: int, whole: bool, training: bool, settings: Settings, g: torch.Generator
) -> Tensor:
    """(N,C,H,W) planes, mirrored half the time in training, cropped near plane ``near`` unless whole."""
    if training:
        stack = torch.where(some(len(stack), 0.5, g), stack.flip(-1), stack)
    return stack if whole else cropped(stack, near, brain, int(settings.get("crop", 112)), g)


def in_model_values(images: Tensor) -> tuple[Tensor, ...]:
    """(N,C,H,W) grey values in [0,1] -> C times (N,1,H,W)."""
    low, high = SPAN
    return (low + (high - low) * images).split(1, 1)


def surroundings(x0: Tensor, hole: Tensor, mirror: Tensor, valid: Tensor, brain: Tensor, beside: Tensor) -> Tensor:
    """(N,6,h,w), the channels of :mod:`braindiffusion.healing.surroundings`."""
    return torch.cat([x0 * (1 - hole), hole, mirror * valid, valid, brain, beside], 1)


def weight_of(hole: Tensor) -> Tensor:
    """(N,1,h,w): a pixel counts in the hole, and a little around it."""
    rim = grown(hole, 3)
    return hole + RIM_WEIGHT * (rim - hole) + OUTSIDE_WEIGHT * (1 - rim)


def context_examples(
    batch: Batch, g: torch.Generator, settings: Settings, training: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Slices, their six conditions and the weight of each pixel, from planes as of ``NativeSlices.tensors``.

    Returns:
        (N,1,h,w) in model values, (N,6,h,w), (N,1,h,w).
    """
    batch, whole = thinned(batch, settings.get("whole_share", 0.3), training, g)
    image, mirror, neighbour = (batch[k].float() for k in ("image", "mirror", "neighbour"))
    brain, lesion = batch["brain"] > 0.5, grown(batch["lesion"], 3) > 0.5
    n = len(image)
    hole = torch.stack([random_hole(settings["shapes"], b[0], g) for b in brain])[:, None]
    shown = batch["beside"].view(n, 1, 1, 1) & some(n, 0.35, g)
    valid, mirrored_brain = mirror_facts(hole | (lesion & some(n, 0.5, g)), brain, batch["line"])
    if training:
        images = stripped((image, mirror, neighbour), brain, mirrored_brain, g)
        image, mirror, neighbour = other_looks(torch.cat(images, 1), g).split(1, 1)
    stack = torch.cat([image, mirror, neighbour, hole, valid, brain, lesion], 1).float()
    stack = turned_and_cropped(stack, 3, 5, whole, training, settings, g)
    x0, other, beside = in_model_values(stack[:, :3])
    hole, valid, brain, lesion = stack[:, 3:].split(1, 1)
    valid = valid * ~some(n, 0.12, g) if training else valid
    condition = surroundings(x0, hole, other, valid, brain, torch.where(shown, beside, 0.0))
    return x0, condition, weight_of(hole) * (1 - lesion)


def context_loss(
    network: nn.Module, batch: Batch, g: torch.Generator, settings: Settings, training: bool = True
) -> Tensor:
    """Mean squared error of v, weighted (see the module)."""
    if "shapes" not in settings:
        settings = settings | {"shapes": shapes_of(batch["lesion"])}
    x0, condition, weight = context_examples(batch, g, settings, training)
    return v_loss(network, x0, condition, weight, g)


def v_loss(
    network: nn.Module, x0: Tensor, condition: Tensor, weight: Tensor, g: torch.Generator, mean: float = -0.4,
    spread: float = 1.3,
) -> Tensor:  # fmt: skip
    """Weighted mean squared error of v of (N,1,h,w) slices, noised to levels of :func:`draw_ratio_levels`."""
    schedule = Schedule()
    level = draw_ratio_levels(len(x0), g, schedule, mean, spread)
    a = torch.from_numpy(schedule.abar[level.numpy()]).float().view(-1, 1, 1, 1)
    noise = torch.randn(x0.shape, generator=g)
    x = a.sqrt() * x0 + (1 - a).sqrt() * noise
    target = a.sqrt() * noise - (1 - a).sqrt() * x0
    error = (network(torch.cat([x, condition], 1), level).float() - target) ** 2
    return ((error * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp(min=1)).mean()


def shapes_of(lesion: Tensor) -> list[object]:
    """The lesion shapes of (N,1,H,W) masks; where these show none, holes are blobs."""
    return list(lesion_shapes(lesion[:, 0].numpy()))


def prepare_settings(settings: Settings, data: Batch) -> Settings:
    """The settings with the shapes of all training lesions, for :func:`context_loss`."""
    return settings | {"shapes": shapes_of(data["lesion"])}


CONTEXT = Task(context_loss, prepare=prepare_settings, examples=context_examples)
