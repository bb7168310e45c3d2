"""What people see of a source: its row in lists, why a file was taken or not, and which files a pattern matches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from odibi_actors.config.patterns import shown
from odibi_actors.runtime.visible import named
from odibi_actors.streaming.batch import MAX_BATCH
from odibi_actors.streaming.ledger import size_of
from odibi_actors.streaming.patterns import Pattern, join, relative_to, temporary, unsafe
from odibi_actors.units import format_instant, naming, plural

if TYPE_CHECKING:
    from odibi_actors.streaming.source import Source


LINKED = "a symbolic link"
"""How the reasons begin that tell of one."""

READY, WHOLE = "ready, not planned yet", "ready, read by every iteration"
REFERENCE = "read whole by every iteration, as it is when that is planned"
"""What is told of files that wait for nothing but a plan: of a watched source, and of one that is read whole."""

LISTED = 50
"""Files listed of each kind by ``source files``."""


def writing(source: Source, identity: str) -> str:
    """That a file is being written, by whom and since when, as far as that is known."""
    held = source.files.held[identity]
    return f"file {named(identity)} is being written{_by(held.by)} since {format_instant(held.since)}"


def _by(name: str) -> str:
    return f" by {name}" if name else ""


def held_back(source: Source, now: float) -> list[str]:
    """What is told of the files that wait for their writers, if there are any; those that just came are not told."""
    held = {i: one for i, one in source.files.held.items() if one.told}
    if len(held) == 1:
        return [f"{writing(source, next(iter(held)))}; it is taken once it is closed"]
    if not held:
        return []
    names = naming(f"{i} ({one.by or 'by an unknown process'})" for i, one in held.items())
    return [f"{plural(len(held), 'file')} are being written: {names}; each is taken once it is closed"]


def changes(source: Source) -> list[str]:
    """What is told of files that changed after they were read, or given up, if there are any."""
    texts, unsure = source.changes.texts, source.changes.unsure
    if len(texts) < 2:
        return list(texts.values())
    name = f"{source.spec.pipeline}.{source.spec.node.name}"
    more = " or more" if source.changes.full else ""
    what = "were written again" if unsure else "changed"
    when = "read or discarded" if source.changes.given_up else "read"
    told = (
        f"{len(texts)}{more} files {what} after they were {when}: {naming(sorted(texts))}; "
        "those with new data are read under a new name"
    )
    if unsure:
        told += f" (of {len(unsure)} it is not known whether the bytes are others: no digest was kept)"
    return [f"{told} (`odibictl source files {name}` lists them)"]


MAX_SHOWN = 20
"""Problems shown for one source; the rest is counted."""


def standing(source: Source) -> list[str]:
    """What is wrong with a source, but for files that wait for their writers."""
    problems = [source.refused] if source.refused else []
    problems += [*source.scan_problems, *source.unmatched.values()]
    if source.pinned and len(source.files.known) > MAX_BATCH:
        problems.append(f"{len(source.files.known)} files match; a batch source takes at most {MAX_BATCH}")
    problems += changes(source) + links(source.skipped)
    if len(problems) > MAX_SHOWN:
        problems[MAX_SHOWN:] = [f"... and {len(problems) - MAX_SHOWN} more"]
    return problems


def links(skipped: Mapping[str, str]) -> list[str]:
    """What is told of symbolic links among what is skipped, if there are any."""
    found = [identity for identity, reason in skipped.items() if reason.startswith(LINKED)]
    if not found:
        return []
    what = "a symbolic link is" if len(found) == 1 else f"{len(found)} symbolic links are"
    return [f"{what} not followed: {naming(sorted(found))}; `odibictl source why FILE` says what to do"]


def show(source: Source) -> dict[str, Any]:
    """``source files``: the row, and the files that are ready (``pending``, oldest first), wait, changed, or are
    skipped, each with the reason; at most ``LISTED`` of a kind, and ``more``: how many there are beyond."""
    kinds = {
        "pending": dict.fromkeys(source.files.first(LISTED, None), WHOLE if source.pinned else READY),
        "waiting": waiting(source),
        "changed": source.changes.texts,
        "skipped": source.skipped,
    }
    counts = {kind: len(found) for kind, found in kinds.items()}
    counts |= {"pending": source.files.ready, "waiting": source.files.waiting}
    listed = {kind: dict(list(found.items())[:LISTED]) for kind, found in kinds.items()}
    return {
        **row(source),
        "files": {
            kind: [{"file": i, "reason": reason} for i, reason in found.items()] for kind, found in listed.items()
        },
        "more": {kind: counts[kind] - len(found) for kind, found in listed.items()},
    }


def waiting(source: Source) -> dict[str, str]:
    """Files that are not ready, with what each waits for; at most ``LISTED``."""
    found: dict[str, str] = {}
    for identity, file in source.files.known.items():
        if not file.ready:
            found[identity] = _waiting(source, identity)[1]
            if len(found) == LISTED:
                break
    return found


def row(source: Source) -> dict[str, object]:
    """The row of ``source list``. In lane ``trigger``, ``source`` is the name of the schedule. ``pending``: None where
    each iteration reads all files (``batch``), so that none ever waits to be planned. ``listings``: how often its
    folder was listed as a whole since this actor started, the last time in ``listed_in`` seconds."""
    return {
        "pipeline": source.spec.pipeline,
        "source": source.spec.node.name,
        "lane": source.spec.lane,
        "mode": source.read.mode,
        "consumption": source.read.consumption,
        "path": source.path or ".",
        "pattern": shown(source.read.pattern),
        "known": len(source.files.known) if source.pinned else len(source.ledger.index),
        "pending": None if source.pinned else source.files.ready,
        "waiting": source.files.waiting,
        "listings": source.listings,
        "listed_in": round(source.listed_in, 3),
        "problems": source.problems,
    }


def why(source: Source, file: str) -> dict[str, str]:
    """An item of ``source why``: ``state`` and ``reason`` of a file, given by identity, by name below the source's
    folder, or by absolute path; ``path``: where it is, or would be; "" where no source looks."""
    state, reason = _why(source, file)
    if source.trigger:
        reason = f"schedule {source.spec.node.name}: {reason}"
    elif source.backfill:
        reason = f"{source.spec.lane}: {reason}"
    spec, identity = source.spec, _identity(source, file)
    return {
        "pipeline": spec.pipeline,
        "source": spec.node.name,
        "lane": spec.lane,
        "state": state,
        "reason": reason,
        "identity": identity or "",
        "path": f"{source.read.connection.path.rstrip('/')}/{identity}" if identity else "",
    }


def _why(source: Source, file: str) -> tuple[str, str]:
    identity = _identity(source, file)
    if identity is None:
        return (
            "ignored",
            f"it is not below {'/'.join([source.read.connection.path.rstrip('/'), source.path]).rstrip('/')}/",
        )
    return _taken(source, identity) or _not_taken(source, identity)


def _identity(source: Source, file: str) -> str | None:
    """Which file of the source's connection is meant; None: one of elsewhere."""
    folder = source.read.connection.path.rstrip("/") + "/"
    whole = file.startswith("/")
    if whole and not file.startswith(folder):
        return None
    file = join("", file[len(folder) :] if whole else file)
    known = (source.ledger.index, source.files.known, source.skipped)
    if not source.path or file.startswith(source.path + "/") or any(file in names for names in known):
        return file
    return None if whole else join(source.path, file)


def _taken(source: Source, identity: str) -> tuple[str, str] | None:
    """The answer for a file that is planned."""
    if changed := source.changes.text(identity):
        return "changed", changed
    if identity not in source.ledger.index or source.pinned:
        return None
    if source.trigger:
        return "planned", "it has set this schedule off, which each file does once"
    iteration = source.iterations.get(identity)
    told = f"planned in iteration {iteration}" if iteration is not None else "planned already"
    if source.changes.pending(identity):
        told += "; it has other times than when it was read: its bytes are being compared"
    return "planned", told


def _not_taken(source: Source, identity: str) -> tuple[str, str]:
    """The answer for one that is not."""
    relative = source.relative(identity)
    reason = temporary(relative) or source.skipped.get(identity, "") or _linked(source, identity)
    if reason:
        return "ignored", reason
    for pattern in (source.pattern, source.only):
        if pattern is not None and not pattern.matches(relative):
            return "ignored", f"{named(relative)} does not match pattern {shown(pattern.text)}"
    file = source.files.known.get(identity)
    if file is None and source.taken is not None and identity not in source.taken.index:
        return "ignored", "the live lane had not read it when the backfill began, or had set it aside"
    if file is None:
        return "not_found", f"no such file below {source.read.connection.path}"
    within = source.within
    if source.backfill and within is not None and identity not in within:
        return "ignored", "it was not there, or not read by the live lane, when the backfill began"
    if file.ready and source.pinned:
        return "reference", REFERENCE
    if file.ready:
        return "pending", "ready, about to set this schedule off" if source.trigger else READY
    return _waiting(source, identity)


def _linked(source: Source, identity: str) -> str:
    """Why a file below a linked folder is not looked for."""
    parts = identity.split("/")
    for depth in range(1, len(parts)):
        folder = "/".join(parts[:depth])
        if source.skipped.get(folder, "").startswith(LINKED):
            return f"{named(folder)}: {source.skipped[folder]}"
    return ""


def _waiting(source: Source, identity: str) -> tuple[str, str]:
    """The answer for a file that is not ready."""
    held = source.files.held.get(identity)
    if held is not None:
        return (
            "waiting",
            f"being written{_by(held.by)} since {format_instant(held.since)}; it is taken once it is closed",
        )
    at = source.files.ready_at(identity, source.files.known[identity])
    if source.files.writing(identity):
        return "waiting", f"being written; waiting for its close (or, if that was missed, until {format_instant(at)})"
    return "waiting", f"waiting until it is unchanged for {source.read.settle:g} s (until {format_instant(at)})"


def mistake(pattern: object) -> str:
    """Why this is no pattern of files below a source's folder, or ""."""
    if not isinstance(pattern, str) or not join("", pattern):
        return "a pattern is needed, for example '*.csv'"
    return f"pattern {problem}" if (problem := unsafe(pattern)) else ""


def match(source: Source, pattern: str, aside: list[str]) -> dict[str, Any]:
    """Which of the files that the source has taken match a pattern relative to its folder: their number, bytes, and the
    first and last identity in order of identity ("" when there is none). ``aside`` were taken and set aside: of those
    that match, and of those that were not taken yet, the number alone. Where no file matches, a pattern below the
    connection, as files are listed, will do. ``pattern``: the one that holds, relative to the folder."""
    found = _matching(source, pattern, aside)
    if not any(found[kind] for kind in ("files", "unread", "aside")) and (inside := relative_to(source.path, pattern)):
        found, pattern = _matching(source, inside, aside), inside
    return {"pattern": pattern, **found}


def _matching(source: Source, pattern: str, aside: list[str]) -> dict[str, Any]:
    wanted = Pattern(pattern)

    def matching(identities: Iterable[str]) -> list[str]:
        return [identity for identity in identities if wanted.matches(source.relative(identity))]

    apart = frozenset(matching(aside))
    found = {i: size_of(source.ledger.index[i]) for i in matching(source.ledger.index) if i not in apart}
    return {
        "files": len(found),
        "bytes": sum(found.values()),
        "first": min(found, default=""),
        "last": max(found, default=""),
        "unread": len(matching(source.files.known)),
        "aside": len(apart),
    }
