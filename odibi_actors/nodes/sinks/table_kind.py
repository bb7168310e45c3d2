"""What every sink is whose target is a table of a SQL database. A kind says how its database is spoken to, and what its
tables hold; the rest is here, in ``table`` (a publisher) and in ``table_marks`` (what a database keeps of its tables).
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from odibi_actors.errors import ConflictError
from odibi_actors.kinds.connection import OPEN, Access
from odibi_actors.kinds.sink import Kept, Publisher, Site, kept_by
from odibi_actors.model import Target
from odibi_actors.nodes.sinks import table_delete as deletes
from odibi_actors.nodes.sinks import table_marks as marks
from odibi_actors.nodes.sinks import table_overwrite as overwrite
from odibi_actors.nodes.sinks.owner import Mark, Owner
from odibi_actors.nodes.sinks.plain import PlainSink
from odibi_actors.nodes.sinks.table_names import quote

if TYPE_CHECKING:
    import pyarrow as pa

    from odibi_actors.config.model import WriteSpec


BY_KEYS = ("upsert", "delete")
"""Modes in which ``write.keys`` tell which rows are concerned, and ``write.version`` which are newer."""


class Cursor(Protocol):
    """What a statement has found."""

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...


class Database(Protocol):
    """An open database. ``?`` stands for a parameter; outside of a transaction each statement is one."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Cursor: ...


class TableKind(PlainSink):
    """See ``kinds.sink.Sink``. ``title``: what people call the database. ``names``: the type of a column
    that holds names of tables; ``same``: the condition that its value is the parameter, as the database compares them.
    ``older``: there may be marks of releases that kept no homes. ``as_written``: stands behind a text that is compared
    as it is, whatever the collation of its column.
    """

    title = ""
    names = "text"
    same = "table_name = ?"
    older = False
    as_written = ""
    needs: Sequence[str] = ("table",)
    takes: Sequence[str] = ("keys", "version")
    modes: Sequence[str] = ("append", "overwrite", "upsert", "delete")

    # --- how the database is spoken to: each raises ConflictError, OSError, and what ``failure`` knows ---------------

    @abstractmethod
    def stands(self, at: Target) -> bool:
        """There is a database, so that something may be in it."""

    @abstractmethod
    def opened(self, at: Target, access: Access = OPEN) -> AbstractContextManager[Database]:
        """To write; it is made if there is none."""

    @abstractmethod
    def looked(self, at: Target, access: Access = OPEN) -> AbstractContextManager[Database]:
        """To look at one that ``stands``."""

    @abstractmethod
    def begin(self, db: Database) -> None:
        """A transaction, in which nobody else writes what it has read."""

    def commit(self, db: Database, at: Target) -> None:
        """End the transaction, which has written to this table. Raises ConflictError where the database refuses what
        has become of it as a whole."""
        db.execute("commit")

    @abstractmethod
    def roll_back(self, db: Database) -> None:
        """Undo it, if one is open."""

    @abstractmethod
    def relation(self, db: Database, name: str) -> str:
        """``table``, ``view``, or "" where nothing has this name."""

    @abstractmethod
    def columns(self, db: Database, table: str) -> list[str]:
        """The names of its columns."""

    def dependent(self, db: Database, table: str) -> tuple[str, str]:
        """(name, ON DELETE ...) of another table with rows, of which something becomes by its foreign key when the rows
        of this one are deleted to be replaced; "" where there is none."""
        return "", ""

    def refers(self, db: Database, table: str) -> bool:
        """A table has foreign keys, at which a rehearsal does not look."""
        return False

    def holding(self, db: Database, table: str, going: str, error: Exception) -> str:
        """Which row is refused to be deleted, and who refers to it; "" when that is not why. ``going``: the condition
        that a row of the table, ``t``, is among those to go; ``error``: what the database has raised."""
        return ""

    def needing(self, db: Database, table: str) -> list[str]:
        """Other tables, and views, as long as which are there the database does not drop this table, or would change
        their rows with it."""
        return []

    # --- what its tables hold: these load pyarrow --------------------------------------------------------------------

    @abstractmethod
    def check_rows(self, rows: pa.Table) -> None:
        """Raise Failed (``invalid``) for a column, or a value, that no table of it holds exactly."""

    @abstractmethod
    def stored(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """The column with values that are equal where those of the table would be."""

    @abstractmethod
    def sorts(self, column: pa.DataType) -> bool:
        """A table has values of this type in their order."""

    @abstractmethod
    def rehearse(
        self, db: Database, at: Target, rows: pa.Table, keys: list[str], version: str | None, replaces: bool = False
    ) -> None:
        """Raise Failed (``invalid``: the rows) or ConflictError (the table) unless the table, or the one that would be
        made, takes the rows and keeps them as they are. Nothing is changed. ``replaces``: all that is there goes."""

    @abstractmethod
    def insert(self, db: Database, at: Target, rows: pa.Table, keys: list[str], version: str | None) -> None:
        """Bring the rows in, within a transaction; the table is made if there is none. Raises ConflictError where it
        refuses a row, or drops it."""

    @abstractmethod
    def sql_types(self, db: Database, rows: pa.Table) -> dict[str, str]:
        """Of each column of the rows the type that it has in a table made for them."""

    @abstractmethod
    def collated(self, db: Database, table: str, keys: Sequence[str], *, indexes: bool) -> str:
        """The first of these columns of which a table compares texts otherwise than by their characters: the column has
        such a collation or, with ``indexes``, a unique index of just these columns has. "" when there is none."""

    def loosen(self, db: Database, table: str) -> None:
        """Take away what is our own and keeps columns from being added; it is made again with the next rows."""
        return None

    @abstractmethod
    def hold(self, db: Database, at: Target, rows: pa.Table) -> str:
        """Bring rows, whose columns the table has, into a temporary one beside it, within a transaction; its name.
        Raises Failed (``invalid``) for a value that the columns of the table would not keep as it is."""

    @abstractmethod
    def watched(self, db: Database, table: str) -> bool:
        """Somebody may object to the deletion of a row: a trigger, a foreign key."""

    # --- what a kind of tables answers -------------------------------------------------------------------------------

    def as_name(self, name: str) -> str:
        """A name as the database compares it."""
        from odibi_actors.batches.normalise import without_case

        return without_case(name)

    def reserved(self, at: Target) -> tuple[str, str]:
        if at.locator.lower().startswith(("odibi_", "_odibi")):
            return "the name is reserved", at.locator
        return "", ""

    def called(self, at: Target) -> tuple[str, tuple[str, str]]:
        return f"table {at.locator!r} of {at.connection}", marks.take_table(at.locator)

    def mark(self, at: Target, access: Access = OPEN) -> Mark | None:
        if not self.stands(at):
            return None
        with self.looked(at, access) as db:
            return marks.mark(self, db, at.locator)

    def check(self, write: WriteSpec, owner: Owner, former: Collection[Owner] = (), access: Access = OPEN) -> None:
        at = write.target
        if write.mode == "overwrite" and self.stands(at):
            with self.looked(at, access) as db:
                overwrite.check_rows(self, db, at, owner, former)

    def holds(self, at: Target, access: Access = OPEN) -> tuple[int, int]:
        if not self.stands(at):
            return 0, 0
        with self.looked(at, access) as db:
            return overwrite.holds(self, db, at.locator)

    def missing(
        self, at: Target, sink: Sequence[str], iteration: int, digest: str, owners: Sequence[Any], access: Access = OPEN
    ) -> str:
        if not self.stands(at):
            return "is missing"
        try:
            with self.looked(at, access) as db:
                return marks.missing(self, db, at.locator, sink, iteration, digest, owners)
        except Exception as error:
            said = str(error)
            if not isinstance(error, OSError) and self.failure(at, error) is None:
                raise
            return f"cannot be looked for: {said}"

    def kept(
        self, at: Target, owners: Sequence[Owner], given_up: Sequence[Collection[int]], access: Access = OPEN
    ) -> Kept | None:
        if not self.stands(at):
            return None
        with self.looked(at, access) as db:
            if not self.relation(db, at.locator):
                return Kept(0, stays="the table is gone already")
            if deletes.spares(self, db, at.locator, owners):
                return Kept(0, replaced=True, stays="no row: the sink has only deleted, and the table stays")
            rows = int(db.execute(f"select count(*) from {quote(at.locator)}").fetchone()[0])
            return Kept(rows, needed_by=self.needing(db, at.locator))

    def delete(
        self, at: Target, owners: Sequence[Owner], given_up: Sequence[Collection[int]], access: Access = OPEN
    ) -> None:
        with self.opened(at, access) as db:
            self.begin(db)
            if not deletes.spares(self, db, at.locator, owners):
                if needing := self.needing(db, at.locator):
                    raise ConflictError(kept_by(at, needing[0]))
                db.execute(f"drop table if exists {quote(at.locator)}")
            deletes.forget(self, db, owners)
            marks.forget(self, db, at.locator, owners)
            overwrite.forget(self, db, at.locator)
            db.execute("commit")

    def open(self, site: Site, write: WriteSpec | None) -> Publisher:
        from odibi_actors.nodes.failures import Failed
        from odibi_actors.nodes.sinks.table import TableSink  # not above: most commands need none of Arrow

        if write is None:
            return TableSink(self, site)
        by_keys = write.mode in BY_KEYS
        if not write.table or (by_keys and not write.keys):
            raise Failed("invalid", "a SQL sink needs write.table, and write.keys to upsert or delete")
        keys, version = (write.keys, write.version) if by_keys else ([], None)
        return TableSink(self, site, keys, version, deletes=write.mode == "delete")


class FileKind(TableKind):
    """A database that is one file."""

    about = "a database file"

    def misplaced(self, path: str) -> tuple[str, str]:
        if os.path.isdir(path):
            return f"is a folder; a {self.name} connection is a database file", "such as data/mart.db"
        return "", ""

    def folded(self, at: Target) -> Target:
        return Target(at.sink, at.connection, at.locator.lower())

    def stands(self, at: Target) -> bool:
        return Path(at.connection).exists()
