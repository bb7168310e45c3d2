"""What is told of dead letters: what is to be done about one, and which hold something of a partition."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from odibi_actors.checkpoint.schema import unseal
from odibi_actors.checkpoint.snapshot import VersionDecoder
from odibi_actors.checkpoint.tables import OPEN, Letter, LetterDecoder
from odibi_actors.kinds import letters
from odibi_actors.model import LIVE, Position
from odibi_actors.units import naming, plural

if TYPE_CHECKING:
    from odibi_actors.config.model import PipelineSpec

TOLD = 3
"""Letters of a partition that are told one by one, the newest first; the rest is counted."""


class There(NamedTuple):
    """What remedies of a pipeline's letters depend on: its newest version, None without one; its newest iteration that
    is committed or under way."""

    spec: PipelineSpec | None
    newest: int


def there(db: sqlite3.Connection, pipeline: str) -> There:
    """As it is now."""
    row = db.execute(
        "SELECT payload FROM versions WHERE pipeline = ? ORDER BY version DESC LIMIT 1", (pipeline,)
    ).fetchone()
    spec = None if row is None else unseal(row[0], VersionDecoder, f"a version of {pipeline}").spec
    (newest,) = db.execute(
        "SELECT max(coalesce((SELECT last_committed FROM counters WHERE pipeline = :p), 0), coalesce((SELECT"
        f" max(iteration) FROM iterations WHERE pipeline = :p AND lane = :lane AND {OPEN}), 0))",
        {"p": pipeline, "lane": LIVE},
    ).fetchone()
    return There(spec, newest)


def remedy(there: There, letter: Letter, iteration: int, whole: bool, id_: int | None = None) -> str:
    """What is to be done about a letter of this ``iteration``, which it holds as a ``whole`` or not. ``id_``: None for
    a text that those of letters that are alike have in common."""
    if there.spec is None:
        return letters.remedy({}, letters.ID if id_ is None else id_)
    held = letter.sources()
    read = {name: read for name, read in letters.reads(there.spec.nodes).items() if name in held}
    late = letters.overtaken(there.spec, whole, there.newest > iteration)
    return letters.remedy(read, letters.ID, late) if id_ is None else letters.remedy(read, id_, late, iteration)


def of_partition(db: sqlite3.Connection, pipeline: str, source: str, lane: str, partition: str) -> str:
    """What lies in dead letters of one that is read in order, or was discarded with one; "" when nothing does."""
    if lane != LIVE or not _known(db, (pipeline, lane, source, partition)):
        return ""
    longer = _longer(db, (pipeline, lane, source), partition)
    known = there(db, pipeline)
    still: list[str] = []
    remedied: list[dict[str, Any]] = []
    gone: list[str] = []
    again: list[str] = []
    for id_, state, replay, iteration, revised, message, blob in db.execute(
        "SELECT id, state, replay, iteration, revised, message, payload FROM dead_letters WHERE pipeline = ?"
        " ORDER BY id DESC",
        (pipeline,),
    ):
        letter = unseal(blob, LetterDecoder, f"dead letter {id_}")
        discarded = [p.identity for p in letter.discarded.get(source, ()) if _of(p.identity, partition, longer)]
        if discarded:
            gone.append(f"{naming(discarded)} (dead letter {id_} of iteration {iteration})")
        held = [p.identity for p in letter.held().get(source, ()) if _of(p.identity, partition, longer)]
        if held and state == "open":
            still.append(f"{naming(held)} in iteration {iteration}, as dead letter {id_} ({message})")
            text = remedy(known, letter, iteration, not revised)
            remedied.append({"id": id_, "state": state, "iteration": iteration, "remedy": text})
        elif held and state == "replaying":
            again.append(f"{naming(held)}, by iteration {replay}, from dead letter {id_}")
    what = letters.told(letters.remedies(remedied))
    told = [f"set aside: {_some(still, pipeline)}: {what}"] if still else []
    told += [f"taken up again: {_some(again, pipeline)}"] if again else []
    told += [f"discarded: {_some(gone, pipeline)}"] if gone else []
    return "; ".join(told)


def discarded(db: sqlite3.Connection, pipeline: str, source: str) -> list[Position]:
    """What was given up for good of a source that is read in order, the oldest letters first."""
    rows = db.execute("SELECT id, payload FROM dead_letters WHERE pipeline = ? AND state = 'replayed' ORDER BY id",
                      (pipeline,))  # fmt: skip
    letters_ = (unseal(blob, LetterDecoder, f"dead letter {id_}") for id_, blob in rows)
    return [one for letter in letters_ for one in letter.discarded.get(source, ())]


def _known(db: sqlite3.Connection, key: tuple[str, str, str, str]) -> bool:
    where = "pipeline = ? AND lane = ? AND source = ? AND partition = ?"
    return db.execute(f"SELECT 1 FROM places WHERE {where}", key).fetchone() is not None


def _longer(db: sqlite3.Connection, key: tuple[str, str, str], partition: str) -> list[str]:
    """Other partitions whose name begins as identities of this one do: of ``a`` the file ``a:b.csv``."""
    return [
        name
        for (name,) in db.execute(
            "SELECT partition FROM places WHERE pipeline = ? AND lane = ? AND source = ? AND partition > ?"
            " AND partition < ?",
            (*key, partition, partition + ";"),
        )
        if _of(name, partition, [])
    ]


def _of(identity: str, partition: str, longer: Sequence[str]) -> bool:
    """Whether it names a piece of this partition: ``PARTITION:…``, of a content that replaced another
    ``PARTITION#2:…``."""
    mine = identity.startswith((f"{partition}:", f"{partition}#"))
    return mine and not any(_of(identity, one, []) for one in longer)


def _some(texts: list[str], pipeline: str) -> str:
    more = len(texts) - TOLD
    rest = [f"and {plural(more, 'letter')} more (`odibictl deadletter list {pipeline}`)"] if more > 0 else []
    return ", ".join([*texts[:TOLD], *rest])
