"""Arrow IPC as a kind: where it is read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, BinaryIO, Final

from odibi_actors.kinds.format import Request
from odibi_actors.nodes.formats.options import COMPRESSION

if TYPE_CHECKING:
    import pyarrow as pa

    from odibi_actors.nodes.formats import Parsed


class Arrow:
    """Arrow IPC, as a file (Feather version 2) or as a stream."""

    name: Final = "arrow"
    about: Final = "Arrow IPC files (Feather) and streams"
    suffixes: Final = (".arrow", ".feather", ".ipc", ".arrows")
    packed: Final = True
    texts: Final = False
    written: Final = ".arrow"
    tells_schema: Final = True
    header: Final = 0
    options: Final = {"compression": COMPRESSION}

    def parse(self, request: Request) -> Parsed:
        """See ``Format``."""
        from odibi_actors.nodes.formats import arrow

        return arrow.parse(request.data, {**request.declared, **request.inferred}, request.wanted)

    def rescue(self, request: Request) -> Parsed:
        """See ``nodes.formats.rescued.Rescuing``."""
        from odibi_actors.nodes.formats import arrow, rescued

        return rescued.typed(arrow.parse(request.data, {}, request.wanted), request)

    def check(self, table: pa.Table) -> None:
        """See ``WritingFormat``."""
        from odibi_actors.nodes.formats import arrow_write

        arrow_write.check(table)

    def write(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch], out: BinaryIO) -> None:
        """See ``WritingFormat``."""
        from odibi_actors.nodes.formats import arrow_write

        arrow_write.write(schema, batches, out)


FORMAT = Arrow()
