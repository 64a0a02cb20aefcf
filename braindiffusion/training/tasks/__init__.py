"""What a recipe trains: for each task the loss of a batch and the validation numbers.

A task is a pure pair of functions over (network, batch, generator, settings); registry ``TASKS`` at the end.
"""

from __future__ import annotations

from braindiffusion.training.tasks.autoencoder import AUTOENCODER, DENOISING_AE, LATENT_DENOISER, VQVAE
from braindiffusion.training.tasks.base import Batch, Settings, Task
from braindiffusion.training.tasks.classifier import CLASSIFIER, NOISED_CLASSIFIER, auroc
from braindiffusion.training.tasks.context import CONTEXT
from braindiffusion.training.tasks.denoiser import DENOISER, draw_levels
from braindiffusion.training.tasks.gan import GAN, GAN_ENCODER
from braindiffusion.training.tasks.painter import PAINTER
from braindiffusion.training.tasks.segmenter import BRAIN_MASK, LESION_SEGMENTER

__all__ = ["TASKS", "Batch", "Settings", "Task", "auroc", "draw_levels"]

TASKS: dict[str, Task] = {
    "denoiser": DENOISER,
    "context": CONTEXT,
    "lesion_painter": PAINTER,
    "latent_denoiser": LATENT_DENOISER,
    "autoencoder": AUTOENCODER,
    "vqvae": VQVAE,
    "denoising_ae": DENOISING_AE,
    "classifier": CLASSIFIER,
    "noised_classifier": NOISED_CLASSIFIER,
    "brain_mask": BRAIN_MASK,
    "lesion_segmenter": LESION_SEGMENTER,
    "gan": GAN,
    "gan_encoder": GAN_ENCODER,
}
