"""Append to, upsert into or overwrite a SQLite table, one transaction per iteration.

The staged part is a synced Arrow file below ``<data_dir>/staged``, with keys and version of its upsert in its
metadata: what is prepared is published so, whatever the configuration has become. Publishing writes the rows and a
marker (store id, pipeline, sink, iteration, digest) in one transaction, so that doing it again finds the marker and
does nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from odibi_actors.batches.files import make_dirs
from odibi_actors.errors import ConflictError
from odibi_actors.failpoints import failpoint
from odibi_actors.kinds.sink import Site
from odibi_actors.model import Attempt, StagedRef
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.sinks import staged
from odibi_actors.nodes.sinks.conform import VOID, Pin
from odibi_actors.nodes.sinks.known import UNKNOWN, Known, unknown
from odibi_actors.nodes.sinks.owner import (
    OWNER_TABLE,
    Mark,
    Owner,
    check_table,
    missed,
    says_home,
    table_mark,
    table_owner,
)
from odibi_actors.nodes.sinks.sqlite_keys import check_keys
from odibi_actors.nodes.sinks.sqlite_overwrite import check_rows, empty, forget, hand_over, overwritten
from odibi_actors.nodes.sinks.sqlite_table import (
    Existing,
    Going,
    batches,
    create_statement,
    insert_statement,
    make_index,
)
from odibi_actors.nodes.sinks.sqlite_types import check_types
from odibi_actors.units import plural

BUSY_TIMEOUT = 3.0
"""Seconds to wait for another writer of the database. Then the worker does something else, it is told, and the broker
has it tried again: as long as it takes."""
LONGEST_ROW = 1_000_000_000
"""Bytes of one row, SQLite's default limit."""
MARKERS_KEPT = 10_000
"""Markers kept per sink, and those of all that is not settled; below a low-water mark says that all is published or
void."""
KEYS = b"odibi.keys"
"""Metadata of a staged part: JSON list of the upsert's keys, ``[]`` for append."""
VERSION = b"odibi.version"
"""Metadata of a staged part: the column that tells which of two rows of an upsert is the newer one."""

_CREATE = (
    f"create table if not exists {OWNER_TABLE} (table_name text primary key collate nocase, store_id text not null,"
    " pipeline text not null, node text not null, low_water integer not null default 0,"
    " home text not null default '')",
    "create table if not exists _odibi_commits (store_id text not null, pipeline text not null, sink text not null,"
    " iteration integer not null, digest text not null, rows integer not null,"
    " primary key (store_id, pipeline, sink, iteration)) without rowid",
)


class SqliteSink:
    """The sink of one node in one table. ``overwrite``: what it publishes replaces all rows of the table."""

    def __init__(self, site: Site, keys: Sequence[str] = (), version: str | None = None) -> None:
        """``keys`` and ``version`` of an upsert, for staging: what is prepared has its own."""
        self.site = site
        self.database = Path(site.at.connection)
        self.table = site.at.locator
        self.owner = site.owner
        self.home = site.home
        self.former = site.former
        self.overwrite = site.replaces
        self.keys = list(keys)
        self.version = version

    # --- stage ----------------------------------------------------------------------------------------------------

    def stage(
        self,
        table: pa.Table,
        iteration: int,
        attempt: Attempt,
        pin: Pin | None = None,
        published: bool = False,
    ) -> tuple[StagedRef, pa.Table]:
        """Write the part of an iteration as a synced Arrow file, once it is sure that the SQL table can take it.
        Returns it, and the rows that are in it.

        Raises Failed (``invalid``: types, duplicate or null keys, rows that the SQL table refuses or would change),
        ConflictError (another owner, columns the SQL table lacks,
        rows that an overwrite would delete; ``published`` rows are missed), sqlite3.Error and OSError.
        """
        keys, version = self.keys, self.version
        table = (pin or Pin()).conform(table)
        check_types(table)
        check_lengths(table)
        if keys:
            table = check_keys(table, keys, version)
        if published and not self.database.exists():
            raise missed(str(self.database), self.owner)
        make_dirs(self.database.parent, sync=True)
        with self._connect() as connection:
            self._check_published(connection, published)
            mark = check_table(connection, self.table, self.owner, self.home, str(self.database), self.former)
            if self.overwrite:
                check_rows(connection, self.table, self.owner, str(self.database), self.former)
            if not self._marked(mark):
                self._claim(connection)
            Existing(connection, self.table, str(self.database)).check(table, keys, version)
        void = {VOID: b"1"} if pin is not None and pin.void(table) else {}
        metadata: dict[bytes, str | bytes] = {KEYS: json.dumps(keys), VERSION: version or "", **void}
        return staged.stage(self.site, table, iteration, attempt, metadata), table

    # --- the database ---------------------------------------------------------------------------------------------

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.database, timeout=BUSY_TIMEOUT, isolation_level=None)) as connection:
            # EXTRA is FULL plus a sync of the folder when the rollback journal is deleted: else power loss can bring
            # the journal back, and it undoes the commit.
            connection.execute("pragma synchronous = extra")
            yield connection

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        failpoint("sqlite.begin")
        connection.execute("begin immediate")
        try:
            yield
            failpoint("sqlite.commit")
            connection.execute("commit")
        except BaseException:
            if connection.in_transaction:
                connection.execute("rollback")
            raise

    def _claim(self, connection: sqlite3.Connection) -> None:
        """Own the table from here on. Not when it is owned already, as most times: nobody need wait for us."""
        with self._transaction(connection):
            self._own(connection)

    def _own(self, connection: sqlite3.Connection) -> None:
        for statement in _CREATE:
            connection.execute(statement)
        mark = check_table(connection, self.table, self.owner, self.home, str(self.database), self.former)
        if self._marked(mark):
            return
        if not says_home(connection):
            connection.execute(f"alter table {OWNER_TABLE} add column home text not null default ''")
        if mark is None:
            insert = f"insert into {OWNER_TABLE} (table_name, store_id, pipeline, node, home) values (?,?,?,?,?)"
            connection.execute(insert, (self.table, *self.owner, self.home.data_dir))
        else:  # the project was moved, or the table has passed on
            columns = "store_id = ?, pipeline = ?, node = ?, home = ?"
            update = f"update {OWNER_TABLE} set {columns} where table_name = ? collate nocase"
            connection.execute(update, (*self.owner, self.home.data_dir or mark.home, self.table))
            hand_over(connection, self.table, mark.owner, self.owner)

    def _marked(self, mark: Mark | None) -> bool:
        """The mark of the table says all that we would write there."""
        return mark is not None and mark.owner == self.owner and self.home.data_dir in ("", mark.home)

    def _check_published(self, connection: sqlite3.Connection, published: bool) -> None:
        """Raise ConflictError when what the sink has ``published`` is not there: another file has taken its place."""
        place = str(self.database)
        there = table_owner(connection, self.table) and Existing(connection, self.table, place).kind
        if published and not there:
            raise missed(f"table {self.table!r} of {place}", self.owner)

    # --- publish --------------------------------------------------------------------------------------------------

    def publish(
        self,
        part: StagedRef,
        iteration: int,
        settled: int,
        published: bool = False,
        before: int = 0,
        known: Known = UNKNOWN,
    ) -> None:
        """Bring a prepared part into the table; done already is done. ``settled``: every iteration up to it is
        terminal, in whatever lane; one of another lane with a lower number than this may still be to come.
        ``published``: others were before it, that of iteration ``before`` among them (0: not known). ``known``: of what
        else may stand there.

        Raises ConflictError (another owner, another digest under this number, part gone or damaged, rows the table
        refuses, what was published is missed: an older copy has been put in its place), sqlite3.Error and OSError.
        """
        path = staged.check(self.site, part, iteration)
        if published and not self.database.exists():
            raise missed(str(self.database), self.owner)
        with self._connect() as connection, self._transaction(connection):
            self._check_published(connection, published)
            self._own(connection)
            self._check_before(connection, before)
            if not self._is_published(connection, part, iteration):
                self._check_known(connection, known, iteration)
                self._order(connection, iteration)
                self._apply(connection, staged.opened(part))
                self._mark(connection, part, iteration, settled)
        failpoint("sqlite.committed")
        path.unlink(missing_ok=True)
        staged.sweep(self.site, iteration, settled)

    def discard(self, part: StagedRef, iteration: int) -> None:
        """Delete a prepared part that is not to be published. Raises ConflictError when it was, by somebody who died
        before telling so: nothing tells its rows from others, and what they replaced is gone; sqlite3.Error and
        OSError."""
        path = staged.check(self.site, part, iteration)
        if self._is_there(part, iteration):
            where = f"pipeline = '{self.owner.pipeline}' and sink = '{self.owner.node}' and iteration = {iteration}"
            raise ConflictError(
                f"{plural(part.rows, 'row')} of iteration {iteration} were published to table {self.table!r} of "
                f"{self.database} before its worker died, and cannot be told from others: delete them yourself, and "
                f"their mark: `delete from _odibi_commits where {where}`"
            )
        path.unlink(missing_ok=True)

    def retract(
        self,
        after: int,
        last: int,
        given_up: Collection[int] = (),
        owners: Sequence[Owner] = (),
        spared: Collection[tuple[int, int]] = (),
    ) -> None:
        """Nothing tells rows from others: never asked, as no part says that it can be taken back."""
        raise ConflictError(f"rows of table {self.table!r} of {self.database} cannot be taken back")

    def _is_there(self, part: StagedRef, iteration: int) -> bool:
        """The mark of this part is in the database, and the table is ours."""
        if not self.database.exists():
            return False
        with self._connect() as connection:
            mark = table_mark(connection, self.table)
            if mark is None or mark.owner not in (self.owner, *self.former):
                return False
            if mark.elsewhere(self.home, self.database):
                return False  # the original's, of which our store is a copy
            found = connection.execute(
                "select 1 from _odibi_commits where store_id = ? and pipeline = ? and sink = ? and iteration = ?"
                " and digest = ?",
                (*self.owner, iteration, part.digest),
            ).fetchone()
            return found is not None

    def _check_before(self, connection: sqlite3.Connection, before: int) -> None:
        """Raise ConflictError when the marker of that iteration is not there. Old ones go, see ``low_water``."""
        (low_water,) = connection.execute(
            f"select low_water from {OWNER_TABLE} where table_name = ?", (self.table,)
        ).fetchone()
        owners = (self.owner, *self.former)
        places = ", ".join(["(?, ?, ?)"] * len(owners))
        mine = f"from _odibi_commits where (store_id, pipeline, sink) in (values {places})"
        given = [value for owner in owners for value in owner]
        there = connection.execute(f"select 1 {mine} and iteration = ?", (*given, before)).fetchone()
        if before <= low_water or there:
            return
        (newest,) = connection.execute(f"select max(iteration) {mine}", given).fetchone()
        sink = f"{self.owner.pipeline}.{self.owner.node}"
        raise ConflictError(
            f"table {self.table!r} of {self.database} has nothing of iteration {before}, which was published there; "
            f"the newest it has is {newest or low_water}: has an older copy been put in its place? Bring the newer one "
            f"back, then `odibictl iteration retry`; or `odibictl sink repin {sink}` goes on without what is missing"
        )

    def _check_known(self, connection: sqlite3.Connection, known: Known, iteration: int) -> None:
        """Raise ConflictError when the table has rows of this sink that our store has not published, and they would
        stay there."""
        marks = connection.execute(
            "select iteration, digest from _odibi_commits where store_id = ? and pipeline = ? and sink = ?"
            " and iteration > ?",
            (*self.owner, known.upto),
        ).fetchall()
        numbers = [number for number, _ in known.missed(marks, str)]
        if not numbers or self.overwrite:
            return
        where = f"pipeline = '{self.owner.pipeline}' and sink = '{self.owner.node}' and iteration > {known.upto}"
        raise unknown(
            f"table {self.table!r} of {self.database}",
            "rows",
            numbers,
            self.owner,
            f"or the copy of {self.database} that goes with these, then `odibictl iteration retry "
            f"{self.owner.pipeline} {iteration}`; or `odibictl reset {self.owner.pipeline} --targets`. If you have "
            f"deleted these rows, or they are upserted again: `delete from _odibi_commits where {where}`, then retry",
        )

    def _is_published(self, connection: sqlite3.Connection, part: StagedRef, iteration: int) -> bool:
        found = connection.execute(
            "select digest from _odibi_commits where store_id = ? and pipeline = ? and sink = ? and iteration = ?",
            (*self.owner, iteration),
        ).fetchone()
        place = f"iteration {iteration} of {self.owner} in table {self.table!r}"
        if found is not None:
            if found[0] != part.digest:
                raise ConflictError(f"{place} was published with digest {found[0]}, not the prepared {part.digest}")
            return True
        (low_water,) = connection.execute(
            f"select low_water from {OWNER_TABLE} where table_name = ?", (self.table,)
        ).fetchone()
        if iteration <= low_water:
            raise ConflictError(f"{place} is not above {low_water}, up to which everything is settled")
        return False

    def _order(self, connection: sqlite3.Connection, iteration: int) -> None:
        """What was overwritten stays so: a part of before, of another lane or mode, does not come behind it. Make room
        for the rows of this one, if they are to replace all others."""
        stands = overwritten(connection, self.table, self.owner)
        if stands >= iteration:
            raise ConflictError(
                f"table {self.table!r} of {self.database} was overwritten by iteration {stands}; the older iteration "
                f"{iteration} is not published behind it: `odibictl iteration abandon {self.owner.pipeline} "
                f"{iteration} --sink {self.owner.node}`"
            )
        if self.overwrite:
            check_rows(connection, self.table, self.owner, str(self.database))
            empty(connection, self.table, self.owner, iteration)
        else:
            forget(connection, self.table)

    def _apply(self, connection: sqlite3.Connection, table: pa.Table) -> None:
        metadata = table.schema.metadata or {}
        if VOID in metadata:
            return
        keys: list[str] = json.loads(metadata.get(KEYS, b"[]"))
        version = metadata.get(VERSION, b"").decode() or None
        existing = Existing(connection, self.table, str(self.database))
        if existing.kind is None:
            connection.execute(create_statement(self.table, table.schema))
        names = table.column_names
        statement = insert_statement(self.table, names, keys, version, strict=not existing.triggers)
        taken, going = 0, Going(names)
        try:
            if keys:
                make_index(connection, self.table, keys, str(self.database))
            for columns in batches(table):
                taken += connection.executemany(statement, going.through(columns)).rowcount
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError) as error:
            raise ConflictError(
                f"table {self.table!r} of {self.database} refuses {going.told(str(error))}: {error}"
            ) from error
        if taken != table.num_rows and version is None and len(keys) < table.num_columns:
            raise ConflictError(
                f"table {self.table!r} of {self.database} takes {taken} of {plural(table.num_rows, 'row')}: a trigger, "
                "or an ON CONFLICT clause of its own, drops the others"
            )

    def _mark(self, connection: sqlite3.Connection, part: StagedRef, iteration: int, settled: int) -> None:
        row = (*self.owner, iteration, part.digest, part.rows)
        connection.execute("insert into _odibi_commits values (?,?,?,?,?,?)", row)
        low_water = min(settled, iteration - MARKERS_KEPT)
        if low_water > 0:
            connection.execute(
                "delete from _odibi_commits where store_id = ? and pipeline = ? and sink = ? and iteration <= ?",
                (*self.owner, low_water),
            )
            connection.execute(
                f"update {OWNER_TABLE} set low_water = max(low_water, ?) where table_name = ?", (low_water, self.table)
            )


def check_lengths(table: pa.Table) -> None:
    """Raise Failed (``invalid``) when a row may be longer than SQLite takes."""
    longest = {}
    for field in table.schema:
        if pa.types.is_string(field.type) or pa.types.is_binary(field.type):
            longest[field.name] = pc.max(pc.binary_length(table.column(field.name))).as_py() or 0
    if sum(longest.values()) > LONGEST_ROW - 9 * len(table.schema):
        name = max(longest, key=longest.__getitem__)
        message = f"column {name!r} holds a value of {longest[name]} bytes; SQLite takes rows of {LONGEST_ROW} bytes"
        raise Failed("invalid", message, column=name)
