"""The page of a reader study: notice, views, questions with the definition of every grade, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from trame.ui.vuetify3 import VAppLayout
from trame.widgets import html

from BrainViewerLib.page.dialogs import notice
from BrainViewerLib.page.parts import button
from BrainViewerLib.page.theme import VUETIFY
from BrainViewerLib.page.view_ui import view
from BrainViewerLib.server.messages import Messages

KEYS = (
    ("0-9", "answer"), ("Enter", "save, next case"), ("↑ ↓", "slices"), ("← →", "question before, after"),
    ("R", "whole slices"), ("P", "pause"),
)  # fmt: skip


class Reading(Protocol):
    """What the controls of the page act on."""

    @property
    def messages(self) -> Messages: ...
    def choose(self, index: int, key: str) -> None: ...
    def ask(self, index: int) -> None: ...
    def mark(self) -> None: ...
    def mark_nothing(self) -> None: ...
    def enter(self) -> None: ...
    def go_back(self) -> None: ...
    def pause(self) -> None: ...


def banner() -> None:
    """Always there."""
    with html.Div(classes="bv-banner id-banner", role="note"):
        html.B("{{ warning }}")
        html.Span("{{ use }}")


def _choices(kiosk: Reading) -> None:
    """Grades and options, each with its key and definition."""
    with html.Button(
        v_for="c in q.choices",
        key=("c.key",),
        type="button",
        classes=("'bk-choice id-choice-' + i + '-' + c.key + (c.on ? ' on' : '')",),
        click=(kiosk.choose, "[i, c.key]"),
    ):
        html.Span("{{ c.key }}", classes="bk-key")
        with html.Span():
            html.B("{{ c.label }}")
            html.Span("{{ c.definition }}", classes="bk-definition")


def _place(kiosk: Reading) -> None:
    """A place to be marked, or nothing."""
    with html.Div(v_if="q.type === 'mark'", classes="bv-row"):
        button("Mark (M)", kiosk.mark, "mark", mdi="crosshairs-gps")
        button("Nothing (N)", kiosk.mark_nothing, "nothing", mdi="cancel")
        html.Span(
            "{{ q.marked < 0 ? '' : q.marked ? 'marked' : 'nothing' }}", classes="bv-chip good id-marked",
            v_show="q.marked >= 0",
        )  # fmt: skip


def questions(kiosk: Reading) -> None:
    """All questions of the protocol; the one the keys answer is framed."""
    with html.Div(
        v_for="(q, i) in questions",
        key=("i",),
        classes=("'bk-question id-question-' + i + (asked === i ? ' asked' : '')",),
    ):
        with html.Div(classes="bk-prompt", click=(kiosk.ask, "[i]")):
            html.Span("{{ q.prompt }}")
            html.Small("may be left out", v_if="!q.required")
        html.Div("{{ q.definition }}", v_if="q.definition", classes="bv-note")
        _choices(kiosk)
        _place(kiosk)
        html.Textarea(
            v_if="q.type === 'text'",
            classes=("'bv-field bk-text id-text-' + i",),
            maxlength=("most_text",),
            # what was typed on this page goes before what the server knew when it last sent the questions
            value=("typed && typed.at === number + '-' + i ? typed.text : q.text",),
            input=(
                "q.text = $event.target.value; typed = {at: number + '-' + i, text: $event.target.value}; "
                "trigger('kiosk_text', [i, $event.target.value])"
            ),
            __properties=["value"],
        )


def panel(kiosk: Reading) -> None:
    """Progress, questions, save."""
    with html.Div(classes="bv-panel bk-panel"):
        with html.Div(classes="bk-progress"):
            html.Span("Case {{ number }} of {{ total }}", classes="id-progress")
            html.Span("{{ reader }}", classes="bv-chip id-reader")
            with html.Div(classes="bv-bar"):
                html.Div(style=("{width: 100 * answered / total + '%'}",))
        with html.Div(classes="bv-steps"):
            questions(kiosk)
        with html.Div(classes="bv-status"):
            html.Div("{{ message }}", classes="bv-status-line id-message", role="status")
            button("Save, next case (Enter)", kiosk.enter, "save", kind="primary wide big", disabled=("!ready",))
            with html.Div(classes="bv-row"):
                button("Case before (Backspace)", kiosk.go_back, "back", v_if="can_go_back")
                button("Pause (P)", kiosk.pause, "pause", mdi="pause")
                html.Span("Grey levels are fixed.", v_if="locked", classes="bv-note")
                html.Span("Drag in a scan: grey levels.", v_if="!locked", classes="bv-note")


def covers(kiosk: Reading) -> None:
    """What hides the scans: beginning, break, pause, end."""
    with html.Div(classes="bk-cover id-cover", v_if="stage !== 'case'"), html.Div(classes="bk-card"):
        html.H2("{{ title }}")
        with html.Div(v_if="stage === 'start'", classes="bv-column"):
            html.P("{{ instructions }}", classes="id-instructions")
            html.P("You are reader {{ reader }}. You begin at case {{ number }} of {{ total }}.", classes="id-begin")
            with html.Div(classes="bk-keys"), html.Template(v_for="k in keys_help", key=("k[0]",)):
                html.Kbd("{{ k[0] }}")
                html.Span("{{ k[1] }}")
            button("Begin (Enter)", kiosk.enter, "go", kind="primary big")
        with html.Div(v_if="stage === 'break'", classes="bv-column"):
            html.P("{{ answered }} of {{ total }} cases are read and saved. Time for a break.", classes="id-break")
            button("Go on (Enter)", kiosk.enter, "go", kind="primary big")
        with html.Div(v_if="stage === 'pause'", classes="bv-column"):
            html.P("Paused at case {{ number }} of {{ total }}. The time does not count.", classes="id-paused")
            button("Go on (Enter)", kiosk.enter, "go", kind="primary big")
        with html.Div(v_if="stage === 'trouble'", classes="bv-column"):
            html.P("Case {{ number }} cannot be shown. All answers given so far are saved.", classes="id-trouble")
            button("Try again (Enter)", kiosk.enter, "go", kind="primary big")
        with html.Div(v_if="stage === 'done'", classes="bv-column"):
            html.P("All {{ total }} cases are read and saved. Thank you. You can close the window.", classes="id-done")


def build(server: Any, kiosk: Reading, tags: Iterable[str]) -> None:
    """Make the page; ``tags`` of its views."""
    server.state.keys_help = [list(pair) for pair in KEYS]
    with VAppLayout(server, vuetify_config=VUETIFY) as layout:
        layout.root.theme = "calm"
        with html.Div(classes="bv-root bk-root"):
            banner()
            with html.Div(classes="bk-body"):
                with html.Div(classes="bk-views"):
                    for tag in tags:
                        view(tag, maximised=False)
                panel(kiosk)
            covers(kiosk)
            notice(kiosk.messages)
