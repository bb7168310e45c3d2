"""Sources of mode ``batch``: the complete present set of files, each pinned by its digest."""

from __future__ import annotations

from collections.abc import Container

from msgspec.structs import replace

from odibi_actors.model import Position
from odibi_actors.streaming.effects import Digested, Found
from odibi_actors.streaming.files import Files

MAX_BATCH = 10_000
"""Files of a ``batch`` source: all of them travel in one message and are pinned by every plan."""


class Digests:
    """The digests of a source's files; a file is digested again when its size, mtime, inode or ctime changed."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Found, str]] = {}
        self._asked: dict[str, Found] = {}

    def positions(self, files: Files) -> list[Position] | None:
        """All files in order of identity; None until every one of them is finished and digested."""
        if not files.all_ready() or len(files.known) > MAX_BATCH:
            return None
        found = []
        for identity in sorted(files.known):
            now_is = files.known[identity].found(identity)
            known = self._known.get(identity)
            if known is None or known[0] != now_is:
                return None
            found.append(replace(now_is, ctime_ns=0).position(digest=known[1]))
        return found

    def wanted(self, files: Files, looked_at: Container[str] = ()) -> list[Found]:
        """Finished files whose digest is missing or out of date, each once. Those that are being ``looked_at`` come
        when it is known what they are by now: else one question makes the answer to the other void, for ever."""
        if len(files.known) > MAX_BATCH:
            return []
        wanted = []
        for identity in sorted(files.known):
            now_is = files.known[identity].found(identity)
            known = self._known.get(identity)
            fresh = known is not None and known[0] == now_is
            sound = files.known[identity].ready and files.known[identity].asked and identity not in looked_at
            if sound and not fresh and self._asked.get(identity) != now_is:
                self._asked[identity] = now_is
                wanted.append(now_is)
        return wanted

    def answer(self, answer: Digested) -> bool:
        """Take a digest. False when the file was not what it should be: it must be looked at again."""
        if self._asked.get(answer.file.identity) != answer.file:
            return True
        del self._asked[answer.file.identity]
        if answer.digest:
            self._known[answer.file.identity] = (answer.file, answer.digest)
        return bool(answer.digest)

    def forget(self) -> None:
        """Take all of them again: a file was not what its digest says, though nothing else told so."""
        self._known, self._asked = {}, {}

    def prune(self, files: Files) -> None:
        """Forget what is gone."""
        for identity in [identity for identity in self._known if identity not in files.known]:
            del self._known[identity]
