"""Which kinds are installed: entry points of Python packages, ours among them (PyPA, "Entry points specification").

The group ``odibi_actors.formats`` has one entry point for each format; its name is what ``format:`` says, and it leads
to the kind itself (see ``format``). ``odibi_actors.sinks`` has those of sinks, by the ``type:`` of the connection they
publish to (see ``sink``), ``odibi_actors.sources`` those of sources, by their ``mode:`` (see ``source``), and
``odibi_actors.connections`` those of types of connections (see ``connection``): a sink whose connections are nothing
but a path needs none. ``odibi_actors.dialects`` has those of databases that are read (see ``dialect``), by the
connections' type. A kind is loaded when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from odibi_actors.errors import ConfigError
from odibi_actors.kinds.connection import Connection
from odibi_actors.kinds.dialect import Dialect
from odibi_actors.kinds.format import Format, WritingFormat
from odibi_actors.kinds.sink import Sink
from odibi_actors.kinds.source import Source

FORMATS = "odibi_actors.formats"
SINKS = "odibi_actors.sinks"
SOURCES = "odibi_actors.sources"
CONNECTIONS = "odibi_actors.connections"
DIALECTS = "odibi_actors.dialects"


@cache
def _found(group: str) -> Mapping[str, EntryPoint]:
    """The entry points of a group, by name; of two of one name ours."""
    ranked = sorted(entry_points(group=group), key=lambda one: (one.name, _ours(one), one.value))
    if not any(map(_ours, ranked)):
        raise ConfigError(f"no entry point {group} of odibi-actors: it is not installed whole; install it again")
    return {one.name: one for one in ranked}


def _ours(one: EntryPoint) -> bool:
    return one.value.startswith("odibi_actors.")


def formats() -> list[str]:
    """The names of the formats that are installed."""
    return list(_found(FORMATS))


def sinks() -> list[str]:
    """The names of the sinks that are installed, which are types of connections."""
    return list(_found(SINKS))


def sources() -> list[str]:
    """The names of the kinds of sources that are installed, which are modes of ``read``."""
    return list(_found(SOURCES))


def dialects() -> list[str]:
    """The types of connections whose tables are read."""
    return list(_found(DIALECTS))


def connections() -> list[str]:
    """The types of connections that are installed."""
    return list(dict.fromkeys([*_found(CONNECTIONS), *_found(SINKS)]))


@cache
def format_of(name: str) -> Format:
    """The format of that name. Raises ConfigError: not installed, or it cannot be loaded."""
    return cast(Format, _load(FORMATS, "format", name))


def writing(name: str) -> WritingFormat | None:
    """The format of that name, None if it is only read. Raises ConfigError as ``format_of``."""
    found = format_of(name)
    return cast(WritingFormat, found) if hasattr(found, "write") else None


@cache
def sink_of(name: str) -> Sink:
    """The sink of connections of that type. Raises ConfigError: not installed, or it cannot be loaded."""
    return cast(Sink, _load(SINKS, "sink", name))


@cache
def source_of(mode: str) -> Source:
    """The kind of source of that mode. Raises ConfigError: not installed, or it cannot be loaded."""
    return cast(Source, _load(SOURCES, "mode", mode))


@cache
def dialect_of(name: str) -> Dialect:
    """How databases of connections of that type are read. Raises ConfigError: not installed, or it cannot be loaded."""
    return cast(Dialect, _load(DIALECTS, "dialect", name))


@cache
def connection_of(name: str) -> Connection:
    """The kind of connections of that type. Raises ConfigError: not installed, or it cannot be loaded."""
    if name in _found(CONNECTIONS):
        return cast(Connection, _load(CONNECTIONS, "connection", name))
    from odibi_actors.connections.files import PathConnection

    sink = sink_of(name)
    return PathConnection(name, sink.about, sink.misplaced)


def _load(group: str, noun: str, name: str) -> object:
    entry = _found(group).get(name)
    if entry is None:
        raise ConfigError(f"no {noun} {name!r} is installed here; there are: {', '.join(_found(group))}")
    try:
        return entry.load()
    except Exception as error:
        raise ConfigError(f"{noun} {name!r} ({entry.value}) cannot be loaded: {error}") from error
