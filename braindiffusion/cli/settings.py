"""Options of a command from the declared settings: type, range, choices, default and help are not said again."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, fields
from enum import Enum
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import typer

from braindiffusion.errors import SettingsError
from braindiffusion.settings import OWN_STEPS, Setting

T = TypeVar("T")
ADVANCED = "Advanced options"


def settings_options(
    kind: type[Any],
    *,
    only: Collection[str] = (),
    defaults: Mapping[str, Any] | None = None,
    required: Collection[str] = (),
    rename: Mapping[str, str] | None = None,
) -> Callable[[T], T]:
    """Give a command the options of a class of settings; it gets their values by ``**chosen``.

    Args:
        only: these settings; all by default.
        defaults: of this command, where they are not those of the settings.
        required: settings that the user has to give.
        rename: setting -> option.
    """
    names, usual = rename or {}, defaults or {}

    def decorate(function: Any) -> Any:
        signature = inspect.signature(function, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        hints = get_type_hints(kind)
        made = [
            _parameter(
                names.get(f.name, f.name), f.metadata["setting"], hints[f.name],
                inspect.Parameter.empty if f.name in required else usual.get(f.name, f.default),
            )
            for f in fields(kind) if not only or f.name in only
        ]  # fmt: skip
        function.__signature__ = signature.replace(parameters=[*own, *made])
        return function

    return decorate


def _parameter(name: str, known: Setting, hint: Any, default: Any) -> inspect.Parameter:
    plain = [part for part in get_args(hint) if part is not types.NoneType] if _union(hint) else [hint]
    kind: Any = plain[0] if plain[0] in (bool, int, float) else str
    words = known.help
    if default is None or default is MISSING:
        default = None
        words += f" Default: {known.none}." if known.none else ""
    flag = "--" + name.replace("_", "-")
    told: dict[str, Any] = {"help": words, "rich_help_panel": ADVANCED if known.advanced else None}
    if get_origin(plain[0]) is tuple:
        kind, shown = str, default
    elif known.percent:
        kind, shown = str, {None: "auto", 0.0: "off"}.get(default, str(default))
        told["metavar"] = "[off|auto|" + f"{known.least:g} to {known.most:g}]"
    elif known.full:
        kind, shown = str, {None: "full", OWN_STEPS: "auto"}.get(default, str(default))
    else:
        shown = default
    if known.choices and known.registry is None:
        kind = _enum(name, known.choices)
        shown = kind(shown) if isinstance(shown, str) else shown
    elif known.choices:
        told["metavar"] = "[" + "|".join(known.choices) + "]"
    elif kind in (int, float):
        told["metavar"] = _range(known)  # checked where the settings are made: one message for a value out of range
    elif kind is bool and default is False:
        told["is_flag"] = True
    flags = (f"{flag}/--no-{name.replace('_', '-')}",) if kind is bool and default is not False else (flag,)
    annotation: Any = kind | None if shown is None else kind
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=shown,
        annotation=Annotated[annotation, typer.Option(*flags, **told)],
    )


def _range(known: Setting) -> str | None:
    if known.least is None:
        return None
    return f"[{known.least:g} to {known.most:g}]" if known.most is not None else f"[from {known.least:g}]"


def _enum(name: str, choices: Collection[str]) -> Any:
    """Typer knows choices as an Enum."""
    return Enum(name, {choice: choice for choice in choices}, type=str)


def _union(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)


def made(kind: type[T], chosen: Mapping[str, Any], /, **facts: Any) -> T:
    """The settings, of what the user chose and what the command itself says (``facts``).

    Raises:
        SettingsError: a value that the setting cannot have.
    """
    values = {}
    for f in fields(kind):  # type: ignore[arg-type]
        if f.name not in chosen:
            continue
        value, known = chosen[f.name], f.metadata["setting"]
        value = value.value if isinstance(value, Enum) else value
        if known.full and isinstance(value, str):
            value = parse_steps(value)
        elif known.percent and isinstance(value, str):
            value = parse_percent("--" + f.name.replace("_", "-"), value)
        elif f.name == "slices":
            value = parse_slices(value)
        values[f.name] = value
    return kind(**{**values, **facts})


def parse_steps(text: str) -> int | None:
    """``full``, a positive number, or ``auto``: as many as the model has for its own."""
    if text == "full":
        return None
    if text == "auto":
        return OWN_STEPS
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise SettingsError(
        f"--steps {text} is not possible.", "It is a positive number, 'full' or 'auto'.", "Give --steps 25, say."
    )


def parse_percent(option: str, text: str) -> float | None:
    """``off`` (0), ``auto`` (``None``) or a number, with or without a percent sign."""
    if text in ("off", "auto"):
        return 0.0 if text == "off" else None
    try:
        return float(text.removesuffix("%"))
    except ValueError as error:
        raise SettingsError(
            f"{option} {text} is not possible.", "It is off, auto or a percentage.", f"Give {option} auto, say."
        ) from error


def parse_slices(text: str | None) -> tuple[int | None, int | None] | None:
    """``a:b`` with either end left out."""
    if text is None:
        return None
    try:
        first, last = text.split(":")
        return (int(first) if first else None), (int(last) if last else None)
    except ValueError as error:
        raise SettingsError(
            f"--slices {text} is not possible.", "It is a:b, such as 10:20.", "Give two numbers with a colon."
        ) from error
