"""File events, as a hint: what they miss, the reconciling scan finds.

It stands on watchdog's reader of the kernel's queue and not on its Observer, which holds a rename back for up to
500 ms to pair its two halves, and does not tell anyone when the kernel dropped events.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from odibi_actors.runtime import room
from odibi_actors.runtime.visible import named
from odibi_actors.streaming.effects import FileEvent, FileEventKind, Overflow
from odibi_actors.streaming.patterns import Pattern, temporary, utf8

DEAF = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.sshfs"})
"""Filesystems whose kernel queue says nothing of what other hosts write."""

IN_MODIFY, IN_CLOSE_WRITE, IN_MOVED_FROM, IN_MOVED_TO = 0x2, 0x8, 0x40, 0x80
IN_CREATE, IN_DELETE, IN_DELETE_SELF, IN_MOVE_SELF, IN_UNMOUNT = 0x100, 0x200, 0x400, 0x800, 0x2000
IN_ISDIR, IN_ONLYDIR, IN_EXCL_UNLINK = 0x40000000, 0x01000000, 0x04000000
"""See inotify(7)."""

KINDS: list[tuple[int, FileEventKind]] = [
    (IN_CLOSE_WRITE, "closed"),
    (IN_MOVED_TO, "moved"),
    (IN_CREATE, "created"),
    (IN_MODIFY, "modified"),
    (IN_DELETE | IN_MOVED_FROM, "gone"),
]
SELF = IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT
WANTED = SELF | IN_ONLYDIR | IN_EXCL_UNLINK
for _mask, _ in KINDS:
    WANTED |= _mask

Emit = Callable[[FileEvent | Overflow], None]


class Folder:
    """One watched folder of one source; called by watchdog's thread."""

    def __init__(self, source: str, pattern: Pattern, relative: str, identity: str, emit: Emit) -> None:
        self.source, self.pattern, self.relative, self.identity = source, pattern, relative, identity
        self.emit = emit
        self.wd = -1
        self.inode = (0, 0)
        self.alive = True

    def on_event(self, event: Any) -> None:
        """An event of the kernel about something in this folder."""
        mask, name = int(event.mask), os.fsdecode(event.name)
        if mask & SELF or not name:
            if mask & SELF and not self.relative:
                self.emit(Overflow(self.source, "its folder was moved or removed"))
            return
        relative = f"{self.relative}/{name}" if self.relative else name
        identity = f"{self.identity}/{name}" if self.identity else name
        if temporary(relative) or not utf8(name):
            return
        if mask & IN_ISDIR:
            self._on_folder(mask, relative, identity)
        elif self.pattern.matches(relative):
            for bits, kind in KINDS:
                if mask & bits:
                    self.emit(FileEvent(self.source, identity, kind))
                    return

    def _on_folder(self, mask: int, relative: str, identity: str) -> None:
        if not self.pattern.descends(relative.count("/") + 1):
            return
        if mask & (IN_CREATE | IN_MOVED_TO):
            self.emit(FileEvent(self.source, identity, "folder"))
        elif mask & IN_MOVED_FROM:
            self.emit(Overflow(self.source, f"folder {named(identity)} was moved away"))

    def on_watch_deleted(self, wd: int) -> None:
        """The kernel has ended the watch."""
        self.alive = False

    def on_queue_overflow(self) -> None:
        """The kernel dropped events."""
        self.emit(Overflow(self.source, "the kernel dropped file events"))


class Watcher:
    """Watches the folders of all sources. Every method but ``emit``'s calls is for one thread."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._queue: Any = None
        self._failed = ""
        self._folders: dict[str, dict[str, Folder]] = {}

    def watch(self, source: str, pattern: Pattern, folder: str, relative: str, identity: str) -> str:
        """Watch a folder, unless that is done already. Returns "" or why it cannot be watched. Raises OSError when
        the folder cannot be reached."""
        seen = os.stat(folder)
        inode = (seen.st_dev, seen.st_ino)
        watched = self._folders.setdefault(source, {})
        known = watched.get(relative)
        if known is not None and known.alive and known.inode == inode:
            return ""
        if not relative and (kind := filesystem(seen.st_dev)) in DEAF:
            return f"{folder} is on {kind}"
        if not self._start():
            return self._failed
        if known is not None:
            self._remove(known)
        made = Folder(source, pattern, relative, identity, self._emit)
        made.inode = inode
        try:
            made.wd = self._queue.add_callback(os.fsencode(folder), WANTED, made, id(made))
        except FileNotFoundError:
            raise
        except OSError as error:
            return f"inotify: {error.strerror}; see /proc/sys/fs/inotify"
        if made.wd < 0:
            return "inotify: permission denied"
        watched[relative] = made
        return ""

    def _start(self) -> bool:
        if self._queue is None and not self._failed:
            try:
                from watchdog.observers.inotify_c import InotifyFD

                queue = InotifyFD()
                queue.start()
                self._queue = queue  # not before: ``close`` may come from another thread meanwhile
            except ImportError as error:
                self._failed = f"watchdog 7 on Linux is needed: {error}"
            except OSError as error:
                told = room.too_many(error) if room.out_of_files() else "see /proc/sys/fs/inotify"
                self._failed = f"inotify: {error.strerror}; {told}"
        return self._queue is not None

    def _remove(self, folder: Folder) -> None:
        if folder.alive:
            self._queue.remove_callbacks([(folder.wd, id(folder))])

    def prune(self, source: str, visited: Iterable[str]) -> None:
        """End the watches of folders that a complete scan did not visit."""
        watched = self._folders.get(source, {})
        keep = dict.fromkeys(visited)
        for relative in [r for r in watched if r not in keep]:
            self._remove(watched.pop(relative))

    def forget(self, source: str) -> None:
        """End all watches of a source."""
        self.prune(source, ())
        self._folders.pop(source, None)

    def close(self) -> None:
        """End everything."""
        if self._queue is not None:
            self._queue.stop()
            self._queue.join(timeout=2.0)


def filesystem(device: int) -> str:
    """The type of the mounted filesystem with this device number (``st_dev``), "" when unknown; see proc(5)."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                fields, _, rest = line.partition(" - ")
                if fields.split(" ", 3)[2] == wanted:
                    return rest.split(" ", 1)[0]
    except OSError:
        pass
    return ""


class Unwatched(Watcher):
    """For looks that are repeated by the clock, or not at all."""

    def __init__(self) -> None:
        super().__init__(lambda _event: None)

    def watch(self, source: str, pattern: Pattern, folder: str, relative: str, identity: str) -> str:
        return "not wanted"

    def prune(self, source: str, visited: object) -> None:
        return
