"""The settings of a healing, of an induction and of a random lesion: one declaration each, no torch.

A field's type, default, range, choices and help are written here and nowhere else. The command line makes its options
of them (:mod:`braindiffusion.cli.options`), the worker checks messages against them (:func:`settings_from`), modules
and viewer read defaults, choices and ranges (:func:`defaults_of`, :func:`declared`). A new setting is one line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from braindiffusion.errors import LesionSizeError, SettingsError
from braindiffusion.registries import FINDERS, INDUCERS, Registry

Fusion = Literal["joint", "independent", "cached"]
IndexMode = Literal["ours", "reference"]
Variance = Literal["small", "large"]
MaskRule = Literal["percentile", "grown"]
Seam = Literal["inside", "outside"]
Order = Literal["paper", "reference"]
Over = Literal["brain", "field_of_view"]
AnomalyVariant = Literal["ours", "bright", "paper", "median", "reference"]
Precision = Literal["auto", "fp32", "bf16"]
LesionKind = Literal["stroke", "tumour", "meningioma", "haemorrhage", "plaques"]
ShapeKind = Literal["stroke", "tumour", "spots"]
Condition = Literal["mask", "box"]
Side = Literal["L", "R"]
Lobe = Literal["frontal", "parietal", "temporal", "occipital"]
Territory = Literal["MCA", "ACA", "PCA"]

SALIENCIES = ("acat", "latent_shift", "gradient", "integrated", "gradcam")
"""The finders of this package that ask the classifier."""
SEGMENTERS = ("segmenter", "supervised")
"""The finders of this package that are segmenters: learned from pseudo-labels, and from drawn masks."""
METHODS_OF_INDUCTION = ("mededit", "mededit_paired", "naive_repaint", "sdedit", "palette")
MARGIN_INDUCERS = ("mededit", "mededit_paired")
"""Inducers that let a margin around the lesion change."""
MARGIN_MM = {"mask": 22.5, "box": 18.75}
"""Reach of the margin: the published kernels, 25 and (nearest odd to) 20 pixels, at 1.875 mm."""
MAX_ML = 400.0
"""The largest lesion that is made or accepted."""
MAX_SEED = 2**31 - 1
MAX_NUMBER = 1e30
"""Computing is done in float32, which ends at 3e38."""

OWN_STEPS = 0
"""As many steps as the model's card, or else the method, has for its own."""

T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """What is said of a setting besides its name, type and default.

    Attributes:
        help: one line for the command line and for tooltips.
        choices: the values it can take; ``registry``: holds the further ones of other packages.
        least, most: its range, both ends included.
        none: what ``None`` means, where the line shows it as the default.
        title: its name in messages; the field's own name where empty.
        full: ``None`` is typed as ``full``.
        percent: typed as a percentage; ``None`` as ``auto``, 0 as ``off``.
        advanced: seldom needed; shown apart.
    """

    help: str
    choices: tuple[str, ...] = ()
    registry: Registry[Any] | None = None
    least: float | None = None
    most: float | None = None
    none: str = ""
    title: str = ""
    full: bool = False
    percent: bool = False
    advanced: bool = False


def setting(default: Any = MISSING, help: str = "", **facts: Any) -> Any:  # noqa: A002 - the word of every parser
    """A field with its :class:`Setting`."""
    return field(default=default, metadata={"setting": Setting(help, **facts)})


def declared(kind: type[Any]) -> dict[str, Setting]:
    """The settings of a class, in order."""
    return {f.name: f.metadata["setting"] for f in fields(kind) if "setting" in f.metadata}


def defaults_of(kind: type[Any]) -> dict[str, Any]:
    """The defaults of a class; a setting without one has its first choice."""
    return {f.name: f.metadata["setting"].choices[0] if f.default is MISSING else f.default for f in fields(kind)}


def choices_of(known: Setting) -> list[str]:
    """The values a setting can take, those of other packages included."""
    return list(dict.fromkeys([*known.choices, *(known.registry.names() if known.registry is not None else ())]))


def check(settings: Any) -> None:
    """Raises SettingsError for a value outside its choices or its range. ``None`` is checked by its type."""
    for name, known in declared(type(settings)).items():
        value = getattr(settings, name)
        if value is None:
            continue
        title = known.title or name
        others = known.registry or ()
        if known.choices and value not in known.choices and value not in others:
            raise SettingsError(
                f"There is no {title} '{value}'.", f"Known: {', '.join(choices_of(known))}.", "Choose one of them."
            )
        low, high = known.least, known.most
        if (low is not None and not value >= low) or (high is not None and not value <= high):
            raise SettingsError(
                f"{title} {value:.10g} is not possible.",
                f"It is at least {low:.10g}" + (f" and at most {high:.10g}." if high is not None else "."),
                "Choose a value in that range.",
            )


def settings_from(kind: type[T], given: Any) -> T:
    """Plain data -> settings, names, types, choices and ranges checked. Lists become tuples, whole numbers floats.

    Raises:
        SettingsError: an unknown name, or a value that the setting cannot have.
    """
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        raise SettingsError(
            "The settings are not an object.", f"They are: {str(given)[:100]}.", "Give names and values."
        )
    hints = get_type_hints(kind)
    known = {f.name: hints[f.name] for f in fields(kind)}  # type: ignore[arg-type]
    values = {}
    for name, value in given.items():
        if name not in known:
            raise SettingsError(f"There is no setting '{name}'.", f"Known: {', '.join(known)}.", "Leave it out.")
        fitted = _fit(value, known[name])
        if fitted is _MISFIT:
            expected = str(known[name]).replace("typing.", "").replace("<class '", "").replace("'>", "")
            raise SettingsError(f"The setting {name} cannot be {value!r}.", f"It is {expected}.", "Correct it.")
        values[name] = fitted
    try:
        return kind(**values)
    except TypeError as error:  # one without a default is missing
        raise SettingsError("A setting is missing.", str(error), "Give it.") from error


_MISFIT = object()


def _fit(value: Any, kind: Any) -> Any:
    """``value`` as ``kind``, or ``_MISFIT``."""
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return next((v for v in (_fit(value, part) for part in get_args(kind)) if v is not _MISFIT), _MISFIT)
    if origin is Literal:
        return value if value in get_args(kind) else _MISFIT
    if origin is tuple:
        parts = get_args(kind)
        if not isinstance(value, list | tuple) or (len(parts) != len(value) and parts[-1] is not Ellipsis):
            return _MISFIT
        kinds = [parts[0]] * len(value) if parts[-1] is Ellipsis else parts
        fitted = tuple(_fit(v, k) for v, k in zip(value, kinds, strict=True))
        return _MISFIT if any(v is _MISFIT for v in fitted) else fitted
    if kind is NoneType:
        return None if value is None else _MISFIT
    if kind is float and type(value) in (int, float):
        return float(value) if abs(value) <= MAX_NUMBER else _MISFIT
    return value if type(value) is kind else _MISFIT


@dataclass(frozen=True)
class HealSettings:
    """Everything that decides a healing, besides scan and mask.

    ``keep_outline`` holds tissue at the brain's border to be tissue during denoising (see
    :func:`~braindiffusion.volume.masks.outline_floor`; not in the paper); for ``match_texture`` see
    :mod:`braindiffusion.healing.texture`. ``None`` takes the method's own model, noise level and guidance, or what was
    tuned on validation data and is kept in the model's card. ``mask_rule`` is ``percentile`` (the paper) or ``grown``
    (see :func:`~braindiffusion.volume.masks.grown_mask`; the default where the card has a level). A method that finds
    its region itself gets the whole brain of every slice; with a ``gate``, of
    those that pass it.
    """

    method: str = setting("dif_fuse", "Healing method; see: braindiffusion models methods.")
    model: str | None = setting(None, "Main model; see: braindiffusion models list.", none="the method's")
    saliency: str = setting(
        "acat",
        "Where the mask comes from.",
        choices=(*SALIENCIES, *SEGMENTERS),
        registry=FINDERS,
        title="saliency method",
    )
    fusion: str = setting(
        "cached", "joint: the paper; independent: the published code; cached: outside exact.", choices=get_args(Fusion)
    )
    noise_level: int | None = setting(None, "K, how far the scan is noised.", least=0, most=999, none="the method's")
    guidance: float | None = setting(None, "Strength of guided and cfg.", least=0, most=1000, none="the method's")
    steps: int | None = setting(
        OWN_STEPS, "Steps of inversion and of denoising, 'full', or 'auto': the model's own.", least=0, most=1000,
        full=True,
    )  # fmt: skip
    index_mode: str = setting(
        "ours",
        "reference: the levels of the published code, two out of step.",
        choices=get_args(IndexMode),
        advanced=True,
    )  # fmt: skip
    keep_outline: bool = setting(True, "Hold tissue at the brain's border to be tissue (not in the paper).")
    match_texture: bool = setting(
        True, "Bring the detail of the region to the level around it (models that see the surroundings).", advanced=True
    )
    variance: str = setting(
        "small",
        "Of the denoising noise: small, the paper; large, the published code.",
        choices=get_args(Variance),
        advanced=True,
    )  # fmt: skip
    percentile: float | None = setting(
        None, "Saliency percentile threshold, over a slice's brain.", least=0, most=100, none="the card's, or 90"
    )
    mask_rule: str | None = setting(
        None, "percentile: the paper; grown: to the whole lesion.", choices=get_args(MaskRule),
        none="grown for FLAIR models",
    )  # fmt: skip
    mask_order: Order = setting(
        "paper", "reference: threshold before smoothing, as the published code.", choices=get_args(Order), advanced=True
    )
    percentile_over: Over = setting(
        "brain", "Pixels the percentile is taken over.", choices=get_args(Over), advanced=True
    )
    margin_mm: float | None = setting(
        None, "Widen the mask.", least=-20, most=50, none="2 for drawn masks and boxes, else the card's"
    )
    seam: str | None = setting(
        None, "Where the edit fades out: inside the mask (nothing else changes), or outside (all of it is healed).",
        choices=get_args(Seam), none="inside for drawn masks and boxes, else outside",
    )  # fmt: skip
    undo_mass_effect: float | None = setting(
        0.0, "Percent of the lesion's volume taken back as displaced before healing, or 'auto'; moves the whole brain.",
        least=0, most=100, percent=True, none="auto: what leaves midline and ventricles most symmetric",
    )  # fmt: skip
    gate: float | None = setting(
        None, "Heal slices with at least this lesion probability.", least=0, most=1, none="the card's"
    )
    threshold: float | None = setting(
        None, "Anomaly above it is lesion, in model units (the median brain is 0.45).", least=0, most=1,
        none="the card's", advanced=True
    )  # fmt: skip
    anomaly: str | None = setting(
        None, "Variant of the anomaly map.", choices=get_args(AnomalyVariant), none="the card's", advanced=True
    )
    samples: int = setting(1, "Independent draws; more than one adds deviation and agreement maps.", least=1, most=64)
    slices: tuple[int | None, int | None] | None = setting(
        None, "a:b, counted from the bottom of the head; b is not included."
    )
    seed: int = setting(0, "Of the noise.", least=0, most=MAX_SEED)
    device: str = setting("auto", "auto, cpu, cuda or cuda:n.")
    precision: str = setting("auto", "Number format of the network.", choices=get_args(Precision), advanced=True)
    batch: int | None = setting(None, "Slices computed together.", least=1, most=1024, none="what fits", advanced=True)
    force: bool = setting(False, "Run even when the modality is not the model's.")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class InduceSettings:
    """Everything that decides an induction, besides scan and lesion.

    ``None`` takes the method's own value, or the one kept in the model's card (``operating_points``).

    Attributes:
        kind: with the scan's modality it names the model's class: ``tumour`` is a glioma, on T1-Gd an enhancing one;
            ``plaques`` are those of multiple sclerosis.
        model: ``None`` takes the installed lesion model that fits the method.
        condition: what the network is given: the ``mask``, or the filled ``box`` of each component.
        margin_mm: reach of the margin around the lesion that may change (MedEdit).
        guidance: classifier-free guidance; 1 leaves it out.
        keep_outline: hold tissue at the brain's border to be tissue during denoising (see
            :func:`~braindiffusion.volume.masks.outline_floor`; not in the paper).
        mass_effect: see :mod:`braindiffusion.lesions.mass_effect`; at 0 nothing outside the margin changes.
        taper: round off blunt ends of the lesion; ``None`` does so for boxes.
        start, lift, harmonise: remedies of MedEdit, see :class:`~braindiffusion.lesions.mededit.MedEditSettings`.
        strength: of paired MedEdit, see :class:`~braindiffusion.lesions.mededit_paired.PairedSettings`.
        ratio: of SDEdit; ``None`` takes the published one of the kind.
    """

    method: str = setting("mededit", "Induction method.", choices=METHODS_OF_INDUCTION, registry=INDUCERS)
    kind: str = setting("stroke", "What to paint.", choices=get_args(LesionKind), title="kind of lesion")
    model: str | None = setting(None, "Lesion model.", none="the one that fits the method")
    condition: Condition = setting(
        "mask", "What the network is given.", choices=get_args(Condition), none="box for --box, else mask"
    )
    steps: int | None = setting(
        OWN_STEPS,
        "Steps of denoising, 'full' (every level), or 'auto': the model's own.",
        least=0,
        most=999,
        full=True,
    )
    resamples: int | None = setting(None, "U, how often each step is taken.", least=1, most=100, none="the method's")
    jump: int | None = setting(
        None, "Levels denoised before noising again.", least=1, most=999, none="the method's, 1", advanced=True
    )
    margin_mm: float | None = setting(
        None, "How far around the lesion may change.", least=0, most=100, none="the card's, or 22.5; boxes 18.75"
    )
    guidance: float | None = setting(
        None, "Above 1: a stronger lesion, at twice the calls.", least=0, most=20, none="the card's, or 1"
    )
    start: int | None = setting(
        None,
        "First noise level; 999 begins from pure noise.",
        least=0,
        most=999,
        none="the card's, or 999",
        advanced=True,
    )  # fmt: skip
    lift: float | None = setting(
        None,
        "With a lower start: brighten the lesion first (model units).",
        least=-1,
        most=1,
        none="the card's, or 0",
        advanced=True,
    )  # fmt: skip
    harmonise: int | None = setting(None, "Passes over the seam.", least=0, most=100, none="the card's, or 0")
    strength: float | None = setting(
        None,
        "Paired MedEdit: how strongly the difference is added.",
        least=0,
        most=10,
        none="the card's, or 1",
        advanced=True,
    )  # fmt: skip
    ratio: float | None = setting(
        None,
        "SDEdit: share of the noise levels.",
        least=0.01,
        most=1,
        none="0.2 for strokes, 0.6 for tumours",
        advanced=True,
    )  # fmt: skip
    mass_effect: float | None = setting(
        0.0, "Percent of the lesion's volume that pushes its surroundings away, or 'auto'; negative: it has shrunk by.",
        least=-50, most=100, percent=True, none="auto: 50 for tumours, 15 for strokes, 0 for spots",
    )  # fmt: skip
    keep_outline: bool = setting(True, "Hold the brain's border to be tissue (not in the paper).")
    taper: bool | None = setting(None, "Round off blunt ends of the lesion.", none="for boxes", advanced=True)
    samples: int = setting(1, "Independent draws; more than one adds a deviation map.", least=1, most=64)
    slices: tuple[int | None, int | None] | None = setting(
        None, "a:b, counted from the bottom of the head; b is not included."
    )
    seed: int = setting(0, "Of the noise.", least=0, most=MAX_SEED)
    device: str = setting("auto", "auto, cpu, cuda or cuda:n.")
    precision: str = setting("auto", "Number format of the network.", choices=get_args(Precision), advanced=True)
    batch: int = setting(8, "Slices computed together.", least=1, most=1024, advanced=True)
    force: bool = setting(False, "Run even when the modality is not the model's.")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class ShapeSettings:
    """A random lesion.

    Attributes:
        kind: ``stroke``, ``tumour`` or ``spots``.
        ml: volume; ``None`` draws one that is usual for the kind.
        side: ``L`` or ``R`` of the patient; ``None`` draws one (spots: both).
        lobe: where it lies; ``None`` leaves it open.
        territory: artery of a stroke; ``None`` draws one.
    """

    kind: str = setting(
        help="Generate a shape; see --ml, --side, --lobe.", choices=get_args(ShapeKind), title="random lesion"
    )
    ml: float | None = setting(None, "Volume of the random lesion.", none="drawn")
    side: str | None = setting(None, "Of the patient.", choices=get_args(Side), none="drawn")
    lobe: str | None = setting(None, "Where the random lesion lies.", choices=get_args(Lobe), none="drawn")
    territory: str | None = setting(None, "Artery of a random stroke.", choices=get_args(Territory), none="drawn")

    def __post_init__(self) -> None:
        check(self)
        if self.territory is not None and self.kind != "stroke":
            raise SettingsError("Only a stroke has a territory.", f"This is: {self.kind}.", "Leave the territory out.")
        if self.ml is not None and not 0 < self.ml <= MAX_ML:
            raise LesionSizeError(
                f"A lesion of {self.ml:g} mL is not possible.", f"It is more than 0 and at most {MAX_ML:g} mL.",
                "Give another volume.",
            )  # fmt: skip
