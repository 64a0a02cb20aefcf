"""Small pieces the panels are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trame.widgets import html
from trame.widgets import vuetify3 as v3


def icon(name: str, size: int = 17) -> None:
    """A Material icon; the font is served by ourselves."""
    v3.VIcon(f"mdi-{name}", size=size)


def button(label: str, click: Any, hook: str, *, mdi: str = "", kind: str = "", **attributes: Any) -> None:
    """A button with an optional icon; ``hook`` is its name in tests (class ``id-...``)."""
    with html.Button(classes=f"bv-btn {kind} id-{hook}", type="button", click=click, **attributes):
        if mdi:
            icon(mdi, 16)
        html.Span(label)


def icon_button(mdi: str, click: Any, hook: str, title: str, on: str = "false", **attributes: Any) -> None:
    """A square button with an icon only; ``on`` is the expression that lights it."""
    with html.Button(
        classes=(f"'bv-icon id-{hook}' + ({on} ? ' on' : '')",), type="button", click=click, title=title, **attributes
    ):
        icon(mdi, 18)


def slider(
    label: str, model: str, low: Any, high: Any, step: Any, hook: str, shown: str = "", **attributes: Any
) -> None:
    """Label, range, value; ``low``, ``high`` and ``step`` are numbers or expressions."""
    with html.Div(classes="bv-row"):
        html.Span(label, classes="bv-label", style="width: 68px")
        html.Input(
            type="range",
            classes=f"bv-range grow id-{hook}",
            min=(str(low),),
            max=(str(high),),
            step=(str(step),),
            value=(model,),
            input=f"{model} = Number($event.target.value)",
            **attributes,
        )
        html.Span("{{ " + (shown or model) + " }}", classes="bv-value")


def select(model: str, options: str, hook: str, **attributes: Any) -> None:
    """A drop-down over ``options``: an expression of ``{value, title}`` objects."""
    with html.Select(
        classes=f"bv-field id-{hook}", value=(model,), change=f"{model} = $event.target.value", **attributes
    ):
        html.Option("{{ o.title }}", v_for=f"o in {options}", key=("o.value",), value=("o.value",))


def text_field(label: str, model: str, hook: str, placeholder: str, title: str) -> None:
    """A labelled field for a number that may be left empty."""
    with html.Label(title=title):
        html.Span(label)
        html.Input(
            classes=f"bv-field id-{hook}",
            inputmode="decimal",
            placeholder=placeholder,
            value=(model,),
            change=f"{model} = $event.target.value",
        )


def checkbox(label: str, model: str, hook: str, color: str = "", **attributes: Any) -> None:
    """A check box; ``color`` shows which colour the thing has in the pictures."""
    with html.Label(classes=f"bv-check id-{hook}", **attributes):
        html.Input(type="checkbox", checked=(model,), change=f"{model} = $event.target.checked")
        if color:
            html.Span(classes="bv-dot", style=f"background: var(--{color})")
        html.Span(label)


def segments(
    model: str, options: list[tuple[str, str, str]], hook: str, disabled: dict[str, str] | None = None
) -> None:
    """A row of exclusive choices: (value, label, tooltip)."""
    with html.Div(classes=f"bv-seg id-{hook}"):
        for value, label, title in options:
            html.Button(
                label,
                type="button",
                title=title,
                classes=(f"'id-{hook}-{value}' + ({model} === '{value}' ? ' on' : '')",),
                click=f"{model} = '{value}'",
                disabled=((disabled or {}).get(value, "false"),),
            )


class Step:
    """One numbered step of the panel; opens and closes by its head."""

    def __init__(self, number: int, title: str, done: str, summary: str) -> None:
        self.number, self.title, self.done, self.summary = number, title, done, summary

    def __enter__(self) -> Step:
        n = self.number
        self.box = html.Div(
            classes=(f"'bv-step id-step-{n}' + (step === {n} ? ' open' : '') + ({self.done} ? ' done' : '')",)
        )
        self.box.__enter__()
        with html.Button(classes=f"bv-step-head id-open-{n}", type="button", click=f"step = step === {n} ? 0 : {n}"):
            html.Span(f"{{{{ {self.done} && step !== {n} ? '✓' : '{n}' }}}}", classes="bv-num")
            html.Span(self.title, classes="bv-step-title")
            html.Span(f"{{{{ {self.summary} }}}}", classes="bv-step-sum")
        self.body = html.Div(classes="bv-step-body", v_if=f"step === {n}")
        self.body.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.body.__exit__(*error)
        self.box.__exit__(*error)


Action = Callable[..., Any]
