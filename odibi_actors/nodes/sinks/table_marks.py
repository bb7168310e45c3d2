"""What a database keeps of its tables that sinks publish to: whose each is, and what was published into it.

Every function gets the kind, which knows how its database compares names, and an open database, of which it raises the
errors. Standard library only: ``validate`` asks as well.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from odibi_actors.model import Home, Target
from odibi_actors.nodes.sinks.owner import Mark, Owner
from odibi_actors.nodes.sinks.table_names import quote, text

if TYPE_CHECKING:
    from odibi_actors.nodes.sinks.table_kind import Database, TableKind

OWNERS = "_odibi_owners"
COMMITS = "_odibi_commits"


def make(kind: TableKind, db: Database) -> None:
    """Make the tables of marks, unless they are there."""
    db.execute(
        f"create table if not exists {OWNERS} (table_name {kind.names} primary key, store_id text not null,"
        " pipeline text not null, node text not null, low_water bigint not null default 0,"
        " home text not null default '')"
    )
    db.execute(
        f"create table if not exists {COMMITS} (store_id text not null, pipeline text not null, sink text not null,"
        " iteration bigint not null, digest text not null, rows bigint not null,"
        " primary key (store_id, pipeline, sink, iteration))"
    )


def owner_of(kind: TableKind, db: Database, table: str) -> Owner | None:
    """The owner of a table; None when nobody owns it."""
    found = mark(kind, db, table)
    return found.owner if found is not None else None


def mark(kind: TableKind, db: Database, table: str) -> Mark | None:
    """The mark of a table; None when nobody owns it."""
    if not kind.relation(db, OWNERS):
        return None
    home = "home" if says_home(kind, db) else "''"
    row = db.execute(f"select store_id, pipeline, node, {home} from {OWNERS} where {kind.same}", (table,)).fetchone()
    return None if row is None else Mark(Owner(*row[:3]), row[3])


def check_table(
    kind: TableKind, db: Database, at: Target, owner: Owner, home: Home, former: Collection[Owner] = ()
) -> Mark | None:
    """The mark of a table that is this owner's, or of a ``former`` one, or nobody's (None). Raises ConflictError when
    it is another's."""
    found = mark(kind, db, at.locator)
    if found is not None:
        called, take = kind.called(at)
        found.check(owner, home, kind.place(at), called, take, former)
    return found


def says_home(kind: TableKind, db: Database) -> bool:
    """The owners of tables are kept with their homes: former releases had no such column."""
    return not kind.older or "home" in kind.columns(db, OWNERS)


def write_mark(kind: TableKind, db: Database, table: str, mine: Mark, former: Mark | None) -> None:
    """Own a table, which had the ``former`` mark, if any: the project was moved, or the table has passed on."""
    if not says_home(kind, db):
        db.execute(f"alter table {OWNERS} add column home text not null default ''")
    if former is None:
        insert = f"insert into {OWNERS} (table_name, store_id, pipeline, node, home) values (?, ?, ?, ?, ?)"
        db.execute(insert, (table, *mine.owner, mine.home))
        return
    update = f"update {OWNERS} set store_id = ?, pipeline = ?, node = ?, home = ? where {kind.same}"
    db.execute(update, (*mine.owner, mine.home, table))


def low_water(kind: TableKind, db: Database, table: str) -> int:
    """Up to which iteration everything is published or void, and no commit is kept, of a table that is owned."""
    return int(db.execute(f"select low_water from {OWNERS} where {kind.same}", (table,)).fetchone()[0])


def raise_low_water(kind: TableKind, db: Database, table: str, owner: Owner, upto: int) -> None:
    """Keep no commits of the owner up to this iteration."""
    mine = "store_id = ? and pipeline = ? and sink = ?"
    db.execute(f"delete from {COMMITS} where {mine} and iteration <= ?", (*owner, upto))
    db.execute(f"update {OWNERS} set low_water = ? where {kind.same} and low_water < ?", (upto, table, upto))


def committed(db: Database, owner: Sequence[str], iteration: int) -> str:
    """The digest of what this sink has published as that iteration; "" when it is not known."""
    row = db.execute(
        f"select digest from {COMMITS} where store_id = ? and pipeline = ? and sink = ? and iteration = ?",
        (*owner, iteration),
    ).fetchone()
    return str(row[0]) if row is not None else ""


def commits_above(db: Database, owner: Owner, iteration: int) -> list[tuple[int, str]]:
    """(iteration, digest) of what the sink has published with a greater number."""
    found = db.execute(
        f"select iteration, digest from {COMMITS} where store_id = ? and pipeline = ? and sink = ? and iteration > ?",
        (*owner, iteration),
    )
    return [(int(number), str(digest)) for number, digest in found.fetchall()]


def newest(db: Database, owners: Sequence[Owner]) -> int:
    """The newest iteration that one of these has published; 0 when none is known."""
    mine = " or ".join(["(store_id = ? and pipeline = ? and sink = ?)"] * len(owners))
    given = [value for owner in owners for value in owner]
    return int(db.execute(f"select max(iteration) from {COMMITS} where {mine}", given).fetchone()[0] or 0)


def commit(db: Database, owner: Owner, iteration: int, digest: str, rows: int) -> None:
    """Note what is published, in the transaction that publishes it."""
    db.execute(f"insert into {COMMITS} values (?, ?, ?, ?, ?, ?)", (*owner, iteration, digest, rows))


def forget(kind: TableKind, db: Database, table: str, owners: Sequence[Owner]) -> None:
    """All that is kept of a table, and of what these have published."""
    for one in owners:
        db.execute(f"delete from {COMMITS} where store_id = ? and pipeline = ? and sink = ?", tuple(one))
    db.execute(f"delete from {OWNERS} where {kind.same}", (table,))


def missing(
    kind: TableKind,
    db: Database,
    table: str,
    sink: Sequence[str],
    iteration: int,
    digest: str,
    owners: Sequence[Sequence[str]],
) -> str:
    """Why the part of ``iteration`` with ``digest``, of ``sink`` (store id, pipeline, node), is not known to be in the
    table; "" when it is. ``owners``: the sinks whose the table may be, as it has passed from one to the other. Old
    commits are given up, see ``low_water``. Writes nothing."""
    if kind.relation(db, table) != "table":
        return "is missing: there is no such table"
    owner = owner_of(kind, db, table)
    if owner is None or list(owner) not in [list(one) for one in owners]:
        return "is missing: the table is not of this sink any more"
    known = committed(db, sink, iteration)
    if not known:
        return "" if iteration <= low_water(kind, db, table) else "is missing"
    return "" if known == digest else "was published with another digest"


def take_table(table: str) -> tuple[str, str]:
    """What an operator does to let somebody else have a table, and to have it empty."""
    return f"`delete from {OWNERS} where table_name = {text(table)}`", f"`drop table {quote(table)}`"
