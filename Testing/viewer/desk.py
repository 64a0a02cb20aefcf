"""What the browser tests share: the viewer's process, and a page that is worked like a person works it."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = float(os.environ.get("BRAINVIEWER_PATIENCE", "240"))
"""Longest wait in seconds for something that a network has to do."""


class Server:
    """``braindiffusion view --no-browser``, or another command that serves a page."""

    def __init__(
        self, scan: Path | None, log: Path, environment: dict[str, str], command: tuple[str, ...] = ("view",)
    ) -> None:
        command = (sys.executable, "-m", "braindiffusion", *command, "--no-browser", *([str(scan)] if scan else []))
        modules = ("BrainViewer", "BrainCounterfactual", "BrainLesionSim", "BrainReaderStudy")
        paths = [str(ROOT), *(str(ROOT / name) for name in modules)]
        self.log = log
        self._stream = log.open("w")
        self.process = subprocess.Popen(
            command,
            stdout=self._stream,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(paths),
                "BRAINVIEWER_STATE": str(log.parent / "state"),
                **environment,
            },
        )
        self.address = self._await_address()
        self.port = int(re.search(r":(\d+)/", self.address).group(1))
        self.token = self.address.split("secret=")[1]
        self._viewer = self.viewer()

    def _await_address(self) -> str:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            found = re.search(r"http://\S+", self.log.read_text(errors="replace"))
            if found:
                return found.group()
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise AssertionError(f"The viewer did not start:\n{self.log.read_text(errors='replace')[-3000:]}")

    def workers(self) -> list[psutil.Process]:
        """The worker processes below the viewer."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if any("braindiffusion.worker" in part for part in child.cmdline()):
                    found.append(child)
            except psutil.Error:
                continue
        return found

    def viewer(self) -> psutil.Process:
        """The process that draws: the one that was started watches over it."""
        first = psutil.Process(self.process.pid)
        return next((child for child in first.children() if "view" in child.cmdline()), first)

    def viewer_gone(self, patience: float = 30.0) -> None:
        """Wait for the end of the viewer's first process."""
        self._viewer.wait(patience)

    def kill_worker(self) -> None:
        """As the system does when memory runs out."""
        for worker in self.workers():
            worker.kill()

    def memory_mb(self) -> float:
        """Resident memory of the viewer's own process."""
        return self.viewer().memory_info().rss / 1e6

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._stream.close()


class Desk:
    """A page on a viewer. Controls are found by their ``id-...`` classes."""

    def __init__(self, browser: Any, server: Server, shots: Path) -> None:
        self.server, self.shots, self.suffix = server, shots, ""
        self.context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("console", lambda m: self.problems.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.goto(server.address)
        self.page.wait_for_selector(".bv-root", timeout=60_000)

    def close(self) -> None:
        self.context.close()

    # -- looking

    def __getitem__(self, hook: str) -> Any:
        return self.page.locator(f".id-{hook}").first

    def has(self, hook: str) -> bool:
        return self.page.locator(f".id-{hook}").count() > 0

    def text(self, hook: str) -> str:
        return self[hook].inner_text() if self.has(hook) else ""

    @property
    def message(self) -> str:
        return self.text("message")

    def state(self, name: str) -> Any:
        """A value of the page's state."""
        return self.page.evaluate("name => window.trame.state.get(name)", name)

    def until(self, true: Callable[[], Any], patience: float = 60.0) -> float:
        """Wait until something is so; the seconds it took."""
        began = time.monotonic()
        while time.monotonic() - began < patience:
            if true():
                return time.monotonic() - began
            self.page.wait_for_timeout(20)
        told = f"Message: {self.message!r}. Notice: {self.text('notice')!r}."
        raise AssertionError(f"Still not so after {patience} s. {told}")

    def until_message(self, part: str, patience: float = PATIENCE) -> float:
        return self.until(lambda: part in self.message, patience)

    def slice_of(self, tag: str) -> int:
        """The slice number a view shows."""
        return int(self.text(f"at-{tag}").split("/")[0])

    def pixels(self, tag: str) -> bytes:
        """What a view shows, as a picture."""
        return self.page.locator(f".id-view-{tag} img").first.screenshot()

    def settle(self) -> None:
        """Wait until the pictures stand still."""
        self.page.wait_for_timeout(500)
        before = b""
        for _ in range(40):
            now = self.page.screenshot()
            if now == before:
                return
            before = now
            self.page.wait_for_timeout(300)

    def shot(self, name: str, settle: bool = True) -> None:
        """Keep a picture of the page."""
        if settle:
            self.settle()
        self.page.screenshot(path=str(self.shots / f"{name}{self.suffix}.png"))

    # -- working

    def click(self, hook: str, patience: float = 30.0) -> None:
        self.until(lambda: self[hook].is_enabled(), patience)
        self[hook].click()

    def step(self, number: int) -> None:
        """Open a step of the panel."""
        if "open" not in (self[f"step-{number}"].get_attribute("class") or "").split():
            self.click(f"open-{number}")
        self.until(lambda: "open" in (self[f"step-{number}"].get_attribute("class") or "").split())

    def at(self, tag: str, u: float, v: float) -> tuple[float, float]:
        """A point of a view, as shares of its width and height."""
        box = self.page.locator(f".id-view-{tag}").first.bounding_box()
        return box["x"] + box["width"] * u, box["y"] + box["height"] * v

    def drag(self, tag: str, points: list[tuple[float, float]], steps: int = 8) -> None:
        """Press at the first point, move through the others, let go."""
        places = [self.at(tag, *point) for point in points]
        self.page.mouse.move(*places[0])
        self.page.wait_for_timeout(150)
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=steps)
        self.page.wait_for_timeout(50)
        self.page.mouse.up()

    def circle(self, tag: str, u: float, v: float, radius: float) -> None:
        """Draw a closed outline."""
        turns = [2 * math.pi * n / 16 for n in range(17)]
        self.drag(tag, [(u + radius * math.cos(a), v + radius * math.sin(a)) for a in turns], steps=2)

    def tab(self, mode: str) -> None:
        """Heal or induce."""
        self.click(f"mode-{mode}")
        self.until(lambda: "on" in (self[f"mode-{mode}"].get_attribute("class") or "").split())
        self.until(lambda: self.has("step-4"))

    def place_box(self, tag: str, corner: tuple[float, float], other: tuple[float, float], what: str = "mask") -> None:
        """Two clicks; ``what`` it will be added to."""
        self.click("box")
        self.until_message("two opposite corners", 20)
        for point in (corner, other):
            self.page.mouse.move(*self.at(tag, *point), steps=4)
            self.page.wait_for_timeout(400)
            self.page.mouse.down()
            self.page.wait_for_timeout(60)
            self.page.mouse.up()
            self.page.wait_for_timeout(600)
        self.until(lambda: self[f"box-to-{what}"].is_enabled())

    def wheel(self, tag: str, turns: int) -> None:
        """Scroll in a view."""
        self.page.mouse.move(*self.at(tag, 0.5, 0.5))
        for _ in range(abs(turns)):
            self.page.mouse.wheel(0, 100 if turns > 0 else -100)
            self.page.wait_for_timeout(60)

    def send(self, hook: str, path: Path) -> None:
        """Press a button that asks for a file, and give it one."""
        with self.page.expect_file_chooser() as chooser:
            self.click(hook)
        chooser.value.set_files(str(path))

    def choose(self, hook: str, value: str) -> None:
        """Choose from a menu."""
        self[hook].select_option(value)
        self.until(lambda: self[hook].input_value() == value)

    def type(self, hook: str, text: str, state: str) -> None:
        """Fill a field, and wait until the server knows (``state``: the name it has there)."""
        self[hook].fill(text)
        self[hook].press("Tab")
        self.until(lambda: str(self.state(state)) == text)

    def mask_ml(self) -> float:
        return self.ml("mask")

    def ml(self, what: str) -> float:
        """Size of what is drawn, as the page shows it."""
        found = re.search(r"([\d.]+) mL", self.text(f"{what}-ml"))
        return float(found.group(1)) if found else 0.0
