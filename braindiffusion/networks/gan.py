"""The networks of f-AnoGAN (Schlegl et al. 2019): a Wasserstein generator and critic, and an encoder for the generator.

All work on patches folded into channels, as the diffusion networks do, so that training is possible on a CPU.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

PENALTY = 10.0
"""Weight of the gradient penalty (Gulrajani et al. 2017)."""


def _smooth_block(c_in: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, 1, 1), nn.GroupNorm(8, c_out), nn.ReLU())


class Generator(nn.Module):
    """(N,latent) -> (N,1,H,W) in [0,1].

    Args:
        size: H and W, multiples of ``patch * 2**(len(widths) - 1)``.
        widths: channels from the coarsest to the finest scale, multiples of 8.
        patch: side of the patch that the last convolution draws at once.
    """

    def __init__(self, latent: int, size: tuple[int, int], widths: tuple[int, ...], patch: int) -> None:
        super().__init__()
        step = patch * 2 ** (len(widths) - 1)
        self.latent, self.patch = latent, patch
        self.coarse = (widths[0], size[0] // step, size[1] // step)
        self.spread = nn.Linear(latent, self.coarse[0] * self.coarse[1] * self.coarse[2])
        stages: list[nn.Module] = [_smooth_block(widths[0], widths[0])]
        for c, w in pairwise(widths):
            stages += [nn.Upsample(scale_factor=2), _smooth_block(c, w), _smooth_block(w, w)]
        self.stages = nn.Sequential(*stages, nn.Conv2d(widths[-1], patch**2, 3, 1, 1))

    def forward(self, z: Tensor) -> Tensor:
        return F.pixel_shuffle(self.stages(self.spread(z).view(len(z), *self.coarse)), self.patch).sigmoid()


class _Trunk(nn.Module):
    """(N,1,H,W) -> (N,widths[-1],h,w): strided convolutions; without normalisation for a critic."""

    def __init__(self, widths: tuple[int, ...], patch: int, normalised: bool) -> None:
        super().__init__()
        self.patch = patch
        stages: list[nn.Module] = [nn.Conv2d(patch**2, widths[0], 3, 1, 1), nn.LeakyReLU(0.2)]
        for c, w in pairwise(widths):
            stages += [nn.Conv2d(c, w, 3, 2, 1), *([nn.GroupNorm(8, w)] if normalised else []), nn.LeakyReLU(0.2)]
            stages += [nn.Conv2d(w, w, 3, 1, 1), *([nn.GroupNorm(8, w)] if normalised else []), nn.LeakyReLU(0.2)]
        self.stages = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> Tensor:
        return self.stages(F.pixel_unshuffle(x, self.patch))


class Critic(nn.Module):
    """(N,1,H,W) -> (N,) score, higher for real slices. Not normalised: the penalty is on each slice's own gradient."""

    def __init__(self, size: tuple[int, int], widths: tuple[int, ...], patch: int) -> None:
        super().__init__()
        self.trunk = _Trunk(widths[::-1], patch, normalised=False)
        step = patch * 2 ** (len(widths) - 1)
        self.score = nn.Linear(widths[0] * (size[0] // step) * (size[1] // step), 1)

    def features(self, x: Tensor) -> Tensor:
        """(N,c,h,w): what the last convolution sees."""
        return self.trunk(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.score(self.trunk(x).flatten(1))[:, 0]


class AnoGAN(nn.Module):
    """Generator and critic, trained in turns: some turns of the critic, then one of the generator.

    Whose turn it is follows from ``turn``, a buffer, so that a resumed run goes on with the right one.
    """

    turn: Tensor

    def __init__(
        self,
        latent: int = 128,
        size: tuple[int, int] = (112, 96),
        widths: tuple[int, ...] = (96, 96, 64, 48),
        patch: int = 2,
        critic_turns: int = 5,
    ) -> None:
        super().__init__()
        self.latent, self.critic_turns = latent, critic_turns
        self.generator = Generator(latent, size, widths, patch)
        self.critic = Critic(size, widths, patch)
        self.register_buffer("turn", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor, z: Tensor, mix: Tensor) -> Tensor:
        """The loss of whoever's turn it is; in eval mode the critic's estimate of the Wasserstein distance.

        Args:
            x: (N,1,H,W) real slices; z: (N,latent) normal; mix: (N,1,1,1) uniform, where between real and drawn the
                gradient is penalised.

        Returns:
            () scalar.
        """
        if not self.training:
            return (self.critic(x) - self.critic(self.generator(z))).mean()
        critics = int(self.turn) % (self.critic_turns + 1) < self.critic_turns
        self.turn += 1
        if not critics:
            # the critic's weights as constants: they get no gradient, and the optimiser passes them over
            fixed = {k: v.detach() for k, v in self.critic.named_parameters()}
            return -functional_call(self.critic, fixed, (self.generator(z),)).mean()
        with torch.no_grad():
            drawn = self.generator(z).to(x.dtype)
        between = (mix * x + (1 - mix) * drawn).requires_grad_(True)
        real, false, score = self.critic(torch.cat([x, drawn, between])).float().chunk(3)
        (slope,) = torch.autograd.grad(score.sum(), between, create_graph=True)
        penalty = (slope.float().flatten(1).norm(dim=1) - 1).square().mean()
        return false.mean() - real.mean() + PENALTY * penalty


class EncodedGAN(AnoGAN):
    """A trained generator and critic, frozen, with an encoder: ``x -> G(E(x))``, the nearest slice it can draw."""

    def __init__(
        self,
        latent: int = 128,
        size: tuple[int, int] = (112, 96),
        widths: tuple[int, ...] = (96, 96, 64, 48),
        patch: int = 2,
    ) -> None:
        super().__init__(latent, size, widths, patch)
        self.size = size
        self.requires_grad_(False)
        step = patch * 2 ** (len(widths) - 1)
        self.encoder = nn.Sequential(
            _Trunk(widths[::-1], patch, normalised=True),
            nn.Flatten(),
            nn.Linear(widths[0] * (size[0] // step) * (size[1] // step), latent),
        )

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """(N,1,H,W) -> (N,1,H,W); with a ``weight`` (kappa) the (N,) distances instead, see :meth:`distance`.

        Of a larger image the middle is drawn, and the rest stays as it is.
        """
        (h, w), (rows, columns) = self.size, x.shape[2:]
        top, left = (rows - h) // 2, (columns - w) // 2
        middle = x[:, :, top : top + h, left : left + w]
        drawn = self.generator(self.encoder(middle))
        if weight is not None:
            return self.distance(middle, drawn, weight)
        return F.pad(drawn - middle, (left, columns - w - left, top, rows - h - top)) + x

    def distance(self, x: Tensor, drawn: Tensor, weight: Tensor | float = 1.0) -> Tensor:
        """(N,) mean squared error of pixels plus ``weight`` times that of the critic's features ("izi_f").

        It is what the encoder is trained on, and the anomaly score of a slice.
        """
        pixels = (x - drawn).float().square().mean((1, 2, 3))
        apart = self.critic.features(x) - self.critic.features(drawn)
        return pixels + weight * apart.float().square().mean((1, 2, 3))
