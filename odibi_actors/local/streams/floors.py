"""Where the reading of a stream begins again, and with what: kept in the stream's settings and told by its text file.

``exports`` lists the texts that the file may hold by itself: the one that was written last, and the one that was about
to be when the process was killed. Any other was written by somebody else.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from odibi_actors.checkpoint.records import AnyRecord, Setting
from odibi_actors.local.streams import watermark
from odibi_actors.local.streams.desk import STREAM
from odibi_actors.local.streams.watermark import WatermarkFile

log = logging.getLogger("odibi_actors.streaming")

WATERMARK, FLOOR, EXPORTS, ANEW = "watermark", "floor", "exports", "anew"
"""Settings: the highest value that is processed; the one above which rows are read; see above; what was read is to be
forgotten."""
MISSING: Final = ""


class Floors:
    """Of one stream with a watermark column. ``former``: files of odibi_core's in which a watermark may stand."""

    def __init__(self, name: str, column: str, file: WatermarkFile, former: list[Path]) -> None:
        self._name, self.column, self._file, self._former = name, column, file, former
        self.value: Any = None  # the watermark, once the type is known
        self._floor: Any = None
        self._settings: dict[str, str] = {}
        self._written = MISSING
        self._typed = False

    def open(self, settings: dict[str, str]) -> list[AnyRecord]:
        """The stream begins, with these settings: what is to be noted. Raises OSError, ValueError."""
        self._settings, self._typed = settings, False
        if ANEW in settings:
            return []
        found, known = self._file.read(), self._exports()
        self._written = found
        if not known and not found and (imported := self._import()):
            return self._begin(imported, anew=False)
        if found in known or (not known and not found):
            current = settings.get(WATERMARK, MISSING)
            if found != current and current:
                self._write(current)
            return []
        if known:
            former = settings.get(WATERMARK, MISSING)
            told = f"is gone, or empty, and this stream had written {former!r}: everything is read again"
            if found:
                told = (
                    f"holds {found!r}, which was not written by this stream ({former!r} was): "
                    f"everything is read again, the rows beyond {found!r}"
                )
            log.warning("%s: %s %s", self._name, self._file.path, told)
        return self._begin(found, anew=bool(known))

    def _import(self) -> str:
        """A watermark of odibi_core's under another name that the source may have had."""
        for path in self._former:
            if text := WatermarkFile(path).read():
                log.info("%s: goes on from watermark %r of %s", self._name, text, path)
                return text
        return MISSING

    def replaced(self) -> list[AnyRecord]:
        """What was read is not there any more: read what is, beyond the watermark."""
        return self._begin(self._settings.get(WATERMARK, MISSING), anew=True)

    def _begin(self, text: str, *, anew: bool) -> list[AnyRecord]:
        settings = {FLOOR: text, WATERMARK: text, EXPORTS: json.dumps([self._written, text])}
        if anew:
            settings[ANEW] = "yes"
        return [Setting(STREAM, name, value) for name, value in settings.items()]

    def above(self, table: pa.Table) -> pa.Table:
        """The rows of what was read that are to be given. Raises ValueError."""
        watermark.check(table, self.column)
        kind = table.column(self.column).type
        if not self._typed:
            floor, value = self._settings.get(FLOOR, MISSING), self._settings.get(WATERMARK, MISSING)
            self._floor = watermark.value_of(floor, kind) if floor else None
            self.value = watermark.value_of(value, kind) if value else None
            self._typed = True
        if self._floor is None:
            return table
        left = watermark.beyond(table, self.column, self._floor)
        if out := table.num_rows - left.num_rows:
            log.info("%s: %d rows are not beyond watermark %s, and count as read", self._name, out, self._floor)
        return left

    def passed(self, table: pa.Table) -> list[AnyRecord]:
        """These rows are processed: what is to be noted with that."""
        value = watermark.highest(table, self.column, self.value)
        if value is None or value == self.value:
            return []
        self.value = value
        text = watermark.text_of(value)
        exports = json.dumps(list(dict.fromkeys([self._written, text])))
        return [Setting(STREAM, WATERMARK, text), Setting(STREAM, EXPORTS, exports)]

    def show(self) -> None:
        """Write the file, now that what it says is durable. Raises OSError."""
        current = self._settings.get(WATERMARK, MISSING)
        if current and current != self._written:
            self._write(current)

    @property
    def shown(self) -> Any:
        """The watermark for people: a value, or its text as long as the column's type is not known."""
        return self.value if self._typed else self._settings.get(WATERMARK) or None

    def _write(self, text: str) -> None:
        self._file.write(text)
        self._written = text

    def _exports(self) -> list[str]:
        found = json.loads(self._settings.get(EXPORTS, "[]"))
        return [text for text in found if isinstance(text, str)]
