"""Networks in whose features sets of images are compared: our classifier, RadImageNet ResNet-50, Inception-v3."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from braindiffusion.errors import DependencyMissingError, ModelCorruptError, ModelNotFoundError
from braindiffusion.evaluation.models.data import in_parts
from braindiffusion.models.registry import check_weights_file, load_model

CLASSIFIER = "flair-acat-classifier"
RADIMAGENET_MEAN = (0.406, 0.456, 0.485)
"""Of the blue, green and red channel, as MedEdit's evaluation subtracts them; nothing is divided."""
INCEPTION_SIDE = 299


@dataclass(frozen=True)
class Features:
    """A feature extractor.

    Attributes:
        name: as it appears in tables; about: what it is, in words.
        modalities: what it was trained on; ``None`` where that is no sequence of ours.
    """

    name: str
    about: str
    network: Callable[[Tensor], Tensor]
    modalities: list[str] | None
    device: torch.device

    def of(self, images: np.ndarray) -> np.ndarray:
        """(N,H,W) in [0,1] -> (N,D) float64."""
        x = torch.from_numpy(np.ascontiguousarray(images, np.float32))[:, None]
        return in_parts(self.network, x, self.device).double().numpy()


def classifier_features(device: torch.device, name: str = CLASSIFIER) -> Features:
    """Mean and maximum of the last feature maps of our slice classifier: what its last layer judges by.

    Raises:
        ModelNotFoundError: it is not installed.
    """
    model = load_model(name, str(device))

    def pooled(x: Tensor) -> Tensor:
        f = model.network.features(x)
        return torch.cat([f.mean((2, 3)), f.amax((2, 3))], dim=1)

    return Features("classifier", f"pooled penultimate features of {name}", pooled, model.modality, device)


class _Bottleneck(nn.Module):
    def __init__(self, c_in: int, width: int, stride: int, bias: bool, eps: float) -> None:
        super().__init__()
        # Keras (biases) strides in the first convolution, torchvision in the second
        first, second = (stride, 1) if bias else (1, stride)
        self.conv1, self.bn1 = nn.Conv2d(c_in, width, 1, first, bias=bias), nn.BatchNorm2d(width, eps)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, second, 1, bias=bias), nn.BatchNorm2d(width, eps)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=bias), nn.BatchNorm2d(4 * width, eps)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or c_in != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv2d(c_in, 4 * width, 1, stride, bias=bias), nn.BatchNorm2d(4 * width, eps)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        return F.relu(y + self.downsample(x))


class ResNet50(nn.Module):
    """The trunk of ResNet-50 (He et al. 2016), its tensors named as in PyTorch's.

    Args:
        keras: Keras' layout, in which RadImageNet was published: biases, strides in the first convolution.
    """

    def __init__(self, keras: bool = True) -> None:
        super().__init__()
        eps = 1.001e-5 if keras else 1e-5
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=keras), nn.BatchNorm2d(64, eps)
        c = 64
        for i, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), 1):
            layer = []
            for n in range(blocks):
                layer.append(_Bottleneck(c, width, 2 if i > 1 and n == 0 else 1, keras, eps))
                c = 4 * width
            self.add_module(f"layer{i}", nn.Sequential(*layer))

    def forward(self, x: Tensor) -> Tensor:
        """(N,3,H,W) -> (N,2048), the mean over all positions."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for i in range(1, 5):
            x = getattr(self, f"layer{i}")(x)
        return x.mean((2, 3))


def _state_of(weights: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not weights.is_file():
        raise ModelNotFoundError(f"There is no file {weights}.", "It does not exist.", "Check the path.")
    check_weights_file(weights)
    try:
        return {k: v.float() for k, v in load_file(str(weights)).items()}
    except SafetensorError as error:
        raise ModelCorruptError(f"{weights.name} cannot be read.", str(error), "Convert it again.") from error


def _filled(network: nn.Module, state: dict[str, Tensor], weights: Path, device: torch.device) -> Any:
    own = network.state_dict()
    counters = {k: v for k, v in own.items() if k.endswith("num_batches_tracked")}  # unused, and often left out
    try:
        network.load_state_dict(counters | {k: v for k, v in state.items() if k in own})
    except RuntimeError as error:
        raise ModelCorruptError(
            f"{weights.name} does not fit the network.",
            str(error).splitlines()[0],
            "Give the weights of that network; docs/induction_evaluation.md says how its tensors are named.",
        ) from error
    return network.to(device).eval().requires_grad_(False)


def radimagenet_features(weights: Path, device: torch.device) -> Features:
    """RadImageNet ResNet-50 from a safetensors file (Keras' or torchvision's layout, told apart by the biases).

    Raises:
        ModelNotFoundError, ModelFormatError, ModelCorruptError.
    """
    state = _state_of(weights)
    network = _filled(ResNet50(keras="conv1.bias" in state), state, weights, device)

    def features(x: Tensor) -> Tensor:
        return network(x.expand(-1, 3, -1, -1) - x.new_tensor(RADIMAGENET_MEAN).view(1, 3, 1, 1))

    return Features("radimagenet", "RadImageNet ResNet-50, 2048 pooled features, native size", features, None, device)


def inception_features(weights: Path, device: torch.device) -> Features:
    """torchvision's Inception-v3 (ImageNet) from a safetensors file: 2048 pooled features of slices enlarged to 299.

    Raises:
        DependencyMissingError: no torchvision; ModelNotFoundError, ModelFormatError, ModelCorruptError.
    """
    state = _state_of(weights)
    try:
        from torchvision.models import inception_v3
    except ImportError as error:
        raise DependencyMissingError(
            "Inception-v3 needs torchvision.", "It is not installed.", "pip install torchvision"
        ) from error
    network = inception_v3(weights=None, aux_logits=False, transform_input=False, init_weights=False)
    network.fc = nn.Identity()
    network = _filled(network, state, weights, device)

    def features(x: Tensor) -> Tensor:
        large = F.interpolate(x, (INCEPTION_SIDE, INCEPTION_SIDE), mode="bilinear", antialias=True)
        return network(2.0 * large.expand(-1, 3, -1, -1) - 1.0)

    return Features(
        "inception", "Inception-v3 (ImageNet), 2048 pooled features, enlarged to 299", features, None, device
    )
