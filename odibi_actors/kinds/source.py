"""A kind of source: what finds its positions, what touches the world for that, and what reads them.

Three parts, each where it runs. The *finder* is pure, as an actor is, and lives in the source actor: what is known,
what is asked next, what is offered, why something is not. The *probe* touches the world, in bounded steps, in a thread
that its connection has alone. The *reader* runs in a worker. Nothing here, nor in a module that an entry point names,
loads pyarrow before it reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    import pyarrow as pa

    from odibi_actors.actor import Effect
    from odibi_actors.config.model import Consumption, ReadSpec
    from odibi_actors.kinds.connection import Access
    from odibi_actors.messages import Message, Planned, Push, Reply, SourceSpec
    from odibi_actors.model import Position, PositionRead, SchemaChange
    from odibi_actors.streaming.effects import Ask


class Finder(Protocol):
    """One source, in one lane. Methods take what happened; ``flush`` says what to do about it. ``key`` is unique in the
    actor. Numbers of what it asks begin above ``first``, as it was made: lower ones answer a former finder."""

    key: str
    spec: SourceSpec
    read: ReadSpec

    @property
    def scanned(self) -> bool:
        """It has looked at what is there."""

    @property
    def refused(self) -> str:
        """Why it will never look; "" when it will."""

    @property
    def unread(self) -> list[str]:
        """What could not be looked at, and why."""

    def waiting(self) -> dict[str, str]:
        """What cannot be taken yet, and what each waits for."""

    def welcome(self, epoch: int, start_seq: int, now: float) -> None:
        """The broker knows us (again): it may be a new one, and messages of the former link may be lost."""

    def rebind(self, spec: SourceSpec) -> None:
        """It reads the same, with other credit, limits or wishes."""

    def follows(self, live: ReadSpec | None) -> None:
        """What the source of the live lane reads, of which a backfill reads a part."""

    def backfilled(self) -> None:
        """A backfill of the source of the live lane has ended, and may have read again what this one has told of."""

    def discover(self, run: str, now: float) -> None:
        """Look now, in full. Asked again for the same run, what was there when it began still counts. ``run`` "" only
        looks."""

    def planned(self, message: Planned, now: float) -> None:
        """Positions are planned: offer what is beyond them."""

    def released(self, seq: int, now: float) -> None:
        """Record ``seq`` released positions."""

    def told(self, message: Message, now: float) -> None:
        """The store's answer."""

    def heard(self, message: Message, now: float) -> None:
        """News of the driver."""

    def flush(self, now: float) -> list[Effect]:
        """Everything that is due."""

    def deadline(self) -> float | None:
        """When ``flush`` should be called at the latest."""

    def forget(self) -> Effect:
        """What ends it."""

    def look(self, number: int, positions: list[Position]) -> Effect:
        """Ask how planned positions are now; its answer has this ``number``."""

    def looked(self, answer: Message, positions: list[Position]) -> dict[str, Any] | None:
        """That answer, as ``source.stat`` tells it (see ``streaming.actor``); None when it is another message."""

    def row(self) -> dict[str, Any]:
        """As ``source list`` shows it."""

    def show(self) -> dict[str, Any]:
        """As ``source files`` shows it."""

    def why(self, file: str) -> dict[str, str] | None:
        """What ``source why`` says of a file; None: nothing, as the source reads no files."""

    def match(self, pattern: str, aside: list[str]) -> dict[str, Any]:
        """What of what it has read matches a pattern: see ``streaming.views.match``."""


@runtime_checkable
class Pushable(Protocol):
    """What a finder has besides whose source is pushed to."""

    key: str

    def push(self, sender: str, push: Push) -> list[Effect]:
        """Answer with a Reply to it once what is pushed is durable, or refused."""


@runtime_checkable
class Asking(Protocol):
    """What a finder has besides that asks the broker something."""

    def answered(self, reply: Reply, now: float) -> None:
        """An answer of the broker, to it or to another one."""


@runtime_checkable
class Polling(Protocol):
    """What a source has besides that may read a function of the project."""

    polls: bool


@runtime_checkable
class Amending(Protocol):
    """What a source has besides whose rows are not just put right where they are, once they lie in a dead letter."""

    def amending(self, read: ReadSpec) -> str:
        """What to do with wrong rows in a dead letter before it is discarded, as ``kinds.letters.remedy`` says it; ""
        where they are corrected in their place, for a replay to read them."""


@runtime_checkable
class Fillable(Protocol):
    """What a source has besides into which rows come by a verb of ours alone."""

    def filling(self, source: str) -> str:
        """What is said of it (PIPELINE.SOURCE) while it holds nothing: with that verb."""


class ReadResult(NamedTuple):
    """``schema`` (serialised) and what tells of it are set when none was pinned and rows were found: ``schema_text``
    (``name: type``), ``notes`` of how each came, and ``left_out``, the columns that were not read. ``files`` and
    ``touched`` are those of ``NodeDone``, as are ``remarks`` and ``changes``."""

    table: pa.Table
    schema: bytes = b""
    schema_text: list[str] = []
    notes: list[str] = []
    left_out: list[str] = []
    files: list[PositionRead] = []
    touched: list[str] = []
    remarks: list[str] = []
    changes: list[SchemaChange] = []


class Source(Protocol):
    """``name``: as ``mode:`` says it. ``about``: in a few words, for the documentation. ``format``: the only one that
    it reads ("": the project says it). ``consumption``: how its positions are taken; it travels in the read's spec.
    ``keys``: keys of ``read`` that only some kinds take, and this one does. ``declared``: its ``schema`` has all of its
    columns; of others ``columns`` says which there are."""

    name: str
    about: str
    format: str
    consumption: Consumption
    keys: tuple[str, ...]
    declared: bool

    def check(self, read: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
        """What is wrong with a ``read`` section whose values are sound one by one: (key, problem, what to write)."""

    def finder(self, spec: SourceSpec, read: ReadSpec, incarnation: str, first: int) -> Finder:
        """The finder of one source in one lane."""

    def probe(self, ask: Ask) -> Iterator[Message | None]:
        """Answer what the finder asks; None stands for a step without an answer."""

    def load(self, spec: ReadSpec, positions: list[Position], pinned: bytes, access: Access) -> ReadResult:
        """In a worker: what these positions hold, in their order, as one table; see ``nodes.read.read``."""
