"""Compressed files, other encodings, and files that are no text at all."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
import random
import subprocess
import zipfile
from collections.abc import Callable
from encodings.aliases import aliases
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.formats import Malformed
from odibi_actors.nodes.formats.packed import converted, iconv_name, unpack
from odibi_actors.nodes.read import read
from tests.nodes.helpers import position, read_spec

CSV = b"a,b\n1,t\n2,u\n"
LARGE = random.Random(1).randbytes(3 << 20) + CSV * 100_000


def _arrow(packing: str) -> Callable[[bytes], bytes]:
    def pack(data: bytes) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, packing) as stream:
            stream.write(data)
        return bytes(sink.getvalue())

    return pack


PACKINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": (".gz", gzip.compress),
    "bz2": (".bz2", bz2.compress),
    "xz": (".xz", lzma.compress),
    "zstd": (".zst", _arrow("zstd")),
    "lz4": (".lz4", _arrow("lz4")),
}


def _read(folder: Path, name: str, data: bytes | None, form: str = "csv", **spec: Any) -> dict[str, list[Any]]:
    found = read(read_spec(folder, form, **spec), [position(folder, name, data, digest=True)], b"")
    return dict(found.table.to_pydict())


@pytest.fixture(params=PACKINGS)
def packing(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_given_a_packed_file_when_read_then_its_suffix_or_the_option_tells(tmp_path: Path, packing: str) -> None:
    suffix, pack = PACKINGS[packing]
    expected = {"a": [1, 2], "b": ["t", "u"]}
    assert _read(tmp_path, f"f.csv{suffix.upper()}", pack(CSV)) == expected
    assert _read(tmp_path, "f", pack(CSV), options={"compression": packing}) == expected
    assert _read(tmp_path, f"f.csv{suffix}", CSV, options={"compression": "none"}) == expected
    with pytest.raises(Failed, match=f"the file is .*options: {{compression: {packing}}}"):
        _read(tmp_path, "f.csv", pack(CSV))
    with pytest.raises(
        Failed, match=f"the file is not {packing}; if it is not packed, write options: {{compression: no"
    ):
        _read(tmp_path, f"f{suffix}", CSV)


def test_given_several_members_when_unpacked_then_all_are_there(packing: str) -> None:
    _, pack = PACKINGS[packing]
    assert unpack(pack(LARGE) + pack(CSV) + pack(b"") + pack(CSV), "f", packing) == LARGE + CSV + CSV


def test_given_a_damaged_or_cut_off_member_when_unpacked_then_it_is_malformed(packing: str) -> None:
    packed = PACKINGS[packing][1](LARGE)
    for bad in (packed[:-3], packed[: len(packed) // 2], packed[:7], packed + packed[:-9]):
        with pytest.raises(Malformed, match=rf"^the {packing} file is (cut off|damaged: .*): deliver it again$"):
            unpack(bad, "f", packing)
    for bad in (packed + b"rubbish", packed + packed[:6] + b"\xff" * 30):
        with pytest.raises(Malformed, match=rf"^the {packing} file is (cut off|damaged: .*): deliver it again$"):
            unpack(bad, "f", packing)


def test_given_a_bomb_when_unpacked_then_it_stops_at_the_limit(packing: str) -> None:
    packed = PACKINGS[packing][1](bytes(50 << 20))
    with pytest.raises(Malformed, match="unpacks to more than 1000 bytes, the limit of a batch"):
        unpack(packed, "f", packing, limit=1000)


@given(st.binary(max_size=200), st.sampled_from(sorted(PACKINGS)), st.integers(0, 300), st.integers(1, 255))
def test_given_any_byte_changed_when_unpacked_then_it_is_the_same_or_malformed(
    data: bytes, packing: str, place: int, mask: int
) -> None:
    packed = bytearray(PACKINGS[packing][1](data))
    packed[place % len(packed)] ^= mask
    try:
        found = unpack(bytes(packed), "f", packing)
    except Malformed:
        return
    assert packing in ("zstd", "lz4") or found == data  # their frames as Arrow writes them have no checksum


# --- encodings and what is no text --------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "utf-8-sig"])
def test_given_an_encoding_when_named_then_it_is_read_and_lines_are_exact(tmp_path: Path, encoding: str) -> None:
    text = 'a,b\n1,é\n2,"x\ny"\n'
    options = {"encoding": encoding}
    assert _read(tmp_path, "f", text.encode(encoding), options=options) == {"a": [1, 2], "b": ["é", "x\ny"]}
    with pytest.raises(Failed) as caught:
        _read(tmp_path, "f", (text + "oops,z\n").encode(encoding), options=options, schema={"a": "int64"})
    failure = caught.value.failure
    assert (failure.line, failure.column, failure.value) == (5, "a", "oops")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_given_wide_text_without_the_option_when_read_then_the_option_is_named_and_works(
    tmp_path: Path, encoding: str
) -> None:
    data = "alpha,beta\n1,t\n".encode(encoding)
    with pytest.raises(Failed) as caught:
        _read(tmp_path, "f", data)
    message = caught.value.failure.message
    assert encoding.upper() in message
    option = message[message.index("{encoding: ") + len("{encoding: ") : message.index("}")]
    assert _read(tmp_path, "f", data, options={"encoding": option}) == {"alpha": [1], "beta": ["t"]}


def test_given_bytes_of_another_encoding_when_read_then_line_and_options_are_named(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"f line 3: bytes that are not utf-16, which options.encoding says"):
        _read(tmp_path, "f", "a,b\n1,t\n".encode("utf-16") + b"\x00", options={"encoding": "utf-16"})
    with pytest.raises(
        Failed,
        match=r"f line 2, column a: bytes that are not UTF-8, perhaps windows-1252 .*`iconv -f windows-1252 -t",
    ):
        _read(tmp_path, "f", b"a\ncaf\xe9\n")


def _zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return stream.getvalue()


def _parquet() -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (_zip(), "the file is a zip archive, which .xlsx and .ods files are too; export it as csv"),
        (_parquet(), "the file is parquet; format: parquet"),
        (b"SQLite format 3\0" + bytes(100), "the file is a SQLite database; export it as csv"),
        (b"\n<!DOCTYPE html><html>", "the file is an HTML page"),
        (b'{"a":1,"b":2}\n{"a":2,"b":3}\n', "the file is JSON; format: json"),
        (b'[\n {"a":1},\n {"a":2}]', "the file is JSON; format: json"),
        (b"%PDF-1.7\n\x80\x81\0", "the file is a PDF"),
        (b"a,b\n1,\0\n", "a NUL byte: this is no text, or the file is damaged"),
    ],
)
def test_given_a_file_that_is_no_text_when_read_as_csv_then_it_is_named_for_what_it_is(
    tmp_path: Path, data: bytes, says: str
) -> None:
    with pytest.raises(Failed) as caught:
        _read(tmp_path, "f.csv", data)
    assert says in caught.value.failure.message


@pytest.mark.parametrize("header", ["ORC", "PAR1", "BZh", "ARROW1", "PK"])
def test_given_a_header_that_begins_like_another_format_when_it_is_text_then_it_is_read(
    tmp_path: Path, header: str
) -> None:
    assert _read(tmp_path, "f.csv", f"{header},b\n1,2\n".encode()) == {header: [1], "b": [2]}


@pytest.mark.parametrize(
    ("data", "says"),
    [(gzip.compress(CSV), "the file is gzip, not parquet"), (CSV, "not a readable parquet file")],
    ids=["gzip", "csv"],  # not the bytes: they have the time in them
)
def test_given_a_file_that_is_no_parquet_when_read_as_parquet_then_it_is_named(
    tmp_path: Path, data: bytes, says: str
) -> None:
    with pytest.raises(Failed, match=says):
        _read(tmp_path, "f.parquet", data, "parquet")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "windows-1252"])
def test_given_one_file_of_another_encoding_then_the_command_that_is_named_makes_it_like_the_others(
    tmp_path: Path, encoding: str
) -> None:
    with pytest.raises((Failed, Malformed)) as refused:
        _read(tmp_path, "f.csv", "a,b\n1,töö\n".encode(encoding))
    message = str(getattr(refused.value, "failure", refused.value))
    command = message.split("`")[1]
    assert "convert this one" in message
    assert message.index("iconv") < message.index("options: {encoding: ")
    subprocess.run(["sh", "-ec", command.replace("FILE", "f.csv")], cwd=tmp_path, check=True)
    assert (tmp_path / "f.csv").read_bytes() == "a,b\n1,töö\n".encode()


@pytest.mark.parametrize("encoding", ["windows-1252", "latin-1", "iso-8859-15", "cp437", "gbk"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_given_an_encoding_when_a_file_is_utf8_after_all_then_it_is_refused_and_never_read_as_other_text(
    tmp_path: Path, encoding: str, mark: str
) -> None:
    data = f"{mark}a,b\n1,Müller\n".encode()
    with pytest.raises(Failed, match=r"f line [12]: the file is valid UTF-8: ") as refused:
        _read(tmp_path, "f", data, options={"encoding": encoding})
    message = refused.value.failure.message
    assert "options.encoding says; convert it: `" in message
    command = message.split("`")[1]
    subprocess.run(["sh", "-ec", command.replace("FILE", "f")], cwd=tmp_path, check=True)
    assert (tmp_path / "f").read_bytes() == "a,b\n1,Müller\n".encode(encoding)
    assert _read(tmp_path, "f", None, options={"encoding": encoding}) == {"a": [1], "b": ["Müller"]}
    assert _read(tmp_path, "f", b"a,b\n1,t\n", options={"encoding": encoding}) == {"a": [1], "b": ["t"]}


def _named() -> list[str]:
    """All encodings of text that Python has, by their names and by what the docs call them."""
    found = []
    for name in sorted({*aliases.values(), "latin-1", "utf-8", "iso-8859-15", "windows-1252", "mac-roman"}):
        with contextlib.suppress(LookupError, UnicodeError, ValueError):
            found += [name] if "a".encode(name) and codecs.lookup(name)._is_text_encoding else []  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("encoding", _named())
def test_given_an_encoding_when_a_message_names_it_to_iconv_then_iconv_knows_it(encoding: str) -> None:
    name = iconv_name(encoding)
    if not name:
        assert converted(encoding) == "save it as utf-8"
        assert converted("utf-8", encoding) == f"save it as {encoding}"
        return
    command = ["iconv", "-f", name, "-t", "utf-8"]
    done = subprocess.run(command, input="odd,1".encode(encoding), capture_output=True, check=True)
    assert done.stdout.decode().removeprefix("\ufeff") == "odd,1"
    assert converted(encoding) == f"`iconv -f {name} -t utf-8 FILE > FILE.tmp && mv FILE.tmp FILE`"


@pytest.mark.parametrize(
    ("encoding", "windows", "letter"),
    [("latin-1", "windows-1252", "€"), ("iso-8859-15", "windows-1252", "€"), ("iso-8859-2", "windows-1250", "Š")],
)
def test_given_control_characters_where_windows_has_letters_then_the_file_is_refused_with_its_encoding(
    tmp_path: Path, encoding: str, windows: str, letter: str
) -> None:
    data = f"a,b\n1,5\n2,{letter} 5\n".encode(windows)
    with pytest.raises(Failed, match=r"f line 3: byte 0x8. is a control character in iso8859") as refused:
        _read(tmp_path, "f", data, options={"encoding": encoding}, schema={"b": "string"})
    assert f"options: {{encoding: {windows}}} reads it as {letter!r}; if it is meant, " in refused.value.failure.message
    command = refused.value.failure.message.split("`")[1]
    given = _read(tmp_path, "f", data, options={"encoding": windows}, schema={"b": "string"})
    assert given == {"a": [1, 2], "b": ["5", f"{letter} 5"]}
    subprocess.run(["sh", "-ec", command.replace("FILE", "f")], cwd=tmp_path, check=True)
    control = data.decode(encoding)[10]
    assert _read(tmp_path, "f", None, schema={"b": "string"}) == {"a": [1, 2], "b": ["5", f"{control} 5"]}
    nothing = "a,b\n1,\x81\n".encode(encoding)  # no letter in windows-1252 either
    with pytest.raises(Failed, match=r"f line 2: byte 0x81 .*") as refused:
        _read(tmp_path, "f", nothing, options={"encoding": encoding})
    assert "{encoding: windows-1252}" not in refused.value.failure.message


def test_given_what_looks_like_utf8_by_chance_when_told_so_then_it_is_read(tmp_path: Path) -> None:
    data = "a\nNESTLÉ®\n".encode("windows-1252")
    with pytest.raises(Failed, match=r"options: {even_if_utf8: true} reads it as it says"):
        _read(tmp_path, "f", data, options={"encoding": "windows-1252"})
    options = {"encoding": "windows-1252", "even_if_utf8": True}
    assert _read(tmp_path, "f", data, options=options) == {"a": ["NESTLÉ®"]}


def test_given_json_as_one_column_of_text_when_read_as_csv_then_each_line_is_a_text(tmp_path: Path) -> None:
    options = {"column_names": ["line"], "delimiter": "\x01", "quote_char": False}
    file = position(tmp_path, "a.jsonl", b'{"a":"x, y"}\n{"a":2}\n')
    table = read(read_spec(tmp_path, options=options), [file], b"").table
    assert table["line"].to_pylist() == ['{"a":"x, y"}', '{"a":2}']
