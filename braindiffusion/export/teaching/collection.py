"""A collection of teaching files: one page that lists them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from braindiffusion.errors import TeachingFileError
from braindiffusion.export.teaching.case import FORMAT, PAGE, RECORD, THUMBNAIL, VERSION
from braindiffusion.export.teaching.page import page
from braindiffusion.export.teaching.pictures import data_uri
from braindiffusion.io.text_files import read_bytes, read_json
from braindiffusion.io.write import OutputFolder

MOST_THUMBNAIL_BYTES = 2_000_000


def write_index(folder: Path, title: str = "Teaching files") -> int:
    """Write ``index.html`` for the teaching files in the folders of a collection, in the order of their names.

    Returns:
        How many there are.

    Raises:
        TeachingFileError: there is none, or one is damaged or of another version.
        OutputError: the page cannot be written.
    """
    found = sorted(path.parent for path in folder.glob(f"*/{RECORD}"))
    if not found:
        raise TeachingFileError(
            f"{folder} holds no teaching files.", "None of its folders has a case.json.", "Make some with: teach"
        )
    cases = [_entry(number, path) for number, path in enumerate(found, 1)]
    with OutputFolder(folder) as out:
        out.file("index.html").write_text(page("index", {"title": title, "cases": cases}), encoding="utf-8")
    return len(cases)


def _entry(number: int, folder: Path) -> dict[str, Any]:
    try:
        record = read_json(folder / RECORD)
        picture = read_bytes(folder / THUMBNAIL, MOST_THUMBNAIL_BYTES)
        right = record["format"] == FORMAT and record["version"] == VERSION and (folder / PAGE).is_file()
        title, modality, kind = (str(record[k] or "") for k in ("title", "modality", "kind"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, str(error)) from error
    if not right or not picture.startswith(b"\x89PNG"):
        raise _damaged(folder, "A part of it is missing, or of another version.")
    return {
        "number": number, "title": title, "modality": modality, "kind": kind, "picture": data_uri(picture),
        "href": f"{quote(folder.name)}/{PAGE}",
    }  # fmt: skip


def _damaged(folder: Path, why: str) -> TeachingFileError:
    return TeachingFileError(f"The teaching file in {folder.name} is damaged.", why, "Make it again, or take it out.")
