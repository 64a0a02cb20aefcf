"""Start the viewer's server and open a window on it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from braindiffusion.errors import ScanNotFoundError
from BrainViewerLib.glcheck import DEBIAN_PACKAGES, GraphicsMissingError, require_graphics

if TYPE_CHECKING:
    from BrainViewerLib.app import BrainViewer

QUICK_SECONDS = 5.0
"""A browser that ends with an error within this time never showed its window."""

BROWSERS = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge",
    "microsoft-edge-stable", "msedge", "brave-browser",
)  # fmt: skip
INSTALLED = {
    "darwin": (
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    ),
    "win32": (
        r"Google\Chrome\Application\chrome.exe",
        r"Microsoft\Edge\Application\msedge.exe",
        r"Chromium\Application\chrome.exe",
    ),
}


def find_browser() -> str | None:
    """A browser that can show a page as a window of its own (Chromium, Chrome, Edge, Brave)."""
    for name in BROWSERS:
        if found := shutil.which(name):
            return found
    if sys.platform == "win32":
        roots = [os.environ.get(name) for name in ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA")]
        candidates = [Path(root, part) for root in roots if root for part in INSTALLED["win32"]]
    else:
        candidates = [Path(part) for part in INSTALLED.get(sys.platform, ())]
    return next((str(path) for path in candidates if path.is_file()), None)


def window_command(browser: str, address: str, profile: str) -> list[str]:
    """Arguments for a window without tabs, in a profile of its own that is thrown away."""
    command = [
        browser, f"--app={address}", f"--user-data-dir={profile}", "--no-first-run", "--no-default-browser-check",
        "--disable-sync", "--disable-background-networking", "--window-size=1440,900",
    ]  # fmt: skip
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--no-sandbox")  # Chromium refuses to start as root otherwise
    return command


async def show_window(viewer: BrainViewer, address: str) -> None:
    """Open a window; when it is one of ours and is closed, the viewer ends."""
    browser = find_browser()
    has_screen = sys.platform in ("win32", "darwin") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not browser or not has_screen:
        if has_screen:
            webbrowser.open(address)
        return
    with tempfile.TemporaryDirectory(prefix="brainviewer-", ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            *window_command(browser, address, profile), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        began = time.monotonic()
        code = await process.wait()
    if code and time.monotonic() - began < QUICK_SECONDS:  # it could not start: an ordinary tab then
        webbrowser.open(address)
        return
    await viewer.close()


def run(scan: Path | None, port: int, window: bool) -> None:
    """Serve until the window is closed, or Ctrl-C.

    Raises:
        GraphicsMissingError: nothing to draw with.
        InputError: ``scan`` cannot be read.
    """
    require_graphics()
    if scan is not None and not scan.expanduser().exists():
        raise ScanNotFoundError(f"{scan} is not there.", "No such file or folder.", "Check the path.")
    try:
        from BrainViewerLib.app import BrainViewer
    except ImportError as error:
        if ".so" not in str(error):
            raise
        raise GraphicsMissingError(
            "The viewer cannot start: a system library is missing.",
            str(error).splitlines()[0],
            f"On Debian or Ubuntu: sudo apt-get install {DEBIAN_PACKAGES}",
        ) from error
    viewer = BrainViewer(scan.expanduser() if scan is not None else None)
    viewer.serve(port, show_window if window else None)
