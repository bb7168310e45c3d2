"""Who is there: the peers that said Hello, by address."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import msgspec

from odibi_actors.broker.versions import Refusals
from odibi_actors.version import __version__

FORMER_KEPT = 16
"""Former incarnations remembered per peer: late messages are seconds late, and nobody restarts that often."""


class Peer(msgspec.Struct):
    """One connected peer; ``seen`` is when it was last heard (seconds since the Unix epoch), ``version`` that of the
    package that it runs."""

    name: str
    role: str
    incarnation: str
    host: str
    pid: int
    seen: float
    version: str = __version__


class Directory:
    """Peers by address, the newest incarnation of each. ``me``: whose directory it is, where it is a process."""

    def __init__(self, me: Peer | None = None) -> None:
        self.me = me
        self._peers: dict[str, Peer] = {}
        self._newest: dict[str, str] = {}
        self._former: dict[str, deque[str]] = {}
        self.refused = Refusals()

    def is_stale(self, name: str, incarnation: str) -> bool:
        """Whether a newer incarnation of this peer was heard before: the message was long on its way and says what no
        longer is. Also notes the incarnation as the newest when it is new."""
        newest = self._newest.get(name)
        if newest == incarnation:
            return False
        former = self._former.setdefault(name, deque(maxlen=FORMER_KEPT))
        if incarnation in former:
            return True
        if newest is not None:
            former.append(newest)
        self._newest[name] = incarnation
        return False

    def join(self, peer: Peer) -> bool:
        """Enter a peer. Returns whether it is another incarnation than the one known (or none was)."""
        self.refused.forget(peer.name)
        former = self._peers.get(peer.name)
        self._peers[peer.name] = peer
        return former is None or former.incarnation != peer.incarnation

    def leave(self, name: str) -> None:
        """The peer said Bye."""
        self._peers.pop(name, None)
        self.refused.forget(name)
        if name.startswith("client-"):  # never comes back under this name
            self._newest.pop(name, None)
            self._former.pop(name, None)

    def heard(self, name: str, now: float) -> bool:
        """Note that the peer spoke. False when it is unknown: it must say Hello."""
        peer = self._peers.get(name)
        if peer is None:
            return False
        peer.seen = now
        return True

    def get(self, name: str) -> Peer | None:
        """The peer of that address."""
        return self._peers.get(name)

    def __iter__(self) -> Iterator[Peer]:
        return iter(list(self._peers.values()))
