"""The command that lets a reader read a study in the viewer. Nothing of it is imported until it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braindiffusion.cli.options import report_errors
from braindiffusion.cli.study import StudyPath
from braindiffusion.cli.view import NoBrowser, Port, require_viewer


def read(
    study: StudyPath,
    reader: Annotated[str, typer.Option(help="The reader's code, as in the study.", show_default=False)],
    answers: Annotated[
        Path | None, typer.Option(help="Folder for the answers, if not STUDY/answers.", show_default=False)
    ] = None,
    port: Port = 0,
    no_browser: NoBrowser = False,
) -> None:
    """Read a blinded study in a window, one case at a time; it goes on where this reader stopped."""
    with report_errors():
        require_viewer()
        typer.echo("Starting the viewer ...", err=True)  # what draws takes seconds to load
        from BrainViewerLib.launch import run_study

        run_study(study, reader, answers, port, window=not no_browser)
