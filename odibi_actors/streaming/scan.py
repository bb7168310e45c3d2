"""Looking at files: the blocking part of discovery, in steps, so that a short question never waits for a long scan."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator

import xxhash

from odibi_actors.errors import ConflictError
from odibi_actors.nodes.sinks.manifest import MANIFESTS
from odibi_actors.streaming.effects import Digest, Digested, Found, Scan, Scanned, Stat, Stated
from odibi_actors.streaming.joins import Joins
from odibi_actors.streaming.leases import Writer, names, writer
from odibi_actors.streaming.patterns import REPLACED, Pattern, join, temporary, utf8
from odibi_actors.streaming.unmatched import Unmatched
from odibi_actors.streaming.watcher import Watcher

STEP = 1000
"""Names looked at before the worker turns to other work: about 4 ms."""

BLOCK = 1 << 20
"""Bytes digested at a time."""

LINK = "a symbolic link is not followed; move or hard-link the file itself here"
LINKED_FOLDER = "a symbolic link to a folder is not followed; name the folder itself in `path`, or mount it here"
"""Why links are skipped: what they lead to may be replaced unheard, and read twice by two names."""
NOWHERE = "a symbolic link that leads nowhere"
ROUND = "a symbolic link to a folder in which it lies itself: followed it would lead round without end"
"""Why one is skipped where they are followed."""

MAX_PROBLEMS = 100
"""Problems told of one scan."""


class _Chunk:
    """What a scan has found since its last step."""

    def __init__(self, effect: Scan) -> None:
        self.effect = effect
        self.files: list[Found] = []
        self.skipped: list[tuple[str, str]] = []
        self.closed: list[str] = []
        self.written: list[str] = []
        self.young = time.time_ns() - int(effect.settle * 1e9)  # mtime from which on a file has not settled by itself
        self.looked = 0

    def message(self) -> Scanned | None:
        """The chunk as a message (None: it found nothing); a new one begins."""
        if not self.files and not self.skipped:
            self.looked = 0
            return None
        said = Scanned(
            self.effect.source,
            self.effect.number,
            self.files,
            self.skipped,
            closed=self.closed,
            written=self.written,
        )
        self.files, self.skipped, self.closed, self.written, self.looked = [], [], [], [], 0
        return said

    def missing(self, identity: str, path: str, joins: Joins) -> None:
        """Add one that is committed, and was not listed: as it is, if it has come since; if it is gone, as it was
        published, so that whoever reads it finds out."""
        try:
            found: Found | str | None = _regular(identity, os.stat(path, follow_symlinks=False))
        except FileNotFoundError:
            found = _gone(identity, path, joins)
        if isinstance(found, Found):
            self.files.append(found)
            self.closed.append(identity)

    def take(self, entry: os.DirEntry[str], identity: str, heard: bool, joins: Joins) -> None:
        """Add one matching name. ``heard``: a watcher hears of writers here, so the kernel knows of them all."""
        follow = self.effect.follow
        try:
            seen = entry.stat(follow_symlinks=follow)
        except OSError:
            if not (follow and entry.is_symlink()):
                raise
            self.skipped.append((identity, NOWHERE))
            return
        found, state = _look(entry.path, identity, seen, seen.st_mtime_ns > self.young, follow)
        state = "some" if joins.coming(entry.path) else state
        if isinstance(found, Found):
            self.files.append(found)
        else:
            self.skipped.append((identity, found))
        if state == "some":
            self.written.append(identity)
        elif state == "none" and heard:
            self.closed.append(identity)


def scan(effect: Scan, watcher: Watcher) -> Iterator[Scanned | None]:
    """List a folder and those below it as far as the pattern reaches; None stands for a step without news."""
    pattern = Pattern(effect.pattern)
    root = os.path.join(effect.base, effect.path) if effect.path else effect.base
    below = effect.below[len(effect.path) + 1 :] if effect.path else effect.below
    chunk, problems, unread, visited = _Chunk(effect), list[str](), list[str](), list[str]()
    missing, unwatched, unmatched = False, "", Unmatched(effect.pattern)
    folders, joins, listed = [below], Joins(effect.whole), set[str]()
    joins.sink(root)
    while folders:
        relative = folders.pop()
        folder = os.path.join(root, relative) if relative else root
        try:
            deaf = watcher.watch(effect.source, pattern, folder, relative, join(effect.path, relative))
            unwatched = deaf or unwatched
            visited.append(relative)
            with os.scandir(folder) as entries:
                for entry in entries:
                    chunk.looked += 1
                    name = f"{relative}/{entry.name}" if relative else entry.name
                    try:
                        if entry.name == MANIFESTS:
                            joins.sink(folder)
                        elif _descend(pattern, name) and entry.is_dir(follow_symlinks=False):
                            folders.append(name)
                        elif _descend(pattern, name) and _linked_folder(entry) and utf8(name):
                            if not effect.follow or _leads_round(root, name):
                                why = ROUND if effect.follow else LINKED_FOLDER
                                chunk.skipped.append((join(effect.path, name), why))
                            else:
                                folders.append(name)
                        elif temporary(name) or not pattern.matches(name):
                            if temporary(name) == REPLACED and pattern.descends(name.count("/") + 1):
                                chunk.skipped.append((join(effect.path, name), REPLACED))
                            elif not entry.is_dir(follow_symlinks=False):
                                unmatched.take(name, matches=False)
                        else:
                            unmatched.take(name, matches=True)
                            identity = join(effect.path, name)
                            if joins.sink(folder):
                                listed.add(entry.path)
                            if why := joins.instead(entry.path):
                                chunk.skipped.append((identity, why))
                            elif utf8(identity):
                                chunk.take(entry, identity, not deaf, joins)
                            else:
                                _tell(problems, f"the name {identity!r} is not UTF-8; rename the file")
                    except FileNotFoundError:
                        continue  # gone since it was listed
                    if chunk.looked >= STEP:
                        yield chunk.message()
        except FileNotFoundError:
            missing = missing or not relative  # a folder below went away: so did its files
        except OSError as error:
            _tell(unread, f"folder {folder!r} cannot be read: {error.strerror}")
    if not below:
        try:
            for path in joins.unlisted(listed):
                name = os.path.relpath(path, root)
                if not name.startswith("../") and not temporary(name) and pattern.matches(name):
                    chunk.missing(join(effect.path, name), path, joins)
                    chunk.looked += 1
                    if chunk.looked >= STEP:
                        yield chunk.message()
        except (ConflictError, OSError) as error:
            _tell(unread, f"what is committed below {root!r} cannot be told: {error}")
    if joins.changed():
        _tell(unread, f"files of {root!r} were joined while it was listed; it is listed again")
    if pattern.depth == 0 and joins.partitioned(root):
        _tell(problems, f'the files of {root} are in folders of partitions: `pattern: "**/part-*"` reaches them')
    if not effect.below:
        watcher.prune(effect.source, visited)
    yield Scanned(
        effect.source,
        effect.number,
        chunk.files,
        chunk.skipped,
        done=True,
        missing=missing,
        watched=not unwatched and not missing,
        unwatched=unwatched,
        problems=problems,
        closed=chunk.closed,
        written=chunk.written,
        unread=unread,
        unmatched=unmatched.told(),
    )


def _linked_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a link that leads to a folder; one that leads to itself does not."""
    try:
        return entry.is_symlink() and entry.is_dir()
    except OSError:
        return False


def _leads_round(root: str, name: str) -> bool:
    """Whether a link to a folder leads to one in which it lies, by whatever links its own folder was reached."""
    end, parts = os.path.realpath(os.path.join(root, name)), name.split("/")[:-1]
    above = [os.path.realpath(os.path.join(root, *parts[:depth])) for depth in range(len(parts) + 1)]
    return any(folder == end or folder.startswith(end.rstrip("/") + "/") for folder in above)


def _descend(pattern: Pattern, name: str) -> bool:
    return pattern.descends(name.count("/") + 1) and not temporary(name)


def _tell(problems: list[str], text: str) -> None:
    if len(problems) < MAX_PROBLEMS:
        problems.append(text.encode(errors="backslashreplace").decode())


def _look(path: str, identity: str, seen: os.stat_result, ask: bool, follow: bool) -> tuple[Found | str, Writer]:
    """The file, or why it is none; and whether somebody writes it, if that is to be asked."""
    found = _regular(identity, seen)
    end = os.path.realpath(path) if follow else path
    state: Writer = writer(end) if ask and isinstance(found, Found) else "unknown"
    if state == "none":
        # looked at again: it may have been written and closed since it was looked at, and this is how it was closed
        found = _regular(identity, os.stat(path, follow_symlinks=follow))
    return found, state


def _gone(identity: str, path: str, joins: Joins) -> Found | None:
    """A file that is not there, as a sink has published it; None: it is not committed."""
    named = joins.named(path)
    return Found(identity, named.size, 0, 0) if named is not None else None


def _regular(identity: str, seen: os.stat_result) -> Found | str:
    """The file, or why it is none."""
    if stat.S_ISREG(seen.st_mode):
        return Found(identity, seen.st_size, seen.st_mtime_ns, seen.st_ino, seen.st_ctime_ns)
    if stat.S_ISLNK(seen.st_mode):
        return LINK
    return "a folder" if stat.S_ISDIR(seen.st_mode) else "not a regular file"


def passed_over(path: str) -> str:
    """Why what is at a path is not taken; "" for a regular file. Raises OSError."""
    found = _regular("", os.lstat(path))
    return found if isinstance(found, str) else ""


def look(effect: Stat) -> Stated:
    """Look at single files."""
    answer, joins = Stated(effect.source, effect.number, [], [], [], []), Joins(effect.whole)
    for identity in effect.identities:
        path = os.path.join(effect.base, identity)
        state: Writer = "unknown"
        try:
            seen = os.stat(path, follow_symlinks=effect.follow)
            found, state = _look(path, identity, seen, ask=True, follow=effect.follow)
            state = "some" if joins.coming(path) else state
        except (FileNotFoundError, NotADirectoryError):
            if (committed := _gone(identity, path, joins)) is not None:
                found, state = committed, "none"
            else:
                answer.gone.append(identity)
                continue
        except OSError as error:
            found = f"cannot be looked at: {error.strerror}"
        if state == "some":
            answer.written.append(identity)
        elif state == "none" and effect.heard:
            answer.closed.append(identity)
        if isinstance(found, Found):
            found = joins.instead(path) or found
        if isinstance(found, Found):
            answer.files.append(found)
        else:
            answer.skipped.append((identity, found))
    wanted = {os.path.join(effect.base, identity): identity for identity in effect.tell if identity in answer.written}
    for path, name in names(wanted).items() if wanted else ():
        answer.writers[wanted[path]] = name
    return answer


def digest(effect: Digest) -> Iterator[Digested | None]:
    """Digest files one by one; one that is not the file it should be (any more) gets none."""
    joins = Joins(whole=True)
    flags = os.O_RDONLY | os.O_NONBLOCK | (0 if effect.follow else os.O_NOFOLLOW)
    for found in effect.files:
        digest, path = xxhash.xxh3_128(), os.path.join(effect.base, found.identity)
        if found.gone:
            named = joins.named(path)
            yield Digested(effect.source, found, named.digest if named is not None else "")
            continue
        try:
            handle = os.open(path, flags)
            with open(handle, "rb", buffering=0) as file:
                same = _same(file.fileno(), found)
                while same and (block := file.read(BLOCK)):
                    digest.update(block)
                    yield None
                end = os.path.realpath(path) if effect.follow else path
                same = same and _same(file.fileno(), found) and writer(end) != "some" and not joins.coming(path)
        except OSError:
            same = False  # the scan will say what is wrong with it
        yield Digested(effect.source, found, digest.hexdigest() if same else "")


def _same(handle: int, found: Found) -> bool:
    return _regular(found.identity, os.fstat(handle)) == found
