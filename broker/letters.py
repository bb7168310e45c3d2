"""Dead letters taken up again, or given up for good. Part of ``flow``.

A replay is a new iteration at the tip of the lane, with the letter's files as they are now: whoever fixed one wants it
read again. Each gets a generation above the one it had, so that the ledger keeps both. The letter goes when the replay
commits (or becomes a letter itself) and is back when the replay is cancelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from odibi_actors.actor import Log
from odibi_actors.broker.iteration import Iteration
from odibi_actors.broker.pipeline import Pipeline
from odibi_actors.checkpoint import records as rec
from odibi_actors.config.patterns import shown
from odibi_actors.errors import ConflictError
from odibi_actors.kinds import letters as kinds
from odibi_actors.messages import SOURCE, STORE
from odibi_actors.model import LIVE, Position, Range, Trigger
from odibi_actors.runtime.visible import named
from odibi_actors.units import plural

if TYPE_CHECKING:
    from odibi_actors.broker.flow import Flow

Row = dict[str, Any]


class Ready(NamedTuple):
    """A letter that can be taken up: what the store and the sources said of it. ``iteration``: the one that has taken
    it up already, 0: none."""

    pipeline: Pipeline
    row: Row
    positions: dict[str, list[Position]]
    ranges: dict[str, list[Range]]
    iteration: int
    asked: list[str]

    @property
    def replay(self) -> rec.Replay:
        """What takes it up."""
        held, sources = _consumed(self.pipeline, self.row), self.pipeline.sources
        keeps = not any(held.values()) or any(some and sources[name].pinned for name, some in held.items())
        return rec.Replay(self.row["id"], self.row["iteration"], self.row["whole"], keeps)


def replay(flow: Flow, letter: int, dry_run: bool, now: float) -> Row | None:
    """Plan the letter's positions again; None while the store or the source has not answered. Raises NotFoundError and
    ConflictError."""
    ready = prepare(flow, letter, now)
    if ready is None:
        return None
    flow.asks.forget(*ready.asked)
    pipeline, number = ready.pipeline, ready.iteration
    if number:  # asked twice, or by two: it is on its way
        return {"letter": letter, "pipeline": pipeline.name, "iteration": number, "note": "taken up already"}
    files = [some for name, some in ready.positions.items() if not pipeline.sources[name].pinned]
    answer = {"letter": letter, "pipeline": pipeline.name, "files": sum(map(len, files or ready.positions.values()))}
    number = pipeline.last_iteration + 1 if dry_run else take_up(flow, ready, now)
    return {**answer, "iteration": number}


def prepare(flow: Flow, letter: int, now: float) -> Ready | None:
    """What a replay needs to know; None while the store or the source has not answered. The answers are kept: forget
    ``asked`` in the end. Raises NotFoundError and ConflictError."""
    row = _letter(flow, letter, now)
    if row is None:
        return None
    key = _key(flow, letter)
    pipeline = flow.pipelines[row["pipeline"]]
    asked = [key]
    positions: dict[str, list[Position]] = {}
    ranges: dict[str, list[Range]] = {}
    try:
        number = _taken_up(pipeline, letter, row)
        if number == 0:
            raise ConflictError(f"dead letter {letter} was discarded")
        if number is not None:
            return Ready(pipeline, row, {}, {}, number, asked)
        held = _consumed(pipeline, row)
        _check_plannable(pipeline, held)
        _check_order(pipeline, row)
        if any(source.pinned and not source.heard for source in pipeline.sources.values()):
            return None  # it tells what there is as soon as it has looked
        for name, source in pipeline.sources.items():
            if source.pinned:
                positions[name] = list(source.pending)
                continue
            former = [Position.of(position) for position in held.get(name, [])]
            asked.append(f"{key} {name}")
            others = sum(map(len, held.values())) - len(former)
            found = _as_it_is_now(flow, pipeline, name, former, asked[-1], now, others)
            if found is None:
                return None
            positions[name], read = found
            if source.ordered:
                ranges[name] = read
    except Exception:
        flow.asks.forget(*asked)
        raise
    return Ready(pipeline, row, positions, ranges, 0, asked)


def take_up(flow: Flow, ready: Ready, now: float, run: str = "") -> int:
    """Plan what is ready, for a run if one has asked for it; returns the iteration."""
    pipeline, row = ready.pipeline, ready.row
    trigger = Trigger(**row["trigger"])  # its code sees the params and the due time that it saw then
    plan = pipeline.plan(pipeline.live, ready.positions, now, ready.replay, trigger, run, ready.ranges)
    iteration = flow.start(pipeline, plan, now)
    pipeline.letters[row["id"]] = iteration.number
    return iteration.number


def discard(flow: Flow, letter: int, dry_run: bool, now: float) -> Row | None:
    """Give a letter up; its positions stay consumed. None while the store has not answered."""
    row = _letter(flow, letter, now)
    if row is None:
        return None
    key = _key(flow, letter)
    flow.asks.forget(key)
    pipeline = flow.pipelines[row["pipeline"]]
    number = _taken_up(pipeline, letter, row)
    if number:
        raise ConflictError(f"dead letter {letter} is taken up by iteration {number} of {pipeline.name}")
    if not dry_run and number is None:
        seq = flow.write(rec.Discard(pipeline=pipeline.name, letter=letter, at=now), pipeline.name)
        pipeline.letters[letter] = 0
        _gone(pipeline, rec.Replay(letter, row["iteration"], row["whole"]), seq)
    files = [
        {"source": name, "identity": one["identity"]}
        for name, some in sorted(_consumed(pipeline, row).items(), key=lambda item: item[0] != row["node"])
        for one in sorted(some, key=lambda one: one["identity"] != row["position"])
    ]
    return {"letter": letter, "pipeline": pipeline.name, "iteration": row["iteration"], "files": files}


def _consumed(pipeline: Pipeline, row: Row) -> dict[str, list[Row]]:
    """The files that lie in a letter, by source; without references, which no letter consumes. One of a former release
    does not say which these were, but as far as sources have not changed."""
    held: dict[str, list[Row]] = row["positions"]
    sources = [name for name, source in pipeline.sources.items() if not source.pinned]
    known: list[str] = sources if row.get("consumed") is None else row["consumed"]
    return {name: some for name, some in held.items() if name in known and name in pipeline.sources}


def settled(pipeline: Pipeline, iteration: Iteration, seq: int) -> None:
    """The iteration is committed, or a letter itself, with record ``seq``: the letter it took up is no more."""
    if iteration.replay is not None:
        _gone(pipeline, iteration.replay, seq)


def cancelled(flow: Flow, pipeline: Pipeline, iteration: Iteration, seq: int) -> None:
    """The iteration is void with record ``seq``: the letter it took up is there again, unless every position of it went
    to a letter of its own meanwhile."""
    if iteration.replay is None:
        return
    pipeline.letters.pop(iteration.replay.letter, None)
    flow.letters_seq = seq
    consuming = [name for name, source in pipeline.sources.items() if not source.pinned]
    if consuming and not iteration.replay.keeps and not any(iteration.positions.get(name) for name in consuming):
        _gone(pipeline, iteration.replay, seq)
        return
    former = iteration.replay
    text = f"{iteration.name} is void, and dead letter {former.letter}, which it had taken up, is open again"
    late = overtaken(pipeline, former.iteration, former.whole)
    verb = "show" if late else "replay"  # the former says what is to be done instead
    flow.say(Log("warning", f"{text}: `odibictl deadletter {verb} {former.letter}`", {"notice": True}))


def _letter(flow: Flow, letter: int, now: float) -> Row | None:
    """What the store has of a letter; None until it has answered, and knows of every cancel and rewind."""
    if flow.letters_seq > flow.journal.durable:
        return None
    return flow.asks.ask(_key(flow, letter), STORE, "deadletter.show", {"id": letter}, now)


def _key(flow: Flow, letter: int) -> str:
    # An answer from before a cancel or a rewind is not one.
    return f"letter {letter} as of {flow.letters_seq}"


def _gone(pipeline: Pipeline, letter: rec.Replay, seq: int) -> None:
    pipeline.dead_letters -= 1
    if letter.whole and letter.iteration in pipeline.kept:
        # Its batch was kept for people to look at; it goes once the record is durable.
        del pipeline.kept[letter.iteration]
        pipeline.unkept[letter.iteration] = seq


def _taken_up(pipeline: Pipeline, letter: int, row: Row) -> int | None:
    """The iteration that takes the letter up, 0 when it was discarded, None when it is open. What was done in this
    epoch may not have reached the store's answer yet."""
    return row["replay"] if row["state"] == "replaying" else pipeline.letters.get(letter)


def _check_plannable(pipeline: Pipeline, positions: Row) -> None:
    if pipeline.off or pipeline.draining or pipeline.paused or pipeline.rewind is not None:
        raise ConflictError(f"pipeline {pipeline.name} is {pipeline.state}: nothing is planned in it")
    for name, source in pipeline.sources.items():
        if source.pinned and source.problems and not source.pending:
            raise ConflictError(
                f"source {name} of {pipeline.name}: {source.problems[0]}; once that is fixed, try again"
            )
        if source.pinned and source.heard and not source.pending:
            raise ConflictError(
                f"source {name} of {pipeline.name} has no file to read: none matches {shown(source.pattern)!r}, or one "
                "is just being written; try again once it is there"
            )
        if not source.pinned and not source.known(pipeline.pins.sources) and not positions.get(name):
            raise ConflictError(
                f"source {name} of {pipeline.name} has read nothing yet, so its columns are not known, and the letter "
                "holds no file of it: try again once it has read one"
            )


def _check_order(pipeline: Pipeline, letter: Row) -> None:
    """Raise ConflictError when the replay would replace newer rows by its own, in a sink that is overwritten."""
    number = letter["iteration"]
    if late := overtaken(pipeline, number, letter["whole"]):
        held = _consumed(pipeline, letter)
        read = {name: read for name, read in kinds.reads(pipeline.spec.nodes).items() if held.get(name)}
        what = f"dead letter {letter['id']} of iteration {number} of {pipeline.name}"
        raise ConflictError(f"{what}: {kinds.remedy(read, letter['id'], late, number)}")


def overtaken(pipeline: Pipeline, number: int, whole: bool) -> kinds.Overtaken | None:
    """What stands against the replay of a letter of this iteration; see ``kinds.letters``."""
    later = pipeline.last_committed > number or any(one.number > number for one in pipeline.unfinished(LIVE))
    return kinds.overtaken(pipeline.spec, whole, later)


def _as_it_is_now(
    flow: Flow, pipeline: Pipeline, source: str, former: list[Position], key: str, now: float, others: int
) -> tuple[list[Position], list[Range]] | None:
    """The letter's files of one source, as the next generation, and what they read of a source that is read in order.
    ``others``: how many it has of other sources."""
    if not former:
        return [], []
    wanted = {"pipeline": pipeline.name, "source": source, "positions": [p.shown() for p in former]}
    answer = flow.asks.ask(key, SOURCE, "source.stat", wanted, now)
    if answer is None:
        return None
    files = {row["identity"]: Position.of(row) for row in answer["files"]}
    missing = [p.identity for p in former if p.identity not in files]
    if missing:
        left = len(former) - len(missing) + others
        rest = f" and the {plural(left, 'file')} that {'lies' if left == 1 else 'lie'} in the letter with it"
        if why := answer.get("reasons", {}).get(missing[0]):
            raise ConflictError(
                f"{named(missing[0])} of source {source} cannot be read again: {why}; `odibictl deadletter discard ID` "
                f"gives up its rows{rest if left else ''}"
            )
        raise ConflictError(
            f"{named(missing[0])} of source {source} is not there any more ({len(missing)} of {len(former)} files); "
            f"put it back{', corrected or without its rows (its header alone)' if left else ''}; `odibictl "
            f"deadletter discard ID` gives up its rows{rest if left else ''}"
        )
    read = {name: Range(one, *map(bytes.fromhex, ends)) for name, one, *ends in answer.get("ranges", [])}
    now_is = [replace(files[p.identity], generation=p.generation + 1) for p in former]
    return now_is, [read[p.identity] for p in former if p.identity in read]
