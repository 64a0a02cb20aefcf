"""Who may talk to the viewer: this machine, this page, with the token that was in the address.

The server listens on 127.0.0.1. Every HTTP request and the websocket's handshake must name that host (a foreign name
that resolves to it does not), must not come from another page (Origin), and must carry the token: once in the address
as ``?secret=``, afterwards in a cookie that scripts cannot read. wslink asks for the same token again as its secret.

The window is opened with a code in its address, not with the token: every user of the machine can read the arguments of
a process. The code is exchanged for the token once, soon, and where the system tells who asks (Linux), by us alone.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from contextlib import suppress
from http.cookies import CookieError
from pathlib import Path
from typing import Any

TOKEN_BYTES = 32
PARAMETER = "secret"  # the name that trame's page reads and hands to wslink
FORBIDDEN = "This viewer belongs to another window. Use the address that was printed when it started."
HOSTS = ("127.0.0.1", "localhost")
ENTRANCE = "/enter"
CODE_SECONDS = 120.0
"""The window opens within this time, or not at all."""
SILENT_SECONDS, MOST_SILENT = 20.0, 64
"""How long a connection may be open before its first request has come, and how many such there may be."""


class Guard:
    """Token and rules of one server.

    Args:
        token: the secret of this run; a new random one when left out.
        code: opens the window, once; a new random one when left out, none where it is empty.
    """

    def __init__(self, token: str | None = None, code: str | None = None) -> None:
        self.token = token or secrets.token_urlsafe(TOKEN_BYTES)
        self.code = secrets.token_urlsafe(TOKEN_BYTES) if code is None else code
        self.port = 0
        self._code_ends = time.monotonic() + CODE_SECONDS
        self._heard: set[Any] = set()

    @property
    def address(self) -> str:
        """The address to open, token included."""
        return f"http://127.0.0.1:{self.port}/index.html?{PARAMETER}={self.token}"

    @property
    def window_address(self) -> str:
        """The address to open a window with: it may be seen by other users, and is good once."""
        return f"http://127.0.0.1:{self.port}{ENTRANCE}?code={self.code}"

    @property
    def cookie(self) -> str:
        """Cookies are shared by all ports of a host, so the name holds ours."""
        return f"brainviewer-{self.port}"

    def known(self, given: str | None) -> bool:
        """Whether ``given`` is the token."""
        return given is not None and _same(given, self.token)

    def enters(self, code: str, peer: tuple[str, int] | None) -> bool:
        """Whether a code opens the window now; it does once.

        Args:
            peer: address and port of who asks.
        """
        if not self.code or time.monotonic() > self._code_ends or not _same(code, self.code) or _is_another(peer):
            return False
        self.code = ""
        return True

    def refusal(self, host: str, origin: str | None, query: str | None, cookie: str | None, websocket: bool) -> str:
        """Why a request is refused; empty when it is welcome."""
        names = {f"{name}:{self.port}" for name in HOSTS}
        if host not in names:
            return "host"
        if origin is not None and origin not in {f"http://{name}" for name in names}:
            return "origin"
        if websocket and origin is None:
            return "origin"
        if not (self.known(query) or self.known(cookie)):
            return "token"
        return ""

    def headers(self) -> dict[str, str]:
        """Sent with every answer: nothing is framed, guessed, cached, referred to, or fetched from elsewhere."""
        here = " ".join(f"ws://{name}:{self.port}" for name in HOSTS)
        return {
            "Content-Security-Policy": (
                "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src 'self' blob:; "
                "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
                f"connect-src 'self' {here}; frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
            ),
            "X-Frame-Options": "DENY",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
        }

    def install(self, web_server: Any) -> None:
        """Put the check before every route of wslink's aiohttp application, and say where the websocket is.

        The page asks ``/paraview/`` first (it could be run by a launcher); the answer carries the token, so that a
        reload, whose address has lost it, gets through with the cookie alone.
        """
        from aiohttp import web

        @web.middleware
        async def check(request: web.Request, handler: Any) -> web.StreamResponse:
            self.port = self.port or web_server.get_port()
            self._heard.add(request.protocol)
            query, cookie = request.query.get(PARAMETER), None
            with suppress(CookieError, ValueError):
                cookie = request.cookies.get(self.cookie)
            websocket = request.headers.get("Upgrade", "").lower() == "websocket"
            why = self.refusal(request.host, request.headers.get("Origin"), query, cookie, websocket)
            if request.path == ENTRANCE and why in ("", "token"):
                peer = request.transport.get_extra_info("peername") if request.transport else None
                if self.enters(request.query.get("code", ""), peer):
                    return web.Response(status=302, headers={"Location": self.address, "Cache-Control": "no-store"})
                why = "code"
            if why:
                refused = web.Response(status=403, text=FORBIDDEN, headers={"Cache-Control": "no-store"})
                refused.force_close()
                return refused
            page = request.path in ("/", "/index.html")
            response = await handler(request)
            if not response.prepared:
                response.headers.update(self.headers())
                if page:
                    response.headers["Cache-Control"] = "no-store"
                    response.set_cookie(self.cookie, self.token, httponly=True, samesite="Strict", path="/")
            return response

        async def session(request: web.Request) -> web.Response:
            return web.json_response({"sessionURL": f"ws://{request.host}/ws", PARAMETER: self.token})

        web_server.app.middlewares.append(check)
        web_server.app.router.add_post("/paraview/", session)

    async def watch(self, web_server: Any, every: float = 2.0) -> None:
        """Until cancelled, close connections that say nothing: each takes a place that the page may need."""
        since: dict[Any, float] = {}
        while True:
            now = time.monotonic()
            connections = web_server.runner.server.connections if web_server.runner.server else []
            self._heard &= set(connections)
            since = {one: since.get(one, now) for one in connections if one not in self._heard}
            for number, (one, begun) in enumerate(reversed(list(since.items()))):
                if number >= MOST_SILENT or now - begun >= SILENT_SECONDS:
                    one.force_close()
            await asyncio.sleep(every)


def _same(given: str, secret: str) -> bool:
    """Compared in a time that tells nothing; bytes that are not Unicode are only wrong."""
    return secrets.compare_digest(given.encode("utf-8", "surrogatepass"), secret.encode())


def _is_another(peer: tuple[str, int] | None) -> bool:
    """Whether a connection on this machine was made by another user, as far as the system tells."""
    if peer is None or not hasattr(os, "geteuid"):
        return False
    host, port = peer[:2]
    place = f"{int.from_bytes(bytes(int(n) for n in host.split('.')), 'little'):08X}:{port:04X}"
    try:
        lines = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    except OSError:  # not Linux
        return False
    return any(line[1] == place and int(line[7]) != os.geteuid() for line in lines)
