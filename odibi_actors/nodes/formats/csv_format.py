"""csv as a kind: its options, and where it is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from odibi_actors.kinds.format import Lines, Request
from odibi_actors.nodes.formats.options import (
    CHARACTER,
    CHARACTER_OR_NONE,
    COMPRESSION,
    COUNT,
    ENCODING,
    FLAG,
    MOMENTS,
    TEXTS,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from odibi_actors.nodes.formats import Parsed


class Csv:
    """Texts, separated by a character; the first line names the columns."""

    name: Final = "csv"
    about: Final = "separated texts"
    suffixes: Final = (".csv", ".tsv")
    packed: Final = True
    texts: Final = True
    written: Final = ".csv"
    tells_schema: Final = False
    header: Final = 1
    options: Final = {
        "delimiter": CHARACTER,
        "quote_char": CHARACTER_OR_NONE,
        "double_quote": FLAG,
        "escape_char": CHARACTER_OR_NONE,
        "newlines_in_values": FLAG,
        "ignore_empty_lines": FLAG,
        "skip_rows": COUNT,
        "skip_rows_after_names": COUNT,
        "column_names": TEXTS,
        "encoding": ENCODING,
        "even_if_utf8": FLAG,
        "compression": COMPRESSION,
        "null_values": TEXTS,
        "true_values": TEXTS,
        "false_values": TEXTS,
        "strings_can_be_null": FLAG,
        "quoted_strings_can_be_null": FLAG,
        "quoted_is_text": FLAG,
        "decimal_point": CHARACTER,
        "timestamp_parsers": MOMENTS,
    }
    """Names as in ``pyarrow.csv``, but for ``compression``, ``even_if_utf8`` and ``quoted_is_text``, which are ours.
    Other defaults: ``newlines_in_values`` and ``strings_can_be_null`` are true, ``quoted_strings_can_be_null`` is
    false, and ``null_values`` come on top of the empty cell, which is null unless it is quoted."""

    def parse(self, request: Request) -> Parsed:
        """See ``Format``."""
        from odibi_actors.nodes.formats import csv
        from odibi_actors.nodes.formats.headless import data_first

        data, options = request.data, request.options
        parsed = csv.parse(data, request.declared, request.wanted, options, request.inferred)
        doubt = data_first(csv.plain_text(data, options), options) if request.first else ""
        return parsed._replace(quoted=csv.quoted_columns(data, options), doubt=doubt)

    def rescue(self, request: Request) -> Parsed:
        """See ``nodes.formats.rescued.Rescuing``."""
        from odibi_actors.nodes.formats import csv_rescue

        return csv_rescue.rescue(request)

    def lines(self, options: Mapping[str, Any]) -> Lines | str:
        """A row ends with its line, unless that is within quotes."""
        for name in ("skip_rows", "skip_rows_after_names", "escape_char"):
            if options.get(name):
                return f"a file that grows cannot be read with option {name!r}"
        if options.get("compression", "auto") not in ("auto", "none"):
            return "a file that is packed does not grow"
        quote = options.get("quote_char", '"') if options.get("newlines_in_values", True) else ""
        delimiter, encoding = options.get("delimiter", ","), str(options.get("encoding", "utf-8"))
        try:
            marks = [text.encode(encoding) for text in (quote or "", delimiter)]
            sound = "\n".encode(encoding) == b"\n" and max(map(len, marks)) <= 1
        except (LookupError, UnicodeError):
            sound = False
        if not sound:
            return f"the ends of lines cannot be found in {encoding}: convert the file to UTF-8"
        return Lines("column_names" not in options, marks[0], marks[1])

    def check(self, table: pa.Table) -> None:
        """See ``WritingFormat``."""
        from odibi_actors.nodes.formats import csv_write

        csv_write.check(table)

    def write(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch], out: BinaryIO) -> None:
        """See ``WritingFormat``."""
        from odibi_actors.nodes.formats import csv_write

        csv_write.write(schema, batches, out)


FORMAT = Csv()
