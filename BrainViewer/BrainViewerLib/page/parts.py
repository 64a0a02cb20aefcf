"""Small pieces the panels are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from trame.widgets import html
from trame.widgets import vuetify3 as v3
from trame_client.widgets import vue

ATTRIBUTES = (
    "role", "for", ("aria_label", "aria-label"), ("aria_live", "aria-live"), ("aria_selected", "aria-selected"),
    ("aria_pressed", "aria-pressed"), ("aria_expanded", "aria-expanded"), ("aria_hidden", "aria-hidden"),
    ("aria_modal", "aria-modal"), ("aria_valuenow", "aria-valuenow"), ("aria_valuetext", "aria-valuetext"),
    ("aria_labelledby", "aria-labelledby"), ("data_tag", "data-tag"), ("data_kind", "data-kind"),
)  # fmt: skip
"""What trame would leave out of the page without a word: it writes attributes that it knows."""
vue.SHARED_ATTRIBUTES.extend(name for name in ATTRIBUTES if name not in vue.SHARED_ATTRIBUTES)


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
        classes=(f"'bv-icon id-{hook}' + ({on} ? ' on' : '')",),
        type="button",
        click=click,
        title=title,
        aria_label=title,
        aria_pressed=(f"!!({on})",),
        **attributes,
    ):
        icon(mdi, 18)


@contextmanager
def row(label: str, width: int = 50, **attributes: Any) -> Iterator[None]:
    """A row that begins with a label, ``width`` pixels wide."""
    with html.Div(classes="bv-row", **attributes):
        html.Span(label, classes="bv-label", style=f"width: {width}px")
        yield


def fold(label: str, model: str, hook: str) -> None:
    """A line that folds out and away what is shown while ``model`` is true."""
    with html.Button(
        type="button",
        classes=f"bv-link bv-note id-{hook}",
        style="text-align: left",
        click=f"{model} = !{model}",
        aria_expanded=(f"!!{model}",),
    ):
        html.Span(f"{{{{ {model} ? '▾' : '▸' }}}} {label}")


def slider(
    label: str, model: str, low: Any, high: Any, step: Any, hook: str, shown: str = "", **attributes: Any
) -> None:
    """Label, range, value; ``low``, ``high`` and ``step`` are numbers or expressions."""
    with row(label, 68):
        html.Input(
            type="range",
            classes=f"bv-range grow id-{hook}",
            min=(str(low),),
            max=(str(high),),
            step=(str(step),),
            value=(model,),
            input=f"{model} = Number($event.target.value)",
            aria_label=label,
            **attributes,
        )
        html.Span("{{ " + (shown or model) + " }}", classes="bv-value")


def menu(value: str, options: str, change: Any, hook: str, **attributes: Any) -> None:
    """A drop-down that shows the expression ``value``; ``options``: an expression of ``{value, title}`` objects, which
    may say with ``barred`` that they cannot be chosen, and why with ``tip``."""
    classes = f"bv-field id-{hook} {attributes.pop('classes', '')}".strip()
    attributes.setdefault("aria_label", hook.replace("-", " ").capitalize())
    with html.Select(classes=classes, value=(value,), change=change, __properties=["value"], **attributes):
        html.Option(
            "{{ o.title }}",
            v_for=f"o in {options}",
            key=("o.value",),
            value=("o.value",),
            disabled=("!!o.barred",),
            title=("o.tip",),
        )


def select(model: str, options: str, hook: str, **attributes: Any) -> None:
    """A drop-down for a name of the page's state."""
    menu(model, options, f"{model} = $event.target.value", hook, **attributes)


def text_field(label: str, model: str, hook: str, placeholder: str, title: str) -> None:
    """A labelled field for a number that may be left empty.

    It is kept at every key: half a number would be lost when the page is drawn anew, as it often is during a job.
    """
    with html.Label(title=title):
        html.Span(label)
        html.Input(
            classes=f"bv-field id-{hook}",
            inputmode="decimal",
            placeholder=placeholder,
            value=(model,),
            input=f"{model} = $event.target.value",
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
                aria_pressed=(f"{model} === '{value}'",),
                disabled=((disabled or {}).get(value, "false"),),
            )


def sending(state: Any, act: Callable[[], Any], fields: Iterable[str]) -> tuple[Callable[..., Any], str]:
    """A click that takes fields of the page along: while the server is busy, a click arrives before what was typed."""

    def do(told: dict[str, Any]) -> Any:
        state.update(told)
        return act()

    return do, f"[{{{', '.join(f'{name}: {name}' for name in fields)}}}]"


class Step:
    """One numbered step of a tab; opens and closes by its head. ``model`` holds the number of the one that is open."""

    def __init__(self, number: int, title: str, done: str, summary: str, model: str = "step") -> None:
        self.number, self.title, self.done, self.summary, self.model = number, title, done, summary, model

    def __enter__(self) -> Step:
        n, model = self.number, self.model
        self.box = html.Div(
            classes=(f"'bv-step id-step-{n}' + ({model} === {n} ? ' open' : '') + ({self.done} ? ' done' : '')",)
        )
        self.box.__enter__()
        with html.Button(
            classes=f"bv-step-head id-open-{n}",
            type="button",
            click=f"{model} = {model} === {n} ? 0 : {n}",
            aria_expanded=(f"{model} === {n}",),
        ):
            html.Span(f"{{{{ {self.done} && {model} !== {n} ? '✓' : '{n}' }}}}", classes="bv-num")
            html.Span(self.title, classes="bv-step-title")
            html.Span(f"{{{{ {self.summary} }}}}", classes="bv-step-sum")
        self.body = html.Div(classes="bv-step-body", v_if=f"{model} === {n}")
        self.body.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.body.__exit__(*error)
        self.box.__exit__(*error)


Action = Callable[..., Any]
