"""The command that puts the viewer where programs are started without a terminal."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from braindiffusion.cli.options import report_errors
from braindiffusion.errors import OutputError

NAME = "BrainViewer"


def place(platform: str = sys.platform) -> Path:
    """Where this system looks for programs of one user."""
    home = Path.home()
    if platform == "win32":
        start = Path(os.environ.get("APPDATA") or home / "AppData" / "Roaming")
        return start / "Microsoft" / "Windows" / "Start Menu" / "Programs" / f"{NAME}.bat"
    if platform == "darwin":
        return home / "Applications" / f"{NAME}.command"
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return data / "applications" / "brainviewer.desktop"


def content(platform: str = sys.platform, python: str = sys.executable) -> str:
    """What the file says: start the viewer with the Python that this runs in."""
    if platform == "win32":
        return f'@echo off\r\ntitle {NAME}\r\n"{python}" -m braindiffusion view\r\nif errorlevel 1 pause\r\n'
    if platform == "darwin":
        return f"#!/bin/sh\nexec '{quoted(python)}' -m braindiffusion view\n"
    escaped = "".join("\\\\" + c if c in '"`$\\' else c for c in python).replace("%", "%%")
    lines = {
        "Type": "Application", "Name": NAME, "Comment": "Counterfactuals of brain scans, for research",
        "Exec": f'"{escaped}" -m braindiffusion view', "Icon": "applications-science", "Terminal": "false",
        "Categories": "Science;MedicalSoftware;",
    }  # fmt: skip
    return "[Desktop Entry]\n" + "".join(f"{key}={value}\n" for key, value in lines.items())


def quoted(text: str) -> str:
    """For single quotes of a shell."""
    return text.replace("'", "'\\''")


def install_shortcut(
    remove: Annotated[bool, typer.Option("--remove", help="Take it away again.")] = False,
) -> None:
    """Put the viewer into the start menu (Linux, Windows) or into Applications (macOS)."""
    with report_errors():
        path = place()
        try:
            if remove:
                path.unlink(missing_ok=True)
                typer.echo(f"Removed: {path}")
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            part.write_text(content(), encoding="utf-8", newline="")
            part.chmod(0o755)
            os.replace(part, path)
        except OSError as error:
            raise OutputError(
                f"{path} cannot be written.", error.strerror or str(error), "Check the permissions of the folder."
            ) from error
        typer.echo(f"Start {NAME} from the menu: {path}")
