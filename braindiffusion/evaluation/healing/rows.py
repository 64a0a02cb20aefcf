"""The rows of the healing table: floors, saliency alone, Dif-fuse and its options, ablations, rivals, ceilings."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, make_dataclass, replace
from typing import Any, Literal

from braindiffusion.cards import installed
from braindiffusion.errors import BrainDiffusionError, SettingsError
from braindiffusion.finders.maps import MAPS as SALIENCIES
from braindiffusion.finders.segmenter import SEGMENTERS
from braindiffusion.healing.models import main_card
from braindiffusion.healing.registry import HEALTHY, METHODS, TISSUE, operating_point
from braindiffusion.settings import HealSettings

Find = Literal["nothing", "bright", "saliency", "segmenter", "heal"]
Region = Literal["rule", "brain", "drawn", "area"]
GROUPS = ("floor", "saliency alone", "Dif-fuse", "ablation", "rival", "weak labels", "oracle mask (ceiling)")
CHOSEN = "dif_fuse_chosen"
COSTLY_CALLS = 150
"""Rows with more network calls a slice are measured on fewer slices, and once."""


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        group: one of :data:`GROUPS`; ``about``: what it is, in words.
        find: what its lesion map comes from.
        saliency: the saliency map it uses; ``None`` takes that of the settings.
        region: where it heals: by the mask rule of its settings, in the whole brain, where a lesion was drawn, or where
            the saliency is highest over as many pixels as are bright.
        method: of the registry; ``model``: its segmenter.
        settings: changes to the settings of the run; ``options``: further options of its method, by name.
        point: values of the operating point that it runs with instead of the card's.
        gated: nothing is found on slices that the classifier gate holds back.
        drawn: its seed matters.
    """

    name: str
    group: str
    about: str
    find: Find
    saliency: str | None = None
    region: Region = "rule"
    method: str = "dif_fuse"
    model: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    point: dict[str, Any] = field(default_factory=dict)
    gated: bool = True
    random: bool = False

    def of(self, base: HealSettings, seed: int = 0) -> HealSettings:
        """The settings it runs with."""
        own = {"method": self.method, "saliency": self.saliency or base.saliency, "seed": base.seed + seed}
        if METHODS[self.method].model not in (HEALTHY, TISSUE):
            own["model"] = None  # the model asked for is a healthy one, and not this method's
        chosen = replace(base, **{**own, **self.settings})
        if not self.options:
            return chosen
        further = make_dataclass(
            "FurtherSettings", [(k, Any, field(default=v)) for k, v in self.options.items()], bases=(HealSettings,),
            frozen=True,
        )  # fmt: skip
        return further(**{f.name: getattr(chosen, f.name) for f in fields(HealSettings)})

    @property
    def needs_saliency(self) -> bool:
        """Whether a saliency map goes into it."""
        return self.find == "saliency" or (self.find == "heal" and self.region in ("rule", "area"))


def _heal(name: str, group: str, about: str, **more: Any) -> Row:
    return Row(name, group, about, "heal", random=True, **more)


PAPER_RULE = {"mask_rule": "percentile", "percentile": 90.0, "percentile_over": "field_of_view", "margin_mm": 0.0}
DETERMINISTIC = ("ddim", "guided", "cfg", "denoising_ae", "f_anogan")
ABLATIONS = ("mask_at_end", "ddpm", "ddim_ddpm", "ddpm_ddim", "ddim")
QUICK: dict[str, dict[str, Any]] = {"repaint": {"levels": 25, "jump": 5, "resamples": 2}}
"""Shorter schedules, so that all methods can be measured on all slices; the published one has a row of its own."""


def _floors() -> list[Row]:
    return [
        Row("nothing", "floor", "no lesion anywhere, nothing healed", "nothing", gated=False),
        Row("bright", "floor", "smoothed brain pixels above a grey level", "bright", gated=False),
        Row("bright_gated", "floor", "the same, behind the classifier gate", "bright"),
    ]


def _registered() -> list[Row]:
    """Every method of the registry, the ablations first."""
    rows = []
    for name, method in sorted(METHODS.items(), key=lambda pair: pair[0] not in ABLATIONS):
        if name == "dif_fuse":
            continue
        group = "ablation" if name in ABLATIONS else "rival"
        region: Region = "rule" if method.masked else "brain"
        about = getattr(method, "about", name)
        row = Row(name, group, about, "heal", region=region, method=name, random=name not in DETERMINISTIC)
        if name in QUICK:
            rows.append(replace(row, options=QUICK[name], about=f"{about} Here: a shorter schedule"))
            row = replace(row, name=f"{name}_published", about=f"{about} Here: the published schedule")
        rows.append(row)
    return rows


def known_rows(chosen: dict[str, Any] | None = None) -> dict[str, Row]:
    """All rows by name, in the order of the table.

    Args:
        chosen: the options that did best in the sweep on val, as :func:`sweep_rows` names them.
    """
    others = [s for s in SALIENCIES if s != "acat"]
    rows = [
        *_floors(),
        *(Row(f"saliency_{s}", "saliency alone", f"{s} map above a percentile", "saliency", s) for s in SALIENCIES),
        _heal("dif_fuse", "Dif-fuse", "default: the mask rule of the model's card"),
        _heal("dif_fuse_paper", "Dif-fuse", "the paper's mask: 90th percentile of the field", settings=PAPER_RULE),
        _heal("dif_fuse_joint", "Dif-fuse", "joint fusion (the paper)", settings={"fusion": "joint"}),
        _heal("dif_fuse_independent", "Dif-fuse", "two chains (the published code)",
              settings={"fusion": "independent"}),
        *(_heal(f"dif_fuse_{s}", "Dif-fuse", f"mask from {s}", saliency=s) for s in others),
        *_registered(),
        Row("weak_segmenter", "weak labels", "a segmenter that never saw a drawn mask", "segmenter",
            model=SEGMENTERS["segmenter"], gated=False),
        _heal("dif_fuse_weak", "weak labels", "Dif-fuse inside that segmenter's mask", saliency="segmenter"),
        Row("segmenter", "oracle mask (ceiling)", "ceiling: a segmenter trained on drawn masks", "segmenter",
            model=SEGMENTERS["supervised"], gated=False),
        _heal("dif_fuse_drawn", "oracle mask (ceiling)", "oracle: Dif-fuse inside the drawn lesion", region="drawn",
              gated=False),
    ]  # fmt: skip
    if chosen:
        extra = {k: v for k, v in chosen.items() if k in ("saliency", "region", "settings")}
        at = next(i for i, r in enumerate(rows) if r.name == "dif_fuse") + 1
        rows.insert(at, _heal(CHOSEN, "Dif-fuse", f"the option that did best on val: {chosen['name']}", **extra))
    return {r.name: r for r in rows}


def rows_named(names: list[str], saliency: str, chosen: dict[str, Any] | None = None) -> list[Row]:
    """Rows to measure, in the order of the table; the floors are always among them.

    Args:
        names: of rows; ``all`` takes every row, ``saliency`` the map of the settings alone.

    Raises:
        SettingsError: there is no such row.
    """
    known = known_rows(chosen)
    wanted = {f"saliency_{saliency}" if n == "saliency" else n for n in names}
    unknown = sorted(wanted - set(known) - {"all"})
    if unknown:
        raise SettingsError(
            f"There is no method {unknown[0]} to evaluate.", f"Known: all, {', '.join(known)}.", "Choose among them."
        )
    floors = {r.name for r in _floors()} if wanted else {"nothing", "bright"}
    return [r for r in known.values() if "all" in wanted or r.name in wanted | floors]


def lacking(row: Row, base: HealSettings) -> str:
    """What a row cannot do without and is not installed; empty when it can run."""
    named = row.model or SEGMENTERS.get(row.saliency or "")
    if named and named not in installed():
        return f"the model '{named}' is not installed; it is trained by the recipe {named}"
    try:
        if row.find == "heal":
            main_card(row.of(base))
    except BrainDiffusionError as error:
        return f"{error.what} {error.why}".strip()
    return ""


def calls_of(row: Row, base: HealSettings) -> int:
    """Network calls a slice that its method is expected to make."""
    if row.find != "heal":
        return 0
    settings = row.of(base)
    return int(METHODS[row.method].options(settings, operating_point(main_card(settings), row.method)).calls())


def sweep_rows(percentiles: tuple[float, ...], levels: tuple[int, ...], more_levels: tuple[int, ...]) -> list[Row]:
    """What is tried on val: K x percentile under the paper's rule, K under the rule in use, one option at a time."""
    rule = {"mask_rule": "percentile", "margin_mm": 0.0}
    rows = [
        _heal(f"K {k}, percentile {p:g}", "K x percentile", "", settings={**rule, "noise_level": k, "percentile": p})
        for k in levels for p in percentiles
    ]  # fmt: skip
    rows += [_heal(f"K {k}", "K", "", settings={"noise_level": k}) for k in more_levels]
    rows += [_heal(f"fusion {f}", "option", "", settings={"fusion": f}) for f in ("cached", "joint", "independent")]
    rows += [_heal(f"{n} samples", "option", "", settings={"samples": n}) for n in (4,)]
    rows += [_heal("gate open", "option", "", gated=False)]
    rows += [_heal("percentile by predicted area", "option", "", region="area", settings={"margin_mm": 0.0})]
    rows += [_heal(f"mask from {s}", "option", "", saliency=s) for s in ("gradient", "latent_shift")]
    return rows
