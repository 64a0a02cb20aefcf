"""The viewer's own HTTP routes: scans in, results out. The guard stands before them."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from aiohttp.web import Request, StreamResponse


KINDS = ("scan", "mask")
CHUNK = 1 << 20
MOST_BYTES, MOST_FILES = 4 << 30, 20_000
"""Of one upload: a series of the finest scanners has a tenth of either."""


class UploadTooLargeError(Exception):
    """More than one scan can be."""


class MalformedUploadError(Exception):
    """Not a form with files."""


def safe_parts(name: str) -> list[str]:
    """Parts of a name a browser sent, without anything that leads elsewhere."""
    parts = PurePosixPath(unquote(name).replace("\\", "/")).parts
    return [re.sub(r"[\x00-\x1f:*?\"<>|]", "_", part) for part in parts if part not in ("/", "..", ".", "")]


async def receive(request: Request, folder: Path) -> int:
    """Write the files of a form into a folder as they arrive; how many.

    Raises:
        UploadTooLargeError: more files or bytes than a scan has.
        MalformedUploadError: it is not a form.
        OSError: the disk is full, say.
    """
    try:
        return await _received(request, folder)
    except (UploadTooLargeError, OSError):
        raise
    except Exception as error:  # aiohttp has many kinds for a form that is none
        raise MalformedUploadError(type(error).__name__) from error


async def _received(request: Request, folder: Path) -> int:
    count = size = 0
    reader: Any = await request.multipart()
    while (part := await reader.next()) is not None:
        parts = safe_parts(getattr(part, "filename", None) or "")
        if not parts:
            continue
        target = folder.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as stream:
            while chunk := await part.read_chunk(CHUNK):
                size += len(chunk)
                if size > MOST_BYTES:
                    raise UploadTooLargeError(f"more than {MOST_BYTES >> 30} GB")
                stream.write(chunk)
        count += 1
        if count > MOST_FILES:
            raise UploadTooLargeError(f"more than {MOST_FILES} files")
    return count


def add_routes(
    web_server: Any, workspace: Path, opened: Callable[[Path, str], Awaitable[bool]], downloads: Mapping[str, Path]
) -> None:
    """Add ``POST /upload``, ``GET /download/KEY``, and ``GET /alive``, by which the page knows that we are.

    Args:
        workspace: a folder for uploads in passing.
        opened: ``(folder, kind)``: opens what was sent; whether that went well.
        downloads: key -> file.
    """
    from aiohttp import web

    async def upload(request: Request) -> StreamResponse:
        kind = request.query.get("kind", "")
        if kind not in KINDS:
            return web.Response(status=400, text="What is it? kind=scan or kind=mask.")
        folder = Path(tempfile.mkdtemp(prefix="upload-", dir=workspace))
        try:
            count = await receive(request, folder)
            if not count:
                return web.Response(status=400, text="No file arrived.")
            well = await opened(folder, kind)
            return web.json_response({"files": count, "opened": well})
        except MalformedUploadError as error:
            return web.Response(status=400, text=f"The upload is not a form with files: {error}.")
        except UploadTooLargeError as error:
            return web.Response(status=413, text=f"The upload is too large for one scan: {error}.")
        except OSError as error:
            return web.Response(status=507, text=f"The upload could not be kept: {error.strerror or error}")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    async def download(request: Request) -> StreamResponse:
        path = downloads.get(request.match_info["key"])
        if path is None or not path.is_file():
            return web.Response(status=404, text="This download has gone.")
        disposition = {"Content-Disposition": f'attachment; filename="{path.name}"'}
        return web.FileResponse(path, headers=disposition)

    async def alive(_request: Request) -> StreamResponse:
        return web.json_response({"process": os.getpid()})

    web_server.app.router.add_get("/alive", alive)
    web_server.app.router.add_post("/upload", upload)
    web_server.app.router.add_get("/download/{key}", download)
