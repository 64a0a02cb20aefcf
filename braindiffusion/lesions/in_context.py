"""Painting by a model that sees the surroundings, and is told what the lesion shall look like.

Besides the six channels of :mod:`braindiffusion.healing.surroundings` the network is given the lesion's mask, the mask
of its core, a plane for each kind of lesion, and planes for the *look*: how the lesion stands out from the ring around
it, how much it varies inside, how its rim and its core differ. Looks are measured on real lesions of the training
patients and kept in the card; one is drawn for a lesion, of a real one of about its size, so that draws differ among
themselves as real lesions do. MedEdit's loop is unchanged: the region g comes from the model, the rest from the scan,
at every level.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.diffusion.transfer import send
from braindiffusion.errors import ModelFormatError
from braindiffusion.events import OnEvent, Step, step_teller
from braindiffusion.healing.surroundings import Surroundings, largest_first, window_around
from braindiffusion.healing.texture import GRAIN_PX, match_texture
from braindiffusion.lesions.common import LAST_LEVEL, generate_mask
from braindiffusion.lesions.mededit import MedEditSettings, paint_region
from braindiffusion.lesions.models import Painter
from braindiffusion.lesions.shapes import ripple
from braindiffusion.models.device import precision_for
from braindiffusion.networks.build import EpsPredictor
from braindiffusion.settings import InduceSettings
from braindiffusion.volume.slices import BRAIN_LEVEL, SliceStack

NEAREST = 15
"""A look is drawn among this many real lesions, those nearest in size."""
MOST_LOOK = 6.0
SHORTEST_MM, LONGEST_MM = 8.0, 40.0
"""Wavelengths of what is uneven in a lesion."""
LOOK_UNIT = 0.15
"""Grey value of 1 in a look's mean."""
SOLID = 0.6
"""Share of the median brain above which tissue is no cerebrospinal fluid."""
EDGE_PX = 1.5
"""Gaussian width of the edge that a late start begins with."""


@dataclass(frozen=True)
class Look:
    """What a lesion shall look like.

    Attributes:
        values: one a look plane, as the network was trained on them.
        core_share: the core's part of the lesion's volume; 0 where the kind has none.
    """

    values: tuple[float, ...]
    core_share: float = 0.0


def draw_look(card: Mapping[str, Any], kind: str, area_mm2: float, seed: int, sample: int = 0) -> Look:
    """The look of a real lesion of a kind, of about this size in its largest slice.

    Raises:
        ModelFormatError: the card has no looks of the kind.
    """
    try:
        table = card["looks"][kind]
        areas, values = np.asarray(table["area_mm2"], float), np.asarray(table["values"], float)
        shares = np.asarray(table.get("core_share") or np.zeros(len(areas)), float)
        fits = values.ndim == 2 and len(areas) == len(values) == len(shares) > 0 and bool((areas > 0).all())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _no_looks(card, kind) from error
    if not fits:
        raise _no_looks(card, kind)
    near = np.argsort(np.abs(np.log(areas / max(area_mm2, 1.0))), kind="stable")[:NEAREST]
    chosen = int(np.random.default_rng([seed, 7, sample]).choice(near))
    clipped = np.clip(values[chosen], -MOST_LOOK, MOST_LOOK)
    return Look(tuple(float(v) for v in clipped), float(shares[chosen]))


def _no_looks(card: Mapping[str, Any], kind: str) -> ModelFormatError:
    return ModelFormatError(
        f"The model card of {card.get('name')} is malformed.", f"Its 'looks' of {kind} cannot be.",
        "Install the model again.",
    )  # fmt: skip


def smooth_field(lesion: np.ndarray, pitch_mm: float, thickness_mm: float, seed: int) -> np.ndarray:
    """(S,H,W) float32, a smooth random field of about unit spread inside a lesion, the same on every grid; else 0."""
    out = np.zeros(lesion.shape, np.float32)
    mm = np.argwhere(lesion) * (thickness_mm, pitch_mm, pitch_mm)
    if len(mm):
        centred = mm - mm.mean(0)
        out[lesion] = ripple(centred, np.random.default_rng([seed, 8]), SHORTEST_MM, LONGEST_MM)
    return out


def core_of(lesion: np.ndarray, share: float, pitch_mm: float, thickness_mm: float, seed: int) -> np.ndarray:
    """(S,H,W) bool, the inner ``share`` of a lesion's volume, with an uneven outline."""
    if share <= 0 or not lesion.any():
        return np.zeros_like(lesion)
    spacing = (thickness_mm, pitch_mm, pitch_mm)
    depth = ndimage.distance_transform_edt(np.pad(lesion, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    field = depth + 0.15 * float(depth.max()) * smooth_field(lesion, pitch_mm, thickness_mm, seed)
    return np.asarray(lesion & (field > np.quantile(field[lesion], 1 - min(share, 1.0))))


def largest_mm2(lesion: np.ndarray, stack: SliceStack) -> float:
    """Area of a lesion (S,H,W) in its largest slice."""
    return float(lesion.sum((1, 2)).max()) * stack.placement.model_pitch**2


class LesionConditions:
    """What the network is told, slice by slice.

    Args:
        stack: with its ``head``. lesion, region: (S,H,W) bool, what is painted, and where the model is free.
        span: model values of grey 0 and 1.
        samples: each has a look of its own.
        look_mm2: the area of which the look is; ``None``: the lesion's own.

    Attributes:
        looks: one a sample.
    """

    def __init__(
        self, stack: SliceStack, lesion: np.ndarray, region: np.ndarray, card: Mapping[str, Any], kind: str,
        span: tuple[float, float], seed: int, samples: int, look_mm2: float | None = None,
    ) -> None:  # fmt: skip
        self.lesion, p = lesion, stack.placement
        self.surroundings = Surroundings(stack, region, span)
        self.surroundings.known[:] = False  # as in training: a neighbour is shown where it holds the lesion too
        area = largest_mm2(lesion, stack) if look_mm2 is None else look_mm2
        self.looks = [draw_look(card, kind, area, seed, n) for n in range(samples)]
        self.cores = [core_of(lesion, look.core_share, p.model_pitch, p.thickness, seed + n)
                      for n, look in enumerate(self.looks)]  # fmt: skip
        self.uneven = [smooth_field(lesion, p.model_pitch, p.thickness, seed + n) for n in range(samples)]
        self._kind = [float(k == kind) for k in card["kinds"]]

    def begun(self, s: int, window: tuple[slice, slice, slice], lift: float, smooth_mm: float = 0.0) -> Tensor:
        """(samples,1,h,w) model values: slice ``s`` with its lesion as bright and as uneven as its look says.

        The anatomy shines through: tissue is lifted in proportion to its brightness, so that sulci and vessels stay
        dark. ``smooth_mm``: what is finer is smoothed away first, sulci filled. ``lift``, in model values, is added to
        the look's.
        """
        part = (s, *window[1:])
        head, lesion = self.surroundings.head[part], self.lesion[part].astype(np.float32)
        soft = ndimage.gaussian_filter(lesion, EDGE_PX)
        if smooth_mm:
            solid = (head > SOLID * BRAIN_LEVEL).astype(np.float32)
            width = smooth_mm / self.surroundings.stack.placement.model_pitch
            filled = ndimage.gaussian_filter(head * solid, width) / (ndimage.gaussian_filter(solid, width) + 1e-3)
            head = head + soft * (filled - head)
        tissue = np.clip(head / BRAIN_LEVEL, 0, 1)
        low, high = self.surroundings.span
        made = []
        for look, uneven in zip(self.looks, self.uneven, strict=True):
            mean, spread = (LOOK_UNIT * v for v in look.values[:2])
            of_its_own = float(head[self.lesion[part]].std()) if lesion.any() else 0.0
            added = np.sqrt(max(spread**2 - of_its_own**2, 0.0))
            made.append(head + soft * tissue * (mean + lift / (high - low) + added * uneven[part]))
        return self.surroundings.scaled(np.stack(made).clip(0, 1))[:, None]

    def of(self, s: int, window: tuple[slice, slice, slice], painted: np.ndarray) -> Tensor:
        """(samples,C,h,w) conditions of slice ``s``; ``painted``: (samples,S,H,W) in [0,1], as far as it is."""
        around = self.surroundings.of(s, window, painted)
        part, out = (s, *window[1:]), []
        for n, look in enumerate(self.looks):
            masks = np.stack([self.lesion[part], self.cores[n][part]]).astype(np.float32)
            planes = torch.tensor([*self._kind, *look.values, 1.0])[:, None, None].expand(-1, *masks.shape[1:])
            out.append(torch.cat([torch.from_numpy(masks), planes]))
        return torch.cat([around, torch.stack(out)], 1)


def paint_in_context(
    stack: SliceStack, told: np.ndarray, painter: Painter, options: MedEditSettings, settings: InduceSettings,
    device: torch.device, on_event: OnEvent | None = None, look_mm2: float | None = None,
) -> tuple[np.ndarray, np.ndarray, EpsPredictor]:  # fmt: skip
    """Paint the slices whose lesion is not empty, from the largest outwards, each shown its painted neighbour.

    Args and returns as :func:`braindiffusion.pipeline.induce.induce_slices`; ``stack`` has its ``head``.
    """
    card, precision = painter.model.card, precision_for(settings.precision, device)
    low, high = (float(v) for v in card["range"])
    options = replace(options, clip=(low, high))
    predictor = EpsPredictor(
        painter.model.network_in(precision), Schedule(), prediction=card.get("prediction", "eps"), precision=precision
    )
    lesion, brain = (torch.from_numpy(v)[:, None] for v in (told, stack.brain))
    region = generate_mask(lesion, brain, options.kernel)[:, 0].numpy()
    window = window_around(region)
    rows = largest_first(told, np.nonzero(told.any((1, 2)))[0])
    conditions = LesionConditions(
        stack, told, region, card, painter.kind, (low, high), settings.seed, settings.samples, look_mm2
    )
    head, grey = conditions.surroundings.head, conditions.surroundings.grey
    painted = np.repeat(stack.images[None], settings.samples, axis=0)

    for nth, s in enumerate(rows):
        part = np.array([s])
        x0 = send(conditions.surroundings.scaled(head[part][window])[:, None], device)
        g, p = (send(v[part][window][:, None], device) for v in (region, told))
        told_of_s = send(conditions.of(int(s), window, painted), device)
        work = (nth * options.calls(), len(rows) * options.calls())
        teller = step_teller("induce", stack, window, part, 0, work, on_event)

        def seen(step: Step, g: Tensor = g, x0: Tensor = x0, teller: Any = teller) -> None:
            teller(replace(step, clean=torch.where(g, grey(step.clean), grey(x0))))

        # a fresh generator of the same seed for every slice: slices share their noise, as those of a batch do
        generator = torch.Generator().manual_seed(settings.seed)
        begun = (
            send(conditions.begun(int(s), window, options.lift, options.smooth_mm), device)
            if options.start < LAST_LEVEL
            else None
        )
        out = paint_region(x0, p, told_of_s, g, predictor, options, generator, None, seen, begun=begun)
        new = torch.where(out.generate[None], grey(out.samples), grey(x0)[None])[:, :, 0].float().cpu().numpy()
        painted[:, part, window[1], window[2]] = new * stack.brain[part][window]
        if options.match_grain:
            for sample in painted:
                sample[s] = match_texture(sample[s], told[s], stack.brain[s], GRAIN_PX)
        conditions.surroundings.known[s] = True
    return painted, region, predictor
