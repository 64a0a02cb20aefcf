"""Saving, in the last step of both tabs: files, DICOM, a teaching file with its form."""

from __future__ import annotations

from typing import Any

from trame.widgets import html

from BrainViewerLib.controllers.controllers import Controllers
from BrainViewerLib.controllers.saving import SENT, SENT_TEACHING
from BrainViewerLib.page.parts import button, checkbox, fold, icon_button, select, sending

FIELDS = (
    ("title", "Title", 1, "What the list of cases shows"),
    ("history", "History", 2, "Why the scan was made. No names, no dates"),
    ("findings", "Findings", 3, "What is to be seen"),
    ("diagnosis", "Diagnosis", 1, "Shown after the question is answered"),
    ("discussion", "Discussion", 3, "What is to be learned"),
    ("question", "Quiz question", 1, "Asked before the answer is shown; may be left empty"),
    ("choices", "Choices, one a line", 3, "The answers to choose from"),
)
"""Name, label, lines, tip of each text."""


def save_rows(do: Controllers, remove: Any) -> None:
    """Folder, format, save, download; remove the result in view; the teaching file."""
    html.Hr(classes="bv-hr")
    html.Div("Save", classes="bv-sub")
    with html.Div(classes="bv-row"):
        html.Input(
            classes="bv-field grow id-folder", placeholder="Folder", value=("save_folder",),
            input="save_folder = $event.target.value", title="The folder on this computer that gets the files",
            aria_label="Folder that gets the files",
        )  # fmt: skip
        with html.Div(style="width: 92px"):
            select("save_format", "formats", "save-format")
    checkbox(
        "Mark burned into the images", "burn_in", "burn-in", v_if="save_format === 'dicom'",
        title="Draw 'SYNTHETIC' into a corner of every image",
    )  # fmt: skip
    with html.Div(classes="bv-row"):
        button(
            "Save",
            sending(do.state, do.saving.save, SENT),
            "save",
            mdi="content-save-outline",
            kind="primary",
            disabled=("!save_folder || busy || !!running",),
        )
        button(
            "Download",
            sending(do.state, do.saving.download, SENT),
            "download",
            mdi="download-outline",
            disabled=("busy || !!running",),
            title="The same files as a .zip",
        )
        html.Div(classes="bv-spacer")
        icon_button("trash-can-outline", remove, "remove-result", "Remove this result", disabled=("!!running",))
    with html.Div(classes="bv-row"):
        for label, act, hook, mdi, ready in (
            ("Key image, report", do.saving.save_report, "save-report", "file-chart-outline", "save_folder"),
            ("Download", do.saving.download_report, "download-report", "download-outline", "true"),
        ):
            button(label, sending(do.state, act, SENT), hook, mdi=mdi,
                   disabled=(f"!{ready} || busy || !!running",),
                   title="The slice in view as a picture, and one page for a talk or a file")  # fmt: skip
    _teaching_file(do)
    html.Div("{{ saved_text }}", classes="bv-note id-saved", v_if="saved_text")


def _teaching_file(do: Controllers) -> None:
    """The form, and its buttons. It lies in the panel, so that the slices can be looked at while it is filled in."""
    fold("Teaching file", "writing_case", "writing-case")
    with html.Div(v_if="writing_case", classes="bv-column"):
        html.Div("A page that opens offline, without what tells who the patient is.", classes="bv-note")
        for name, label, lines, title in FIELDS:
            _text(label, f"case_{name}", f"case-{name}", lines, title)
        with html.Div(classes="bv-grid2"):
            for label, name, options, title in (
                ("Right choice", "answer", "answers", "Its number, counted from 1"),
                ("Face", "face", "faces", "What lies more than 12 mm from the brain"),
            ):
                with html.Label(title=title):
                    html.Span(label)
                    select(f"case_{name}", options, f"case-{name}")
        checkbox(
            "Open as an unknown case", "case_unknown", "case-unknown",
            title="Title, findings, diagnosis and counterpart appear only after the question is answered",
        )  # fmt: skip
        with html.Div(classes="bv-row"):
            for label, act, hook, mdi, ready in (
                ("Save case", do.saving.save_case, "save-case", "school-outline", "save_folder"),
                ("Download case", do.saving.download_case, "download-case", "download-outline", "true"),
            ):
                button(label, sending(do.state, act, SENT_TEACHING), hook, mdi=mdi,
                       disabled=(f"!{ready} || !case_title.trim() || busy || !!running",),
                       title="It needs a title")  # fmt: skip


def _text(label: str, model: str, hook: str, lines: int, title: str) -> None:
    """A labelled text of one line or several."""
    told: dict[str, Any] = {"value": (model,), "input": f"{model} = $event.target.value", "autocomplete": "off"}
    with html.Label(classes="bv-stack", title=title):
        html.Span(label)
        if lines == 1:
            html.Input(classes=f"bv-field id-{hook}", **told)
        else:
            html.Textarea(classes=f"bv-field bv-text id-{hook}", rows=lines, __properties=["value"], **told)
