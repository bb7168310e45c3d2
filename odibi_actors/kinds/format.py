"""A format of files: how the bytes of one file become a table, and a table bytes. Nothing here loads pyarrow, nor may a
format before it parses: names and options are asked for by whoever checks a project file."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol

from odibi_actors.model import RESCUED

if TYPE_CHECKING:
    import pyarrow as pa

    from odibi_actors.kinds.connection import Connection
    from odibi_actors.nodes.formats import Parsed
    from odibi_actors.nodes.formats.columns import Wanted


class Option(NamedTuple):
    """A key of ``read.options``. ``types``: those its value may have; a flag counts as one only where ``bool`` is among
    them. ``check`` says what else is wrong with it, "" for nothing."""

    types: tuple[type, ...]
    check: Callable[[Any], str] = lambda _value: ""

    def problem(self, value: Any) -> str:
        """What is wrong with a value; "" for nothing."""
        if not isinstance(value, self.types) or (isinstance(value, bool) and bool not in self.types):
            return f"must be {' or '.join(kind.__name__ for kind in self.types)}, not {value!r}"
        if isinstance(value, list) and not all(isinstance(item, str) for item in value):
            return "must be a list of texts"
        if isinstance(value, int) and value < 0:
            return "must not be negative"
        return self.check(value)


class Request(NamedTuple):
    """One file that is to be parsed. ``data``: its bytes, unpacked where ``Format.packed``; ``name``: its path, for
    messages. ``declared``: columns whose type the user says; ``inferred``: those whose type earlier files told.
    ``first``: of a first batch, so that what is doubtful should be told."""

    data: bytes
    name: str
    declared: Mapping[str, pa.DataType]
    inferred: Mapping[str, pa.DataType]
    wanted: Wanted
    options: Mapping[str, Any]
    first: bool


class Lines(NamedTuple):
    """How a format is cut into rows without being parsed. ``header``: its first row names the columns, and goes with
    every piece. ``quote``: within two of these a line end is none (b"": there is no such thing); ``delimiter``: what a
    quote that opens stands behind, if it is not the first of its row. ``array``: with this first byte a file is one
    value, and has no rows to be read one by one."""

    header: bool = False
    quote: bytes = b""
    delimiter: bytes = b""
    array: bytes = b""


class Format(Protocol):
    """``name``: as ``format:`` says it. ``about``: in a few words, for the documentation. ``suffixes``: of its files,
    in lower case. ``options``: those of its reader, by name. ``packed``: whether a file may be compressed as a whole,
    which its suffix tells (``.gz``) or ``options.compression``. ``texts``: whether cells are texts that tell only all
    together what they are; else each file brings its types. ``header``: the line that names the columns, 0 for none."""

    name: str
    about: str
    suffixes: tuple[str, ...]
    options: Mapping[str, Option]
    packed: bool
    texts: bool
    header: int

    def parse(self, request: Request) -> Parsed:
        """The file as a table of the columns that are wanted, in their order.

        ``declared`` and ``inferred`` columns are of their types; of these not a single value may change. Others are
        texts (``texts``), or of the type that the file has for them. Raises Malformed with the first place that does
        not fit; pyarrow's ArrowNotImplementedError stands for a type that this format cannot be read as.
        """


class WritingFormat(Format, Protocol):
    """A format that is written as well. ``written``: the suffix of the files that it makes. ``tells_schema``: a file
    says by itself what its columns are; else that is kept beside it."""

    written: str
    tells_schema: bool

    def check(self, table: pa.Table) -> None:
        """Raise Failed (``invalid``) for the first column, by its type or by a value, that a file would not give back
        exactly to a reader that knows the type."""

    def write(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch], out: BinaryIO) -> None:
        """The bytes of one file, batch by batch; equal tables have equal bytes. Raises OSError."""


def lacks(known: Format | Connection) -> str:
    """What has to be installed before this kind can be used; "" for nothing. A kind tells it by ``missing()``."""
    told: Callable[[], str] = getattr(known, "missing", lambda: "")
    return told()


def lines_of(known: Format, options: Mapping[str, Any]) -> Lines | str:
    """How files of this format, with these options of its reader, are cut into rows; why they cannot be. A format tells
    it by ``lines(options)``, if it has rows that end with a line."""
    told: Callable[[Mapping[str, Any]], Lines | str] | None = getattr(known, "lines", None)
    return told(options) if told is not None else f"format {known.name} has no lines: its files are read whole"


def check_options(known: Format, options: Mapping[str, Any]) -> list[str]:
    """What is wrong with the options of a reader of this format; empty when all is well."""
    problems = []
    for name, value in options.items():
        if name not in known.options:
            near = difflib.get_close_matches(name, known.options, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(known.options) or 'none'}"
            problems.append(f"unknown option {name!r} of format {known.name}; {hint}")
        elif problem := known.options[name].problem(value):
            problems.append(f"option {name!r} {problem}")
    return problems


def rescue_problems(read: Mapping[str, Any], known: Format) -> Iterator[tuple[str, str, str]]:
    """What stands against ``on_schema_change: rescue`` of a ``read`` section: (key, problem, what to write)."""
    if read.get("on_schema_change") != "rescue":
        return
    if not hasattr(known, "rescue"):
        yield "on_schema_change", f"format {known.name} has no values that could be rescued", "halt, or evolve"
    if read.get("options", {}).get("quoted_is_text"):
        yield "on_schema_change", "rescue does not go with options.quoted_is_text", "halt, or evolve"
    for key in ("schema", "columns"):
        if RESCUED in read.get(key, ()):
            yield key, f"{RESCUED!r} is the column of what is rescued", "delete it"
