"""Append to, upsert into, overwrite or delete from a table of a SQL database, one transaction per iteration.

The staged part is a synced Arrow file below ``<data_dir>/staged``, with its keys, their version and what
they are for in its metadata: what is prepared is published so, whatever the configuration has become. Publishing writes
the rows and a marker (store id, pipeline, sink, iteration, digest) in one transaction, so that doing it again finds the
marker and does nothing.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from odibi_actors.errors import ConflictError
from odibi_actors.failpoints import failpoint
from odibi_actors.kinds.sink import Site
from odibi_actors.model import Attempt, StagedRef
from odibi_actors.nodes.sinks import staged
from odibi_actors.nodes.sinks import table_delete as deletes
from odibi_actors.nodes.sinks import table_growing as growing
from odibi_actors.nodes.sinks import table_marks as marks
from odibi_actors.nodes.sinks.conform import VOID, Pin
from odibi_actors.nodes.sinks.known import UNKNOWN, Known, unknown
from odibi_actors.nodes.sinks.owner import Mark, Owner, missed
from odibi_actors.nodes.sinks.table_columns import collated
from odibi_actors.nodes.sinks.table_delete import Deleted
from odibi_actors.nodes.sinks.table_keys import check_keys, only_keys
from odibi_actors.nodes.sinks.table_kind import Database, TableKind
from odibi_actors.nodes.sinks.table_overwrite import check_rows, empty, forget, hand_over, overwritten
from odibi_actors.units import plural

MARKERS_KEPT = 10_000
"""Markers kept per sink, and those of all that is not settled; below a low-water mark says that all is published or
void."""
KEYS = b"odibi.keys"
"""Metadata of a staged part: JSON list of the keys to upsert or delete by, ``[]`` for append."""
VERSION = b"odibi.version"
"""Metadata of a staged part: the column that tells which of two rows of one key is the newer one."""
DELETES = b"odibi.deletes"
"""Metadata of a staged part whose rows are keys to delete by."""
GROWS = b"odibi.grows"
"""Metadata of a staged part whose columns are added to the table, as far as it lacks them."""


class TableSink:
    """The sink of one node in one table of a ``kind`` of database."""

    def __init__(
        self,
        kind: TableKind,
        site: Site,
        keys: Sequence[str] = (),
        version: str | None = None,
        *,
        deletes: bool = False,
    ) -> None:
        """``keys`` and ``version`` of an upsert, or with ``deletes`` of a deletion, for staging: what is prepared has
        its own."""
        self.kind = kind
        self.site = site
        self.at = site.at
        self.table = site.at.locator
        self.place = site.at.connection
        self.owner = site.owner
        self.home = site.home
        self.former = site.former
        self.overwrite = site.replaces
        self.access = site.access
        self.keys = list(keys)
        self.version = version
        self.deletes = deletes

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
        rows that an overwrite would delete; ``published`` rows are missed), OSError, and errors of the database.
        """
        keys, version = self.keys, self.version
        table = self._conform(table, pin)
        if published and not self.kind.stands(self.at):
            raise missed(self.place, self.owner)
        with self.kind.opened(self.at, self.access) as db:
            self._check_published(db, published)
            mark = marks.check_table(self.kind, db, self.at, self.owner, self.home, self.former)
            if self.overwrite:
                check_rows(self.kind, db, self.at, self.owner, self.former)
            if not self._marked(mark) or (
                self.deletes and not deletes.claimed(self.kind, db, self.table, [self.owner])
            ):
                self._claim(db)
            self._rehearse(db, table, pin)
        marked = {GROWS: b"1"} if pin is not None and pin.evolve else {}
        marked |= {VOID: b"1"} if pin is not None and pin.void(table) else {}
        marked |= {DELETES: b"1"} if self.deletes else {}
        metadata: dict[bytes, str | bytes] = {KEYS: json.dumps(keys), VERSION: version or "", **marked}
        return staged.stage(self.site, table, iteration, attempt, metadata), table

    def rehearse(self, table: pa.Table, pin: Pin) -> str:
        """See ``kinds.sink.Rehearsing``."""
        table = self._conform(table, pin)
        with self.kind.opened(self.at, self.access) as db:
            self._rehearse(db, table, pin)
            return "its foreign keys" if not self.deletes and self.kind.refers(db, self.table) else ""

    def _rehearse(self, db: Database, table: pa.Table, pin: Pin | None) -> None:
        if pin is not None and pin.void(table):
            return  # nothing comes to the table, and types that nobody told contradict no other
        if pin is not None and pin.evolve and not self.deletes:
            table = growing.known(self.kind, db, self.at, table)
        self._check_collations(db, self.keys, deletes=self.deletes)
        if self.deletes:
            deletes.check(self.kind, db, self.at, table, self.keys, self.version)
        else:
            self.kind.rehearse(db, self.at, table, self.keys, self.version, self.overwrite)

    def _check_collations(self, db: Database, keys: Sequence[str], *, deletes: bool) -> None:
        """Raise ConflictError when the table takes different keys for one."""
        if not keys or self.kind.relation(db, self.table) != "table":
            return
        there = {self.kind.as_name(name) for name in self.kind.columns(db, self.table)}
        if not there.issuperset(map(self.kind.as_name, keys)):
            return  # others tell what is missing
        if key := self.kind.collated(db, self.table, keys, indexes=not deletes):
            raise collated(self.at, key)

    def _conform(self, table: pa.Table, pin: Pin | None) -> pa.Table:
        if self.deletes and table.column_names:
            table = only_keys(table, self.keys, self.version)
        table = (pin or Pin()).conform(table)
        self.kind.check_rows(table)
        if not self.keys or not table.column_names:
            return table
        return check_keys(table, self.keys, self.version, self.kind, once=self.deletes)

    # --- the database ---------------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self, db: Database) -> Iterator[None]:
        failpoint("table.begin")
        self.kind.begin(db)
        try:
            yield
            failpoint("table.commit")
            self.kind.commit(db, self.at)
        except BaseException:
            self.kind.roll_back(db)
            raise

    def _claim(self, db: Database) -> None:
        """Own the table from here on. Not when it is owned already, as most times: nobody need wait for us."""
        with self._transaction(db):
            self._own(db)

    def _own(self, db: Database) -> None:
        marks.make(self.kind, db)
        mark = marks.check_table(self.kind, db, self.at, self.owner, self.home, self.former)
        if self.deletes:
            deletes.claim(self.kind, db, self.table, self.owner)
        if self._marked(mark):
            return
        mine = Mark(self.owner, self.home.data_dir or (mark.home if mark is not None else ""))
        marks.write_mark(self.kind, db, self.table, mine, mark)
        if mark is not None:
            hand_over(self.kind, db, self.table, mark.owner, self.owner)

    def _marked(self, mark: Mark | None) -> bool:
        """The mark of the table says all that we would write there."""
        return mark is not None and mark.owner == self.owner and self.home.data_dir in ("", mark.home)

    def _check_published(self, db: Database, published: bool) -> None:
        """Raise ConflictError when what the sink has ``published`` is not there: another database has taken its
        place."""
        there = marks.owner_of(self.kind, db, self.table) and self.kind.relation(db, self.table)
        if published and not there:
            raise missed(f"table {self.table!r} of {self.place}", self.owner)

    # --- publish --------------------------------------------------------------------------------------------------

    def publish(
        self,
        part: StagedRef,
        iteration: int,
        settled: int,
        published: bool = False,
        before: int = 0,
        known: Known = UNKNOWN,
    ) -> str:
        """Bring a prepared part into the table; done already is done. Returns what is to be told of it, or "".
        ``settled``: every iteration up to it is terminal, in whatever lane; one of another lane with a lower number
        than this may still be to come. ``published``: others were before it, that of iteration ``before`` among them
        (0: not known). ``known``: of what else may stand there.

        Raises ConflictError (another owner, another digest under this number, part gone or damaged, rows the table
        refuses, what was published is missed: an older copy has been put in its place), OSError, and errors of the
        database.
        """
        path = staged.check(self.site, part, iteration)
        if published and not self.kind.stands(self.at):
            raise missed(self.place, self.owner)
        with self.kind.opened(self.at, self.access) as db, self._transaction(db):
            self._check_published(db, published)
            self._own(db)
            self._check_before(db, before)
            if not self._is_published(db, part, iteration):
                self._check_known(db, known, iteration)
                self._order(db, iteration)
                found = self._apply(db, staged.opened(part))
                self._mark(db, part, iteration, settled, found)
            else:
                found = deletes.noted(self.kind, db, self.owner, iteration)
        failpoint("table.committed")
        path.unlink(missing_ok=True)
        staged.sweep(self.site, iteration, settled)
        return found.told(self.table) if found is not None else ""

    def discard(self, part: StagedRef, iteration: int) -> None:
        """Delete a prepared part that is not to be published. Raises ConflictError when it was, by somebody who died
        before telling so: nothing tells its rows from others, and what they replaced is gone; OSError, and errors of
        the database."""
        path = staged.check(self.site, part, iteration)
        if (found := self._is_there(part, iteration)) is not None:
            where = f"pipeline = '{self.owner.pipeline}' and sink = '{self.owner.node}' and iteration = {iteration}"
            done = f"{plural(part.rows, 'row')} of iteration {iteration} were published to"
            then = "cannot be told from others: delete them yourself, and their mark"
            if isinstance(found, Deleted):
                done = f"{plural(found.rows, 'row')} were deleted by iteration {iteration} from"
                then = "are not kept anywhere: bring them back yourself if they are to stay, and delete the mark"
            raise ConflictError(
                f"{done} table {self.table!r} of {self.place} before its worker died, and {then}: "
                f"`delete from {marks.COMMITS} where {where}`"
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
        raise ConflictError(f"rows of table {self.table!r} of {self.place} cannot be taken back")

    def _is_there(self, part: StagedRef, iteration: int) -> Deleted | bool | None:
        """Whether the mark of this part is in the database, and the table ours: of a deletion what it has found."""
        if not self.kind.stands(self.at):
            return None
        with self.kind.opened(self.at, self.access) as db:
            mark = marks.mark(self.kind, db, self.table)
            if mark is None or mark.owner not in (self.owner, *self.former):
                return None
            if mark.elsewhere(self.home, self.kind.place(self.at)):
                return None  # the original's, of which our store is a copy
            if marks.committed(db, self.owner, iteration) != part.digest:
                return None
            return deletes.noted(self.kind, db, self.owner, iteration) or True

    def _check_before(self, db: Database, before: int) -> None:
        """Raise ConflictError when the marker of that iteration is not there. Old ones go, see ``low_water``."""
        owners = (self.owner, *self.former)
        low_water = marks.low_water(self.kind, db, self.table)
        if before <= low_water or any(marks.committed(db, owner, before) for owner in owners):
            return
        newest = marks.newest(db, owners)
        sink = f"{self.owner.pipeline}.{self.owner.node}"
        raise ConflictError(
            f"table {self.table!r} of {self.place} has nothing of iteration {before}, which was published there; "
            f"the newest it has is {newest or low_water}: has an older copy been put in its place? Bring the newer one "
            f"back, then `odibictl iteration retry`; or `odibictl sink repin {sink}` goes on without what is missing"
        )

    def _check_known(self, db: Database, known: Known, iteration: int) -> None:
        """Raise ConflictError when the table has rows of this sink that our store has not published, and they would
        stay there."""
        above = marks.commits_above(db, self.owner, known.upto)
        numbers = [number for number, _ in known.missed(above, str)]
        if not numbers or self.overwrite:
            return
        where = f"pipeline = '{self.owner.pipeline}' and sink = '{self.owner.node}' and iteration > {known.upto}"
        raise unknown(
            self.place,  # marks do not say which of the sink's tables it was
            "rows",
            numbers,
            self.owner,
            f"or the copy of {self.place} that goes with these, then `odibictl iteration retry "
            f"{self.owner.pipeline} {iteration}`; or `odibictl reset {self.owner.pipeline} --targets`. If you have "
            f"deleted these rows, or they are upserted again: `delete from {marks.COMMITS} where {where}`, then retry",
        )

    def _is_published(self, db: Database, part: StagedRef, iteration: int) -> bool:
        found = marks.committed(db, self.owner, iteration)
        place = f"iteration {iteration} of {self.owner} in table {self.table!r}"
        if found:
            if found != part.digest:
                raise ConflictError(f"{place} was published with digest {found}, not the prepared {part.digest}")
            return True
        low_water = marks.low_water(self.kind, db, self.table)
        if iteration <= low_water:
            raise ConflictError(f"{place} is not above {low_water}, up to which everything is settled")
        return False

    def _order(self, db: Database, iteration: int) -> None:
        """What was overwritten stays so: a part of before, of another lane or mode, does not come behind it. Make room
        for the rows of this one, if they are to replace all others."""
        stands = overwritten(self.kind, db, self.table, self.owner)
        if stands >= iteration:
            raise ConflictError(
                f"table {self.table!r} of {self.place} was overwritten by iteration {stands}; the older iteration "
                f"{iteration} is not published behind it: `odibictl iteration abandon {self.owner.pipeline} "
                f"{iteration} --sink {self.owner.node}`"
            )
        if self.overwrite:
            check_rows(self.kind, db, self.at, self.owner)
            empty(self.kind, db, self.table, self.owner, iteration)
        else:
            forget(self.kind, db, self.table)

    def _apply(self, db: Database, rows: pa.Table) -> Deleted | None:
        """Do with the rows what they are for; of a deletion what it has found."""
        metadata = rows.schema.metadata or {}
        if VOID in metadata:
            return Deleted(0, 0, 0) if DELETES in metadata else None
        keys: list[str] = json.loads(metadata.get(KEYS, b"[]"))
        version = metadata.get(VERSION, b"").decode() or None
        rows = rows.replace_schema_metadata(None)
        self._check_collations(db, keys, deletes=DELETES in metadata)  # it may have been made since
        if DELETES in metadata:
            return deletes.delete(self.kind, db, self.at, rows, keys, version)
        if GROWS in metadata:
            growing.grow(self.kind, db, self.at, rows)
        self.kind.insert(db, self.at, rows, keys, version)
        return None

    def _mark(self, db: Database, part: StagedRef, iteration: int, settled: int, found: Deleted | None) -> None:
        marks.commit(db, self.owner, iteration, part.digest, part.rows if found is None else found.rows)
        if found is not None:
            deletes.claim(self.kind, db, self.table, self.owner)
            deletes.note(self.kind, db, self.table, self.owner, iteration, found)
        low_water = min(settled, iteration - MARKERS_KEPT)
        if low_water > 0:
            marks.raise_low_water(self.kind, db, self.table, self.owner, low_water)
            deletes.prune(self.kind, db, self.owner, low_water)
