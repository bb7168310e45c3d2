"""CSV by ``pyarrow.csv``: fast where all is well; what it refuses is looked at again, slowly, by ``culprit``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc

from odibi_actors.nodes.formats import Malformed, check_columns
from odibi_actors.nodes.formats.culprit import find_culprit

_READ = ("skip_rows", "skip_rows_after_names", "column_names", "encoding")
_PARSE = ("delimiter", "quote_char", "double_quote", "escape_char", "newlines_in_values", "ignore_empty_lines")
_MAX_BLOCK = (1 << 31) - 1
"""pyarrow counts a block in 32 bits. One block per file: types are inferred from all of it, not its first megabyte."""
_WIDE = ("utf-16", "utf-32", "utf_16", "utf_32")


def _pick(options: Mapping[str, Any], names: tuple[str, ...], **defaults: Any) -> dict[str, Any]:
    return defaults | {name: options[name] for name in names if name in options}


def convert_options(types: Mapping[str, pa.DataType], options: Mapping[str, Any]) -> pc.ConvertOptions:
    """How cells become values; columns without a type are inferred."""
    rest = {name: value for name, value in options.items() if name not in _READ + _PARSE}
    return pc.ConvertOptions(column_types=dict(types), **({"strings_can_be_null": True} | rest))


def parse(
    data: bytes, types: Mapping[str, pa.DataType], expected: list[str] | None, options: Mapping[str, Any]
) -> pa.Table:
    """One file as a table. ``types`` of columns that are known; ``expected``: exactly these columns, in this order.

    Raises Malformed with the first place that does not fit.
    """
    if not data:
        raise Malformed("the file is empty, not even a header", line=1)
    try:
        table = _parse(data, types, options)
        if b"\0" in data and not _wide(options):
            raise pa.ArrowInvalid("NUL byte")
        if _odd_quotes(data, options):
            raise pa.ArrowInvalid("a quote may be left open")
        if any(pa.types.is_binary(field.type) and field.name not in types for field in table.schema):
            raise pa.ArrowInvalid("not UTF-8")
        check_columns(table.column_names, expected or table.column_names)
    except (pa.ArrowInvalid, pa.ArrowKeyError, UnicodeError, Malformed) as error:
        culprit = find_culprit(data, types, expected, options, convert_options)
        if culprit is not None:
            raise culprit from error
        if "a quote may be left open" not in str(error):
            raise Malformed(str(error)) from error
    return table.select(expected) if expected else table


def _wide(options: Mapping[str, Any]) -> bool:
    return str(options.get("encoding", "")).lower().startswith(_WIDE)


def _odd_quotes(data: bytes, options: Mapping[str, Any]) -> bool:
    """Whether a quoted value may run to the end of the file: pyarrow takes a file cut off inside of quotes as whole."""
    quote = options.get("quote_char", '"')
    if not isinstance(quote, str):
        return False
    mark = quote.encode()
    return mark in data and data.count(mark) % 2 == 1  # looking for one is 15 times faster than counting none


def _parse(data: bytes, types: Mapping[str, pa.DataType], options: Mapping[str, Any]) -> pa.Table:
    if not data.endswith((b"\n", b"\r")) and not _wide(options):
        data += b"\n"  # else a header alone, without a line end, counts as an empty file
    # One thread: there is a worker per core already, and row order and chunks stay the same from run to run.
    block = min(max(len(data) + 1, 1 << 16), _MAX_BLOCK)
    return pc.read_csv(
        pa.BufferReader(data),
        read_options=pc.ReadOptions(use_threads=False, block_size=block, **_pick(options, _READ)),
        parse_options=pc.ParseOptions(**_pick(options, _PARSE, newlines_in_values=True)),
        convert_options=convert_options(types, options),
    )
