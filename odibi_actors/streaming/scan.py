"""Looking at files: the blocking part of discovery, in steps, so that a short question never waits for a long scan."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import time
from collections.abc import Iterator

import xxhash

from odibi_actors.streaming.effects import Digest, Digested, Found, Scan, Scanned, Stat, Stated
from odibi_actors.streaming.patterns import Pattern, join, temporary, utf8
from odibi_actors.streaming.watcher import Watcher

STEP = 1000
"""Names looked at before the worker turns to other work: about 4 ms."""

BLOCK = 1 << 20
"""Bytes digested at a time."""

MAX_PROBLEMS = 100
"""Problems told of one scan."""


class _Chunk:
    """What a scan has found since its last step."""

    def __init__(self, effect: Scan) -> None:
        self.effect = effect
        self.files: list[Found] = []
        self.skipped: list[tuple[str, str]] = []
        self.closed: list[str] = []
        self.young = _young(effect.settle)
        self.looked = 0

    def message(self) -> Scanned | None:
        """The chunk as a message (None: it found nothing); a new one begins."""
        files, skipped, closed, self.looked = self.files, self.skipped, self.closed, 0
        self.files, self.skipped, self.closed = [], [], []
        if not files and not skipped:
            return None
        return Scanned(self.effect.source, self.effect.number, files, skipped, closed=closed)

    def take(self, entry: os.DirEntry[str], identity: str, heard: bool) -> None:
        """Add one matching name. ``heard``: a watcher hears of writers here, so the kernel knows of them."""
        found, closed = _look(entry.path, identity, entry.stat(follow_symlinks=False), self.young if heard else None)
        if isinstance(found, Found):
            self.files.append(found)
        else:
            self.skipped.append((identity, found))
        if closed:
            self.closed.append(identity)


def scan(effect: Scan, watcher: Watcher) -> Iterator[Scanned | None]:
    """List a folder and those below it as far as the pattern reaches; None stands for a step without news."""
    pattern = Pattern(effect.pattern)
    root = os.path.join(effect.base, effect.path) if effect.path else effect.base
    below = effect.below[len(effect.path) + 1 :] if effect.path else effect.below
    chunk, problems, visited = _Chunk(effect), list[str](), list[str]()
    missing, unwatched = False, ""
    folders = [below]
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
                        if entry.is_dir(follow_symlinks=False) and _descend(pattern, name):
                            folders.append(name)
                        elif not temporary(name) and pattern.matches(name):
                            identity = join(effect.path, name)
                            if utf8(identity):
                                chunk.take(entry, identity, not deaf)
                            else:
                                _tell(problems, f"the name {identity!r} is not UTF-8; rename the file")
                    except FileNotFoundError:
                        continue  # gone since it was listed
                    if chunk.looked >= STEP:
                        yield chunk.message()
        except FileNotFoundError:
            missing = missing or not relative  # a folder below went away: so did its files
        except OSError as error:
            _tell(problems, f"folder {folder!r} cannot be read: {error.strerror}")
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
    )


def _descend(pattern: Pattern, name: str) -> bool:
    return pattern.descends(name.count("/") + 1) and not temporary(name)


def _tell(problems: list[str], text: str) -> None:
    if len(problems) < MAX_PROBLEMS:
        problems.append(text.encode(errors="backslashreplace").decode())


def _young(settle: float) -> int:
    """The mtime (ns) from which on a file has not settled by itself."""
    return time.time_ns() - int(settle * 1e9)


def _unwritten(path: str) -> bool:
    """Whether nobody on this host has the file open for writing: only then does the kernel grant a read lease
    (fcntl(2)). False when it cannot be told, as of a file of another user."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        # a writer who comes within these microseconds waits for our close; the signal about it is one that is ignored
        fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _look(path: str, identity: str, seen: os.stat_result, young: int | None) -> tuple[Found | str, bool]:
    """The file, or why it is none; and whether nobody was writing it, as far as it is ``young`` (None: do not ask)."""
    found = _regular(identity, seen)
    if young is None or isinstance(found, str) or found.mtime_ns <= young or not _unwritten(path):
        return found, False
    # looked at again: it may have been written and closed since it was looked at, and this is how it was closed
    return _regular(identity, os.stat(path, follow_symlinks=False)), True


def _regular(identity: str, seen: os.stat_result) -> Found | str:
    """The file, or why it is none."""
    if stat.S_ISREG(seen.st_mode):
        return Found(identity, seen.st_size, seen.st_mtime_ns, seen.st_ino)
    if stat.S_ISLNK(seen.st_mode):
        return "a symbolic link is not followed; move or hard-link the file itself here"
    return "a folder" if stat.S_ISDIR(seen.st_mode) else "not a regular file"


def look(effect: Stat) -> Stated:
    """Look at single files."""
    answer = Stated(effect.source, effect.number, [], [], [], [])
    young = _young(effect.settle) if effect.settle else None
    for identity in effect.identities:
        path = os.path.join(effect.base, identity)
        try:
            found, closed = _look(path, identity, os.stat(path, follow_symlinks=False), young)
        except (FileNotFoundError, NotADirectoryError):
            answer.gone.append(identity)
            continue
        except OSError as error:
            found, closed = f"cannot be looked at: {error.strerror}", False
        if closed:
            answer.closed.append(identity)
        if isinstance(found, Found):
            answer.files.append(found)
        else:
            answer.skipped.append((identity, found))
    return answer


def digest(effect: Digest) -> Iterator[Digested | None]:
    """Digest files one by one; one that is not the file it should be (any more) gets none."""
    for found in effect.files:
        digest = xxhash.xxh3_128()
        try:
            handle = os.open(os.path.join(effect.base, found.identity), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(handle, "rb", buffering=0) as file:
                same = _same(file.fileno(), found)
                while same and (block := file.read(BLOCK)):
                    digest.update(block)
                    yield None
                same = same and _same(file.fileno(), found)
        except OSError:
            same = False  # the scan will say what is wrong with it
        yield Digested(effect.source, found, digest.hexdigest() if same else "")


def _same(handle: int, found: Found) -> bool:
    return _regular(found.identity, os.fstat(handle)) == found
