"""The SQL of a look: what is asked of a table or query about rows between two watermarks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from odibi_actors.config.model import ReadSpec
from odibi_actors.kinds.dialect import BEHIND, LAST, Measure, Session, Unreadable
from odibi_actors.sources.query.marks import Mark, digest_of
from odibi_actors.sources.query.watermarks import Sort, Unordered, key

SAMPLE = 100
"""Rows by which it is told how large others are."""


class Value(NamedTuple):
    """A watermark."""

    sort: Sort
    text: str

    @property
    def key(self) -> bytes:
        """See ``watermarks.key``."""
        return key(self.sort, self.text)


class Limit(NamedTuple):
    """Of the watermark: ``>``, ``>=``, ``<`` or ``<=`` than ``value``."""

    compare: str
    value: Value


RANGE = ".."
"""Between the watermarks of a part, as a backfill reads it: ``2025-01-01..2025-02-01``, without the second."""
_NUMERAL = re.compile(r"-?\d+(\.\d+)?", re.ASCII)


def ends_of(text: str) -> tuple[str, str] | None:
    """The two ends of a part of a table, "" where it has none; None: the text is no such part."""
    if text == "*":
        return "", ""
    first, sign, last = text.partition(RANGE)
    return (first.strip(), last.strip()) if sign and RANGE not in last and (first.strip() or last.strip()) else None


def what(read: ReadSpec) -> str:
    """What is read, in messages; the partition too."""
    return read.table.table or "query"


class Statements:
    """About one relation, in one session. Raises Unreadable: it has no such columns, or none that are ordered."""

    def __init__(self, session: Session, read: ReadSpec) -> None:
        self._session = session
        self.read = read
        self.relation = session.relation(read)
        self.columns = session.columns(self.relation)
        named = {column.name: column for column in self.columns}
        for name in (read.table.watermark_column, *read.table.keys):
            if name not in named:
                known = ", ".join(named)
                raise Unreadable(f"{what(read)} has no column {name!r}; it has: {known}")
        watermark = named[read.table.watermark_column]
        self.measure: Measure = session.measure(watermark)
        known_by = (
            [named[name] for name in dict.fromkeys((*read.table.keys, watermark.name))]
            if read.table.keys
            else self.columns
        )
        self.known_by = session.row(known_by)
        self._within: list[Limit] = []

    # --- questions ------------------------------------------------------------------------------------------------

    def greatest(self, *limits: Limit) -> Value | None:
        """The greatest watermark within these limits."""
        return self._one(f"order by {self.measure.compared} desc limit 1", limits)

    def at(self, place: int, *limits: Limit) -> Value | None:
        """The watermark of the row with that many before it, in order."""
        return self._one(f"order by {self.measure.compared} limit 1 offset {place}", limits)

    def count(self, *limits: Limit) -> int:
        """Rows within these limits."""
        where, parameters = self._where(limits)
        ((count,),) = self._session.rows(f"select count(*) from {self.relation} where {where}", parameters)
        return int(count)

    def without(self) -> int:
        """Rows without a watermark."""
        where = f"{self.measure.compared} is null"
        ((count,),) = self._session.rows(f"select count(*) from {self.relation} where {where}")
        return int(count)

    def digests(self, *limits: Limit) -> Iterator[bytes]:
        """By what the rows within these limits are known again."""
        where, parameters = self._where(limits)
        sql = f"select {self.known_by} from {self.relation} where {where}"
        for (row,) in self._session.rows(sql, parameters, many=True):
            yield digest_of(row)

    def size(self, *limits: Limit) -> float:
        """Bytes of a row, about: the mean of the first."""
        where, parameters = self._where(limits)
        first = f"select * from {self.relation} where {where} order by {self.measure.compared} limit {SAMPLE}"
        sql = f"select avg({self._session.size(self.columns)}) from ({first}) as odibi_sample"
        ((mean,),) = self._session.rows(sql, parameters)
        return float(mean or 0)

    def select(
        self,
        columns: Sequence[str],
        span: Sequence[Limit],
        behind: Sequence[Limit] | None,
        last: Sequence[Limit] | None,
    ) -> tuple[str, list[Any]]:
        """A statement for rows in order, ``columns`` as they are selected; what is at an edge says what it is known
        by."""
        selected, parameters = list(columns), list[Any]()
        for name, edge in ((BEHIND, behind), (LAST, last)):
            known = "null"
            if edge is not None:
                where, more = self._where(edge)
                known = f"case when {where} then {self.known_by} end"
                parameters += more
            selected.append(f"{known} as {name}")
        where, more = self._where(span)
        order = f"order by {self.measure.compared}"
        return f"select {', '.join(selected)} from {self.relation} where {where} {order}", [*parameters, *more]

    # --- parts ----------------------------------------------------------------------------------------------------

    def value(self, found: Any) -> Value:
        """A watermark as the database has told it. Raises Unreadable."""
        sort = self.measure.sort
        if sort is None:
            if isinstance(found, bool) or not isinstance(found, int | float | str):
                raise self._unordered(f"{found!r:.40} is neither a number nor a text")
            sort, found = ("text", found) if isinstance(found, str) else ("number", repr(found))
        made = Value(sort, str(found))
        try:
            made.key  # noqa: B018 - whether it has one
        except Unordered as error:
            raise self._unordered(str(error)) from None
        return made

    def _unordered(self, why: str) -> Unreadable:
        return Unreadable(f"{what(self.read)}, column {self.read.table.watermark_column!r}: a watermark {why}")

    def _one(self, order: str, limits: Sequence[Limit]) -> Value | None:
        where, parameters = self._where(limits)
        sql = f"select {self.measure.shown} from {self.relation} where {where} {order}"
        found = next(iter(self._session.rows(sql, parameters)), None)
        return None if found is None else self.value(found[0])

    def within(self, text: str) -> None:
        """From now on it is about this part alone (see ``ends_of``). Raises Unreadable."""
        ends = ends_of(text)
        if ends is None:
            raise Unreadable(f"{text!r} is no part of {what(self.read)}: write FROM{RANGE}TO, watermarks, or *")
        number = self.measure.sort is None and all(_NUMERAL.fullmatch(end) for end in ends if end)
        sort: Sort = self.measure.sort or ("number" if number else "text")
        self._within = [Limit(one, Value(sort, end)) for one, end in zip((">=", "<"), ends, strict=True) if end]

    def _where(self, limits: Sequence[Limit]) -> tuple[str, list[Any]]:
        limits = [*limits, *self._within]
        compared, value = self.measure.compared, self.measure.value
        parts = [f"{compared} {limit.compare} {value}" for limit in limits] or [f"{compared} is not null"]
        return " and ".join(parts), [self._session.parameter(*limit.value) for limit in limits]


def check_sort(ask: Statements, *marks: Mark) -> None:
    """Raise Unreadable where marks are of another sort than the column is now."""
    sort = ask.measure.sort
    for one in marks:
        if sort is not None and one.text is not None and one.sort != sort:
            raise Unreadable(mixed(ask.read, one.sort, sort))


def mixed(read: ReadSpec, former: Sort, now: Sort) -> str:
    """What is wrong where watermarks are of another sort than those that were read."""
    column = f"{what(read)}, column {read.table.watermark_column!r}"
    told = "so nothing tells what is new; `odibictl reset PIPELINE` starts over"
    return f"{column}: was read as {former}, is {now} now, {told}"


def initial_of(text: str, like: Mark) -> Value | None:
    """Where reading begins; its sort is that of the column's values."""
    return Value(like.sort, text) if text else None
