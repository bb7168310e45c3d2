"""Pushing rows to a source of mode event; ``Client`` has these methods."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from odibi_actors.errors import BatchError, ConfigError, ConflictError, OdibiError, TimedOutError
from odibi_actors.messages import SOURCE, Push
from odibi_actors.units import plural

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

CHUNK = 1_000_000
"""Bytes of Arrow data that are pushed at once, about; a larger row goes alone."""


class EventVerbs:
    """Each raises what ``Client.request`` raises."""

    request: Callable[..., Any]
    _ask: Callable[[Push, str, str, float | None], Any]
    timeout: float | None

    def event_schema(self, source: str, timeout: float | None = -1.0) -> dict[str, Any]:
        """What a source takes: ``{"schema": {column: Arrow type}, "optional": [column], "columns": [column], "ignore":
        [column]}``, as its ``read`` says them."""
        return dict(self.request("event.schema", _named(source), SOURCE, timeout))

    def push(
        self,
        source: str,
        rows: pa.Table | pa.RecordBatch | pd.DataFrame | Sequence[Mapping[str, Any]],
        key: str | None = None,
        timeout: float | None = -1.0,
        on_wait: Callable[[str], None] | None = None,
    ) -> dict[str, int]:
        """Push rows to a source of mode event; returns once all of them are durable: ``{"rows", "events", "known"}``,
        how many rows were pushed, in how many events, and how many of these were there already.

        ``source``: "pipeline.node". ``rows``: a pandas or Arrow table, or dictionaries. ``key``: pushed again with the
        same key and the same rows within the source's ``window``, they are there once; with other rows, ConflictError.
        Without one only this call knows its rows again, when it has to ask twice. Many rows go in several events, with
        numbered keys. ``timeout`` in seconds, for each of them; ``on_wait`` is told why, when the source has to be
        waited for. Raises OdibiError: the rows do not fit the source's ``schema``, and which were taken before."""
        if key == "":
            raise ConfigError("an empty key is none: leave it out, or say one")
        table, names = table_of(rows), _named(source)
        key = key or secrets.token_hex(8)
        done = {"rows": 0, "events": 0, "known": 0}
        for number, data in enumerate(chunks(table)):
            try:
                taken = self._push(Push("", **names, data=data, key=key, part=number), timeout, on_wait)
            except OdibiError as error:
                if done["rows"] and not isinstance(error, ConflictError):
                    before = f"the first {plural(done['rows'], 'row')} were taken"
                    error.args = (f"{error}; {before}: push again with the same key, and they are not doubled",)
                raise
            done["rows"] += taken["rows"]
            done["events"] += 1
            done["known"] += taken["state"] == "known"
        return done

    def _push(self, push: Push, timeout: float | None, on_wait: Callable[[str], None] | None) -> dict[str, Any]:
        """One event, as often as it takes until there is room for it."""
        patience = self.timeout if timeout is not None and timeout < 0 else timeout
        end = None if patience is None else time.monotonic() + patience
        waited = ""
        while True:
            left = None if end is None else max(0.1, end - time.monotonic())
            asked = msgspec.structs.replace(push, id=secrets.token_hex(8))
            taken: dict[str, Any] = self._ask(asked, SOURCE, "event.push", left)
            if taken["state"] != "full":
                return taken
            if taken["why"] != waited and on_wait is not None:
                waited = taken["why"]
                on_wait(waited)
            if end is not None and time.monotonic() + taken["retry_after"] > end:
                raise TimedOutError(f"not taken yet: {taken['why']}; push again later")
            time.sleep(taken["retry_after"])


def _named(source: str) -> dict[str, str]:
    pipeline, _, node = source.partition(".")
    if not node:
        raise ConfigError(f"{source!r} names no source: write PIPELINE.NODE")
    return {"pipeline": pipeline, "source": node}


def table_of(rows: Any) -> pa.Table:
    """The same as a table, whose types are those of the values. Raises ConfigError: what would be lost or changed."""
    import pyarrow as pa

    from odibi_actors.batches.frames import from_pandas, from_rows

    if isinstance(rows, pa.Table):
        return rows
    if isinstance(rows, pa.RecordBatch):
        return pa.Table.from_batches([rows])
    try:
        return from_rows(rows) if isinstance(rows, Sequence) else from_pandas(rows)
    except (BatchError, TypeError, AttributeError) as error:
        raise ConfigError(f"rows that cannot be pushed: {error}") from error


def chunks(table: pa.Table) -> Iterator[bytes]:
    """The table in Arrow files, of the same rows whenever it is cut."""
    from odibi_actors.batches.ipc import encode

    count = max(1, -(-table.nbytes // CHUNK))
    rows = max(1, -(-table.num_rows // count))
    for begin in range(0, max(1, table.num_rows), rows):
        yield encode(table.slice(begin, rows).combine_chunks())
