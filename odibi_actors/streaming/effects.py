"""What the source actor asks of its driver, and what the driver tells it. None of these ever travels on the wire."""

from __future__ import annotations

from typing import Literal

import msgspec

from odibi_actors.actor import Effect
from odibi_actors.config.model import BatchSpec, ReadSpec
from odibi_actors.kinds.connection import OPEN, Access
from odibi_actors.messages import Message
from odibi_actors.model import Position, Range
from odibi_actors.sources.file_position import file_position

FileEventKind = Literal["created", "modified", "closed", "moved", "gone", "folder"]


class Found(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A regular file as ``stat`` saw it; ``identity`` is relative to the connection's folder. ``size`` in bytes.

    ``ctime_ns`` tells what a writer who sets the mtime back has done; a new link, or other permissions, change it as
    well. ``inode`` 0: it is not there, and a sink says that it is committed; ``size`` is that of what was published.
    """

    identity: str
    size: int
    mtime_ns: int
    inode: int
    ctime_ns: int = 0

    @property
    def gone(self) -> bool:
        """It is committed, and not there."""
        return not self.inode

    def position(self, generation: int = 1, digest: str = "") -> Position:
        """The file as a plan takes it."""
        times = (self.mtime_ns, self.inode)
        return file_position(self.identity, self.size, *times, generation, digest, self.ctime_ns)


# --- actor -> driver ----------------------------------------------------------------------------------------------


class Scan(Effect, frozen=True):
    """List a source's folder in full, watching each folder before it is listed, so that nothing falls between.

    ``base`` is the connection's folder (absolute), ``path`` the source's folder in it, ``below`` a folder below
    ``path`` to which the scan is limited ("" for all). Of files changed within the last ``settle`` seconds it is
    asked whether anybody writes them; of the others by a Stat, before they are offered: most are planned long since.
    Answered by Scanned chunks that carry ``number``. ``whole``: the source reads all files each time, so that it takes
    those that a sink has joined. ``follow``: symbolic links are what they lead to.
    """

    source: str
    number: int
    base: str
    path: str
    pattern: str
    below: str = ""
    settle: float = 0.0
    whole: bool = False
    follow: bool = False


class Stat(Effect, frozen=True):
    """Look at just these files, and ask whether anybody writes them; answered by Stated with the same ``number``.
    ``heard``: writers on other hosts would be heard of, so what this kernel knows is all. ``tell``: those of the files
    of which it is wanted who writes them. ``whole``, ``follow``: as in Scan.
    """

    source: str
    number: int
    base: str
    identities: list[str]
    heard: bool = False
    tell: list[str] = []
    whole: bool = False
    follow: bool = False


class Digest(Effect, frozen=True):
    """Digest these files (xxh3-128 of their bytes); answered by Digested, one per file. ``follow``: as in Scan."""

    source: str
    base: str
    files: list[Found]
    follow: bool = False


class Forget(Effect, frozen=True):
    """The source is no longer wanted: end its watches and scans."""

    source: str


class Ask(Effect, frozen=True):
    """What the probe of a kind of source answers, in the thread of its connection; see ``kinds.source``. The answer
    carries ``number``."""

    source: str
    number: int
    read: ReadSpec

    @property
    def line(self) -> str:
        """Asks of one line are answered one after the other."""
        return self.read.connection.path


class Begin(msgspec.Struct, frozen=True, array_like=True):
    """Look at this partition from ``place`` on (b"": from its beginning), up to before ``until`` (b"": to its end)."""

    partition: str
    place: bytes
    until: bytes = b""


class Ahead(Ask, frozen=True):
    """What is there behind these places, in pieces that fit into an iteration (``limits``), at most ``credit`` of them?
    ``more``: other partitions are looked for as well. ``access``: how to get in. Answered by Seen."""

    places: list[Begin]
    limits: BatchSpec
    credit: int
    more: bool = True
    access: Access = OPEN


class Again(Ask, frozen=True):
    """How are these positions now, which were planned? Answered by AsNow."""

    positions: list[Position]
    access: Access = OPEN


# --- driver -> actor ----------------------------------------------------------------------------------------------


class Scanned(Message, frozen=True):
    """A chunk of a scan. ``skipped``: (identity, reason) of names that match but are no regular file; of new files,
    ``closed``: those that nobody had open for writing; ``written``: those that somebody had.

    ``done`` is set on the last chunk, which alone carries the rest: ``missing`` (there is no such folder),
    ``watched`` (events will tell of changes), ``unwatched`` (why not), ``unread`` (folders that could not be listed,
    and why), ``problems`` (files that cannot be taken), ``unmatched`` (see ``Unmatched.told``).
    """

    source: str
    number: int
    files: list[Found]
    skipped: list[tuple[str, str]] = []
    done: bool = False
    missing: bool = False
    watched: bool = False
    unwatched: str = ""
    problems: list[str] = []
    closed: list[str] = []
    written: list[str] = []
    unread: list[str] = []
    unmatched: list[tuple[str, int, str]] = []


class Stated(Message, frozen=True):
    """``files`` exist, ``gone`` do not, ``skipped`` (identity, reason) are no regular files. ``closed``: nobody had
    them open for writing; ``written``: somebody on this host had; ``writers``: who, where asked for and found."""

    source: str
    number: int
    files: list[Found]
    gone: list[str]
    skipped: list[tuple[str, str]] = []
    closed: list[str] = []
    written: list[str] = []
    writers: dict[str, str] = {}


class Digested(Message, frozen=True):
    """The digest of the bytes of ``file``; "" when it was gone or changed before or while it was read."""

    source: str
    file: Found
    digest: str


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """A position of an ordered source, and what it reads."""

    range: Range
    position: Position


class Part(msgspec.Struct, frozen=True):
    """What there is of a partition. ``pieces``: one behind the other from where it was asked for; ``more``: there is
    more behind them; ``end``: where all ends that is there (b"": not known). ``at``: where that is which was asked for,
    in words. ``waits``: why what is behind them cannot be taken yet; ``problem``: why nothing of it can be taken;
    ``note``: what people should know, though it is no problem."""

    partition: str
    pieces: list[Piece] = []
    more: bool = False
    end: bytes = b""
    at: str = ""
    waits: str = ""
    problem: str = ""
    note: str = ""


class Seen(Message, frozen=True):
    """What was found behind the places. ``skipped``: (name, reason) of what is no partition though it looks like one;
    ``problems``: what could not be looked at, and why; ``unmatched``: patterns that match nothing of what is there, in
    words (None: not all was looked at)."""

    source: str
    number: int
    parts: list[Part]
    skipped: list[tuple[str, str]] = []
    problems: list[str] = []
    unmatched: list[str] | None = None


class AsNow(Message, frozen=True):
    """How planned positions are now: ``pieces``, in what they read; ``changed``: identities of those that hold
    something else than when they were planned; ``gone``: those that cannot be read any more, and why."""

    source: str
    number: int
    pieces: list[Piece]
    changed: list[str]
    gone: list[tuple[str, str]]


class Answered(Message, frozen=True):
    """Base of answers that only the finder which asked understands."""

    source: str
    number: int


class FileEvent(Message, frozen=True):
    """The watcher's hint about one path. ``folder``: a folder appeared at ``identity``."""

    source: str
    identity: str
    kind: FileEventKind


class Overflow(Message, frozen=True):
    """Events of this source were lost (queue overflow, a folder was moved or removed): look at everything again."""

    source: str
    reason: str


class Broken(Message, frozen=True):
    """The driver's worker died of a bug; the process must be restarted."""

    reason: str
