"""A connection: what it leads to, and how to get in there.

What it leads to, its identity, is one text: an absolute path, or what its kind calls a place elsewhere
(``db.example.org:5432/shop``). It stands in specs, keys, records and marks of owners. How to get in, its access, is
kept beside: it changes no key, so that another password reads and publishes nothing again. A secret is in neither:
there is only a reference to it, which is resolved where it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from odibi_actors.model import Accesses, Target

if TYPE_CHECKING:
    from odibi_actors.config.kinds import Key


class Access(NamedTuple):
    """How to get in. ``keys``: as the kind of the connection has them; secrets are references. ``root``: the project's
    folder, in which ``.env`` and files of secrets are looked for."""

    keys: Mapping[str, str] = {}
    root: str = ""

    def secret(self, key: str) -> str:
        """The secret to which this key refers; "" where there is none. Raises AccessError."""
        from odibi_actors.config.secrets import resolve

        reference = self.keys.get(key, "")
        return resolve(reference, self.root) if reference else ""


AGAIN = "; it is tried again until "
"""Stands in a message about what is in the way, and passes, before when it has passed: of a node that is so."""
OPEN = Access()
"""Nothing is needed to get in."""


def asked_once(message: str) -> str:
    """The same message for who asks once, as a command does: nothing tries it again."""
    return message.replace(AGAIN, "; give the command again once ")


def name_of(kind: str, path: str) -> str:
    """Under which name ``Accesses`` have that of what a connection of a kind leads to."""
    return f"{kind} {path}"


def access_to(at: Target, accesses: Accesses, root: str) -> Access:
    """How to get to a target: as it is now, whatever was when something was prepared for it."""
    return Access(accesses.get(name_of(at.sink, at.connection), {}), root)


class Connection(Protocol):
    """``name``: as ``type:`` says it. ``about``: what it leads to, in a few words. ``folder``: whether files are read
    from it, and watched in it. ``keys``: what a connection of this type may say beside its type; ``path`` is relative
    to the project."""

    name: str
    about: str
    folder: bool
    keys: Mapping[str, Key]

    def misplaced(self, path: str) -> tuple[str, str]:
        """Why an absolute path is none for it, and what would be; "" for nothing."""

    def leads_to(self, section: Mapping[str, Any]) -> str:
        """What it leads to. ``section``: its keys, valid one by one, none that is required missing; the path is
        absolute."""

    def access(self, section: Mapping[str, Any]) -> dict[str, str]:
        """How to get in."""
