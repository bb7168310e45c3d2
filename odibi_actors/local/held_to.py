"""What a store knows that ``odibictl try`` must know as well, to read as a run would."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from odibi_actors.config.arrow_types import parted
from odibi_actors.errors import OdibiError
from odibi_actors.model import Position
from odibi_actors.nodes.schemas import pinned_as

if TYPE_CHECKING:
    from odibi_actors.client import Client


def pins(client: Client | None, pipeline: str, sources: Iterable[str]) -> dict[str, bytes]:
    """The schemas that sources are held to, by node; None: nothing was read yet."""
    found: dict[str, bytes] = {}
    for name in sources if client is not None else ():
        with contextlib.suppress(OdibiError, ValueError):  # it has read nothing yet; or types that have no name
            columns = client.schema(pipeline, name)["columns"]  # type: ignore[union-attr]
            found[name] = pinned_as((one["column"], one["type"]) for one in columns)
    return found


def repinned(client: Client | None, pipeline: str) -> dict[str, bytes]:
    """The schemas of sinks whose next part may have other columns (``odibictl sink repin``), by node."""
    found: dict[str, bytes] = {}
    with contextlib.suppress(OdibiError):  # the store does not know the pipeline yet
        for row in client.sinks(pipeline)["items"] if client is not None else ():
            with contextlib.suppress(ValueError):  # types that have no name
                if row["open"]:
                    found[row["sink"]] = pinned_as(map(parted, row["columns"]))
    return found


def discarded(client: Client | None, pipeline: str, sources: Iterable[str]) -> dict[str, list[Position]]:
    """What was given up of sources that are read in order, which no run reads again, by node."""
    found: dict[str, list[Position]] = {}
    for name in sources if client is not None else ():
        with contextlib.suppress(OdibiError):  # the store does not know the pipeline yet
            found[name] = [Position.of(one) for one in client.discarded(pipeline, name)]  # type: ignore[union-attr]
    return found
