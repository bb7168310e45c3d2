"""CSV by ``pyarrow.csv``: fast where all is well; what it refuses is looked at again, slowly, by ``culprit``."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

from odibi_actors.config.arrow_types import type_name
from odibi_actors.config.remedies import listed, schema
from odibi_actors.nodes.failures import shorten
from odibi_actors.nodes.formats import Malformed, Parsed
from odibi_actors.nodes.formats.cells import Cells, convert_options
from odibi_actors.nodes.formats.columns import Wanted
from odibi_actors.nodes.formats.culprit import Columns, find_culprit
from odibi_actors.nodes.formats.exact import MAX_SHOWN, convert
from odibi_actors.nodes.formats.packed import converted, what_it_is
from odibi_actors.nodes.formats.quotes import in_order
from odibi_actors.nodes.formats.rows import (
    Header,
    blank_line,
    check_separator,
    comment,
    header,
    other_delimiter,
    quoted_cells,
    separated,
    shape,
)

_READ = ("skip_rows", "skip_rows_after_names", "column_names")
_PARSE = ("delimiter", "quote_char", "double_quote", "escape_char", "newlines_in_values", "ignore_empty_lines")
_MAX_BLOCK = (1 << 31) - 1
"""pyarrow counts a block in 32 bits. One block per file: all of it decides about types, not its first megabyte."""
_BLANK = re.compile(rb"\n\r?\n|\r\r|\A[\r\n]")
"""What there is where a line is empty, unless it is within quotes."""
_REMARK = re.compile(r"#+\s")
"""How a first name begins that is none; ``#chrom`` is one."""
_BARE = "or, if the files have no header, name all columns: options: {column_names: [...]}"
_MAX_PLACES = 32
"""Columns that are named one by one in a message."""
_CONTROL = re.compile("[\x80-\x9f]")
_OF_WINDOWS = {"2": "windows-1250", "5": "windows-1251", "7": "windows-1253", "8": "windows-1255"} | {
    "9": "windows-1254", "4": "windows-1257", "6": "windows-1256", "13": "windows-1257"
}  # fmt: skip
"""Which encoding of Windows has the letters of which ISO 8859-x; else 1252."""
_BEYOND_ASCII = re.compile(r"\w{0,20}[^\x00-\x7f]\w{0,20}")
_NOTHING: Mapping[str, pa.DataType] = {}


def parse(
    data: bytes,
    declared: Mapping[str, pa.DataType],
    wanted: Wanted,
    options: Mapping[str, Any],
    inferred: Mapping[str, pa.DataType] = _NOTHING,
) -> Parsed:
    """One file as a table of the columns that are wanted: ``declared`` ones as pyarrow reads these types, ``inferred``
    ones of types that hold each cell exactly, all others as texts.

    Raises Malformed with the first place that does not fit.
    """
    data = plain_text(data, options)
    check_separator(data, options)
    head = header(data, options)
    if _REMARK.match(head.names[0]) and head.names[0] not in {*(wanted.expected or ()), *declared}:
        message = f"the header begins with a remark, {shorten(repr(head.names[0]), MAX_SHOWN)}{comment(data, options)}"
        named = f"; if it is a name, {schema('read', head.names[0], 'TYPE')} says so"
        raise Malformed(message + named, line=max(head.line, 1))
    _check_delimiter(head, {*wanted.take, *(wanted.expected or ()), *declared}, options)
    try:
        names = wanted.chosen(head.names)
    except Malformed as error:
        twice = head.line and head.names.count(error.column) > 1
        message = f"{error.message}, {_by_place(head)}" if twice else error.message + comment(data, options)
        raise Malformed(message, line=max(head.line, 1), column=error.column) from None
    if len(head.names) == 1 and "ignore_empty_lines" not in options:
        _check_blank(data, head, options)
    cells = Cells(options)
    columns = Columns(
        names, {n: declared[n] for n in names if n in declared}, {n: inferred[n] for n in names if n in inferred}
    )
    nameless = not wanted.ignored("") and any(not name.strip() for name in head.names)
    try:
        table = _typed(data, columns, options, cells, whole=nameless)
        if b"\0" in data:
            raise pa.ArrowInvalid("NUL byte")
        if not in_order(data, options):
            raise pa.ArrowInvalid("quotes")
    except (pa.ArrowInvalid, pa.ArrowKeyError, UnicodeError) as error:
        culprit = find_culprit(data, head.names, columns, cells, partial(_some_texts, names, options), options)
        if culprit is not None:
            raise culprit from error
        if str(error) != "quotes":
            raise Malformed(str(error)) from error
    if options.get("quoted_is_text"):
        _check_quoted(data, head, columns, options)
    if nameless:
        _check_nameless(table, head, data, options)
    return Parsed(table.select(names), [name.strip() for name in head.names if name not in names])


def plain_text(data: bytes, options: Mapping[str, Any]) -> bytes:
    """The file as UTF-8 without a mark. Raises Malformed: empty, no text, or not of ``options.encoding``."""
    if not data:
        raise Malformed("the file is empty, not even a header", line=1)
    encoding = codecs.lookup(str(options.get("encoding", "utf-8"))).name
    if encoding in ("utf-8", "utf-8-sig"):
        found = what_it_is(data)
        if found and not (found[0] == "JSON" and "column_names" in options):  # which may take each line as one text
            raise Malformed(f"the file is {found[0]}; {found[1]}", line=1)
        return _marked_once(data.removeprefix(codecs.BOM_UTF8))
    if not options.get("even_if_utf8") and (problem := _utf8_after_all(data, str(options["encoding"]))):
        raise problem
    try:
        text = data.decode(encoding)
        if encoding not in ("utf-16", "utf-32"):  # these have taken their mark away
            text = text.removeprefix("\ufeff")
        if encoding.startswith("iso8859-") and (problem := _other_letters(data, text, encoding)):
            raise problem
        return _marked_once(text.encode())
    except UnicodeError as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        line = data[:start].decode(encoding, "replace").count("\n") + 1
        found = what_it_is(data)
        hint = f"; it is {found[0]}" if found and encoding not in found[1] else ""
        raise Malformed(f"bytes that are not {encoding}, which options.encoding says{hint}", line=line) from None


def _marked_once(data: bytes) -> bytes:
    """The text itself. Raises Malformed for a second mark, which would be a part of the first name that nobody sees."""
    if data.startswith(codecs.BOM_UTF8):
        remedy = "take one away: `tail -c +4 FILE > FILE.tmp && mv FILE.tmp FILE` in UTF-8"
        raise Malformed(f"the file begins with two byte order marks (BOM); {remedy}", line=1)
    return data


def _utf8_after_all(data: bytes, encoding: str) -> Malformed | None:
    """Text beyond ASCII that is valid UTF-8 is next to never anything else, though most other encodings read it."""
    if data.isascii() or "a".encode(encoding) != b"a":
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    found = _BEYOND_ASCII.search(text)
    assert found is not None
    line, word = text.count("\n", 0, found.start()) + 1, found[0]
    other = word.encode().decode(encoding, "replace")
    message = (
        f"the file is valid UTF-8: {word!r} would be {other!r} in {encoding}, which options.encoding says; convert it: "
        f"{converted('utf-8', encoding, marked=data.startswith(codecs.BOM_UTF8))}; or convert all others to UTF-8, "
        "without the option; options: {even_if_utf8: true} reads it as it says"
    )
    return Malformed(message, line=line, value=word)


def _other_letters(data: bytes, text: str, encoding: str) -> Malformed | None:
    """Control characters where the encodings of Windows have letters: hardly ever meant, and seen by nobody."""
    found = _CONTROL.search(text)
    if found is None:
        return None
    line, byte = text.count("\n", 0, found.start()) + 1, found[0].encode(encoding)
    windows = _OF_WINDOWS.get(encoding.removeprefix("iso8859-"), "windows-1252")
    try:
        data.decode(windows)
        remedy = f"options: {{encoding: {windows}}} reads it as {byte.decode(windows)!r}; if it is meant"
    except UnicodeDecodeError:
        remedy = "if it is meant"
    message = f"byte 0x{byte.hex()} is a control character in {encoding}, which options.encoding says; {remedy}"
    return Malformed(f"{message}, convert all files to UTF-8: {converted(encoding)}", line=line, value=repr(found[0]))


def quoted_columns(data: bytes, options: Mapping[str, Any]) -> dict[str, int]:
    """The first row in which each column has a quoted value, when ``options.quoted_is_text`` gives that a meaning."""
    quote = options.get("quote_char", '"')
    if not options.get("quoted_is_text") or not quote:
        return {}
    data = plain_text(data, options)
    return quoted_cells(data, header(data, options).names, options) if quote.encode() in data else {}


def _typed(data: bytes, columns: Columns, options: Mapping[str, Any], cells: Cells, *, whole: bool) -> pa.Table:
    """The table with declared and inferred types. Raises ArrowInvalid where a cell does not fit."""
    types = dict.fromkeys(["", *columns.names], pa.string()) | dict(columns.declared)
    only = {} if whole else {"include_columns": columns.names}
    table = _read(data, options, convert_options(types, options, strings_can_be_null=True, **only))
    for name, kind in columns.declared.items():
        if pa.types.is_timestamp(kind) and cells.spelling.parsers:
            cells.check_moments(*_present(_texts(data, [name], options)[name], table[name]))
        if not pa.types.is_floating(kind):
            continue
        if kind == pa.float32() or pc.any(pc.is_inf(table[name])).as_py():
            cells.check_floats(*_present(_texts(data, [name], options)[name], table[name]))
    if not options.get("strings_can_be_null", True):
        table = _without_nulls(data, table, columns, options)
    names, values = table.column_names, table.columns  # of thousands each look-up and each new table counts
    for place, name in enumerate(names):
        kind = columns.inferred.get(name)
        if kind is not None and values[place].type != kind:
            values[place] = convert(values[place], kind, cells.spelling)
    return pa.Table.from_arrays(values, names)


def _present(texts: pa.ChunkedArray, values: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    return texts.filter(texts.is_valid()), values.filter(texts.is_valid())


def _without_nulls(data: bytes, table: pa.Table, columns: Columns, options: Mapping[str, Any]) -> pa.Table:
    """The texts with ``strings_can_be_null: false``: all cells of a column that is text are texts."""
    kept = [n for n in columns.names if n in columns.declared and columns.declared[n] == pa.string()]
    kept += [n for n in columns.names if n in columns.inferred and columns.inferred[n] == pa.string()]
    if not kept:
        return table
    texts = raw_texts(data, kept, options)
    for name in kept:
        table = table.set_column(table.schema.get_field_index(name), name, texts[name])
    return table


def raw_texts(data: bytes, names: list[str], options: Mapping[str, Any]) -> pa.Table:
    """Columns as texts, none of them null."""
    types = dict.fromkeys(names, pa.string())
    return _read(data, options, convert_options(types, options, strings_can_be_null=False, include_columns=names))


def _texts(data: bytes, names: list[str], options: Mapping[str, Any]) -> pa.Table:
    types = dict.fromkeys(names, pa.string())
    more = {"strings_can_be_null": True, "include_columns": names, "check_utf8": False}
    return _read(data, options, convert_options(types, options, **more))


def _some_texts(names: list[str], options: Mapping[str, Any], data: bytes) -> pa.Table | None:
    """The columns as texts; None where not even that can be read."""
    try:
        return _texts(data, names, options)
    except (pa.ArrowInvalid, pa.ArrowKeyError):
        return None


def _check_delimiter(head: Header, known: set[str], options: Mapping[str, Any]) -> None:
    """Raise Malformed for a header that is one name, not a known one, and several if another character separates."""
    given = options.get("delimiter")
    name = head.names[0]
    if len(head.names) > 1 or name in known or (given and not known) or "column_names" in options:
        return
    found = other_delimiter(name, given or ",", lambda parts: bool(known) and known <= set(parts))
    if not found:
        return
    message = f"the header is one column, {shorten(repr(name), MAX_SHOWN)}: {separated(found)}"
    if not known:
        message += '; options: {delimiter: ","} says that it is one'
    raise Malformed(message, line=max(head.line, 1))


def _check_blank(data: bytes, head: Header, options: Mapping[str, Any]) -> None:
    """Raise Malformed for an empty line in a file of one column: it may be a row, whose value is null."""
    if not _BLANK.search(data):
        return
    if line := blank_line(data, head, options):
        message = (
            "an empty line in a file of one column: a row without a value, or nothing? options: "
            "{ignore_empty_lines: true} passes over such lines, {ignore_empty_lines: false} reads nulls"
        )
        raise Malformed(message, line=line, column=head.names[0])


def _check_nameless(table: pa.Table, head: Header, data: bytes, options: Mapping[str, Any]) -> None:
    """Raise Malformed unless all cells of columns without a name are empty, as in ``A,B,C,``."""
    for place, name in enumerate(head.names):
        column = table.column(place)
        if name.strip() or column.null_count == len(column):
            continue
        value = str(column.drop_null()[0])
        message = (
            f"column {place + 1} has no name, but values such as {value!r}; "
            f'give it a name, or leave it out: read.ignore: [""], {_BARE}'
        )
        raise Malformed(message, line=max(head.line, 1), value=value)


def _by_place(head: Header) -> str:
    """How a file is read whose names are there twice."""
    if len(head.names) > _MAX_PLACES:
        return _BARE
    names, taken = list[str](), set(head.names)
    for name in head.names:
        numbered = (f"{name}_{number}" for number in range(2, len(head.names) + 2))
        names.append(name if name not in names else next(one for one in numbered if one not in taken))
        taken.add(names[-1])
    return (
        f"or name all columns by their places: options: {{skip_rows: {head.line}, {listed('column_names', *names)}}}, "
        "without skip_rows if the files have no header"
    )


def _check_quoted(data: bytes, head: Header, columns: Columns, options: Mapping[str, Any]) -> None:
    """Raise Malformed for a quoted cell, which is text, in a column that was inferred as something else."""
    found = {
        row: name
        for name, row in quoted_columns(data, options).items()
        if name in columns.inferred and columns.inferred[name] != pa.string()
    }
    if found:
        row = min(found)
        name, kind = found[row], columns.inferred[found[row]]
        line = shape(data, head.names, [], options).lines[row]
        message = f"a quoted cell, which is text by options.quoted_is_text, is not {type_name(kind)}"
        raise Malformed(f"{message}; {schema('read', name, 'string')} takes it", line=line, column=name)


def _pick(options: Mapping[str, Any], names: tuple[str, ...], **defaults: Any) -> dict[str, Any]:
    return defaults | {name: options[name] for name in names if name in options}


def _read(data: bytes, options: Mapping[str, Any], convert: pcsv.ConvertOptions) -> pa.Table:
    if not data.endswith((b"\n", b"\r")):
        data += b"\n"  # else a header alone, without a line end, counts as an empty file
    # One thread: there is a worker per core already, and row order and chunks stay the same from run to run.
    block = min(max(len(data) + 1, 1 << 16), _MAX_BLOCK)
    return pcsv.read_csv(
        pa.BufferReader(data),
        read_options=pcsv.ReadOptions(use_threads=False, block_size=block, **_pick(options, _READ)),
        parse_options=pcsv.ParseOptions(**_pick(options, _PARSE, newlines_in_values=True)),
        convert_options=convert,
    )
