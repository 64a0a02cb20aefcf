"""Healing methods by name. One file and one line per method; with which models it needs.

How a method gets its models: the main one (a denoiser, or what takes its place) is given to
:func:`~braindiffusion.healing.run.heal_slices`, which loads the further ones itself
(:func:`~braindiffusion.healing.models.auxiliary_models_of`) and hands their networks to the method by keyword.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from braindiffusion.errors import SettingsError
from braindiffusion.healing.ablations import AblationSettings, without_mask
from braindiffusion.healing.anoddpm import AnoDDPMSettings, anoddpm
from braindiffusion.healing.autoddpm import AutoDDPMSettings, autoddpm
from braindiffusion.healing.classifier_free import ClassifierFreeSettings, classifier_free
from braindiffusion.healing.contract import Healed
from braindiffusion.healing.denoising_ae import DenoisingAESettings, denoising_ae
from braindiffusion.healing.dif_fuse import DifFuseSettings, dif_fuse
from braindiffusion.healing.f_anogan import FAnoGANSettings, f_anogan
from braindiffusion.healing.guided import GuidedSettings, guided
from braindiffusion.healing.latent import LatentSettings, latent
from braindiffusion.healing.repaint import RePaintSettings, repaint
from braindiffusion.healing.surroundings import CHANNELS
from braindiffusion.networks.build import CLASSES
from braindiffusion.registries import HEALERS as METHODS
from braindiffusion.settings import OWN_STEPS
from braindiffusion.volume.anomaly import OTSU

T = TypeVar("T")

OWN_WHERE_NONE = ("noise_level", "guidance")
"""Settings of a healing that are the method's own where they are ``None``, and refused where it has none."""


@dataclass(frozen=True)
class Need:
    """A model that a method cannot do without.

    Attributes:
        recipe: trains it, and names it: the installed model of that name is the one used unless another is asked for.
        task: of its card, or several.
        says: what its card says beside that; what is not named here is not in the card.
        named: field of the main model's card that names it, where the two belong together.
        contexts: what it may be shown besides the noisy slice, as its card lists it; ``None`` is nothing.
    """

    recipe: str
    task: str | tuple[str, ...] = "denoiser"
    says: Mapping[str, Any] = field(default_factory=dict)
    named: str | None = None
    contexts: tuple[Any, ...] = (None,)

    def fits(self, card: Mapping[str, Any]) -> bool:
        """Whether a model, by its card, is one of these."""
        said = ("condition", "kinds", "noise", "classes")
        return (
            card.get("task", "denoiser") in ((self.task,) if isinstance(self.task, str) else self.task)
            and card.get("context") in self.contexts
            and all(card.get(k) == self.says.get(k) for k in said)
        )


HEALTHY = Need("flair-healthy-128")
TISSUE = Need("tissue-256", ("context", "denoiser"), contexts=(list(CHANNELS), None))
"""Inpaints inside the mask of any contrast; a model that sees no surroundings serves too."""
SIMPLEX = Need("flair-simplex-128", says={"noise": "simplex"})
LABELLED = Need("flair-guided-128", says={"classes": list(CLASSES)})
LATENT = Need("flair-latent-healthy", "latent_denoiser")
CODER = Need("flair-vqvae", "vqvae", named="autoencoder")
NOISED_CLASSIFIER = Need("flair-noised-classifier", "noised_classifier")
DENOISING_AE = Need("flair-denoising-ae", "denoising_ae")
ENCODED_GAN = Need("flair-fanogan", "gan_encoder")


@dataclass(frozen=True)
class Method:
    """A healer ``(x0, mask, model, settings, generator, schedule, on_step, **networks) -> Healed``.

    Attributes:
        settings: its settings' type.
        label, about: its name, and one line about it, for menus.
        model: the main model; ``auxiliary_models``: further ones, by the keyword under which the
            method gets the network.
        masked: whether it heals inside a mask; one that does not is given the whole brain, and needs no saliency.
        takes_floor: whether it can be told how far the brain reaches (``floor``).
        takes_memory: whether it can use an inversion made before (``memory``).
        fixed: settings that make it what it is.
        point: its published operating point (threshold, variant of the anomaly map), used until the main model's card
            has one of its own under ``operating_points``.
    """

    run: Callable[..., Healed]
    settings: type[Any]
    label: str
    about: str
    model: Need = HEALTHY
    auxiliary_models: Mapping[str, Need] = field(default_factory=dict)
    masked: bool = True
    takes_floor: bool = False
    takes_memory: bool = False
    fixed: Mapping[str, Any] = field(default_factory=dict)
    point: Mapping[str, Any] = field(default_factory=dict)

    def options(self, common: Any, tuned: Mapping[str, Any] | None = None) -> Any:
        """Its settings: what makes it what it is, what it shares with ``common`` (a HealSettings) by name, the rest
        as tuned (an operating point) or its own defaults.

        Raises:
            SettingsError: something was asked for that it does not have.
        """
        names = {f.name for f in fields(self.settings)}
        given = {k: getattr(common, k) for k in names - set(self.fixed) if hasattr(common, k)}
        given = {k: v for k, v in given.items() if v is not None or k not in OWN_WHERE_NONE}
        if given.get("steps") == OWN_STEPS:
            del given["steps"]
        for name in OWN_WHERE_NONE:
            if getattr(common, name, None) is not None and name not in names:
                raise SettingsError(f"{self.label} has no {name}.", "That belongs to other methods.", "Leave it out.")
        kept = {k: v for k, v in (tuned or {}).items() if k in names and k not in given}
        return self.settings(**{**kept, **given, **self.fixed})


def healer(name: str, settings: type[Any], label: str = "", about: str = "", **facts: Any) -> Callable[[T], T]:
    """Register a healer; see docs/adding_a_method.md.

    Args:
        facts: further fields of :class:`Method`, such as ``model``.

    Raises:
        PluginError: the name is taken.
    """

    def register(function: T) -> T:
        METHODS.add(name, Method(function, settings, label or name, about, **facts))  # type: ignore[arg-type]
        return function

    return register


METHODS.update({
    "dif_fuse": Method(
        dif_fuse, DifFuseSettings, "Dif-fuse", "Regenerates the masked region; the rest is preserved.",
        TISSUE, takes_floor=True, takes_memory=True,
    ),
    "repaint": Method(
        repaint, RePaintSettings, "RePaint", "Inpaints the masked region from pure noise by resampling: 2,410 calls."
    ),
    "autoddpm": Method(
        autoddpm, AutoDDPMSettings, "AutoDDPM", "Masks where a first reconstruction differs, and inpaints there.",
        masked=False, point={"threshold": 0.1},
    ),
    "anoddpm": Method(
        anoddpm, AnoDDPMSettings, "AnoDDPM", "Partial diffusion with simplex noise.",
        SIMPLEX, masked=False, point={"threshold": 0.354},  # (x - xhat)^2 > 0.5 in [-1,1]
    ),
    "guided": Method(
        guided, GuidedSettings, "Classifier guidance", "Guided towards healthy by a classifier of noised slices.",
        auxiliary_models={"classifier": NOISED_CLASSIFIER}, masked=False, point={"threshold": OTSU},
    ),
    "cfg": Method(
        classifier_free, ClassifierFreeSettings, "Classifier-free guidance",
        "Classifier-free guidance towards the healthy class.", LABELLED, masked=False,
    ),
    "latent": Method(
        latent, LatentSettings, "Latent diffusion", "Inpaints unlikely latents of a VQ-VAE: quick.",
        LATENT, {"coder": CODER}, masked=False,
    ),
    "denoising_ae": Method(
        denoising_ae, DenoisingAESettings, "Denoising autoencoder", "Removes lesions as if they were noise: 1 call.",
        DENOISING_AE, masked=False, point={"anomaly": "median"},
    ),
    "f_anogan": Method(
        f_anogan, FAnoGANSettings, "f-AnoGAN", "The nearest healthy slice that a GAN can generate: 1 call.",
        ENCODED_GAN, masked=False,
    ),
    "mask_at_end": Method(
        without_mask, AblationSettings, "Mask at the end",
        "Ablation: regenerated everywhere, the mask applied at the end.",
        fixed={"mask_at_end": True},
    ),
    "ddpm": Method(
        without_mask, AblationSettings, "DDPM", "Ablation: noised and denoised, no mask.", masked=False,
        fixed={"up": "noise", "down": "ddpm"},
    ),
    "ddim_ddpm": Method(
        without_mask, AblationSettings, "DDIM-DDPM", "Ablation: inverted and denoised, no mask.", masked=False,
        fixed={"up": "invert", "down": "ddpm"},
    ),
    "ddpm_ddim": Method(
        without_mask, AblationSettings, "DDPM-DDIM", "Ablation: noised, denoised without noise, no mask.",
        masked=False, fixed={"up": "noise", "down": "ddim"},
    ),
    "ddim": Method(
        without_mask, AblationSettings, "DDIM", "Ablation: inverted and reconstructed: keeps the lesion.",
        masked=False, fixed={"up": "invert", "down": "ddim"},
    ),
})  # fmt: skip


def method_named(name: str) -> Method:
    """A method by name.

    Raises:
        SettingsError: there is none.
    """
    return METHODS.named(name)


def operating_point(card: Mapping[str, Any], method: str) -> dict[str, Any]:
    """What was tuned on validation data for a method, from the main model's card.

    In this order, the later before the earlier: the method's published point; for a method that heals inside a mask
    what was tuned for Dif-fuse; the method's own.
    """
    known = method_named(method)
    points = card.get("operating_points", {})
    masked = points.get("dif_fuse", {}) if known.masked else {}
    return {**known.point, **masked, **points.get(method, {})}
