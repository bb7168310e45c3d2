"""Avro as a kind: where it is read."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from odibi_actors.kinds.format import Option, Request

if TYPE_CHECKING:
    from odibi_actors.nodes.formats import Parsed

HINT: Final = "format avro needs fastavro: pip install 'odibi-actors[avro]', on every host that runs workers"


class Avro:
    """Object container files; compressed within. They are read, not written."""

    name: Final = "avro"
    about: Final = "Apache Avro object container files, read only; extra `avro`"
    suffixes: Final = (".avro",)
    packed: Final = False
    texts: Final = False
    header: Final = 0
    options: Final[dict[str, Option]] = {}

    def missing(self) -> str:
        """See ``kinds.format.lacks``."""
        return "" if find_spec("fastavro") is not None else HINT

    def parse(self, request: Request) -> Parsed:
        """See ``Format``."""
        from odibi_actors.nodes.formats import avro

        return avro.parse(request.data, {**request.declared, **request.inferred}, request.wanted)

    def rescue(self, request: Request) -> Parsed:
        """See ``nodes.formats.rescued.Rescuing``."""
        from odibi_actors.nodes.formats import avro, rescued

        return rescued.typed(avro.parse(request.data, {}, request.wanted), request)


FORMAT = Avro()
