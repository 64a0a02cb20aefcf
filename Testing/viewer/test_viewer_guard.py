"""Who is let in: the token, the host, the origin; and what a machine without OpenGL is told."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys

import pytest

pytest.importorskip("BrainViewerLib", reason="BrainViewerLib is not on the path")

from BrainViewerLib.server import web
from BrainViewerLib.server.glcheck import GraphicsMissingError, require_graphics
from BrainViewerLib.server.security import Guard
from BrainViewerLib.server.web import safe_parts
from loops import run_beside


def ask(server, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def knock(server, secret: str = "", **headers: str) -> int:
    """Open the websocket; the status of the refusal, or 101."""
    import aiohttp

    async def connect() -> int:
        address = f"http://127.0.0.1:{server.port}/ws" + (f"?secret={secret}" if secret else "")
        async with aiohttp.ClientSession() as session:
            try:
                async with session.ws_connect(address, headers=headers):
                    return 101
            except aiohttp.WSServerHandshakeError as error:
                return error.status

    return run_beside(connect())


def test_rules_without_a_server() -> None:
    guard = Guard("right")
    guard.port = 8000
    here = "127.0.0.1:8000"
    assert guard.refusal(here, None, "right", None, False) == ""
    assert guard.refusal(here, None, None, "right", False) == ""
    assert guard.refusal(here, f"http://{here}", None, "right", True) == ""
    assert guard.refusal(here, None, "wrong", None, False) == "token"
    assert guard.refusal(here, None, None, None, False) == "token"
    assert guard.refusal("evil.example:8000", None, "right", None, False) == "host"
    assert guard.refusal("127.0.0.1:9000", None, "right", None, False) == "host"
    assert guard.refusal(here, "https://evil.example", "right", "right", False) == "origin"
    assert guard.refusal(here, "null", "right", "right", True) == "origin"
    assert guard.refusal(here, None, "right", "right", True) == "origin"


def test_tokens_are_long_and_new() -> None:
    tokens = {Guard().token for _ in range(20)}
    assert len(tokens) == 20
    assert min(map(len, tokens)) >= 43


def test_a_server_lets_in_only_its_own_page(start_viewer, sample) -> None:
    server = start_viewer()
    page = f"/index.html?secret={server.token}"
    status, headers, body = ask(server, page)
    assert status == 200
    assert b"<html" in body
    cookie = headers["Set-Cookie"].split(";")[0]
    assert "HttpOnly" in headers["Set-Cookie"]
    assert "SameSite=Strict" in headers["Set-Cookie"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"

    assert ask(server, "/index.html", Cookie=cookie)[0] == 200  # a reload
    assert ask(server, "/index.html")[0] == 403
    assert ask(server, "/")[0] == 403
    assert ask(server, "/index.html?secret=wrong")[0] == 403
    assert ask(server, "/brainviewer_static/viewer.js")[0] == 403
    assert ask(server, "/download/anything", Cookie=cookie)[0] == 404
    assert ask(server, page, Host="evil.example")[0] == 403
    assert ask(server, page, Host=f"evil.example:{server.port}")[0] == 403
    assert ask(server, page, Origin="https://evil.example")[0] == 403

    for way in ("/../../../../etc/passwd", "/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "/brainviewer_static/..%2f..%2fapp.py",
                "/download/..%2f..%2fetc%2fpasswd", "//etc/passwd", "/..%5c..%5cwin.ini"):  # fmt: skip
        status, _, body = ask(server, way, Cookie=cookie)
        assert status in (400, 403, 404), way
        assert b"root:" not in body
        assert b"import" not in body

    own = f"http://127.0.0.1:{server.port}"
    assert knock(server, Origin=own, Cookie=cookie) == 101
    assert knock(server, server.token, Origin=own) == 101
    assert knock(server, Origin=own) == 403
    assert knock(server, "wrong", Origin=own) == 403
    assert knock(server, server.token, Origin="https://evil.example", Cookie=cookie) == 403
    assert knock(server, server.token, Cookie=cookie) == 403


def test_the_websocket_itself_asks_for_the_token(start_viewer) -> None:
    """Past the door, wslink still wants the secret before it answers anything."""
    import aiohttp
    import msgpack

    server = start_viewer()

    async def hello(secret: str) -> str:
        own = f"http://127.0.0.1:{server.port}"
        address = f"{own}/ws?secret={server.token}"
        async with aiohttp.ClientSession() as session, session.ws_connect(address, headers={"Origin": own}) as socket:
            call = {"wslink": "1.0", "id": "system:c0:0", "method": "wslink.hello", "args": [{"secret": secret}]}
            # wslink cuts messages into chunks behind a header of its own: id, offset, total size
            content = msgpack.packb({**call, "kwargs": {}})
            from wslink.chunking import generate_chunks

            for chunk in generate_chunks(content, 1 << 20):
                await socket.send_bytes(chunk)
            answer = await socket.receive(timeout=20)
            return str(answer.data)

    assert "Authentication failed" in run_beside(hello("wrong"))
    assert "clientID" in run_beside(hello(server.token))


def test_only_this_machine_is_served(start_viewer) -> None:
    import psutil

    server = start_viewer()
    listening = [c for c in server.viewer().net_connections() if c.status == psutil.CONN_LISTEN]
    assert {c.laddr.ip for c in listening} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("platform", "display", "libraries", "fine"),
    [
        ("linux", "", (), False),
        ("linux", "", ("GL",), False),
        ("linux", ":0", ("GL",), True),
        ("linux", "", ("EGL",), True),
        ("linux", "", ("OSMesa",), True),
        ("darwin", "", (), True),
        ("win32", "", (), True),
    ],
)
def test_opengl_is_asked_for_first(platform: str, display: str, libraries: tuple[str, ...], fine: bool) -> None:
    def check() -> None:
        require_graphics(platform, {"DISPLAY": display}, lambda name: name in libraries)

    if fine:
        check()
        return
    with pytest.raises(GraphicsMissingError) as caught:
        check()
    assert caught.value.exit_code == 4
    assert "apt-get install libegl1" in caught.value.action


def test_a_machine_without_opengl_gets_a_sentence_and_code_4(viewer_packages, sample) -> None:
    """The command itself, with every OpenGL library refused: no crash, no traceback."""
    program = (
        "import sys; from BrainViewerLib.server import glcheck; "
        "glcheck.require_graphics.__defaults__ = (sys.platform, {}, lambda name: False); "
        "from braindiffusion.__main__ import main; sys.argv = ['braindiffusion', 'view', '--no-browser']; main()"
    )
    if not sys.platform.startswith("linux"):
        pytest.skip("Linux only: the others always have OpenGL.")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 4, done.stderr
    assert "apt-get install" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_told(viewer_packages, tmp_path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "braindiffusion", "view", "--no-browser", "--port", str(port)],
            capture_output=True, text=True, timeout=120, env={**os.environ, "BRAINVIEWER_STATE": str(tmp_path)},
        )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert f"Port {port} cannot be used" in done.stderr
    assert list((tmp_path / "sessions").iterdir()) == []


def test_a_window_is_private_and_has_no_tabs() -> None:
    from BrainViewerLib.launch import window_command

    command = window_command("chromium", "http://127.0.0.1:1/?secret=x", "profile")
    assert "--app=http://127.0.0.1:1/?secret=x" in command
    assert "--user-data-dir=profile" in command


def test_names_of_uploads_lead_nowhere() -> None:
    assert safe_parts("../../etc/passwd") == ["etc", "passwd"]
    assert safe_parts("%2e%2e/%2e%2e/x.nii") == ["x.nii"]
    assert safe_parts("C:\\scans\\a.dcm") == ["C_", "scans", "a.dcm"]
    assert safe_parts("/absolute/a.nii.gz") == ["absolute", "a.nii.gz"]
    assert safe_parts("..") == []


class Part:
    """A file of a form, as aiohttp hands it out."""

    def __init__(self, filename: str, *chunks: bytes) -> None:
        self.filename, self._chunks = filename, [*chunks]

    async def read_chunk(self, size: int) -> bytes:
        return self._chunks.pop(0) if self._chunks else b""


class Form:
    """A request with files."""

    def __init__(self, *parts: Part) -> None:
        self._parts = [*parts]

    async def multipart(self) -> Form:
        return self

    async def next(self) -> Part | None:
        return self._parts.pop(0) if self._parts else None


def test_an_upload_has_limits(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(web, "MOST_BYTES", 10)
    monkeypatch.setattr(web, "MOST_FILES", 2)

    def send(*parts: Part) -> int:
        return run_beside(web.receive(Form(*parts), tmp_path))

    assert send(Part("a", b"12345"), Part("../b", b"12345")) == 2
    assert (tmp_path / "b").read_bytes() == b"12345"
    with pytest.raises(web.UploadTooLargeError):
        send(Part("c", b"123456"), Part("d", b"12345"))
    with pytest.raises(web.UploadTooLargeError):
        send(Part("e"), Part("f"), Part("g"))


def test_help_is_light_and_needs_no_viewer() -> None:
    program = (
        "import sys; sys.argv = ['braindiffusion', 'view', '--help']\n"
        "from braindiffusion.__main__ import main\n"
        "try:\n    main()\n"
        "finally:\n    print('HEAVY', [m for m in ('trame', 'slicer', 'torch', 'vtk') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert "HEAVY []" in done.stdout, done.stdout + done.stderr
    assert "--no-browser" in done.stdout


def test_a_missing_extra_is_named_with_its_command(monkeypatch) -> None:
    import importlib.util

    from braindiffusion.cli import view as cli_view
    from braindiffusion.errors import DependencyMissingError

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyMissingError) as caught:
        cli_view.require_viewer()
    assert "pip install" in caught.value.action
    assert "[viewer]" in caught.value.action


def test_a_scan_that_is_not_there_is_told_on_the_command_line(viewer_packages) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "braindiffusion", "view", "--no-browser", "nowhere.nii.gz"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "ScanNotFoundError" in done.stderr


def test_a_coroutine_runs_beside_a_loop_that_is_running() -> None:
    """As in a run of all viewer tests: the browser's own loop is running in this thread."""
    import asyncio

    async def seven() -> int:
        return 7

    async def outer() -> int:
        return run_beside(seven())

    assert run_beside(outer()) == 7
    with pytest.raises(ZeroDivisionError):
        run_beside(asyncio.to_thread(lambda: 1 // 0))
