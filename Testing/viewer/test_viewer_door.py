"""The door without the house: the guard in a server of its own, what it lets in, and what it does not wait for."""

from __future__ import annotations

import asyncio
import http.client
import logging
import os
import socket
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("BrainViewerLib", reason="BrainViewerLib is not on the path")
pytest.importorskip("aiohttp", reason="aiohttp comes with the viewer")

from aiohttp import web
from BrainViewerLib import launch
from BrainViewerLib.server import security, supervisor
from BrainViewerLib.server.security import Guard
from BrainViewerLib.server.web import add_routes
from loops import run_beside


class Door:
    """What the guard sees of wslink's server."""

    def __init__(self) -> None:
        self.app, self.runner = web.Application(), None

    def get_port(self) -> int:
        return self.runner.addresses[0][1]


def behind(guard: Guard, talk: Callable[[int], Any], add: Callable[[Door], None] | None = None) -> Any:
    """Serve a page behind a guard while ``talk(port)`` runs in another thread; what that returns."""

    async def serve() -> Any:
        door = Door()
        guard.install(door)
        door.app.router.add_get("/index.html", lambda _request: web.Response(text="page"))
        if add is not None:
            add(door)
        door.runner = web.AppRunner(door.app)
        await door.runner.setup()
        await web.TCPSite(door.runner, "127.0.0.1", 0).start()
        guard.port = door.get_port()
        watch = asyncio.create_task(guard.watch(door, 0.02))
        try:
            return await asyncio.get_running_loop().run_in_executor(None, talk, guard.port)
        finally:
            watch.cancel()
            await door.runner.cleanup()

    return run_beside(serve())


def get(port: int, path: str, **headers: str) -> tuple[int, str]:
    """Status, and where one is sent."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.headers.get("Location", "")


def test_the_code_opens_the_window_once() -> None:
    guard = Guard()

    def talk(port: int) -> None:
        way = guard.window_address.split(f":{port}")[1]
        assert guard.token not in way
        assert get(port, "/enter?code=wrong")[0] == 403
        assert get(port, "/enter")[0] == 403
        assert get(port, way, Origin="https://evil.example")[0] == 403
        assert get(port, way, Host=f"evil.example:{port}")[0] == 403
        status, address = get(port, way)
        assert (status, address) == (302, guard.address)
        assert get(port, address.split(f":{port}")[1])[0] == 200
        assert get(port, way)[0] == 403
        assert get(port, "/enter?code=")[0] == 403

    behind(guard, talk)


def test_the_code_is_not_good_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = Guard(code="code")
    later = security.time.monotonic() + security.CODE_SECONDS + 1
    monkeypatch.setattr(security.time, "monotonic", lambda: later)
    assert not guard.enters("code", None)


def test_another_user_cannot_spend_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = Guard()

    def talk(port: int) -> None:
        way = guard.window_address.split(f":{port}")[1]
        if sys.platform == "linux":
            with monkeypatch.context() as patch:
                me = os.geteuid()
                patch.setattr(os, "geteuid", lambda: me + 1)
                assert get(port, way)[0] == 403
        assert get(port, way)[0] == 302

    behind(guard, talk)


def test_the_process_list_does_not_tell_the_secret() -> None:
    async def window(address: str) -> bool:
        return True

    watched = supervisor.Supervisor([], window)
    watched._port = 80
    address = watched._address()
    assert watched.token not in address
    assert watched._code in address
    assert not any(watched.token in part for part in launch.window_command("chromium", address, "profile"))
    assert supervisor.Supervisor([])._code == ""  # no window, no code


def test_bytes_that_are_no_text_are_only_wrong() -> None:
    guard = Guard()

    def talk(port: int) -> None:
        for cookie in (guard.cookie.encode() + b"=\xff\xfe", b"\xff=1; a=\x01", b'a="\\', b"=;=;;", b"a" * 3000):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as wire:
                host = b"127.0.0.1:%d" % port
                wire.sendall(b"GET /index.html HTTP/1.1\r\nHost: " + host + b"\r\nCookie: " + cookie + b"\r\n\r\n")
                assert wire.recv(100).split()[1] in (b"403", b"400"), cookie
        assert get(port, "/index.html?secret=%ff%fe")[0] == 403

    behind(guard, talk)


def test_a_connection_that_says_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "SILENT_SECONDS", 0.3)
    guard = Guard()

    def talk(port: int) -> None:
        speaks = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        silent = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(20)]
        silent[0].sendall(b"GET /index.html HTTP/1.1\r\nHost")
        for _ in range(2):  # the same connection, heard before and after
            speaks.request("GET", f"/index.html?secret={guard.token}")
            assert speaks.getresponse().read() == b"page"
            for wire in silent:
                assert wire.recv(100) == b""
        speaks.close()

    behind(guard, talk)


def test_a_thousand_silent_connections_leave_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "MOST_SILENT", 5)
    guard = Guard()

    def talk(port: int) -> None:
        silent = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(40)]
        assert all(wire.recv(100) == b"" for wire in silent[:35])  # the oldest go first
        assert get(port, f"/index.html?secret={guard.token}")[0] == 200
        for wire in silent:
            wire.close()

    behind(guard, talk)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/plain", b"no form"),
        ("multipart/form-data", b"no boundary"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name=a; filename=b\r\n\r\nab"),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"\xff" * 500),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x--\r\n--x--"),
        ("multipart/form-data; boundary=\xff", b"--\xff--"),
    ],
)
def test_a_form_that_is_none_is_refused(tmp_path: Path, kind: str, body: bytes) -> None:
    guard, opened = Guard(), []

    async def open_upload(*given: Any) -> bool:
        opened.append(given)
        return True

    def talk(port: int) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        headers = {"Content-Type": kind, "Content-Length": str(len(body))}
        connection.request("POST", f"/upload?kind=scan&secret={guard.token}", body, headers)
        return connection.getresponse().status

    assert behind(guard, talk, lambda door: add_routes(door, tmp_path, open_upload, {})) == 400
    assert opened == []
    assert list(tmp_path.iterdir()) == []


def test_the_log_begins_again_where_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "MOST_LOG_BYTES", 1000)
    path = tmp_path / "viewer.log"
    with path.open("a", encoding="utf-8") as stream:
        handler = launch.bounded_log(stream)
        for number in range(500):
            handler.emit(logging.makeLogRecord({"msg": f"line {number}"}))
    assert path.stat().st_size < 1200
    assert path.read_text(encoding="utf-8").endswith("line 499\n")
    assert "line 499" not in path.with_suffix(".old.log").read_text(encoding="utf-8")


@pytest.mark.skipif(os.name != "posix", reason="a script for a browser")
def test_a_browser_ends_with_the_viewer_and_its_profile_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not end when it is asked, and writes to its profile until it does."""
    browser, told = tmp_path / "browser", tmp_path / "told"
    browser.write_text(
        f"#!{sys.executable}\nimport os, signal, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "profile = next(a.split('=', 1)[1] for a in sys.argv if a.startswith('--user-data-dir'))\n"
        f"open(profile + '/state', 'w').write('x')\ntold = {str(told)!r}\n"
        "open(told + '.part', 'w').write(f'{os.getpid()} {profile}')\n"
        "os.replace(told + '.part', told)\ntime.sleep(600)\n"
    )
    browser.chmod(0o700)
    monkeypatch.setattr(launch, "find_browser", lambda: str(browser))
    monkeypatch.setattr(launch, "BROWSER_SECONDS", 0.1)
    monkeypatch.setenv("DISPLAY", ":0")

    async def opened_then_ended() -> None:
        window = asyncio.create_task(launch.open_window("http://127.0.0.1:1/enter"))
        while not told.exists():
            await asyncio.sleep(0.02)
        window.cancel()
        await asyncio.gather(window, return_exceptions=True)

    run_beside(opened_then_ended())
    number, profile = told.read_text().split()
    assert not Path(profile).exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int(number), 0)


def test_a_scene_that_grows_beyond_measure_is_not_unpacked(
    viewer_packages: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("slicer")
    from BrainViewerLib.controllers import loading

    from braindiffusion.errors import ScanUnreadableError

    scene = tmp_path / "scene.mrb"
    with zipfile.ZipFile(scene, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("scene/a.nrrd", bytes(100_000))
    loading.check_bundle(scene)
    monkeypatch.setattr(loading, "MOST_UNPACKED", 99_999)
    with pytest.raises(ScanUnreadableError, match="too large"):
        loading.load_scene(scene)
    monkeypatch.undo()
    raw = bytearray(scene.read_bytes())
    raw[60] ^= 0xFF
    scene.write_bytes(raw)
    with pytest.raises(ScanUnreadableError, match="could not be read"):
        loading.load_scene(scene)
    scene.write_bytes(b"no archive")
    with pytest.raises(ScanUnreadableError, match="could not be read"):
        loading.load_scene(scene)
