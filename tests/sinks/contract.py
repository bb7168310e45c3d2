"""What every sink goes through: kinds by faults. ``docs/guarantees.md`` has the table, ``test_contract.py`` runs each
cell of it. A kind of a package of its own is one ``Kind`` more."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import msgspec
import pyarrow as pa
import pytest

from odibi_actors import failpoints
from odibi_actors.batches.files import HashingWriter
from odibi_actors.batches.spool import Spool
from odibi_actors.config.model import ConnectionSpec, NodeSpec, WriteSpec
from odibi_actors.errors import NotFoundError
from odibi_actors.messages import NodeDone, PublishDone, PublishTask, Task
from odibi_actors.model import Accesses, Attempt, StagedRef
from odibi_actors.nodes.executor import Executor
from odibi_actors.nodes.sinks.committed import read_committed
from odibi_actors.nodes.sinks.forms import read as read_part
from tests import postgres
from tests.docs.wrapped import item
from tests.nodes.helpers import done, failed, outcomes, publish_task, task

HOSTILE = ["", None, "a,b", 'q"q', "l\nl", "é😀", "'; drop table t; --", "../../x", " x ", "NULL", "{}"]
Rows = list[dict[str, Any]]


class Kind(NamedTuple):
    """A sink and its mode. ``write``: as it is configured, in a folder; ``read``: what a reader of its target sees;
    ``replaces``: each iteration takes the place of the one before; ``sink``: as the registry has it;
    ``accesses``: how to get to the target."""

    sink: str
    write: Callable[[Path], WriteSpec]
    read: Callable[[Path], Rows]
    replaces: bool = False
    accesses: Callable[[Path], Accesses] = lambda _: {}


def _local(format: str, mode: str = "append", compression: str | None = None) -> Kind:
    def write(root: Path) -> WriteSpec:
        lake = ConnectionSpec("lake", "local", str(root / "lake"))
        return WriteSpec(lake, mode, path="out", format=format, compression=compression)  # type: ignore[arg-type]

    def read(root: Path) -> Rows:
        folder = root / "lake/out" / ("current" if mode == "overwrite" else "")
        parts = sorted(folder.glob("part-*")) if folder.is_dir() else []
        return [row for part in parts if part.suffix != ".staged" for row in read_part(part, part.name).to_pylist()]

    return Kind("local", write, read, mode == "overwrite")


def _partitioned(format: str, by: str, mode: str = "append") -> Kind:
    def write(root: Path) -> WriteSpec:
        lake = ConnectionSpec("lake", "local", str(root / "lake"))
        return WriteSpec(lake, mode, path="out", format=format, partition_by=[by])  # type: ignore[arg-type]

    def read(root: Path) -> Rows:
        try:
            return read_committed(root / "lake/out").to_pylist()
        except NotFoundError:
            return []

    return Kind("local", write, read, mode == "overwrite")


def _sqlite(mode: str) -> Kind:
    def write(root: Path) -> WriteSpec:
        keys = ["n"] if mode == "upsert" else []
        return WriteSpec(ConnectionSpec("mart", "sqlite", str(root / "mart.db")), mode, table="out", keys=keys)  # type: ignore[arg-type]

    def read(root: Path) -> Rows:
        with closing(sqlite3.connect(root / "mart.db")) as db:
            if not db.execute("select 1 from sqlite_master where name = 'out'").fetchone():
                return []
            found = db.execute("select * from out order by rowid")
            names = [one[0] for one in found.description]
            return [dict(zip(names, row, strict=True)) for row in found]

    return Kind("sqlite", write, read, mode == "overwrite")


def _duckdb(mode: str) -> Kind:
    def write(root: Path) -> WriteSpec:
        keys = ["n"] if mode == "upsert" else []
        return WriteSpec(ConnectionSpec("mart", "duckdb", str(root / "mart.duckdb")), mode, table="out", keys=keys)  # type: ignore[arg-type]

    def read(root: Path) -> Rows:
        with closing(duckdb.connect(str(root / "mart.duckdb"), read_only=True)) as db:
            if not db.execute("select 1 from duckdb_tables() where table_name = 'out'").fetchone():
                return []
            found = db.execute("select * from out")
            names = [one[0] for one in found.description]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    return Kind("duckdb", write, read, mode == "overwrite")


def _postgres(mode: str) -> Kind:
    def write(root: Path) -> WriteSpec:
        keys = ["n"] if mode == "upsert" else []
        mart = ConnectionSpec("mart", "postgres", postgres.Schema(root).place)
        return WriteSpec(mart, mode, table="out", keys=keys)  # type: ignore[arg-type]

    def read(root: Path) -> Rows:
        return postgres.Schema(root).read("out")

    return Kind("postgres", write, read, mode == "overwrite", lambda root: postgres.Schema(root).accesses)


_THERE = [
    *({"n": number, "t": text} for number, text in enumerate(HOSTILE)),
    *({"n": number * 10 + place, "t": f"{number}"} for number in range(1, 60) for place in (1, 2)),
    {"n": -(2**63), "t": "least"},
    {"n": 2**63 - 1, "t": "greatest"},
]
"""All that any of these runs deletes."""


def _filled(root: Path, connect: Callable[[], Any]) -> None:
    """A table of somebody's, unless it is there."""
    if (root / "filled").exists():
        return
    (root / "filled").touch()
    texts = ["null" if row["t"] is None else "'" + str(row["t"]).replace("'", "''") + "'" for row in _THERE]
    rows = ", ".join(f"({row['n']}, {text})" for row, text in zip(_THERE, texts, strict=True))
    with closing(connect()) as db:
        db.execute("create table out (n bigint, t text)")
        db.execute(f"insert into out values {rows}")
        db.commit()


def _deleting(kind: Kind, connect: Callable[[Path], Any]) -> Kind:
    """The same table, of which a sink deletes what this one adds: what is gone is what is read."""

    def write(root: Path) -> WriteSpec:
        _filled(root, lambda: connect(root))
        return msgspec.structs.replace(kind.write(root), mode="delete", keys=["n"])

    def read(root: Path) -> Rows:
        left = {row["n"] for row in kind.read(root)}
        return [row for row in _THERE if row["n"] not in left]

    return kind._replace(write=write, read=read)


KINDS: dict[str, Kind] = {
    "parquet": _local("parquet"),
    "csv": _local("csv"),
    "csv, gzip": _local("csv", compression="gzip"),
    "JSON": _local("json"),
    "Arrow": _local("arrow"),
    "parquet, overwrite": _local("parquet", "overwrite"),
    "JSON, overwrite": _local("json", "overwrite"),
    "parquet, partitioned": _partitioned("parquet", "n"),
    "JSON, partitioned": _partitioned("json", "t"),
    "parquet, partitioned, overwrite": _partitioned("parquet", "n", "overwrite"),
    "SQLite": _sqlite("append"),
    "SQLite, upsert": _sqlite("upsert"),
    "SQLite, overwrite": _sqlite("overwrite"),
    "SQLite, delete": _deleting(_sqlite("append"), lambda root: sqlite3.connect(root / "mart.db")),
    "DuckDB": _duckdb("append"),
    "DuckDB, upsert": _duckdb("upsert"),
    "DuckDB, overwrite": _duckdb("overwrite"),
    "DuckDB, delete": _deleting(_duckdb("append"), lambda root: duckdb.connect(str(root / "mart.duckdb"))),
    "PostgreSQL": _postgres("append"),
    "PostgreSQL, upsert": _postgres("upsert"),
    "PostgreSQL, overwrite": _postgres("overwrite"),
    "PostgreSQL, delete": _deleting(_postgres("append"), lambda root: postgres.Schema(root).connected()),
}


class Bench:
    """One sink in a folder, and what happens to it."""

    def __init__(self, kind: Kind, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.kind, self.root, self.patch = kind, root, patch
        self.node = NodeSpec("out", ["clean"], write=kind.write(root))
        self.executor = self.restarted()

    def restarted(self) -> Executor:
        """Another process."""
        return Executor(self.root / ".odibi", "host", "w1", "code", clock=lambda: 5.0)

    def task(self, rows: Rows, number: int, again: bool = False, **more: Any) -> Task:
        """``again``: by another attempt."""
        schema = pa.schema([("n", pa.int64()), ("t", pa.string())])
        spool = Spool(self.root / ".odibi" / "spool", "host")
        ref = spool.write(pa.Table.from_pylist(rows, schema), "delays", number, "clean", Attempt(1, number))
        more |= {"iteration": number, "counter": number + 1000 * again, "access": self.kind.accesses(self.root)}
        return task(self.node, inputs={"clean": ref}, **more)

    def stage(self, rows: Rows, number: int, again: bool = False) -> NodeDone:
        return done(self.executor, self.task(rows, number, again))

    def publication(self, staged: NodeDone, **more: Any) -> PublishTask:
        more["access"] = self.kind.accesses(self.root)
        return msgspec.structs.replace(publish_task(self.node, staged), **more)

    def publish(self, staged: NodeDone, **more: Any) -> None:
        (result,) = outcomes(self.executor, self.publication(staged, **more))
        assert isinstance(result, PublishDone), result

    def sees(self) -> Rows:
        return sorted(self.kind.read(self.root), key=lambda row: row["n"])

    def expect(self, *numbers: int) -> None:
        """What is visible is exactly these iterations: of a sink that is overwritten the last of them."""
        assert self.sees() == [row for one in (numbers[-1:] if self.kind.replaces else numbers) for row in rows(one)]

    def leftovers(self) -> list[Path]:
        """What nobody needs any more."""
        return [one for one in self.root.rglob("*") if (one.is_file() and ".staged" in one.name) or ".tmp" in one.name]


def rows(number: int) -> Rows:
    return [{"n": number * 10 + place, "t": f"{number}"} for place in (1, 2)]


def part_of(staged: NodeDone) -> StagedRef:
    assert staged.staged is not None
    return staged.staged


def reached(bench: Bench, work: Task | PublishTask, armed: str = "", seen: Path | None = None) -> int:
    """Do it in a process of its own, which dies where it is ``armed``; the wait status."""
    child = os.fork()
    if not child:
        try:
            os.environ[failpoints.ENV], os.environ[failpoints.SEEN] = armed, str(seen or "")
            failpoints.arm()
            list(bench.restarted().run(work))
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]


def _killed(bench: Bench, make: Callable[[int], Task | PublishTask], after: Callable[[int], None]) -> None:
    """At every failpoint on the way, each in an iteration of its own."""
    seen = bench.root / "seen"
    assert reached(bench, make(2), seen=seen) == 0
    points = seen.read_text().split()
    assert points
    after(2)
    for number, point in enumerate(points, 3):
        assert os.WTERMSIG(reached(bench, make(number), armed=f"{point}:kill")) == signal.SIGKILL, point
        after(number)


def killed_while_staging(bench: Bench) -> None:
    bench.publish(bench.stage(rows(1), 1))

    def after(number: int) -> None:
        bench.expect(*range(1, number))
        bench.publish(bench.stage(rows(number), number, again=True), settled=number - 1)
        bench.expect(*range(1, number + 1))
        assert bench.leftovers() == []

    _killed(bench, lambda number: bench.task(rows(number), number), after)


def killed_while_publishing(bench: Bench) -> None:
    bench.publish(bench.stage(rows(1), 1))
    staged: dict[int, NodeDone] = {}

    def make(number: int) -> PublishTask:
        staged[number] = bench.stage(rows(number), number)
        return bench.publication(staged[number], settled=number - 1)

    def after(number: int) -> None:
        assert bench.sees() in (before(number - 1), before(number))  # whole, or not at all
        bench.publish(staged[number], settled=number - 1)
        bench.expect(*range(1, number + 1))

    def before(number: int) -> Rows:
        return [row for one in range(number if bench.kind.replaces else 1, number + 1) for row in rows(one)]

    _killed(bench, make, after)


def answer_lost(bench: Bench) -> None:
    staged = bench.stage(rows(1), 1)
    for _ in range(3):
        bench.publish(staged)
        bench.expect(1)


def told_twice_and_late(bench: Bench) -> None:
    first, second = bench.stage(rows(1), 1), bench.stage(rows(2), 2)
    bench.publish(first)
    bench.publish(second)
    (late,) = outcomes(bench.executor, bench.publication(first))
    assert isinstance(late, PublishDone) or late.failure.kind == "conflict"  # type: ignore[union-attr]
    bench.expect(1, 2)


def restarted(bench: Bench) -> None:
    staged = bench.stage(rows(1), 1)
    bench.executor = bench.restarted()
    bench.publish(staged)
    bench.expect(1)


def full_disk(bench: Bench) -> None:
    bench.publish(bench.stage(rows(1), 1))
    work = bench.task(rows(2), 2)

    def full(_self: HashingWriter, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with bench.patch.context() as patch:
        patch.setattr(HashingWriter, "write", full)
        assert failed(bench.executor, work).failure.kind == "full"
        bench.expect(1)
    bench.publish(done(bench.executor, work))
    bench.expect(1, 2)


def full_while_publishing(bench: Bench) -> None:
    bench.publish(bench.stage(rows(1), 1))
    first = bench.stage(rows(2), 2)
    places: list[str] = []
    with failpoints.watching(places.append):
        bench.publish(first, settled=1)
    steps = {place: times for times, place in enumerate(places, 1)}  # the last time at each: others went well before
    assert steps
    for number, (place, stop) in enumerate(steps.items(), 3):
        staged, before, left = bench.stage(rows(number), number), bench.sees(), [stop]

        def full(_place: str, left: list[int] = left) -> None:
            left[0] -= 1
            if not left[0]:
                raise OSError(errno.ENOSPC, "No space left on device")

        publication = bench.publication(staged, settled=number - 1)
        with failpoints.watching(full):
            (result,) = outcomes(bench.executor, publication)
        assert isinstance(result, PublishDone) or result.failure.kind == "full", (place, result)  # type: ignore[union-attr]
        after = rows(number) if bench.kind.replaces else [*before, *rows(number)]
        assert bench.sees() in (before, after), place  # whole, or not at all
        bench.publish(staged, settled=number - 1)
        assert bench.sees() == after, place
        assert bench.leftovers() == [], place


def owner_conflict(bench: Bench) -> None:
    bench.publish(bench.stage(rows(1), 1))
    other = failed(bench.executor, bench.task(rows(2), 2, store_id="store-2")).failure
    assert (other.kind, "belongs to" in other.message) == ("conflict", True)
    bench.expect(1)


def damaged_part(bench: Bench) -> None:
    staged = bench.stage(rows(1), 1)
    path = Path(part_of(staged).staged)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert failed(bench.executor, bench.publication(staged)).failure.kind == "conflict"
    assert bench.sees() == []


def another_path(bench: Bench) -> None:
    staged = bench.stage(rows(1), 1)
    (bench.root / "victim").write_bytes(b"x")
    for field in ("staged", "published"):
        part = msgspec.structs.replace(part_of(staged), **{field: str(bench.root / "victim")})
        if field == "staged" or part_of(staged).published:
            assert failed(bench.executor, bench.publication(staged, part=part)).failure.kind == "conflict"
    assert (bench.root / "victim").read_bytes() == b"x"
    assert bench.sees() == []


def hostile_values(bench: Bench) -> None:
    hostile = [{"n": number, "t": text} for number, text in enumerate(HOSTILE)]
    hostile += [{"n": -(2**63), "t": "least"}, {"n": 2**63 - 1, "t": "greatest"}]
    bench.publish(bench.stage(hostile, 1))
    assert bench.sees() == sorted(hostile, key=lambda row: row["n"])


def no_rows(bench: Bench) -> None:
    bench.publish(bench.stage(rows(1), 1))
    bench.publish(bench.stage([], 2))
    assert bench.sees() == ([] if bench.kind.replaces else rows(1))


def given_up(bench: Bench) -> None:
    bench.publish(bench.stage(rows(1), 1))
    staged = bench.stage(rows(2), 2)
    for _ in range(2):
        bench.publish(staged, action="discard")
    bench.publish(bench.stage(rows(3), 3), settled=2)
    bench.expect(1, 3)


def taken_back(bench: Bench) -> None:
    for number in (1, 2, 3):
        staged = bench.stage(rows(number), number)
        bench.publish(staged)
    part, before = part_of(staged), bench.sees()
    work = bench.publication(staged, action="retract", after=1, iteration=3)
    if not part.retracts:
        assert failed(bench.executor, work).failure.kind == "conflict"
        assert bench.sees() == before
    elif not part.replaces:  # what is overwritten stays, and is never asked for: tests/broker
        for _ in range(2):
            (result,) = outcomes(bench.executor, work)
            assert isinstance(result, PublishDone)
        bench.expect(1)


FAULTS: dict[str, tuple[str, Callable[[Bench], None]]] = {
    "killed while staging": ("at each failpoint, in turn: staged and published again, each row is there once",
                             killed_while_staging),
    "killed while publishing": ("the same: what is seen is the whole part or nothing, then the part, once",
                                killed_while_publishing),
    "answer lost": ("after the commit: published again, nothing changes", answer_lost),
    "told twice and late": ("an older part, published again behind a newer one, changes nothing", told_twice_and_late),
    "restart": ("another process publishes what one before has staged", restarted),
    "full disk": ("nothing is seen; tried again once there is room", full_disk),
    "full while publishing": ("at each step, in turn: what is seen is the whole part or nothing; tried again, it is "
                              "there once", full_while_publishing),
    "owner conflict": ("another store is refused by name, and nothing changes", owner_conflict),
    "damaged part": ("not published", damaged_part),
    "another path": ("a part that names a file which staging does not make touches nothing", another_path),
    "hostile values": ("quotes, line ends, SQL, empty texts against nulls, the least and greatest integer come back",
                       hostile_values),
    "no rows": ("an empty part is one, and replaces where parts do", no_rows),
    "given up": ("what was prepared is not seen, and what comes later is", given_up),
    "taken back": ("parts that can be are, twice changes nothing; others say that they cannot be", taken_back),
}  # fmt: skip
"""Name -> what is asked of every kind, and the run of it."""


def table() -> str:
    """For the documentation: each cell is a test of ``test_contract.py``."""
    lines = [f"| {' | '.join(['fault', *KINDS])} |", f"|---{'|---' * len(KINDS)}|"]
    lines += [f"| {name} |{' ✓ |' * len(KINDS)}" for name in FAULTS]
    lines += ["", *(item(f"**{name}**: {asked}.") for name, (asked, _) in FAULTS.items())]
    return "\n".join(lines)
