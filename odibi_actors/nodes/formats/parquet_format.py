"""parquet as a kind: where it is read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, BinaryIO, Final

from odibi_actors.kinds.format import Option, Request

if TYPE_CHECKING:
    import pyarrow as pa

    from odibi_actors.nodes.formats import Parsed


class Parquet:
    """Columns that bring their types; compressed within."""

    name: Final = "parquet"
    about: Final = "Apache Parquet"
    suffixes: Final = (".parquet", ".pq")
    packed: Final = False
    texts: Final = False
    written: Final = ".parquet"
    tells_schema: Final = True
    header: Final = 0
    options: Final[dict[str, Option]] = {}

    def parse(self, request: Request) -> Parsed:
        """See ``Format``."""
        from odibi_actors.nodes.formats import parquet

        return parquet.parse(request.data, {**request.declared, **request.inferred}, request.wanted)

    def rescue(self, request: Request) -> Parsed:
        """See ``nodes.formats.rescued.Rescuing``."""
        from odibi_actors.nodes.formats import parquet, rescued

        return rescued.typed(parquet.parse(request.data, {}, request.wanted), request)

    def check(self, table: pa.Table) -> None:
        """See ``WritingFormat``."""
        from odibi_actors.nodes.formats.parquet_types import check_types

        check_types(table)

    def write(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch], out: BinaryIO) -> None:
        """See ``WritingFormat``."""
        from odibi_actors.nodes.formats import parquet_write

        parquet_write.write(schema, batches, out)


FORMAT = Parquet()
