"""Where every file is: in an iteration, in a dead letter, or nowhere yet; never in two places, never in none.

Part of ``truth``, and of its own mind: each time a file is planned is an entry, and what becomes of the entry says
where the file is. Nothing is derived from what the store did; the store's tables are compared with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from odibi_actors.checkpoint import records as rec
from odibi_actors.model import LIVE
from odibi_actors.sim.log import records, within
from odibi_actors.sim.verdict import check

Place = tuple[str, str, str]
"""(pipeline, source, identity)."""

Taken = tuple[str, str, str, str, int]
"""A row of the ledger: (pipeline, lane, source, identity, iteration)."""

Held = dict[int, list[Place]]
"""Open dead letter -> the files that it holds, sorted."""


class Entry:
    """A file was planned. ``letter``: the dead letter it became, 0 for none; ``discarded``: that was given up;
    ``by``: the entry that took it out of its letter, as long as that is not void. ``position``: in which it is;
    ``ordered``: what it is in is read in order."""

    def __init__(self, place: Place, lane: str, iteration: int, position: str, ordered: bool) -> None:
        self.place, self.lane, self.iteration = place, lane, iteration
        self.position, self.ordered = position, ordered
        self.letter = 0
        self.discarded = False
        self.former: Entry | None = None
        self.whole = False  # its source reads all of its files each time by now, so that it is in no ledger
        self.by: Entry | None = None

    def __repr__(self) -> str:
        return str(self.iteration)

    @property
    def held(self) -> bool:
        """Whether the file lies in the letter."""
        return self.letter > 0 and not self.discarded and self.by is None


class Places:
    """All entries that are not void. ``ask``: the store's ledger, and the letters that it says are open with what they
    hold; None as long as nobody can be asked."""

    def __init__(self) -> None:
        self.ask: Callable[[], tuple[list[Taken], Held]] | None = None
        self._planned: dict[tuple[str, int], list[Entry]] = {}  # (pipeline, iteration) -> its entries
        self._owners: dict[tuple[str, str], dict[Place, list[Entry]]] = {}  # (pipeline, lane), oldest entry first
        self._passed: dict[tuple[str, int], list[Taken]] = {}  # what ranges of a backfill hold, and nobody reads
        self._letters = 0
        self._bare: dict[int, str] = {}  # letters of iterations that have only what is read whole, and their pipelines

    def owners(self, pipeline: str, lane: str) -> Mapping[Place, list[Entry]]:
        """Every place that a lane has taken; the last entry is the one that counts."""
        return self._owners.get((pipeline, lane), {})

    def held(self) -> Held:
        """Open dead letters."""
        found: Held = {}
        for entry in self._all():
            if entry.held:
                found.setdefault(entry.letter, []).append(entry.place)
        return {letter: sorted(places) for letter, places in sorted(found.items())}

    def set_aside(self, pipeline: str) -> list[int]:
        """Its iterations of which files lie in letters."""
        return [entry.iteration for entry in self._all() if entry.held and entry.place[0] == pipeline]

    def open(self, pipeline: str) -> list[int]:
        """Its open letters; and those that no file is in, open or not."""
        mine = [letter for letter, places in self.held().items() if places[0][0] == pipeline]
        return mine + [letter for letter, name in self._bare.items() if name == pipeline]

    def compare(self) -> None:
        """The store says the same of every file."""
        if self.ask is None:
            return
        ledger, letters = self.ask()
        mine = sorted(
            (entry.place[0], entry.lane, *entry.place[1:], entry.iteration)
            for entry in self._all()
            # What takes up a letter moves no place.
            if not entry.whole and (not entry.ordered or entry.former is None)
        )
        mine = sorted([*mine, *(row for rows in self._passed.values() for row in rows)])
        check(sorted(ledger) == mine, "I1", f"the ledger has {_differ(ledger, mine)}")
        held = self.held()
        for letter in sorted({*held, *letters}):
            found, wanted = letters.get(letter), held.get(letter, [] if letter in self._bare else None)
            check(found == wanted, "I1", f"letter {letter} holds {found}, should hold {wanted}")

    def apply(self, record: rec.AnyRecord) -> None:
        """A record that is on disk now."""
        match record:
            case rec.Plan():
                self._plan(record)
            case rec.Revise():
                for identity in record.identities:
                    self._letters += 1
                    for entry in self._planned.get((record.pipeline, record.iteration), []):
                        if (entry.place[1], entry.position) == (record.node, identity) and not entry.letter:
                            entry.letter = self._letters
            case rec.DeadLetter():
                self._letters += 1
                entries = self._planned.get((record.pipeline, record.iteration), [])
                for entry in entries:
                    entry.letter = entry.letter or self._letters
                if not entries:
                    self._bare[self._letters] = record.pipeline
            case rec.Cancel():
                for number in record.iterations:
                    self._void(record.pipeline, number, revised=False)
            case rec.Rewound():
                for number in range(record.last, record.to, -1):
                    self._void(record.pipeline, number, revised=True)
            case rec.Discard():
                held = [entry for entry in self._all() if entry.held and entry.letter == record.letter]
                known = bool(held) or record.letter in self._bare
                check(known, "I1", f"letter {record.letter} is discarded, which is not open")
                for entry in held:
                    entry.discarded = True

    def forget(self, pipeline: str) -> None:
        """Its files are nowhere, its letters no more."""
        self._planned = {key: some for key, some in self._planned.items() if key[0] != pipeline}
        self._passed = {key: some for key, some in self._passed.items() if key[0] != pipeline}
        self._owners = {key: some for key, some in self._owners.items() if key[0] != pipeline}
        self._bare = {letter: name for letter, name in self._bare.items() if name != pipeline}

    def _all(self) -> Iterator[Entry]:
        return (entry for entries in self._planned.values() for entry in entries)

    def _plan(self, plan: rec.Plan) -> None:
        name = f"{plan.pipeline}/{plan.iteration}"
        mine = self._planned.setdefault((plan.pipeline, plan.iteration), [])
        owners = self._owners.setdefault((plan.pipeline, plan.lane), {})
        taken: dict[Place, Entry] = {}
        if plan.replay is not None:
            taken = {entry.place: entry for entry in self._all() if entry.held and entry.letter == plan.replay.letter}
            known = bool(taken) or plan.replay.letter in self._bare
            check(known, "I1", f"{name} takes up {plan.replay}, which is not open")
        for source, some in plan.ranges.items():
            found = [records(position) for position in plan.positions[source]]
            names = [within(one) for one in some]  # the ends of a range of a table do not say
            planned = [read if name is None else name for read, name in zip(found, names, strict=True)]
            fits = [whole[len(whole) - len(read) :] for whole, read in zip(planned, found, strict=True)]
            exact = fits if plan.lane != LIVE else planned  # a backfill passes over what was set aside
            check(found == exact and all(found), "I1", f"{name}: {source} reads {found}, and plans {planned}")
            passed = self._passed.setdefault((plan.pipeline, plan.iteration), [])
            for whole, read in zip(planned, found, strict=True):
                passed += [(plan.pipeline, plan.lane, source, one, plan.iteration) for one in whole if one not in read]
        for source in plan.consumed:
            for position, identity in ((p, r) for p in plan.positions.get(source, ()) for r in records(p)):
                place, ordered = (plan.pipeline, source, identity), source in plan.ranges
                entry = Entry(place, plan.lane, plan.iteration, position.identity, ordered)
                entry.former = taken.pop(entry.place, None)
                before = owners.setdefault(entry.place, [])
                free = not before or before[-1] is entry.former
                check(free, "I1", f"{entry.place} is planned in {name} and {before[-1:]} of lane {plan.lane}")
                if entry.former is not None:
                    entry.former.by = entry
                before.append(entry)
                mine.append(entry)
        for entry in [one for place, one in taken.items() if place[1] not in plan.consumed]:
            mine.append(part := Entry(entry.place, plan.lane, plan.iteration, entry.position, entry.ordered))
            part.former, part.whole, entry.by = taken.pop(entry.place), True, part
        check(not taken, "I1", f"{name} takes up {plan.replay}, and leaves {[*taken][:5]} of it")

    def _void(self, pipeline: str, number: int, revised: bool) -> None:
        """The iteration is void; ``revised``: so are the letters of files that were taken out of it."""
        entries = self._planned.pop((pipeline, number), [])
        self._passed.pop((pipeline, number), None)
        gone = [entry for entry in entries if revised or not entry.letter]
        if len(gone) < len(entries):
            self._planned[pipeline, number] = [entry for entry in entries if entry not in gone]
        for entry in gone:
            if entry.former is not None:
                entry.former.by = None
            if entry.whole:
                continue
            owners = self._owners[pipeline, entry.lane]
            owners[entry.place].remove(entry)
            if not owners[entry.place]:
                del owners[entry.place]


def _differ(found: list[Taken], wanted: list[Taken]) -> str:
    more, less = sorted({*found} - {*wanted}), sorted({*wanted} - {*found})
    return f"{more[:5]} and should not, and not {less[:5]}"
