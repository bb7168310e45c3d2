"""csv as a kind: its options, and where it is read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, BinaryIO, Final

from odibi_actors.kinds.format import Request
from odibi_actors.nodes.formats.options import (
    CHARACTER,
    CHARACTER_OR_NONE,
    COMPRESSION,
    COUNT,
    ENCODING,
    FLAG,
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
        "timestamp_parsers": TEXTS,
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

    def check(self, table: pa.Table) -> None:
        """See ``WritingFormat``."""
        from odibi_actors.nodes.formats import csv_write

        csv_write.check(table)

    def write(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch], out: BinaryIO) -> None:
        """See ``WritingFormat``."""
        from odibi_actors.nodes.formats import csv_write

        csv_write.write(schema, batches, out)


FORMAT = Csv()
