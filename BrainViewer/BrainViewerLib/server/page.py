"""What every page of ours is: one server on this machine, one scene, one user, behind the guard."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from trame.app import TrameApp
from trame_slicer import module as trame_slicer_module
from trame_slicer.rca_view import register_rca_factories

from braindiffusion.errors import BrainDiffusionError
from BrainViewerLib.server.host import SlicerHost
from BrainViewerLib.server.messages import Messages
from BrainViewerLib.server.security import Guard

FRAMES_PER_SECOND = 24.0
STILL_QUALITY, MOVING_QUALITY = 95, 70
ShowWindow = Callable[["LocalPage", str], Coroutine[Any, Any, None]]


class PortTakenError(BrainDiffusionError):
    """The port asked for is in use."""

    exit_code = 4

    def __init__(self, port: int) -> None:
        super().__init__(
            f"Port {port} cannot be used.", "Another program uses it.", "Leave --port out, or choose another."
        )


class LocalPage(TrameApp):
    """Server, scene and guard of a page; the page itself is the subclass's.

    Args:
        client_module: styles and scripts, as trame takes them.
        token: the secret in the address; a random one when left out.
        code: opens the window, see :class:`~BrainViewerLib.server.security.Guard`.
    """

    def __init__(self, client_module: dict[str, Any], token: str | None = None, code: str | None = None) -> None:
        os.environ["TRAME_ARGS"] = "--server"  # trame reads no command line of its own
        os.environ["WSLINK_READY_MSG"] = ""
        super().__init__(None, client_type="vue3")
        self.guard = Guard(token, code)
        self.messages = Messages(self.state)
        self._tasks: list[asyncio.Task[Any]] = []
        self.server.enable_module(trame_slicer_module)
        self.server.enable_module(client_module)
        self.host = SlicerHost()

    def draw_views(self, overlay: Callable[[str], None]) -> None:
        """Let slice views draw into the page; ``overlay(tag)`` makes what lies over one."""
        register_rca_factories(
            self.host.core.view_manager,
            self.server,
            slice_view_ui_f=lambda _server, tag, _view: overlay(tag),
            target_fps=FRAMES_PER_SECOND,
            blur_fps=FRAMES_PER_SECOND,
            interactive_quality=MOVING_QUALITY,
        )

    def tune_views(self) -> None:
        """Sharp pictures where nothing moves, quick ones where something does."""
        for factory in self.host.core.view_manager._factories:
            for made in getattr(factory, "_views", {}).values():
                with suppress(AttributeError):
                    made.view_adapter._scheduler.update_quality(MOVING_QUALITY, STILL_QUALITY)

    # -- running

    def on_bind(self, web_server: Any) -> None:
        """Add routes of our own to wslink's server."""

    def on_ready(self, loop: asyncio.AbstractEventLoop) -> None:
        """The server listens: begin what goes on beside it."""

    def end(self) -> None:
        """Let go of everything; may be called twice."""

    def serve(self, port: int = 0, show_window: ShowWindow | None = None) -> None:
        """Serve on 127.0.0.1 until closed.

        Raises:
            PortTakenError: the port is in use.
        """
        controller = self.server.controller
        served: list[Any] = []

        @controller.add("on_server_bind")
        def bind(web_server: Any) -> None:
            self.server.protocol.updateSecret(self.guard.token)
            self.guard.install(web_server)
            self.on_bind(web_server)
            served.append(web_server)

        @controller.add("on_server_ready")
        def ready(**_: Any) -> None:
            self.guard.port = self.server.port
            loop = asyncio.get_running_loop()
            print(f"BrainViewer: {self.guard.address}", flush=True)
            print("Research use only. Close the window or press Ctrl-C to end.", flush=True)
            self.on_ready(loop)
            self._tasks += [loop.create_task(self.guard.watch(web_server)) for web_server in served]
            if show_window is not None:
                self._tasks.append(loop.create_task(show_window(self, self.guard.window_address)))
            with suppress(NotImplementedError, ValueError):
                for name in (signal.SIGINT, signal.SIGTERM):
                    loop.add_signal_handler(name, lambda: loop.create_task(self.close()))

        try:
            self.server.start(
                port=port, host="127.0.0.1", timeout=0, open_browser=False, show_connection_info=False, thread=True
            )
        except OSError as error:
            raise PortTakenError(port) from error
        finally:
            self.end()

    async def close(self) -> None:
        """End the server and our tasks."""
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        self.end()
        with suppress(Exception):
            await self.server.stop()
