"""How cells of a CSV file become values: of a declared type as pyarrow reads them, else exactly or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

from odibi_actors.nodes.formats import moments
from odibi_actors.nodes.formats.exact import Spelling, digits_kept, holds

_OURS = ("null_values", "strings_can_be_null", "quoted_strings_can_be_null")
_CONVERT = ("true_values", "false_values", "decimal_point", "timestamp_parsers")
_INFINITE = r"(?i)^\s*[+-]?inf(inity)?\s*$"


def convert_options(types: Mapping[str, pa.DataType], options: Mapping[str, Any], **more: Any) -> pcsv.ConvertOptions:
    """How cells become values. An empty cell without quotes is null, and what ``null_values`` lists besides."""
    known = {name: options[name] for name in (*_OURS, *_CONVERT) if name in options}
    known["null_values"] = ["", *options.get("null_values", ())]
    defaults = {"strings_can_be_null": True, "quoted_strings_can_be_null": False}
    return pcsv.ConvertOptions(column_types=dict(types), **(defaults | known | more))


class Cells:
    """Cells under the options of one reader."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.spelling = Spelling.of(options)
        self._options = {name: options[name] for name in _CONVERT if name in options}

    def otherwise(self) -> Cells:
        """The same with a decimal comma instead of a point, or the other way round."""
        return Cells(self._options | {"decimal_point": "," if self.spelling.decimal_point != "," else "."})

    def exact(self, texts: list[str] | pa.ChunkedArray, kind: pa.DataType) -> bool:
        """Whether ``kind`` holds them exactly."""
        column = texts if isinstance(texts, pa.ChunkedArray) else pa.chunked_array([pa.array(texts, pa.string())])
        return holds(column, kind, self.spelling)

    def lenient(self, texts: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
        """Texts (nulls left out) as a declared type reads them. Raises ArrowInvalid, ArrowNotImplementedError."""
        present = texts.drop_null()
        if not len(present):
            return pa.chunked_array([], kind)
        doubled = pc.replace_substring(present, '"', '""')
        data = b'"' + b'"\n"'.join(pc.cast(doubled, pa.binary()).to_pylist()) + b'"\n'
        values = pcsv.read_csv(
            pa.BufferReader(data),
            read_options=pcsv.ReadOptions(use_threads=False, column_names=["cell"], block_size=len(data) + 1),
            parse_options=pcsv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            convert_options=pcsv.ConvertOptions(column_types={"cell": kind}, null_values=[], **self._options),
        )["cell"]
        if pa.types.is_floating(kind):
            self.check_floats(present, values)
        elif pa.types.is_timestamp(kind):
            self.check_moments(present, values)
        return values

    def lenient_value(self, text: str, kind: pa.DataType) -> str | None:
        """How a declared type reads one text, as text; None when it does not."""
        try:
            (value,) = self.lenient(pa.chunked_array([[text]], pa.string()), kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return None
        return str(value)

    def lenient_holds(self, texts: pa.ChunkedArray, kind: pa.DataType) -> bool:
        """Whether a declared type reads all of the texts."""
        try:
            self.lenient(texts, kind)
        except pa.ArrowInvalid:
            return False
        return True

    def check_floats(self, texts: pa.ChunkedArray, values: pa.ChunkedArray) -> None:
        """Raise ArrowInvalid where a declared float is infinite though its text is not, or has 32 bits and lost digits.

        A declared double may round: whoever writes more digits than it has knows it.
        """
        infinite = pc.is_inf(values)
        if pc.any(pc.and_(infinite, pc.invert(pc.match_substring_regex(texts, _INFINITE)))).as_py():
            raise pa.ArrowInvalid("too large")
        if values.type == pa.float32():
            finite = pc.is_finite(values)
            plain = pc.utf8_trim_whitespace(pc.replace_substring(texts, self.spelling.decimal_point, "."))
            if not digits_kept(plain.filter(finite), values.filter(finite)):
                raise pa.ArrowInvalid("digits are lost")

    def check_moments(self, texts: pa.ChunkedArray, values: pa.ChunkedArray) -> None:
        """Raise ArrowInvalid where ``timestamp_parsers`` read what their texts (none of them null) do not say."""
        if self.spelling.parsers:
            moments.check(texts, values, self.spelling.parsers)

    def with_parsers(self, parsers: tuple[str, ...]) -> Cells:
        """The same with other ``timestamp_parsers``."""
        return Cells(self._options | {"timestamp_parsers": list(parsers)})
