"""Frames between actors: ``[header, body]``, each msgpack. The only place that turns foreign bytes into messages.

header: array ``[MAGIC, to, sender, incarnation]``, so that the hub forwards without decoding a body.
body: one ``messages.AnyMessage``, tagged with its class name.

Decoding is total: whatever the bytes are, it returns a value (a message, or a ``ProtocolError`` that says what is
wrong) and raises nothing. Limits are checked before bytes are decoded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from odibi_actors import messages as m
from odibi_actors.errors import ProtocolError

MAGIC = "odibi/1"
HEADER_MAX = 1024  # bytes; three names of at most NAME_MAX and the magic fit
BODY_MAX = 16 * 1024 * 1024  # bytes; hot messages are lists of small things, batches travel elsewhere
FRAMES = 2
DEPTH_MAX = 64  # nesting of free-form values (request parameters, results, options), so that no reader recurses far
NAME_MAX = 200  # characters of an address or incarnation
REASON_MAX = 300  # characters told of why bytes cannot be read: the reason may quote them
SMALL_MAX = 64 * 1024  # bytes of a body that carries no list of work; a Python value takes up to 90 times its bytes
PUSH_MAX = 4 * 1024 * 1024 + 8 * 1024  # bytes of what is pushed at once (sources.events.desk), and its envelope
APPLY_MAX = 4 * 1024 * 1024  # bytes of a project: odibi.yaml is at most 256 KiB, its SQL files come on top

_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{NAME_MAX - 1}}}")

WORKER_LINK: tuple[type[m.Message], ...] = (m.WorkerReady, m.WorkerTask, m.Started, m.WorkerResult, m.WorkerExit)
"""Spoken only between a pool and its own workers; refused from the broker's network, as ``LOCAL_ONLY`` are."""

CLIENT = "client-"
CLIENT_SAYS = ("Hello", "Request", "Apply", "Push", "Bye")
"""All that a client may say. Anybody who reaches the socket can be one, so nothing else of theirs is even decoded."""

LARGE = frozenset(
    {"AppendRecords", "LoadedPage", "LedgerPage", "Offer", "Planned", "PoolHello", "Heartbeat", "Reply", "Sources"}
    | {"Schedules", "Due", "Noted", "LedgerLook", "LedgerRows", "SameBytes", "PlacesPage"}
    | {"SourceProblem", "Results", "Tasks", "Drop", "Forget", "Release", "WorkerTask", "WorkerResult", "RecordRefused"}
)
"""Messages that may fill a frame. Everything else is at most ``SMALL_MAX`` bytes, an Apply ``APPLY_MAX``, a Push
``PUSH_MAX``."""


class Header(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Who a frame is for and from. Names are addresses such as ``store`` or ``pool-0``."""

    magic: str
    to: str
    sender: str
    incarnation: str


class _Tagged(msgspec.Struct):
    """Which message a body is, read without building the rest of it."""

    t: str


class _Greeting(msgspec.Struct):
    """What any release says of itself in any Hello."""

    t: str
    incarnation: str
    host: str
    pid: int
    version: str
    protocol: int
    role: str = ""


_encoder = msgspec.msgpack.Encoder()
_tag_decoder = msgspec.msgpack.Decoder(_Tagged)
_greeting_decoder = msgspec.msgpack.Decoder(_Greeting)
_header_decoder = msgspec.msgpack.Decoder(Header)
_body_decoder: msgspec.msgpack.Decoder[m.AnyMessage] = msgspec.msgpack.Decoder(m.AnyMessage)
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, TypeError, OverflowError)


def identity(name: str, incarnation: str) -> bytes:
    """The ZeroMQ routing id of one process start of a peer."""
    return f"{name}/{incarnation}".encode()


def encode_header(to: str, sender: str, incarnation: str) -> bytes:
    """The header frame of a message from ``sender`` to ``to``."""
    return _encoder.encode(Header(MAGIC, to, sender, incarnation))


def decode_header(frame: bytes) -> Header | ProtocolError:
    """The header, checked; or what is wrong with it. Never raises."""
    if len(frame) > HEADER_MAX:
        return ProtocolError(f"header of {len(frame)} bytes; at most {HEADER_MAX} are allowed")
    try:
        header = _header_decoder.decode(frame)
    except _UNREADABLE as error:
        return ProtocolError(f"unreadable header: {str(error)[:REASON_MAX]}")
    if header.magic != MAGIC:
        return ProtocolError(f"other protocol {header.magic[:20]!r}; this is {MAGIC!r}")
    for name in (header.to, header.sender, header.incarnation):
        if not _NAME.fullmatch(name):
            return ProtocolError(f"bad name {name[:40]!r} in header")
    return header


def encode_body(message: m.Message) -> bytes:
    """The body frame; may exceed ``BODY_MAX``, in which case it must not be sent (see ``bodies``)."""
    return _encoder.encode(message)


def decode_body(
    frame: bytes, refused: tuple[type[m.Message], ...] = m.LOCAL_ONLY + WORKER_LINK, sender: str = ""
) -> Any:
    """The message of a body frame, or the ``ProtocolError`` that says why there is none. Never raises.

    ``refused``: classes that may not come this way. ``sender``: its address, where that narrows what may come.
    """
    try:
        problem = _unfit(frame, sender)
        if problem:
            return ProtocolError(problem)
        message = _body_decoder.decode(frame)
    except _UNREADABLE as error:
        return _foreign(frame) or ProtocolError(f"unreadable body: {str(error)[:REASON_MAX]}")
    if isinstance(message, refused):
        return ProtocolError(f"{type(message).__name__} may not come over this link")
    if not _shallow(_free_form(message)):
        return ProtocolError(f"{type(message).__name__} nests deeper than {DEPTH_MAX}")
    return message


def _foreign(frame: bytes) -> m.StoreHello | m.PoolHello | m.Hello | None:
    """The Hello of an actor that speaks another protocol, with what every one of them says: enough to refuse it."""
    try:
        said = _greeting_decoder.decode(frame)
    except _UNREADABLE:
        return None
    if said.protocol == m.PROTOCOL:
        return None
    more = {"version": said.version, "protocol": said.protocol}
    who = (said.incarnation, said.host, said.pid)
    match said.t:
        case "StoreHello":
            return m.StoreHello(*who, "", 0, 0, **more)  # type: ignore[arg-type]
        case "PoolHello":
            return m.PoolHello(*who, 0, "", 0, [], [], [], [], **more)  # type: ignore[arg-type]
        case "Hello" if said.role in ("source", "scheduler"):
            return m.Hello(said.role, *who, **more)  # type: ignore[arg-type]
    return None


def fits(frame: bytes, sender: str) -> bool:
    """Whether a body of ``sender`` may be passed on: the hub does not decode what it forwards. Never raises."""
    try:
        return not _unfit(frame, sender)
    except _UNREADABLE:
        return False


def _unfit(frame: bytes, sender: str) -> str:
    """Why a body is not worth decoding, or "". Its class is looked up only where a limit may depend on it."""
    size = len(frame)
    if size > BODY_MAX:
        return f"body of {size} bytes; at most {BODY_MAX} are allowed"
    client = sender.startswith(CLIENT)
    if size <= SMALL_MAX and not client:
        return ""
    tag = _tag_decoder.decode(frame).t
    if client and tag not in CLIENT_SAYS:
        return f"{tag[:40]!r} is not for clients to say"
    limit = _limit(tag)
    return f"{tag[:40]!r} of {size} bytes; at most {limit} are allowed" if size > limit else ""


def _limit(tag: str) -> int:
    """Bytes of the largest body of this class."""
    return BODY_MAX if tag in LARGE else {"Apply": APPLY_MAX, "Push": PUSH_MAX}.get(tag, SMALL_MAX)


def _free_form(message: m.Message) -> list[Any]:
    """The untyped values in a message: only they can nest without end."""
    if isinstance(message, m.Request):
        return [message.params]
    if isinstance(message, m.Reply):
        return [message.result]
    nodes = []
    if isinstance(message, m.Apply):
        nodes = [node for pipeline in message.project.pipelines for node in pipeline.nodes]
    if isinstance(message, m.Sources):
        nodes = [source.node for source in message.sources]
    return [n.transform.params for n in nodes if n.transform] + [n.read.options for n in nodes if n.read]


def _shallow(values: list[Any]) -> bool:
    """Whether no value nests deeper than ``DEPTH_MAX``; level by level, so the check itself cannot recurse."""
    level = values
    for _ in range(DEPTH_MAX):
        following: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                following.extend(value.values())
            elif isinstance(value, list | tuple):
                following.extend(value)
        if not following:
            return True
        level = following
    return False


_LISTS: dict[type[m.Message], str] = {
    m.Tasks: "tasks",
    m.Results: "results",
    m.Drop: "attempts",
    m.Forget: "confirmed",
    m.Release: "iterations",
    m.Due: "items",
    m.Noted: "items",
}
"""Messages that mean the same when their list is cut and sent as several (AppendRecords is cut below: it counts)."""


def bodies(message: m.Message, limit: int = BODY_MAX) -> Iterator[bytes]:
    """The body frames to send for ``message``: one, or several when it is a list too long for one frame.

    An oversize frame would disconnect the peer and take the messages queued behind it along, so whoever sends must
    use this. Raises ProtocolError when a message is too large and cannot be cut.
    """
    body = encode_body(message)
    limit = min(limit, _limit(type(message).__name__))
    if len(body) <= limit:
        yield body
        return
    for half in _halves(message):
        yield from bodies(half, limit)


def _halves(message: m.Message) -> Sequence[m.Message]:
    if isinstance(message, m.AppendRecords) and len(message.records) > 1:
        middle = len(message.records) // 2
        return (
            msgspec.structs.replace(message, records=message.records[:middle]),
            msgspec.structs.replace(message, first=message.first + middle, records=message.records[middle:]),
        )
    field = _LISTS.get(type(message))
    items: list[Any] = getattr(message, field) if field else []
    if field is None or len(items) < 2:
        raise ProtocolError(f"a {type(message).__name__} is larger than a frame may be and cannot be sent")
    middle = len(items) // 2
    return [msgspec.structs.replace(message, **{field: part}) for part in (items[:middle], items[middle:])]
