"""Start the viewer's server and open a window on it."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from BrainCounterfactualCommon.host import Problem
from braindiffusion import __version__, errors
from braindiffusion.io.staging import NEW, Staging
from BrainViewerLib.server import supervisor
from BrainViewerLib.server.glcheck import DEBIAN_PACKAGES, GraphicsMissingError, require_graphics
from BrainViewerLib.server.session import Session, log_path

if TYPE_CHECKING:
    from BrainViewerLib.server.page import LocalPage

MOST_LOG_BYTES = 1_000_000
QUICK_SECONDS = 5.0
"""A browser that ends with an error within this time never showed its window."""
BROWSER_SECONDS = 5.0
"""It is ended by force where it has not ended by itself within this time."""

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


async def open_window(address: str) -> bool:
    """Open a window; ``True`` when it was one of ours and the user has closed it."""
    browser = find_browser()
    has_screen = sys.platform in ("win32", "darwin") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not browser or not has_screen:
        if has_screen:
            webbrowser.open(address)
        return False
    staging = Staging(Path(tempfile.gettempdir()))
    try:
        process = await asyncio.create_subprocess_exec(
            *window_command(browser, address, str(staging.folder / NEW)),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        began = time.monotonic()
        try:
            code = await process.wait()
        finally:
            await _ended(process)  # the viewer may end first
    finally:
        staging.remove()
    if code and time.monotonic() - began < QUICK_SECONDS:  # it could not start: an ordinary tab then
        webbrowser.open(address)
        return False
    return True


async def _ended(process: asyncio.subprocess.Process) -> None:
    """End a browser, and wait until it writes to its profile no more."""
    with suppress(ProcessLookupError):
        if process.returncode is None:
            process.terminate()
    try:
        await asyncio.wait_for(process.wait(), BROWSER_SECONDS)
    except asyncio.TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def show_window(viewer: LocalPage, address: str) -> None:
    """Open a window; when it is one of ours and is closed, the page's server ends."""
    if await open_window(address):
        await viewer.close()


@contextmanager
def graphics() -> Iterator[None]:
    """Import what draws in here.

    Raises:
        GraphicsMissingError: nothing to draw with.
    """
    require_graphics()
    try:
        yield
    except ImportError as error:
        if ".so" not in str(error):
            raise
        raise GraphicsMissingError(
            "The viewer cannot start: a system library is missing.",
            str(error).splitlines()[0],
            f"On Debian or Ubuntu: sudo apt-get install {DEBIAN_PACKAGES}",
        ) from error


def run(scan: Path | None, port: int, window: bool) -> None:
    """Serve until the window is closed, or Ctrl-C; begin again where the viewer's process dies.

    Raises:
        GraphicsMissingError: nothing to draw with.
        ScanNotFoundError: ``scan`` is not there.
        InputError: ``scan`` cannot be read.
        ViewerDiedError: it cannot be kept alive.
        SystemExit: the viewer's process has ended with an error, and has said which.
    """
    if scan is not None and not scan.exists():
        raise errors.ScanNotFoundError(f"{scan} is not there.", "No such file or folder.", "Check the path.")
    if os.environ.get(supervisor.FOLDER):
        _serve(scan, port)
        return
    print("Starting the viewer ...", file=sys.stderr, flush=True)  # what draws takes seconds to load
    require_graphics()
    arguments = ["view", "--no-browser", *(["--port", str(port)] if port else []), *([str(scan)] if scan else [])]
    code = asyncio.run(supervisor.Supervisor(arguments, open_window if window else None).run())
    if code:
        raise SystemExit(code)


def _serve(scan: Path | None, port: int) -> None:
    """The viewer's own process."""
    folder, token = Path(os.environ.pop(supervisor.FOLDER)), os.environ.pop(supervisor.TOKEN)
    code = os.environ.pop(supervisor.CODE, "")
    restore = bool(os.environ.pop(supervisor.RESTORE, ""))
    keep_log()
    with graphics():
        from BrainViewerLib.app import BrainViewer
    viewer = BrainViewer(None if restore else scan, token, Session(folder), restore, code)
    viewer.serve(port)


class _Bounded(logging.StreamHandler):
    """Writes to a file that begins again where it is full; what was in it is kept once."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError, ValueError):
            if os.fstat(self.stream.fileno()).st_size > MOST_LOG_BYTES:
                path = Path(self.stream.name)
                shutil.copyfile(path, path.with_suffix(".old.log"))
                os.truncate(path, 0)
        super().emit(record)


def bounded_log(stream: TextIO) -> logging.Handler:
    """Writes to an open file, which never grows much beyond ``MOST_LOG_BYTES``."""
    return _Bounded(stream)


def keep_log() -> None:
    """Write crashes, with where every thread was, and unexpected errors to the log."""
    path = log_path()
    with suppress(OSError):
        if path.stat().st_size > MOST_LOG_BYTES:
            os.replace(path, path.with_suffix(".old.log"))
    stream = path.open("a", encoding="utf-8")  # left open: it is written to while the process dies
    stream.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} BrainViewer {__version__}, process {os.getpid()}\n")
    stream.flush()
    faulthandler.enable(stream)
    handler = bounded_log(stream)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)


def run_study(study: Path, reader: str, answers: Path | None, port: int, window: bool) -> None:
    """Let one reader read a study until the window is closed, or Ctrl-C.

    Raises:
        GraphicsMissingError: nothing to draw with.
        StudyError, StudyKeyError, AnswersError, OutputError: no study, no such reader, answers that were changed.
    """
    with graphics():
        from BrainViewerLib.kiosk.app import Kiosk
    try:
        kiosk = Kiosk(study, reader, answers)
    except Problem as problem:
        kind = getattr(errors, problem.className, errors.StudyError)
        raise kind(problem.what, problem.cause, problem.action) from problem
    kiosk.serve(port, show_window if window else None)
