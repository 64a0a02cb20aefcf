"""The command that opens the viewer. Nothing of it is imported until it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braindiffusion.cli.options import report_errors
from braindiffusion.errors import DependencyMissingError

Port = Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Only print the address.")]
INSTALL = 'pip install "slicer-brain-counterfactual[viewer]"'


def require_viewer() -> None:
    """Pass where the viewer's packages are installed.

    Raises:
        DependencyMissingError: otherwise, with the pip command.
    """
    from importlib.util import find_spec

    for package in ("trame_slicer", "slicer", "trame_vuetify", "BrainViewerLib"):
        if find_spec(package) is None:
            raise DependencyMissingError(
                "The viewer is not installed.", f"The package {package} is missing.", f"Run: {INSTALL}"
            )


def view(
    scan: Annotated[
        Path | None,
        typer.Argument(help="NIfTI, NRRD, a DICOM folder, one DICOM file or a .mrb scene.", show_default=False),
    ] = None,
    port: Port = 0,
    no_browser: NoBrowser = False,
) -> None:
    """Open the viewer in a window: find, mask, heal, compare. It serves this machine only."""
    with report_errors():
        require_viewer()
        from BrainViewerLib.launch import run

        run(scan, port, window=not no_browser)
