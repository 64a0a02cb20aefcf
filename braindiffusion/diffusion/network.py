"""The networks, built from a card's plain data, and the noise predictor that samplers call."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from braindiffusion.diffusion.schedule import Schedule


class PatchedUNet(nn.Module):
    """MONAI's diffusion U-Net on pixel-unshuffled patches: full resolution in and out, a quarter of the cost.

    Args:
        in_channels, out_channels: image channels.
        patch: side of the patch folded into channels (2: a 128 image is processed at 64).
        unet: further arguments of ``monai.networks.nets.DiffusionModelUNet``.
    """

    def __init__(self, in_channels: int = 1, out_channels: int = 1, patch: int = 2, **unet: Any) -> None:
        super().__init__()
        from monai.networks.nets import DiffusionModelUNet

        self.patch = patch
        self.unet = DiffusionModelUNet(
            spatial_dims=2, in_channels=in_channels * patch**2, out_channels=out_channels * patch**2, **unet
        )

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """(N,C,H,W) and (N,) levels -> (N,out,H,W). H and W are multiples of ``patch * 2**(depth - 1)``."""
        return F.pixel_shuffle(self.unet(F.pixel_unshuffle(x, self.patch), level), self.patch)


class _ResidualBlock(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride: int = 1, groups: int = 8) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False),
            nn.GroupNorm(min(groups, c_out), c_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False),
            nn.GroupNorm(min(groups, c_out), c_out),
        )
        same = stride == 1 and c_in == c_out
        self.skip: nn.Module = nn.Identity() if same else nn.Conv2d(c_in, c_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.skip(x))


class Autoencoder(nn.Module):
    """ACAT's autoencoder: residual blocks, two strides of 2, a spatial latent, no output activation.

    The published one has 6, 12 and 16 channels with batch normalisation; ours is wider and uses group normalisation,
    so that a slice's saliency cannot depend on the batch it is in.

    Args:
        channels: image channels.
        widths: channels at full and half resolution.
        latent: channels of the latent, which is (latent, H/4, W/4).
    """

    def __init__(self, channels: int = 1, widths: tuple[int, int] = (24, 32), latent: int = 16) -> None:
        super().__init__()
        w0, w1 = widths
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, w0, 3, 1, 1), _ResidualBlock(w0, w0), _ResidualBlock(w0, w1, 2), _ResidualBlock(w1, w1),
            _ResidualBlock(w1, w1, 2), nn.Conv2d(w1, latent, 3, 1, 1),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Conv2d(latent, w1, 3, 1, 1), _ResidualBlock(w1, w1), nn.Upsample(scale_factor=2), _ResidualBlock(w1, w1),
            nn.Upsample(scale_factor=2), _ResidualBlock(w1, w0), _ResidualBlock(w0, w0),
            nn.Conv2d(w0, channels, 3, 1, 1),
        )  # fmt: skip

    def encode(self, x: Tensor) -> Tensor:
        """(N,C,H,W) -> (N,latent,H/4,W/4)."""
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """(N,latent,h,w) -> (N,C,4h,4w)."""
        return self.decoder(z)

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


class Classifier(nn.Module):
    """Slice classifier, healthy (0) or lesion (1): a small residual network with two outputs (logits)."""

    def __init__(self, channels: int = 1, widths: tuple[int, ...] = (24, 48, 96, 160), dropout: float = 0.2) -> None:
        super().__init__()
        stages: list[nn.Module] = [nn.Conv2d(channels, widths[0], 5, 2, 2)]
        c = widths[0]
        for i, w in enumerate(widths):
            stages += [_ResidualBlock(c, w, 1 if i == 0 else 2), _ResidualBlock(w, w)]
            c = w
        self.features = nn.Sequential(*stages)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * c, 2))

    def forward(self, x: Tensor) -> Tensor:
        """(N,C,H,W) -> (N,2) logits. Mean and maximum pooling: a small lesion still reaches the head."""
        f = self.features(x)
        return self.head(torch.cat([f.mean((2, 3)), f.amax((2, 3))], dim=1))


class BrainMaskUNet(nn.Module):
    """Brain or not, per pixel (logits): MONAI's BasicUNet."""

    def __init__(self, features: tuple[int, ...] = (16, 24, 48, 96, 128, 16)) -> None:
        super().__init__()
        from monai.networks.nets import BasicUNet

        self.net = BasicUNet(spatial_dims=2, in_channels=1, out_channels=1, features=tuple(features))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


NETWORKS: dict[str, type[nn.Module]] = {
    "PatchedUNet": PatchedUNet,
    "Autoencoder": Autoencoder,
    "Classifier": Classifier,
    "BrainMaskUNet": BrainMaskUNet,
}


def build_network(spec: dict[str, Any]) -> nn.Module:
    """Build a network from ``{"class": name, "args": {...}}``. Lists become tuples, as MONAI expects."""
    args = {k: tuple(v) if isinstance(v, list) else v for k, v in spec.get("args", {}).items()}
    return NETWORKS[spec["class"]](**args)


def bf16_supported(device: torch.device) -> bool:
    """Whether bfloat16 arithmetic is native on the device (a recent NVIDIA GPU, or a CPU with AVX512-BF16/AMX)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return bool(probe and probe())
    return False


class EpsPredictor:
    """A trained denoiser as the noise predictor ``(x, level) -> eps`` that every sampler takes.

    Holds the network's dtype away from the sampler: states and results are float32 whatever the network computes in.
    A network trained to predict v (Salimans & Ho 2022) is converted: ``eps = sqrt(abar) v + sqrt(1-abar) x``.

    Attributes:
        calls: network calls so far, a batch counting as one.
        slice_calls: network calls times slices.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        *,
        prediction: str = "eps",
        precision: str = "fp32",
        condition: Tensor | None = None,
    ) -> None:
        self.network, self.schedule = network.eval(), schedule
        self.prediction, self.bf16, self.condition = prediction, precision == "bf16", condition
        self.calls = self.slice_calls = 0

    @torch.no_grad()
    def __call__(self, x: Tensor, level: int) -> Tensor:
        self.calls += 1
        self.slice_calls += len(x)
        net_in = x if self.condition is None else torch.cat([x, self.condition.expand(len(x), -1, -1, -1)], dim=1)
        if x.device.type == "cpu":
            net_in = net_in.contiguous(memory_format=torch.channels_last)
        levels = torch.full((len(x),), level, device=x.device, dtype=torch.long)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
            out = self.network(net_in, levels)
        out = out.float()
        if self.prediction == "v":
            a = self.schedule.signal(level)
            out = math.sqrt(a) * out + math.sqrt(1.0 - a) * x
        return out
