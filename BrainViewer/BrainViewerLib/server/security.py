"""Who may talk to the viewer: this machine, this page, with the token that was in the address.

The server listens on 127.0.0.1. Every HTTP request and the websocket's handshake must name that host (a foreign name
that resolves to it does not), must not come from another page (Origin), and must carry the token: once in the address
as ``?secret=``, afterwards in a cookie that scripts cannot read. wslink asks for the same token again as its secret.
"""

from __future__ import annotations

import secrets
from typing import Any

TOKEN_BYTES = 32
PARAMETER = "secret"  # the name that trame's page reads and hands to wslink
FORBIDDEN = "This viewer belongs to another window. Use the address that was printed when it started."
HOSTS = ("127.0.0.1", "localhost")


class Guard:
    """Token and rules of one server.

    Args:
        token: the secret of this run; a new random one when left out.
    """

    def __init__(self, token: str | None = None) -> None:
        self.token = token or secrets.token_urlsafe(TOKEN_BYTES)
        self.port = 0

    @property
    def address(self) -> str:
        """The address to open, token included."""
        return f"http://127.0.0.1:{self.port}/index.html?{PARAMETER}={self.token}"

    @property
    def cookie(self) -> str:
        """Cookies are shared by all ports of a host, so the name holds ours."""
        return f"brainviewer-{self.port}"

    def known(self, given: str | None) -> bool:
        """Whether ``given`` is the token."""
        return given is not None and secrets.compare_digest(given.encode(), self.token.encode())

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
            query, cookie = request.query.get(PARAMETER), request.cookies.get(self.cookie)
            websocket = request.headers.get("Upgrade", "").lower() == "websocket"
            if self.refusal(request.host, request.headers.get("Origin"), query, cookie, websocket):
                return web.Response(status=403, text=FORBIDDEN, headers={"Cache-Control": "no-store"})
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
