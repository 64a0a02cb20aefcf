"""The viewer without a terminal: what is put into the menu starts this Python's viewer."""

from __future__ import annotations

import shlex
import stat
import sys
from pathlib import Path

import pytest
from product_run import run

from braindiffusion.cli import shortcut


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the menu of Linux")
def test_it_is_put_into_the_menu_and_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    done = run("install-shortcut")
    path = tmp_path / "applications" / "brainviewer.desktop"
    assert done.code == 0
    assert str(path) in done.out
    lines = dict(line.split("=", 1) for line in path.read_text().splitlines()[1:])
    assert path.read_text().startswith("[Desktop Entry]\n")
    assert shlex.split(lines["Exec"]) == [sys.executable, "-m", "braindiffusion", "view"]
    assert lines["Terminal"] == "false"
    assert path.stat().st_mode & stat.S_IXUSR
    assert run("install-shortcut", "--remove").code == 0
    assert not path.exists()
    assert run("install-shortcut", "--remove").code == 0  # twice is no error


def test_other_systems(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("APPDATA", str(tmp_path))
    assert shortcut.place("win32").parts[-3:] == ("Start Menu", "Programs", "BrainViewer.bat")
    assert '"C:\\My Python\\python.exe" -m braindiffusion view\r\n' in shortcut.content(
        "win32", "C:\\My Python\\python.exe"
    )
    mac = shortcut.content("darwin", "/Users/o'neil/bin/python")
    assert mac.startswith("#!/bin/sh\n")
    assert shlex.split(mac.splitlines()[1])[1] == "/Users/o'neil/bin/python"
    assert shortcut.place("darwin").name == "BrainViewer.command"
    assert "%%20" in shortcut.content("linux", "/a%20b/python")
