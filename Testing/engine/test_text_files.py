"""Small files from strangers: never a pipe, never a giant, never too deep; tables that no spreadsheet runs."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import pytest

from braindiffusion.io.tables import csv_cell, markdown_text, write_csv, write_csv_file
from braindiffusion.io.text_files import read_bytes, read_json


def test_what_stands_in_a_plain_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'{"a": [1, 2]}')
    assert read_json(tmp_path / "a.json") == {"a": [1, 2]}
    assert read_bytes(tmp_path / "a.json", 13) == b'{"a": [1, 2]}'
    with pytest.raises(OSError, match="more than"):
        read_bytes(tmp_path / "a.json", 12)


@pytest.mark.skipif(os.name != "posix", reason="no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match="not a plain file"):
            read_bytes(place)


def test_nesting_beyond_measure_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" * 200_000 + "]" * 200_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "=HYPERLINK(...)", "-"])
def test_a_formula_is_text(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["-1.5", "+3", "-inf", "case-001", "", "a=b", -3, None, 2.5])
def test_other_cells_stay_as_they_are(value: object) -> None:
    assert csv_cell(value) == value


def test_a_table_reads_back(tmp_path: Path) -> None:
    stream = io.StringIO(newline="")
    write_csv(stream, ("name", "=x"), [["=cmd|'/c calc'!A0", -1]])
    assert list(csv.reader(io.StringIO(stream.getvalue()))) == [["name", "'=x"], ["'=cmd|'/c calc'!A0", "-1"]]
    write_csv_file(tmp_path / "a.csv", [{"a": 1}, {"b": "@b"}])
    assert (tmp_path / "a.csv").read_bytes() == b"a,b\r\n1,\r\n,'@b\r\n"


def test_markdown_shows_a_name_as_it_is() -> None:
    assert markdown_text("a|b\n<script>*x*") == r"a\|b &lt;script&gt;\*x\*"
