"""From what is known of a table to pieces of whole watermarks that fit into an iteration."""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

from odibi_actors.sources.query.marks import MAX_KNOWN, Mark, beyond, merged
from odibi_actors.sources.query.statements import Limit, Statements, Value
from odibi_actors.sources.query.watermarks import before


class Cut(NamedTuple):
    """The rows behind ``low``, up to ``high``, with how many there are."""

    low: Mark
    high: Mark
    rows: int


class Middle(NamedTuple):
    """A range is its middle, of which each row is read, and its edges, of which rows are known one by one: ``behind``
    the mark where it begins, ``last`` before that where it ends. None: there is no such edge."""

    middle: list[Limit]
    behind: list[Limit] | None
    last: list[Limit] | None

    @property
    def span(self) -> list[Limit]:
        """All three together."""
        first = self.behind[:1] if self.behind is not None else [one for one in self.middle if one.compare[0] == ">"]
        return [*first, self.last[1] if self.last is not None else self.middle[-1]]


def parts(low: Mark, high: Mark, initial: Value | None) -> Middle:
    """The parts of a range. What ``low`` cannot tell of, as it was made when ``lag`` reached less far, is in none."""
    middle, behind, last = list[Limit](), None, None
    if low.text is None:
        middle = [Limit(">=", initial)] if initial is not None else []
    else:
        at = Value(low.sort, low.text)
        middle = [Limit(">", at)]
        if low.known is not None:
            behind = [Limit(">=", Value(low.sort, low.floor)), Limit("<=", at)]
    assert high.text is not None
    end = Value(high.sort, high.text)
    if high.known is None:
        middle.append(Limit("<=", end))
    else:
        floor = Value(high.sort, high.floor)
        last = [_from(low, floor), Limit("<=", end)]
        middle.append(Limit("<", floor))
        if behind is not None:
            behind.append(Limit("<", floor))
    return Middle(middle, behind, last)


def _from(low: Mark, floor: Value) -> Limit:
    """Where rows begin that may be new: those that ``low`` tells apart, or all behind it."""
    if not unknown(low, floor):
        return Limit(">=", floor)
    return Limit(">", Value(low.sort, low.text or "")) if low.known is None else Limit(">=", Value(low.sort, low.floor))


def unknown(low: Mark, floor: Value) -> bool:
    """Whether a floor is below what a mark tells of: before it ``low`` knows no row, though all were looked at once."""
    if low.text is None:
        return False
    if low.known is None:
        return floor.key <= low.key
    return floor.key < Value(low.sort, low.floor).key


def widened(low: Mark, high: Mark) -> bool:
    """Whether ``high`` knows rows of which ``low`` cannot tell whether they were read: ``lag`` reaches further."""
    return high.known is not None and unknown(low, Value(high.sort, high.floor))


class Cutter:
    """Cuts what one look sees. ``lag``: see ``watermarks.before``; ``initial``: where reading begins."""

    def __init__(self, statements: Statements, lag: str, initial: Value | None) -> None:
        self._ask = statements
        self._lag = lag
        self._initial = initial

    def top(self, low: Mark, bound: Value) -> tuple[Mark, str]:
        """The mark at ``bound``, and why it does not reach as far as that: more rows share the last watermarks than can
        be known one by one. Never before ``low``. Raises Unordered."""
        if low.text is not None and bound.key <= low.key:
            if low.known is None:
                return low, ""
            bound = Value(low.sort, low.text)
        floor = Value(bound.sort, before(*bound, self._lag) if self._lag else bound.text)
        if self._initial is not None and self._initial.key > floor.key:
            floor = self._initial
        now = list(islice(self._ask.digests(Limit(">=", floor), Limit("<=", bound)), 2 * MAX_KNOWN + 1))
        known = tuple(sorted(now))
        if low.known is not None and low.key == bound.key:
            known = merged(low.known, beyond(now, low.known))
        if len(known) <= MAX_KNOWN:
            return Mark(bound.sort, bound.text, floor.text, known), ""
        within = f"from {floor.text} on, which `lag` looks at again" if self._lag else f"with the last, {bound.text}"
        held = f"more than {MAX_KNOWN:,} rows {within}: more may come to them; read once there is a greater watermark"
        below = self._ask.greatest(*([Limit(">=", self._initial)] if self._initial else []), Limit("<", floor))
        if below is None or (low.text is not None and below.key <= low.key):
            return low, held
        return Mark(below.sort, below.text), held

    def cuts(self, low: Mark, high: Mark, rows: int, credit: int, *, empty: bool = False) -> tuple[list[Cut], bool]:
        """Pieces of at most so many rows from ``low`` to ``high``, unless one watermark alone has more; and whether
        more is behind them. ``empty``: rows that ``high`` knows may be gone, and the last piece is there even if it has
        none."""
        found: list[Cut] = []
        while low != high:
            if len(found) >= credit:
                return found, True
            cut = self._cut(low, high, rows, empty)
            # From then on the rows within a wider lag are known, though none of them is read.
            if cut.rows or empty or (widened(low, cut.high) and low.packed() < cut.high.packed()):
                found.append(cut)
            low = cut.high
        return found, False

    def rows(self, low: Mark, high: Mark) -> int:
        """How many rows a range has now."""
        limits = parts(low, high, self._initial)
        return self._late(low, limits) + self._ask.count(*limits.middle) + self._last(low, high, limits, True)

    def _late(self, low: Mark, limits: Middle) -> int:
        """Rows that came behind a mark since."""
        if limits.behind is None:
            return 0
        return sum(beyond(self._ask.digests(*limits.behind), low.known or ()).values())

    def _last(self, low: Mark, high: Mark, limits: Middle, gone: bool) -> int:
        """Rows that ``high`` knows and ``low`` does not; ``gone``: they may be."""
        if limits.last is None:
            return 0
        known = beyond(high.known or (), low.known or ())
        if gone or widened(low, high):
            known &= beyond(self._ask.digests(*limits.last), low.known or ())
        return sum(known.values())

    def _cut(self, low: Mark, high: Mark, rows: int, gone: bool) -> Cut:
        limits = parts(low, high, self._initial)
        late, middle = self._late(low, limits), self._ask.count(*limits.middle)
        last = self._last(low, high, limits, gone)
        if late + middle + last <= rows or not late + middle or _overlap(low, high):
            return Cut(low, high, late + middle + last)
        alone = Cut(low, Mark(low.sort, low.text), late)  # what came late goes by itself
        if late >= rows or not middle:
            return alone
        end = self._ask.at(min(rows - late, middle) - 1, *limits.middle)
        assert end is not None
        count = self._ask.count(*limits.middle, Limit("<=", end))
        if count > rows - late:
            less = self._ask.greatest(*limits.middle, Limit("<", end))
            if less is not None:
                end, count = less, self._ask.count(*limits.middle, Limit("<=", less))
            elif late:
                return alone
        if high.known is None and end.key == high.key:
            return Cut(low, high, late + count)
        return Cut(low, Mark(end.sort, end.text), late + count)


def _overlap(low: Mark, high: Mark) -> bool:
    """Whether rows that one mark knows are among those of the other: between such marks there is no third."""
    if low.text is None or low.known is None or high.known is None:
        return False
    return Value(high.sort, high.floor).key <= low.key
