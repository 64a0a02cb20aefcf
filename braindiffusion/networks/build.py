"""The networks, built from a card's plain data, and the noise predictor that samplers call."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from braindiffusion.diffusion.schedule import Schedule
from braindiffusion.networks.gan import AnoGAN, EncodedGAN

CLASSES = ("healthy", "lesion", "unlabelled")
"""Of a denoiser trained with labels (classifier-free guidance): the class of a slice is its index here."""


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

    def forward(self, x: Tensor, level: Tensor, label: Tensor | None = None) -> Tensor:
        """(N,C,H,W), (N,) levels and, for a class-conditional network, (N,) classes -> (N,out,H,W).

        H and W are multiples of ``patch * 2**(depth - 1)``.
        """
        folded = F.pixel_unshuffle(x, self.patch) if self.patch > 1 else x
        out = self.unet(folded, level, class_labels=label)
        return F.pixel_shuffle(out, self.patch) if self.patch > 1 else out


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
        """(N,C,H,W) -> (N,2) logits."""
        return self.judge(self.features(x))

    def judge(self, f: Tensor) -> Tensor:
        """(N,c,h,w) feature maps -> (N,2) logits. Mean and maximum pooling: a small lesion still reaches the head."""
        return self.head(torch.cat([f.mean((2, 3)), f.amax((2, 3))], dim=1))


class NoisedClassifier(Classifier):
    """The classifier for noised slices: it is told the level, and each feature map is shifted by it."""

    def __init__(self, channels: int = 1, widths: tuple[int, ...] = (24, 48, 96, 160), dropout: float = 0.1) -> None:
        super().__init__(channels, widths, dropout)
        self.frequencies = 32
        self.shifts = nn.ModuleList(nn.Linear(2 * self.frequencies, w) for w in widths)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:  # type: ignore[override]
        """(N,C,H,W) and (N,) levels -> (N,2) logits."""
        wave = torch.exp(-math.log(10_000.0) * torch.arange(self.frequencies, device=x.device) / self.frequencies)
        angle = level.float()[:, None] * wave[None]
        told = torch.cat([angle.sin(), angle.cos()], dim=1)
        f = self.features[0](x)
        for i, shift in enumerate(self.shifts):
            f = self.features[2 * i + 2](self.features[2 * i + 1](f) + shift(told)[:, :, None, None])
        return self.judge(f)


class BrainMaskUNet(nn.Module):
    """Brain or not, lesion or not, per pixel (logits), or an image: MONAI's BasicUNet."""

    def __init__(self, features: tuple[int, ...] = (16, 24, 48, 96, 128, 16), out_channels: int = 1) -> None:
        super().__init__()
        from monai.networks.nets import BasicUNet

        self.net = BasicUNet(spatial_dims=2, in_channels=1, out_channels=out_channels, features=tuple(features))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class SliceVQVAE(nn.Module):
    """MONAI's VQ-VAE on slices, with latents of zero mean and unit spread for a latent denoiser.

    Args:
        channels: of the two stages, each halving the image.
        codes, latent: size of the codebook, channels of a code.
        residual: residual layers a stage.
    """

    mean: Tensor
    spread: Tensor

    def __init__(
        self, channels: tuple[int, int] = (48, 96), codes: int = 256, latent: int = 8, residual: int = 1
    ) -> None:
        super().__init__()
        from monai.networks.nets import VQVAE

        self.vqvae = VQVAE(
            spatial_dims=2, in_channels=1, out_channels=1, channels=channels, num_res_layers=residual,
            num_res_channels=channels, downsample_parameters=((2, 4, 1, 1),) * 2,
            upsample_parameters=((2, 4, 1, 1, 0),) * 2, num_embeddings=codes, embedding_dim=latent,
        )  # fmt: skip
        self.register_buffer("mean", torch.zeros(1, latent, 1, 1))
        self.register_buffer("spread", torch.ones(1, latent, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N,1,H,W) -> (N,2,H,W): the reconstruction, and the quantisation loss as a constant plane."""
        z = self.vqvae.encode(x)
        if self.training:
            with torch.no_grad():
                self.mean.lerp_(z.float().mean((0, 2, 3), keepdim=True), 0.02)
                self.spread.lerp_(z.float().std((0, 2, 3), keepdim=True), 0.02)
        code, loss = self.vqvae.quantize(z)
        y = self.vqvae.decode(code)
        return torch.cat([y, loss.expand_as(y)], dim=1)

    def encode(self, x: Tensor) -> Tensor:
        """(N,1,H,W) -> (N,latent,H/4,W/4), not yet quantised, zero mean and unit spread."""
        return (self.vqvae.encode(x) - self.mean) / self.spread

    def decode(self, z: Tensor) -> Tensor:
        """The inverse of :meth:`encode`: quantised, then decoded."""
        code, _ = self.vqvae.quantize(z * self.spread + self.mean)
        return self.vqvae.decode(code)


NETWORKS: dict[str, type[nn.Module]] = {
    "PatchedUNet": PatchedUNet,
    "Autoencoder": Autoencoder,
    "Classifier": Classifier,
    "BrainMaskUNet": BrainMaskUNet,
    "NoisedClassifier": NoisedClassifier,
    "SliceVQVAE": SliceVQVAE,
    "AnoGAN": AnoGAN,
    "EncodedGAN": EncodedGAN,
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

    Args:
        condition: (1 or N,C,H,W) further input channels of every call; a call may bring its own instead.
        label: class of a class-conditional network (its kind of lesion): one for all slices, or (N,); a call may bring
            its own instead.
        guidance: classifier-free guidance (Ho & Salimans 2022), ``eps_0 + guidance (eps - eps_0)`` with ``eps_0`` the
            answer when the first condition channel, the lesion mask, is empty. 1 leaves it out; else calls double.

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
        label: int | Tensor | None = None,
        guidance: float = 1.0,
    ) -> None:
        self.network, self.schedule = network.eval(), schedule
        self.prediction, self.bf16, self.condition = prediction, precision == "bf16", condition
        self.label, self.guidance = label, guidance
        self.calls = self.slice_calls = 0

    @torch.no_grad()
    def __call__(
        self, x: Tensor, level: int, condition: Tensor | None = None, label: int | Tensor | None = None
    ) -> Tensor:
        """(N,C,H,W) state and its level -> (N,C,H,W) noise, float32.

        Args:
            condition: (M,C',H,W) with N a multiple of M (samples one after the other), instead of the predictor's own.
            label: likewise.
        """
        label = self.label if label is None else label
        given = self.condition if condition is None else condition
        if given is not None:
            given = given.to(x).repeat(len(x) // len(given), 1, 1, 1)
        out = self._ask(x, level, given, label)
        if self.guidance != 1.0 and given is not None:
            empty = torch.cat([torch.zeros_like(given[:, :1]), given[:, 1:]], dim=1)
            without = self._ask(x, level, empty, label)
            out = without + self.guidance * (out - without)
        if self.prediction == "v":
            a = self.schedule.signal(level)
            out = math.sqrt(a) * out + math.sqrt(1.0 - a) * x
        return out

    def _ask(self, x: Tensor, level: int, condition: Tensor | None, label: int | Tensor | None) -> Tensor:
        self.calls += 1
        self.slice_calls += len(x)
        inputs = x if condition is None else torch.cat([x, condition], dim=1)
        if x.device.type == "cpu":
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        levels = torch.full((len(x),), level, device=x.device, dtype=torch.long)
        known = [] if label is None else [torch.as_tensor(label).to(levels).view(-1)]
        classes = [c.repeat(len(x) // len(c)) for c in known]
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
            return self.network(inputs, levels, *classes).float()


class SlicePredictor:
    """A network from slice to slice, told no noise level, with the counts of an :class:`EpsPredictor`."""

    def __init__(self, network: nn.Module, precision: str = "fp32") -> None:
        self.network, self.bf16 = network.eval(), precision == "bf16"
        self.calls = self.slice_calls = 0

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """(N,C,H,W) slices -> (N,C,H,W), float32."""
        self.calls += 1
        self.slice_calls += len(x)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
            return self.network(x).float()
