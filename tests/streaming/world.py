"""A virtual world for the source actor: files, a driver, a broker and a store, all in one place and in virtual time.

The broker behaves as the protocol says: it drops offers that missed a plan, and tells the source to read its ledger
again when that lasts. Messages to the source, offers, and file events can be lost.
"""

from __future__ import annotations

from msgspec.structs import replace

from odibi_actors.actor import Effect, Send
from odibi_actors.messages import (
    BROKER,
    LOCAL,
    STORE,
    Connected,
    Discover,
    LedgerLook,
    LedgerPage,
    LedgerQuery,
    LedgerRow,
    LedgerRows,
    Message,
    Offer,
    Planned,
    Released,
    SameBytes,
    SourceProblem,
    Sources,
    SourceSpec,
    Tick,
    Welcome,
)
from odibi_actors.model import TRIGGER, Position
from odibi_actors.sources.file_position import file_times
from odibi_actors.streaming.actor import SourceActor
from odibi_actors.streaming.effects import (
    Digest,
    Digested,
    FileEvent,
    FileEventKind,
    Forget,
    Found,
    Overflow,
    Scan,
    Scanned,
    Stat,
    Stated,
)
from odibi_actors.streaming.files import LOST_CLOSE
from odibi_actors.streaming.source import source_key
from tests.streaming.harness import source_spec

KEY = "p/files"
STALE_AFTER = 2.0


class Entry:
    """A file. ``open``: a writer is at it; ``honest``: no event of it was lost, its writer never paused for long;
    ``content``: what stands for its bytes."""

    def __init__(self, size: int, mtime: float, inode: int, is_open: bool) -> None:
        self.size, self.mtime_ns, self.inode = size, int(mtime * 1e9), inode
        self.open, self.honest = is_open, True
        self.ctime_ns, self.content = self.mtime_ns, 0

    @property
    def digest(self) -> str:
        return f"{self.size + 1000 * self.content:032x}"


class World:
    """See the module. ``planned`` is the broker's view, ``durable`` the store's; both are lists of (seq, files).
    ``leases``: the kernel knows of writers; then no file is ever offered while it is open. ``read``: file -> digest of
    what was read of it, as the ledger keeps it; ``unread``, ``letters``: files that were not read yet, or set aside
    (letter, discarded)."""

    def __init__(self, spec: SourceSpec | None = None, page: int = 3, leases: bool = False) -> None:
        self.now = 1_000_000.0
        self.leases = leases
        self.page = page
        self.spec = spec or source_spec("/data", credit=3)
        self.name, self.lane = self.spec.node.name, self.spec.lane
        self.key = source_key("p", self.name, self.lane)
        self.files: dict[str, Entry] = {}
        self.orders: list[Effect] = []
        self.offers: list[Offer] = []
        self.problems: list[list[str]] = []
        self.sent: list[Message] = []
        self.epoch, self.seq, self.source_seq, self.changed_at = 1, 10, 10, 0.0
        self.planned: list[tuple[int, list[str]]] = []
        self.durable: list[tuple[int, list[str]]] = []
        self.durable_seq = 10
        self.stamps: dict[str, Position] = {}
        self.read: dict[str, str] = {}
        self.unread: list[str] = []
        self.failed = self.committed = False
        self.letters: dict[str, str] = {}
        self.same: list[SameBytes] = []
        self.pending: list[Position] = []
        self.watched = True
        self.lose = False
        self.actor = SourceActor("i1", "host", 1)
        self.actor.start(self.now)
        self.give(BROKER, Connected())
        self.meet()

    # --- messages -------------------------------------------------------------------------------------------------

    def meet(self) -> None:
        """The broker knows the source."""
        self.give(BROKER, Welcome(self.epoch, self.durable_seq, "s"), Sources(self.epoch, [self.spec]))

    def give(self, sender: str, *messages: Message) -> None:
        effects: list[Effect] = []
        for message in messages:
            effects += self.actor.handle(sender, message, self.now)
        for effect in effects + self.actor.flush(self.now):
            self._carry(effect)

    def _carry(self, effect: Effect) -> None:
        if isinstance(effect, Scan | Stat | Digest | Forget):
            self.orders.append(effect)
        elif isinstance(effect, Send):
            self.sent.append(effect.message)
            match effect.message:
                case Offer() as offer:
                    if not self.lose:
                        self.on_offer(offer)
                case SourceProblem(problems=problems, lane=lane):
                    assert lane == self.lane
                    self.problems.append(problems)
                case SameBytes() as same:
                    self.same.append(same)
                    self.stamps.update({p.identity: p for p in same.positions})
                case LedgerQuery() | LedgerLook():
                    self.orders.append(effect)

    def on_offer(self, offer: Offer) -> None:
        """As the broker does."""
        if offer.epoch != self.epoch:
            return
        if offer.seq < self.source_seq:
            if self.now - self.changed_at > STALE_AFTER:
                self.changed_at = self.now
                self.orders.append(Send("source", self.release(self.source_seq)))
            return
        assert (offer.source, offer.lane) == (self.name, self.lane)
        assert offer.left >= len(offer.positions)
        self.offers.append(offer)
        self.pending = list(offer.positions)
        taken = {name for _, names in self.planned for name in names}
        for position in offer.positions:
            assert position.identity not in taken, f"{position.identity} was planned"
            entry = self.files.get(position.identity)
            if entry is not None and self.leases:
                assert not entry.open, f"{position.identity} is being written"
            if entry is not None and entry.open and self.now - entry.mtime_ns / 1e9 >= LOST_CLOSE:
                entry.honest = False  # its writer pauses for so long that its close is taken for lost
            if entry is not None and entry.honest:
                assert not entry.open, f"{position.identity} is being written"
                found = (entry.size, entry.mtime_ns, entry.inode)
                assert found == (position.size, *file_times(position.detail)[:2])

    def work(self, count: int = 1_000_000) -> None:
        """The driver and the store answer their oldest orders."""
        for _ in range(count):
            if not self.orders:
                return
            match self.orders.pop(0):
                case Scan() as scan:
                    self._scan(scan)
                case Stat() as stat:
                    there = [self.found(i) for i in stat.identities if i in self.files]
                    gone = [i for i in stat.identities if i not in self.files]
                    held = [i for i in stat.identities if i in self.files and self.files[i].open and self.leases]
                    free = [f.identity for f in there if self.leases and f.identity not in held and stat.heard]
                    self.give(LOCAL, Stated(self.key, stat.number, there, gone, [], free, held))
                case Digest() as digest:
                    for file in digest.files:
                        same = file.identity in self.files and self.found(file.identity) == file
                        digest = self.files[file.identity].digest if same else ""
                        self.give(LOCAL, Digested(self.key, file, digest))
                case Send(message=LedgerQuery() as query):
                    self._page(query)
                case Send(message=LedgerLook() as look):
                    self._rows(look)
                case Send(message=message):
                    self.give(BROKER, message)

    def _scan(self, scan: Scan) -> None:
        found = [self.found(name) for name in self.files]
        half = len(found) // 2
        self.give(LOCAL, Scanned(self.key, scan.number, found[:half]))
        self.give(LOCAL, Scanned(self.key, scan.number, found[half:], done=True, watched=self.watched))

    def _page(self, query: LedgerQuery) -> None:
        names = sorted(n for _, names in self.durable for n in names if n > query.cursor)
        page = names[: self.page]
        cursor = page[-1] if len(names) > self.page else ""
        positions = [self.stamps[n] for n in page]
        assert (query.source, query.lane) == (self.name, self.lane)
        self.give(STORE, LedgerPage("p", self.name, self.lane, query.cursor, positions, cursor, self.durable_seq))

    def _rows(self, look: LedgerLook) -> None:
        rows = []
        for seq, names in self.durable:
            for name in [n for n in names if n in look.identities]:
                position = replace(self.stamps[name], digest=self.read.get(name, ""))
                state = "unread" if name in self.unread else self.letters.get(name, "read")
                rows.append(LedgerRow(position, seq, state, self.failed, committed=self.committed))  # type: ignore[arg-type]
        self.give(STORE, LedgerRows("p", look.source, look.lane, look.number, rows, self.durable_seq))

    def found(self, name: str) -> Found:
        entry = self.files[name]
        return Found(name, entry.size, entry.mtime_ns, entry.inode, entry.ctime_ns)

    # --- what happens ---------------------------------------------------------------------------------------------

    def event(self, name: str, kind: FileEventKind, lost: bool = False) -> None:
        if lost or not self.watched:
            self.files[name].honest = False
        else:
            self.give(LOCAL, FileEvent(self.key, name, kind))

    def create(self, name: str, lost: bool = False, size: int = 1, age: float = 0.0) -> None:
        """A complete file arrives."""
        self.files[name] = Entry(size, self.now - age, len(self.files) + 1, False)
        self.event(name, "closed", lost)

    def begin(self, name: str, lost: bool = False) -> None:
        """A writer opens a new file."""
        self.files[name] = Entry(0, self.now, len(self.files) + 1, True)
        self.event(name, "created", lost)

    def append(self, name: str, lost: bool = False) -> None:
        """The writer writes."""
        entry = self.files[name]
        entry.size, entry.mtime_ns = entry.size + 1, int(self.now * 1e9)
        entry.ctime_ns = entry.mtime_ns
        self.event(name, "modified", lost)

    def finish(self, name: str, lost: bool = False) -> None:
        """The writer closes."""
        self.files[name].open = False
        self.event(name, "closed", lost)

    def advance(self, seconds: float) -> None:
        """Time passes; the actor is woken at its deadlines."""
        end = self.now + seconds
        for _ in range(10_000):
            deadline = self.actor.deadline()
            if deadline is None or deadline > end:
                break
            self.now = max(self.now, deadline)
            self.give(LOCAL, Tick())
        else:
            raise AssertionError("the actor's deadline does not move")
        self.now = end
        self.give(LOCAL, Tick())

    def plan(self, count: int = 1, lost: bool = False) -> None:
        """The broker plans the first positions of the offer it has."""
        positions, self.pending = self.pending[:count], self.pending[count:]
        if not positions:
            return
        self.seq += 1
        previous, self.source_seq, self.changed_at = self.source_seq, self.seq, self.now
        self.planned.append((self.seq, [p.identity for p in positions]))
        self.stamps.update({p.identity: p for p in positions})
        if not lost:
            number = 0 if self.lane == TRIGGER else self.seq
            planned = Planned(self.epoch, "p", self.name, self.seq, number, positions, previous, self.lane)
            self.give(BROKER, planned)

    def cancel(self, lost: bool = False) -> None:
        """The newest plan is void."""
        if not self.planned:
            return
        self.seq += 1
        self.planned.pop()
        self.source_seq, self.changed_at, self.pending = self.seq, self.now, []
        if not lost:
            self.give(BROKER, self.release(self.seq))

    def release(self, seq: int) -> Released:
        return Released(self.epoch, "p", self.name, seq, self.lane)

    def replace(self, name: str, content: int = 0, *, size: int = 0, ctime: bool = False, lost: bool = False) -> None:
        """A file comes in the place of this one, with other times and inode. ``ctime``: with the former ones, as who
        writes in place and sets the times back leaves it."""
        entry = self.files[name]
        entry.content, entry.size = content, size or entry.size
        entry.ctime_ns = int(self.now * 1e9) + 7
        if not ctime:
            entry.mtime_ns, entry.inode = entry.ctime_ns, entry.inode + 1000
        self.event(name, "closed", lost)

    def has_read(self, *names: str) -> None:
        """The files were read, and their digests are kept."""
        self.read.update({name: self.files[name].digest for name in names})

    def sync(self) -> None:
        """The store has caught up."""
        self.durable, self.durable_seq = list(self.planned), self.seq

    def crash(self) -> None:
        """The broker dies; a new one knows what is durable."""
        self.planned, self.pending = list(self.durable), []
        self.epoch, self.seq, self.source_seq = self.epoch + 1, self.durable_seq, self.durable_seq
        self.orders = [o for o in self.orders if not (isinstance(o, Send) and o.to == "source")]
        self.meet()

    def discover(self, run: str) -> None:
        self.give(BROKER, Discover(self.epoch, "p", run, self.lane))

    def overflow(self) -> None:
        self.give(LOCAL, Overflow(self.key, "lost"))

    @property
    def names(self) -> list[str]:
        """Identities of the newest accepted offer."""
        return [p.identity for p in self.offers[-1].positions] if self.offers else []
