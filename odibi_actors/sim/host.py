"""The simulated host: files that arrive, a spool that may lose what was not synced, sinks. The drivers of the actors
(``disk``, ``discovery``, ``workers``) do on these what the real drivers do on disks and processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
import xxhash

from odibi_actors.actor import Effect
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.checkpoint.schema import unseal
from odibi_actors.checkpoint.tables import SchemaDecoder
from odibi_actors.messages import Message
from odibi_actors.model import TRIGGER, Attempt, BatchRef, Position, Range, Target
from odibi_actors.sim import log
from odibi_actors.sim.columns import OTHER, SHAPE
from odibi_actors.sim.pins import Held
from odibi_actors.sim.places import Held as Letters
from odibi_actors.sim.places import Taken
from odibi_actors.sim.truth import Truth
from odibi_actors.sim.world import World
from odibi_actors.streaming.effects import Found

if TYPE_CHECKING:
    from odibi_actors.sim.sources import Folder

Older = Literal["", "in place", "tidied"]
"""Whether an older store was put back: no; and nobody has done anything about it; what nobody knows was moved away."""

Feed = Iterable[tuple[str, Message]]


class Output(msgspec.Struct, frozen=True, array_like=True):
    """A node's output: which rows, and which execution of code that is not deterministic made it."""

    rows: list[int]
    salt: int


class Part(NamedTuple):
    """What is in a part of a sink, an ``Output``, the digest of the bytes as they were staged, and where it goes.
    ``suffix``: what its file ends in; ``replaces``: it takes the place of what stands there; ``keyed``: each row of it
    that of its key; ``deletes``: which goes."""

    data: bytes
    digest: str
    at: Target
    suffix: str = ""
    replaces: bool = False
    keyed: bool = False
    deletes: bool = False

    @property
    def stays(self) -> bool:
        """Nobody takes it back: rows of a table, and what has replaced something."""
        return self.replaces or self.at.sink != "local"


def digest_of(data: bytes) -> str:
    """What batches.* computes over the bytes as written."""
    return str(xxhash.xxh3_128(data).hexdigest())


class NoDriver:
    """The driver of an actor that has no effects of its own."""

    def perform(self, effect: Effect, now: float) -> Feed:
        """There is nothing to perform."""
        raise TypeError(f"this actor has no effect {type(effect).__name__}")

    def inputs(self) -> Mapping[Any, Callable[[], Feed]]:
        """Nothing."""
        return {}

    def close(self) -> None:
        """Nothing to release."""


class SimFile:
    """A file of the landing folder. ``rows`` are what a reader of the whole file gets."""

    def __init__(self, identity: str, rows: list[int], size: int, mtime_ns: int, inode: int, malformed: bool) -> None:
        self.identity, self.rows, self.size, self.mtime_ns, self.inode = identity, rows, size, mtime_ns, inode
        self.malformed = malformed
        self.shape = SHAPE  # columns and types, as a reader finds them; b"" for headers alone
        self.ctime_ns = mtime_ns
        self.poison = ""  # what becomes of whoever reads it: "kills", "raises"
        self.whole = False

    @property
    def found(self) -> Found:
        """As stat sees it."""
        return Found(self.identity, self.size, self.mtime_ns, self.inode, self.ctime_ns)

    @property
    def content(self) -> bytes:
        """Its bytes: csv, of numbers and dates; where it is malformed, with a line that has too many columns."""
        extra = "2024-01-{:02d}" if self.shape == OTHER else "{}"
        lines = ["id,extra", *["too,many,columns"] * self.malformed]
        return "\n".join([*lines, *(f"{row},{extra.format(row % 28 + 1)}" for row in self.rows), ""]).encode()

    @property
    def digest(self) -> str:
        """Of its bytes."""
        return digest_of(self.content)


class Host:
    """Everything that survives a crash of any process."""

    def __init__(self, world: World, truth: Truth) -> None:
        self.world = world
        self.truth = truth
        self.together = False  # all sinks are tables of one database, which have rows that refer to each other
        self.real = False  # files are read, and sinks written, by the code that does so anywhere
        self.engine = Engine(":memory:")
        self.folders: dict[str, dict[str, SimFile]] = {}
        self.logs: dict[str, dict[str, list[SimFile]]] = {}  # base -> partition -> its records, which folders have too
        self.outside: Folder | None = None  # what is looked at and read as anywhere, in lives in which something is
        self.spool: dict[str, bytes] = {}
        self.staged: dict[str, Part] = {}
        self.visible: dict[tuple[str, int, str], Part] = {}
        self.tried: set[tuple[str, int, str, int]] = set()  # what was to be published, and by which epoch of the broker
        self.current: dict[Target, int] = {}  # what is overwritten -> whose rows it holds
        self.owners: dict[Target, tuple[str, str]] = {}  # whose it is: (pipeline, sink)
        self.refused: dict[tuple[str, str], Target] = {}  # (pipeline, sink) whose target does not go with it
        self.broken: dict[tuple[str, str], None] = {}  # (pipeline, sink) to which nothing can be published
        self.missing: dict[Target, list[tuple[str, int, str]]] = {}  # what a target lacks, put back as it was
        self.joined: dict[Target, int] = {}  # what is published there up to that iteration may be joined
        self.older: Older = ""  # the store was put back as it was, and its targets were not
        self.took: dict[tuple[str, int, str], frozenset[tuple[str, str]]] = {}  # files of what is of lane live
        self.deleted: dict[tuple[str, int, str], None] = {}  # what was in targets that their next owner has reset
        self.changes = 0  # of what is visible
        self.full_until = self.spool_full_until = 0.0  # until when the store's disk, and the spool's, are full
        self.nondeterministic = False
        self.cumulative: Callable[[str, str], bool] = lambda _pipeline, _sink: False
        self.hang = self.die = 0.0
        self.died: dict[Attempt, str] = {}  # what ran when its worker died -> the node that had begun
        self.read_as: dict[tuple[Attempt, str], bytes] = {}  # (attempt, source) -> columns and types of what it read
        self.kept_of: dict[tuple[Attempt, str], list[str]] = {}  # likewise -> columns that were not as they were pinned
        self._pids = 1000

    def new_pid(self) -> int:
        """Process ids are not reused here."""
        self._pids += 1
        return self._pids

    def lose_unsynced(self, share: float) -> None:
        """A power cut: node outputs were not synced; some are gone, some are damaged."""
        for path in list(self.spool):
            if path.endswith(".state.arrow"):
                continue  # synced before anybody heard of it
            dice = self.world.rng.random()
            if dice < share / 2:
                del self.spool[path]
            elif dice < share:
                self.spool[path] += b"!"
        self.world.count("power cut")

    def keep(self, path: str, data: bytes, inline: bool) -> dict[str, Any]:
        """Keep a batch, inline or in the spool; returns the fields of its reference that say where."""
        if inline:
            return {"data": data}
        self.spool[path] = data
        return {"path": path}

    def content(self, ref: BatchRef) -> Output | None:
        """What a reference refers to; None when it is missing or damaged."""
        data = ref.data or self.spool.get(ref.path)
        if data is None or digest_of(data) != ref.digest:
            return None
        return msgspec.msgpack.decode(data, type=Output)

    def standing(self, at: Target) -> list[tuple[str, int, str]]:
        """What is visible in a target, as it came there."""
        return [place for place, part in self.visible.items() if part.at == at]

    def positions(self) -> tuple[list[Taken], Letters]:
        """What the store's ledger has, and what its open dead letters hold of files that were consumed."""
        query = "SELECT pipeline, lane, source, identity, iteration FROM ledger WHERE lane <> ?"
        ledger = self.engine._db.execute(query, (TRIGGER,)).fetchall()
        read = "SELECT pipeline, lane, source, iteration, partition, lower, upper FROM ranges"
        for pipeline, lane, source, iteration, *ends in self.engine._db.execute(read).fetchall():
            names = self._within(pipeline, source, iteration, Range(*ends))
            ledger += [(pipeline, lane, source, name, iteration) for name in names]
        held: Letters = {}
        for row in self.engine.answer("deadletter.list", {})["items"]:
            if row["state"] == "open":
                letter = self.engine.answer("deadletter.show", {"id": row["id"]})
                held[row["id"]] = sorted(
                    (row["pipeline"], source, name)
                    for source, some in letter["positions"].items()
                    if source in letter["consumed"]
                    for position in some
                    for name in log.records(Position.of(position))
                )
        return ledger, held

    def _within(self, pipeline: str, source: str, iteration: int, one: Range) -> list[str]:
        """The records that a range of this iteration reads; of a table the plan says them."""
        if (names := log.within(one)) is not None:
            return names
        plan = self.truth.iterations[pipeline, iteration].plan
        planned = zip(plan.ranges.get(source, []), plan.positions.get(source, []), strict=True)
        return [name for range_, position in planned if range_ == one for name in log.records(position)]

    def pins(self) -> Held:
        """What the store's tables hold nodes to."""
        rows = self.engine._db.execute("SELECT pipeline, node, payload FROM schemas").fetchall()
        pins = {row[:2]: unseal(row[2], SchemaDecoder, "a schema") for row in rows}
        return {key: (pin.arrow, pin.open) for key, pin in pins.items()}

    def spool_folders(self) -> list[tuple[str, int]]:
        """What a pool finds when it starts."""
        folders = {(p.split("/")[0], int(p.split("/")[1])): None for p in self.spool}
        return list(folders)
