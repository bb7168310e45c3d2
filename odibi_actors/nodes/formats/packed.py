"""The bytes of a file as they were before they were packed, and the names of formats that are no text."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, cast

import pyarrow as pa

from odibi_actors.batches.ipc import MAX_BYTES
from odibi_actors.nodes.formats import Malformed

SUFFIXES: Final = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd", ".lz4": "lz4"}
_CHUNK = 8 << 20
_FEED = 1 << 20

_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "gzip", "gzip"),
    (b"BZh", "bzip2", "bz2"),
    (b"\xfd7zXZ\0", "xz", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4", "lz4"),
    (b"PK\x03\x04", "a zip archive, which .xlsx and .ods files are too", ""),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document (.xls, .doc)", ""),
    (b"PAR1", "parquet", "parquet"),
    (b"ARROW1", "an Arrow file", "arrow"),
    (b"ORC", "ORC", ""),
    (b"Obj\x01", "Avro", "avro"),
    (b"SQLite format 3\0", "a SQLite database", ""),
    (b"%PDF-", "a PDF", ""),
    (b"\x89PNG", "an image", ""),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", ""),
)
_JSON = re.compile(rb'(\[\s*)?\{\s*"([^"\\]|\\.)*"\s*:')
"""How lines or an array of objects begin."""
_MARKS: tuple[tuple[bytes, str], ...] = (  # of UTF-32 first: that of UTF-16 is its beginning
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


_ICONV: Final = (
    ("^iso8859-", "iso-8859-"),
    ("^iso2022-", "iso-2022-"),
    (r"^cp(125\d)$", r"windows-\1"),
    ("^(utf-(?:16|32))-([bl]e)$", r"\1\2"),
    ("^utf-8-sig$", "utf-8"),
    ("^mac-roman$", "macintosh"),
    ("^ptcp154$", "pt154"),
    ("^kz1048$", "rk1048"),
    ("^shift-jisx0213$", "shift_jisx0213"),
)
"""What iconv calls otherwise than Python."""
_UNKNOWN_TO_ICONV: Final = (
    *("euc-jis-2004", "shift-jis-2004", "hz", "iso2022-jp-1", "iso2022-jp-2004", "iso2022-jp-ext"),
    *("mac-greek", "mac-iceland", "mac-latin2", "mac-turkish"),
    *("idna", "punycode", "raw-unicode-escape", "unicode-escape"),
)


def compression_of(name: str, option: str) -> str:
    """How a file of that name is packed ("" for not at all), by ``options.compression`` (``auto``: by its suffix)."""
    if option == "auto":
        return next((packing for suffix, packing in SUFFIXES.items() if name.lower().endswith(suffix)), "")
    return "" if option == "none" else option


def unpack(data: bytes, name: str, option: str, limit: int = MAX_BYTES) -> bytes:
    """The bytes packed into ``data``. Raises Malformed: damaged, cut off, not packed so, or more than ``limit``."""
    packing = compression_of(name, option)
    if not packing or not data:
        return data
    magic = next(start for start, _, known in _MAGIC if known == packing)
    if not data.startswith(magic):
        found = what_it_is(data)
        says = f"the file is not {packing}" + (f" but {found[0]}" if found else "")
        raise Malformed(f"{says}; if it is not packed, write options: {{compression: none}}")
    parts, size = [], 0
    try:
        for part in _parts(data, packing):
            size += len(part)
            if size > limit:
                raise Malformed(f"the file unpacks to more than {limit} bytes, the limit of a batch; split it")
            parts.append(part)
    except EOFError:
        raise Malformed(f"the {packing} file is cut off: deliver it again") from None
    except (OSError, zlib.error, lzma.LZMAError, pa.ArrowException, ValueError) as error:
        if isinstance(error, MemoryError):  # pyarrow's is an ArrowException too
            raise
        cut = "truncated" in str(error).lower()
        says = "is cut off" if cut else f"is damaged: {error}"
        raise Malformed(f"the {packing} file {says}: deliver it again") from None
    return b"".join(parts)


def beginning(data: bytes, name: str) -> bytes:
    """The first bytes of what a file of that name holds, unpacked by its suffix. Raises Malformed."""
    packing = compression_of(name, "auto")
    if not packing:
        return data
    try:
        return next(_parts(data, packing), b"")
    except (EOFError, OSError, zlib.error, lzma.LZMAError, pa.ArrowException, ValueError):
        return unpack(data, name, "auto")  # says what is wrong


def _parts(data: bytes, packing: str) -> Iterator[bytes]:
    if packing == "bz2":
        yield from _members(data, bz2.BZ2Decompressor)
    elif packing == "xz":
        yield from _members(data, lzma.LZMADecompressor)
    else:
        with gzip.open(io.BytesIO(data)) if packing == "gzip" else _arrow_stream(data, packing) as file:
            while part := file.read(_CHUNK):
                yield part


def _arrow_stream(data: bytes, packing: str) -> BinaryIO:
    return cast(BinaryIO, pa.CompressedInputStream(pa.BufferReader(data), packing))


def _members(data: bytes, make: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]) -> Iterator[bytes]:
    """All members of a file. Those of the standard library stop without a word at a member that is damaged."""
    place, unpacker = 0, make()
    feed = b""
    while True:
        if unpacker.eof:
            feed = unpacker.unused_data
            if not feed.strip(b"\0") and not data[place:].strip(b"\0"):  # the end, or padding
                return
            unpacker = make()
        elif unpacker.needs_input:
            feed = data[place : place + _FEED]
            place += len(feed)
            if not feed:
                raise EOFError
        else:
            feed = b""
        yield unpacker.decompress(feed, _CHUNK)


def _is_text(head: bytes) -> bool:
    """Whether a file may be text that begins as another format does: a column may be named ORC."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # its last character may be cut
    except UnicodeDecodeError:
        return False
    return b"\0" not in head


def marked_encoding(data: bytes) -> str:
    """The encoding that the mark at the beginning of a text names, other than UTF-8; "" without one."""
    return next((encoding for mark, encoding in _MARKS if data.startswith(mark)), "")


def other_encoding(encoding: str) -> str:
    """What to do about files of another encoding than UTF-8."""
    return (
        f"where the source's other files are not, convert this one: {converted(encoding)}; where all of them are, "
        f"options: {{encoding: {encoding}}}"
    )


def converted(encoding: str, to: str = "utf-8", *, marked: bool = False) -> str:
    """How one file is given another encoding; ``marked``: it begins with the mark of UTF-8, which few others have."""
    known, wanted = iconv_name(encoding), iconv_name(to)
    if not known or not wanted:
        return f"save it as {to}"
    given = "tail -c +4 FILE | iconv" if marked else "iconv"
    return f"`{given} -f {known} -t {wanted}{'' if marked else ' FILE'} > FILE.tmp && mv FILE.tmp FILE`"


def iconv_name(encoding: str) -> str:
    """What iconv calls an encoding of Python's; "" where it knows none. ``encoding``: any name that Python has."""
    name = codecs.lookup(encoding).name.replace("_", "-")
    if name in _UNKNOWN_TO_ICONV:
        return ""
    for ours, theirs in _ICONV:
        name = re.sub(ours, theirs, name)
    return name


def what_it_is(data: bytes) -> tuple[str, str] | None:
    """(what bytes are that are not plain text, what to do about it), by how they begin; None when they may be text."""
    if encoding := marked_encoding(data):
        return f"{encoding.upper()} text", other_encoding(encoding)
    for start, found, remedy in _MAGIC:
        if data.startswith(start) and not (start.isascii() and start.decode().isprintable() and _is_text(data[:256])):
            if remedy in ("parquet", "arrow", "avro"):
                return found, f"format: {remedy}"
            named = f"options: {{compression: {remedy}}}, or a name that ends in its suffix"
            return found, named if remedy else "export it as csv"
    begin = data[:64]
    for even, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):  # Latin text without a mark: each second byte is 0
        if len(begin) >= 8 and not any(begin[even::2]) and all(begin[1 - even :: 2]):
            return f"probably {encoding.upper()} text", other_encoding(encoding)
    text = data[:256].removeprefix(codecs.BOM_UTF8).lstrip()
    if _JSON.match(text):
        return "JSON", "format: json"
    if text.lower().startswith((b"<!doctype html", b"<html")):
        return "an HTML page, perhaps an error page that was saved", "deliver the file itself"
    return None
