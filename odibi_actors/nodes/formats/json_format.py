"""JSON as a kind: its options, and where it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from odibi_actors.kinds.format import Request
from odibi_actors.nodes.formats.options import COMPRESSION, TEXTS

if TYPE_CHECKING:
    from odibi_actors.nodes.formats import Parsed


class Json:
    """Objects, one a line or in one array."""

    name: Final = "json"
    about: Final = "JSON lines, or one array of objects"
    suffixes: Final = (".jsonl", ".ndjson", ".json")
    packed: Final = True
    texts: Final = False
    header: Final = 0
    options: Final = {"compression": COMPRESSION, "timestamp_parsers": TEXTS}

    def parse(self, request: Request) -> Parsed:
        """See ``Format``."""
        from odibi_actors.nodes.formats import json

        return json.parse(request.data, request.declared, request.wanted, request.options, request.inferred)


FORMAT = Json()
