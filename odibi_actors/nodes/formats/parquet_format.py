"""parquet as a kind: where it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from odibi_actors.kinds.format import Option, Request

if TYPE_CHECKING:
    from odibi_actors.nodes.formats import Parsed


class Parquet:
    """Columns that bring their types; compressed within."""

    name: Final = "parquet"
    about: Final = "Apache Parquet"
    suffixes: Final = (".parquet", ".pq")
    packed: Final = False
    texts: Final = False
    header: Final = 0
    options: Final[dict[str, Option]] = {}

    def parse(self, request: Request) -> Parsed:
        """See ``Format``."""
        from odibi_actors.nodes.formats import parquet

        return parquet.parse(request.data, {**request.declared, **request.inferred}, request.wanted)


FORMAT = Parquet()
