"""What the first lines of a file tell before its reader is asked: its columns, their delimiter, the encoding."""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
from collections.abc import Collection
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from odibi_actors.kinds.registry import format_of, formats
from odibi_actors.nodes.formats import Malformed
from odibi_actors.nodes.formats.headless import LOOKED, looks_like_data, without_header
from odibi_actors.nodes.formats.packed import (
    beginning,
    compression_of,
    converted,
    marked_encoding,
    other_encoding,
    what_it_is,
)
from odibi_actors.nodes.formats.rows import SEPARATOR
from odibi_actors.units import plural

FORMATS = {suffix: name for name in formats() for suffix in format_of(name).suffixes}
COMPRESSED = (".gz", ".zst", ".bz2", ".xz", ".lz4", ".br")
_SPREADSHEETS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".7z", ".rar")
_HEAD = 1 << 16
"""Bytes at the beginning of a file that tell its header, and whether it has one."""
ONE_BYTE = "windows-1252"
"""What is tried for a text that is not UTF-8. A few bytes have no letter in it; nor have they in ISO 8859-1."""
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0e-\x1f]")
_COMMA_NUMBER = re.compile(r"-?\d[\d. ]*,\d+")


class Header(NamedTuple):
    """Of a file. ``columns`` is empty when only the reader can tell; ``bare``: the file has no header, and these names
    are made up; ``skip``: lines before it."""

    columns: tuple[str, ...] = ()
    delimiter: str = ","
    encoding: str = ""
    bare: bool = False
    skip: int = 0

    def options(self) -> dict[str, str | int | list[str]]:
        """Those of the reader."""
        found: dict[str, str | int | list[str]] = {"delimiter": self.delimiter} if self.delimiter != "," else {}
        found |= {"skip_rows": self.skip} if self.skip else {}
        found |= {"encoding": self.encoding} if self.encoding else {}
        return found | ({"column_names": list(self.columns)} if self.bare else {})


def unpacked(name: str) -> str:
    """The name without the ending of what it is packed with."""
    stem, ending = os.path.splitext(name)
    return stem if ending.lower() in COMPRESSED else name


def format_by_name(name: str) -> str | None:
    """The format that a file's name tells; None for no known one."""
    return FORMATS.get(os.path.splitext(unpacked(name.lower()))[1])


def unknown(path: Path) -> str:
    """Why a file of that name is not read, and what is to be done to have it read."""
    name = path.name.lower()
    if name.endswith(_SPREADSHEETS):
        return "a spreadsheet, which is not read: export each of its sheets as csv (UTF-8)"
    if name.endswith(_ARCHIVES):
        return "an archive, which is not read: unpack it; its files may be packed one by one, with gzip (.csv.gz)"
    says = f"of no known format by its name ({', '.join(FORMATS)})"
    try:
        with path.open("rb") as file:
            lines = file.read(_HEAD).decode("utf-8-sig").splitlines()[:2]
    except (OSError, UnicodeDecodeError):
        return says
    if len(lines) == 2 and any(lines[0].count(mark) == lines[1].count(mark) > 0 for mark in ",;\t|"):
        return f"{says}; if it is csv, rename it, or `format: csv` with its name as `pattern` reads it"
    return says


def header_of(path: Path) -> tuple[Header, str]:
    """That of a file, and why it seems to have none. Raises ValueError that says what the file is instead."""
    if format_by_name(path.name) == "parquet":
        try:
            return Header(tuple(pq.read_schema(path).names)), ""
        except pa.ArrowException as error:
            raise ValueError(f"its columns cannot be read: {error}") from None
    if not format_of(format_by_name(path.name) or "csv").texts:
        return Header(), ""
    packed = path.suffix.lower() in COMPRESSED
    if packed and not compression_of(path.name, "auto"):
        return Header(), ""
    with open(path, "rb") as raw:
        data = raw.read() if packed else raw.read(_HEAD)
    try:
        data = beginning(data, path.name)[:_HEAD] if packed else data
    except Malformed as error:
        raise ValueError(error.message) from None
    if not data:
        raise ValueError("the file is empty, not even a header")
    encoding = marked_encoding(data)
    if not encoding and (found := what_it_is(data)):
        raise ValueError(f"the file is {found[0]}; {found[1]}")
    said = []
    try:
        text = codecs.getincrementaldecoder(encoding or "utf-8-sig")().decode(data)
    except UnicodeDecodeError:
        encoding = _one_byte(data) if format_by_name(path.name) == "csv" else ""
        if not encoding:
            raise ValueError(
                f"the file is no UTF-8 text, perhaps windows-1252 or latin-1: {other_encoding('windows-1252')}"
            ) from None
        text = data.decode(encoding)
        said.append(f"is not UTF-8 and was taken for {encoding}, which its bytes cannot prove: look at its letters")
    tells = SEPARATOR.match(text)  # Excel the delimiter
    text = text[tells.end() :].removeprefix("\n") if tells else text
    delimiter, skip = (tells[1], 1) if tells else (_delimiter(text), 0)
    rows = list(islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), LOOKED + 1))
    if len(data) == _HEAD and len(rows) <= LOOKED and len(rows) > 1:
        rows.pop()  # its end may be cut off
    rows = [row for row in rows if row] or [[]]
    why = looks_like_data(rows[0], rows[1:])
    if not why:
        return Header(tuple(rows[0]), delimiter, encoding, skip=skip), "; ".join(said)
    names = tuple(without_header(len(rows[0])))
    said.append(f"seems to have no header ({why}): its columns are named {names[0]} and so on, in column_names")
    return Header(names, delimiter, encoding, bare=True, skip=skip), "; ".join(said)


def _one_byte(data: bytes) -> str:
    """The encoding of one byte a letter that a text may have which is not UTF-8; "" where it is no text either."""
    try:
        text = data.decode(ONE_BYTE)
    except UnicodeDecodeError:
        return ""
    return "" if _CONTROLS.search(text) else ONE_BYTE


def _delimiter(text: str) -> str:
    """What stands between the columns, by the first lines: a semicolon where each comma is one of a number."""
    lines = [line for line in text.splitlines()[:LOOKED] if line] or [""]
    first = lines[0]
    if not first.count(","):
        return max(",;\t|", key=first.count)
    rows = [line.split(";") for line in lines]
    numbers = all(_COMMA_NUMBER.fullmatch(cell.strip()) for row in rows for cell in row if "," in cell)
    return ";" if len(rows[0]) > 1 and numbers and len({len(row) for row in rows}) == 1 else ","


def difference(one: Header, other: Header, optional: Collection[str] = ()) -> str:
    """What tells two headers apart, the first of which is the one to have; files may lack its ``optional`` columns."""
    if one.bare != other.bare:
        return "its first line looks like data" if other.bare else "its first line looks like a header"
    if one.encoding != other.encoding:
        remedy = f"; convert it: {converted(other.encoding)}" if other.encoding and not one.encoding else ""
        return f"its encoding is {other.encoding or 'utf-8'!r}, not {one.encoding or 'utf-8'!r}{remedy}"
    missing = [repr(name) for name in one.columns if name not in (*other.columns, *optional)]
    new = [repr(name) for name in other.columns if name not in one.columns]
    if one.bare and len(one.columns) != len(other.columns):
        return f"it has {plural(len(other.columns), 'column')}, not {len(one.columns)}"
    if missing or new:
        said = [f"it has no column {', '.join(missing)}"] if missing else []
        return ", and ".join([*said, *([f"column {', '.join(new)} is new"] if new else [])])
    if one.skip != other.skip:
        return "its first line is `sep=`, for Excel" if other.skip else "its first line is not `sep=`, for Excel"
    if one.delimiter != other.delimiter:
        return f"its delimiter is {other.delimiter!r}, not {one.delimiter!r}"
    return "its columns come in another order, or twice"
