"""How schemas become others by themselves, as the log tells it (``on_schema_change``): they grow at their end only, by
what an iteration has brought that may still be committed; and whoever is prepared has what it was read with.

Part of ``pins``. What becomes of a schema when its teller is void is said here once more, and compared with the store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from msgspec.structs import replace

from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import PipelineSpec
from odibi_actors.sim.columns import columns_of, shape_of
from odibi_actors.sim.planned import Planned
from odibi_actors.sim.verdict import check

Iterations = Mapping[tuple[str, int], Planned]


class Era(NamedTuple):
    """Since ``iteration`` there are columns behind the first ``known``."""

    iteration: int
    known: int


def eras_of(pin: rec.Schema) -> list[Era]:
    """Of a pin, those that have brought columns."""
    return [Era(one.iteration, one.columns) for one in pin.history if one.before]


def grown(former: rec.Schema, record: rec.Schema, iterations: Iterations) -> bool:
    """Whether the record says the former schema with more behind it. Raises Violation where nobody has brought that
    who could."""
    before, after = columns_of(former.arrow), columns_of(record.arrow)
    if not before or after[: len(before)] != before or len(after) == len(before):
        return False
    name = f"{record.pipeline}.{record.node}"
    era = eras_of(record)[-1:]
    check([one.known for one in era] == [len(before)], "I1", f"{name} becomes {after}, and its history has {era}")
    told = [change.column for one in record.history[-1:] for change in one.changes if change.change == "new"]
    check(told == after[len(before) :], "I1", f"{name} becomes {after}, and was {before}; told are {told}")
    by = iterations.get((record.pipeline, era[0].iteration))
    check(by is not None and not by.terminal, "I1", f"{name} becomes {after} by {era[0].iteration}, which is over")
    return True


def cut(pin: rec.Schema, void: Callable[[int], bool]) -> rec.Schema:
    """The pin without what a void iteration has brought, and all behind that."""
    for era in eras_of(pin):
        if void(era.iteration):
            place = next(n for n, one in enumerate(pin.history) if (one.iteration, one.columns) == era and one.before)
            columns = columns_of(pin.arrow)[: era.known]
            kept = [one for one in pin.history[:place] if not void(one.iteration)]
            return replace(pin, arrow=shape_of(columns), text=pin.text[: era.known], history=kept)
    return replace(pin, history=[one for one in pin.history if not void(one.iteration)])


def prepared(pin: rec.Schema, record: rec.Prepare, iterations: Iterations) -> None:
    """Whoever is prepared goes on by itself: none of the columns that it has is that of one who may come to nothing."""
    name = f"{record.pipeline}/{record.iteration}"
    for era in eras_of(pin):
        by = iterations.get((record.pipeline, era.iteration))
        sure = era.iteration == record.iteration or by is None or by.terminal or by.state in ("prepared", "blocked")
        what = f"{name} rolls on with columns of {pin.node} that {era.iteration} has brought"
        check(sure and era.iteration <= record.iteration, "I1", f"{what}, which is {by and by.state}")


class Policies:
    """What is done about files of other columns. ``wrong``: whether the columns are all that is wrong with a file, by
    (pipeline, source, identity)."""

    def __init__(self) -> None:
        self.wrong: Callable[[str, str, str], bool] = lambda _pipeline, _source, _identity: False
        self._errors: dict[tuple[str, int], rec.Error] = {}

    def apply(self, record: rec.AnyRecord, spec: Callable[[str], PipelineSpec], iterations: Iterations) -> None:
        """A record that is on disk now, before it is applied to all else."""
        match record:
            case rec.Error():
                self._errors[record.pipeline, record.iteration] = record
            case rec.Revise():
                for one in record.identities:
                    self._judge(spec(record.pipeline), record.iteration, record.node, one, "dead_letter", iterations)
            case rec.Fail():
                error = self._errors.get((record.pipeline, record.iteration))
                if error is not None and error.failure.kind == "malformed":
                    where = (record.iteration, record.node, error.failure.position)
                    self._judge(spec(record.pipeline), *where, "halt", iterations)

    def _judge(
        self, spec: PipelineSpec, number: int, source: str, identity: str, done: str, iterations: Iterations
    ) -> None:
        if not self.wrong(spec.name, source, identity):
            return
        read = next((node.read for node in spec.nodes if node.name == source), None)
        if read is None or read.pinned or iterations[spec.name, number].plan.lane != "live":
            return
        wanted = read.on_schema_change or spec.on_error
        if wanted == "evolve":
            wanted = spec.on_error
        name = f"{spec.name}/{number}: {identity} of {source} has other columns"
        check(wanted == done, "I5", f"{name}: {done}, and its policy is {wanted}")
