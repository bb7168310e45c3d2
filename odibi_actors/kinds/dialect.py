"""A dialect: how one kind of database is looked at and read by a source. Entry point ``odibi_actors.dialects``, by the
type of the connections.

A ``Session`` is one connection, opened for one look or one read, and closed after it. Statements are made for it by
``sources.query.statements``, with what it says of quoting, comparing and parameters. Nothing here loads pyarrow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from odibi_actors.config.model import ReadSpec
    from odibi_actors.kinds.connection import Access
    from odibi_actors.sources.query.watermarks import Sort


class Unreadable(Exception):
    """It cannot be read, in words for people. ``passing``: nothing is wrong with what is asked for, and it is asked
    again until it can be."""

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


class Column(NamedTuple):
    """A column of a table or query; ``type`` as the database writes it, "" where it has none."""

    name: str
    type: str


class Measure(NamedTuple):
    """How a watermark column is compared, as one of ``ROWS``: a name alone may be a result's. In SQL: ``compared``
    has the order, ``shown`` the text (or the value itself, where ``sort`` is None: each value has its own sort),
    ``value`` is a parameter to compare with."""

    sort: Sort | None
    compared: str
    shown: str
    value: str


def unordered(column: Column) -> str:
    """What is said of a column that cannot be a watermark."""
    what = "a watermark is a number, a date, a timestamp or a text; cast it in a query"
    return f"column {column.name!r} is {column.type}: {what}"


class Unfinished(NamedTuple):
    """Transactions that ran at one moment; only its session knows what this says."""

    horizon: int
    running: frozenset[str]


class Session(Protocol):
    """One connection to a database."""

    def relation(self, read: ReadSpec) -> str:
        """What is read, as it stands behind ``from``, named ``ROWS``. Raises Unreadable: there is no such table."""

    def columns(self, relation: str) -> list[Column]:
        """Its columns, in their order."""

    def measure(self, column: Column) -> Measure:
        """How it is compared. Raises Unreadable: its type has no order that grows."""

    def parameter(self, sort: Sort, text: str) -> Any:
        """The parameter that stands for this watermark."""

    def row(self, columns: Sequence[Column]) -> str:
        """SQL for a text by which rows are told apart by these columns, or for its digest (``marks.digest_of``)."""

    def size(self, columns: Sequence[Column]) -> str:
        """SQL for the bytes of a row, about."""

    def selected(self, column: Column, text: bool) -> str:
        """SQL for a column as it is read; ``text``: as a text."""

    def rows(self, sql: str, parameters: Sequence[Any] = (), many: bool = False) -> Iterator[tuple[Any, ...]]:
        """The rows of a statement; ``many``: more than should be held at once."""

    def table(
        self, sql: str, parameters: Sequence[Any], columns: Sequence[Column], types: Mapping[str, pa.DataType]
    ) -> pa.Table:
        """The rows of a statement that selects these columns, then ``BEHIND`` and ``LAST``, texts or bytes. Types are
        those that the database has; ``types``, as far as they are known, is what they are brought to after that, and a
        string among them is selected as text. A column whose type only values tell, and that has none, is of type
        null. Raises Malformed for the first column or value that has no exact form."""

    def snapshot(self) -> None:
        """All that follows sees one state of the database."""

    def running(self) -> Unfinished | None:
        """What runs now and may still add rows that are not seen yet; None: nothing ever does."""

    def holds(self, unfinished: Unfinished) -> list[str]:
        """Who of these has not ended yet, in words."""


class Dialect(Protocol):
    """``name``: the type of its connections. ``title``: of the database, in messages."""

    name: str
    title: str

    def open(self, read: ReadSpec, access: Access) -> AbstractContextManager[Session]:
        """A session. Raises Unreadable, also for what is raised within by the database."""

    def stamp(self, read: ReadSpec) -> tuple[Any, ...] | None:
        """What is another as soon as anything has changed; None: nothing tells that."""


ROWS = "odibi_rows"
"""The name of what is read within a statement."""
BEHIND, LAST = "_odibi_behind", "_odibi_last"
"""Columns beside those that are read: by what a row at the lower, or upper, edge of a range is known; else null."""
