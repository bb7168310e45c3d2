"""What records do to dead letters: what was set aside, taken up again, given back, given up."""

from __future__ import annotations

import msgspec

from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint.schema import seal, unseal
from odibi_actors.checkpoint.summary import summarise
from odibi_actors.checkpoint.tables import Contradiction, Letter, LetterDecoder, Tables
from odibi_actors.model import LIVE, Failure, Position, Trigger


class Letters(Tables):
    """Handlers of these records; see ``Transaction`` for their rules."""

    def _dead_letter_row(
        self,
        record: r.Revise | r.DeadLetter,
        at: str,
        positions: dict[str, list[Position]],
        trigger: Trigger,
        consumed: list[str],
        revised: int,
    ) -> None:
        failure = record.failure
        self._execute(
            "INSERT INTO dead_letters (pipeline, iteration, node, position, revised, kind, message, at, payload)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (record.pipeline, record.iteration, record.node, at, revised, failure.kind, failure.text, record.at,
             seal(Letter(failure, positions, trigger=trigger, consumed=consumed))),
        )  # fmt: skip

    def _not_taken(self, plan: r.Plan) -> dict[str, list[Position]]:
        """What lies in the letter that the iteration has taken up, of sources that are read whole by now."""
        row = self._execute(
            "SELECT id, payload FROM dead_letters WHERE pipeline = ? AND replay = ? AND state = 'replaying'",
            (plan.pipeline, plan.iteration),
        ).fetchone()
        letter = unseal(row[1], LetterDecoder, f"dead letter {row[0]}") if row is not None else None
        if letter is None or letter.consumed is None:
            return {}
        return {source: some for source, some in letter.held().items() if some and source not in plan.consumed}

    def _take_up(self, plan: r.Plan, replay: r.Replay) -> None:
        """The dead letter is on its way again; it goes when the iteration commits, and is back when that is void."""
        done = self._execute(
            "UPDATE dead_letters SET state = 'replaying', replay = ? WHERE id = ? AND pipeline = ? AND state = 'open'",
            (plan.iteration, replay.letter, plan.pipeline),
        )
        if done.rowcount == 0:
            raise Contradiction(f"pipeline {plan.pipeline}: dead letter {replay.letter} is not there to be replayed")

    def _replayed(self, key: tuple[str, int]) -> None:
        """The letter that the iteration took up is settled by it."""
        for letter, iteration in self._execute(
            "SELECT id, iteration FROM dead_letters WHERE pipeline = ? AND replay = ? AND state = 'replaying'", key
        ).fetchall():
            self._execute("UPDATE dead_letters SET state = 'replayed' WHERE id = ?", (letter,))
            self._unreferenced((key[0], iteration))

    def _unreferenced(self, key: tuple[str, int]) -> None:
        """A letter has gone: of a dead-lettered iteration that has no other the batch is not kept any more."""
        held = self._execute(
            "SELECT 1 FROM dead_letters WHERE pipeline = ? AND iteration = ? AND state <> 'replayed' LIMIT 1", key
        ).fetchone()
        whole = "SELECT 1 FROM iterations WHERE pipeline = ? AND iteration = ? AND state = 'dead_lettered'"
        if held is None and self._execute(f"{whole} AND summary IS NULL", key).fetchone():
            self.weight += summarise(self._execute, key)

    def _give_back(self, plan: r.Plan) -> bool:
        """The iteration is void, and the letter it took up is open again: returns whether there is one. What went to
        letters of its own meanwhile is there; with nothing left in it, it counts as taken up, as long as that iteration
        is not taken back."""
        row = self._execute(
            "SELECT id, payload FROM dead_letters WHERE pipeline = ? AND replay = ? AND state = 'replaying'",
            (plan.pipeline, plan.iteration),
        ).fetchone()
        if row is None:
            return False
        letter = unseal(row[1], LetterDecoder, f"dead letter {row[0]}")
        back = {(source, p.identity) for source in plan.consumed for p in plan.positions.get(source, ())}
        keeps = plan.replay is not None and plan.replay.keeps
        held = letter.held()
        gone = [
            (plan.iteration, source, p.identity)
            for source in plan.consumed
            for p in held.get(source, ())
            if (source, p.identity) not in back
        ]
        letter = msgspec.structs.replace(letter, elsewhere=[*letter.elsewhere, *gone])
        empty = bool(plan.consumed) and not back and not keeps
        self._letter_state(row[0], letter, empty)
        return not empty

    def _letter_state(self, id_: int, letter: Letter, empty: bool) -> None:
        """A letter that no iteration has taken up any more: it is open, or all that it holds is elsewhere."""
        self._execute(
            "UPDATE dead_letters SET state = ?, payload = ? WHERE id = ?",
            ("replayed" if empty else "open", seal(letter), id_),
        )

    def _discard(self, _seq: int, record: r.Discard) -> None:
        key = (record.letter, record.pipeline)
        open_ = "FROM dead_letters WHERE id = ? AND pipeline = ? AND state = 'open'"
        row = self._execute(f"SELECT iteration, payload {open_}", key).fetchone()
        if row is None:
            raise Contradiction(f"pipeline {record.pipeline}: dead letter {record.letter} is not there")
        letter = unseal(row[1], LetterDecoder, f"dead letter {record.letter}")
        given_up = letter.held()
        held = {(source, p.identity) for source, some in given_up.items() for p in some}
        rest = {s: [p for p in some if (s, p.identity) not in held] for s, some in letter.positions.items()}
        letter = msgspec.structs.replace(letter, positions=rest, discarded=given_up)
        if letter.elsewhere:
            # Given up is what lies in it; the rest is in other letters, and may be back.
            self._letter_state(record.letter, letter, empty=True)
        elif any(self._in_order(record.pipeline, source) for source in given_up):
            # No ledger has a row for each position of such a source, so the letter itself is the record.
            brief = msgspec.structs.replace(letter, failure=Failure(letter.failure.kind, ""), positions={})
            self._execute("UPDATE dead_letters SET replay = 0 WHERE id = ?", (record.letter,))
            self._letter_state(record.letter, brief, empty=True)
        else:
            self._execute(f"DELETE {open_}", key)
        self._unreferenced((record.pipeline, row[0]))

    def _in_order(self, pipeline: str, source: str) -> bool:
        """The source is read in order: it has places."""
        at = "SELECT 1 FROM places WHERE pipeline = ? AND lane = ? AND source = ? LIMIT 1"
        return self._execute(at, (pipeline, LIVE, source)).fetchone() is not None

    def _letters_rewound(self, pipeline: str, to: int, last: int) -> None:
        """Letters that the iterations taken back had taken up are open again; their own are no more."""
        self._execute(
            "DELETE FROM dead_letters WHERE pipeline = ? AND iteration > ? AND iteration <= ?", (pipeline, to, last)
        )
        for letter, payload in self._execute(
            "SELECT id, payload FROM dead_letters WHERE pipeline = ? AND replay > ? AND replay <= ?",
            (pipeline, to, last),
        ).fetchall():
            found = unseal(payload, LetterDecoder, f"dead letter {letter}")
            elsewhere = [one for one in found.elsewhere if one[0] <= to]
            self._letter_state(letter, msgspec.structs.replace(found, elsewhere=elsewhere), empty=False)
