"""Which actors run another version of the package than the others, and what to do about it."""

from __future__ import annotations

from typing import Any, NamedTuple

from odibi_actors.version import __version__


class Told(NamedTuple):
    """``refused``: it does not work with the others."""

    found: str
    fix: str
    refused: bool = False


def told(status: dict[str, Any], lines: dict[str, str]) -> list[Told]:
    """What a ``status`` has of other versions; ``lines``: what actors are called, by role."""
    from odibi_actors.messages import ONE_VERSION  # not for those who only want help

    broker = status.get("version")
    found = [Told(str(row["problem"]), str(row["fix"]), refused=True) for row in status.get("refused") or []]
    others: dict[str, list[str]] = {}
    for peer in status.get("peers") or []:
        version = peer.get("version")
        if broker and version and version != broker:
            name = peer["name"] if peer["role"] == "pool" else lines.get(peer["role"], peer["role"])
            others.setdefault(version, []).append(name)
    for version, names in others.items():
        runs = "run" if len(names) > 1 else "runs"
        found.append(Told(f"{', '.join(names)} {runs} version {version}, the broker {broker}", ONE_VERSION))
    if broker and broker != __version__:
        found.append(Told(f"this odibictl is version {__version__}, the broker {broker}", ONE_VERSION))
    return found
