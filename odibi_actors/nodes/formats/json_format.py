"""JSON as a kind: its options, and where it is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from odibi_actors.kinds.format import Lines, Request
from odibi_actors.nodes.formats.options import COMPRESSION, MOMENTS

if TYPE_CHECKING:
    import pyarrow as pa

    from odibi_actors.nodes.formats import Parsed


class Json:
    """Objects, one a line or in one array."""

    name: Final = "json"
    about: Final = "JSON lines, or one array of objects"
    suffixes: Final = (".jsonl", ".ndjson", ".json")
    packed: Final = True
    texts: Final = False
    written: Final = ".jsonl"
    tells_schema: Final = False
    header: Final = 0
    options: Final = {"compression": COMPRESSION, "timestamp_parsers": MOMENTS}

    def parse(self, request: Request) -> Parsed:
        """See ``Format``."""
        from odibi_actors.nodes.formats import json

        return json.parse(request.data, request.declared, request.wanted, request.options, request.inferred)

    def rescue(self, request: Request) -> Parsed:
        """See ``nodes.formats.rescued.Rescuing``."""
        from odibi_actors.nodes.formats import json_rescue

        return json_rescue.rescue(request)

    def lines(self, options: Mapping[str, Any]) -> Lines | str:
        """One object a line."""
        if options.get("compression", "auto") not in ("auto", "none"):
            return "a file that is packed does not grow"
        return Lines(array=b"[")

    def check(self, table: pa.Table) -> None:
        """See ``WritingFormat``."""
        from odibi_actors.nodes.formats import json_write

        json_write.check(table)

    def write(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch], out: BinaryIO) -> None:
        """See ``WritingFormat``."""
        from odibi_actors.nodes.formats import json_write

        json_write.write(schema, batches, out)


FORMAT = Json()
