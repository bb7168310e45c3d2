"""Why an actor is not there, or does not answer: from the broker's status, the processes of this host and the logs."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ACTORS = {"store": "checkpoint", "source": "source", "scheduler": "scheduler", "pool": "worker"}
"""Role of a peer the system needs -> its line in the Procfile."""
LOG_END = 200_000  # bytes of a log that are looked through for an error
SPACE = 64 * 1024  # bytes; nothing is written where less is free


def unheard(status: Mapping[str, Any], data_dir: Path | None) -> list[tuple[str, str]]:
    """(role, line) for each actor that is not connected or does not answer, with what is known of why; ``data_dir``:
    where its logs are, if on this host."""
    peers = status.get("peers") or []
    there = {peer.get("role") for peer in peers} | {row["role"] for row in status.get("refused") or []}
    lines = [
        (
            role,
            f"the {line} actor is not connected{_because(data_dir, line)}; "
            f"its supervisor restarts it: see {logs(line)}",
        )
        for role, line in ACTORS.items()
        if role not in there
    ]
    stopped = {peer["name"]: peer for peer in peers if _stopped(peer)}
    lines += [(peer["role"], halted(peer)) for peer in stopped.values()]
    gone = {peer["name"] for peer in peers if _here(peer) and not process_state(peer["pid"])}
    for row in status.get("silent") or []:
        if row["name"] not in stopped:
            lines.append((row["role"], silence(row, data_dir if row["name"] in gone else None)))
    return lines


def logs(line: str) -> str:
    """Where to look."""
    return f"`odibictl logs {line}`"


def halted(peer: Mapping[str, Any]) -> str:
    """An actor of this host that somebody has stopped."""
    line, pid = ACTORS.get(peer["role"], peer["role"]), peer["pid"]
    return f"the {line} actor (pid {pid}) is stopped by a signal: `kill -CONT {pid}` lets it go on"


def silence(row: Mapping[str, Any], data_dir: Path | None = None) -> str:
    """An actor that is not heard: since when, what waits for it, where to look; ``data_dir``: that it has died."""
    line = ACTORS.get(row["role"], row["role"])
    waits = f"; {row['waits']} wait for it" if row.get("waits") else ""
    why = _because(data_dir, line)
    return f"the {line} actor has not answered for {row['seconds']:.0f}s{why}{waits}: see {logs(line)}"


def last_error(log: Path) -> str:
    """What an actor said last of what keeps it from working, since the start before its last one if that one followed
    a death; "" when it has said nothing of the kind."""
    told = ""
    for line in _end_of(log):
        head, error, rest = line.partition(" error ")
        if error and not rest.rpartition("; starting again")[1]:
            told = rest
        elif " info " in head and " started pid=" in head and " former=" not in head:
            told = ""
    return told


def _because(data_dir: Path | None, line: str) -> str:
    if data_dir is None:
        return ""
    if full(data_dir):
        return f" (the disk of {data_dir} is full)"
    said = last_error(data_dir / "log" / f"{line}.log")
    return f" (it said last: {said})" if said else ""


def full(folder: Path) -> bool:
    """Whether the file system of ``folder`` takes no more of us."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_blocks > 0 and found.f_bavail * found.f_frsize < SPACE


def process_state(pid: int) -> str:
    """Of a process of this host, as the kernel calls it: R, S, D, T, ..."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _here(peer: Mapping[str, Any]) -> bool:
    return peer.get("role") in ACTORS and bool(peer.get("pid")) and peer.get("host") == socket.gethostname()


def _stopped(peer: Mapping[str, Any]) -> bool:
    return _here(peer) and process_state(peer["pid"]) in ("T", "t")


def _end_of(log: Path) -> list[str]:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_END))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
