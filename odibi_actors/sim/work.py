"""What a worker does to the world: it reads files, and stages and publishes parts of sinks. Here by a model of them;
``real_work`` has what does so anywhere."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from odibi_actors.config.model import WriteSpec
from odibi_actors.messages import NodeFailed, PublishDone, PublishTask, Step, Task
from odibi_actors.model import LIVE, Failure, FailureKind, PositionRead, StagedRef, Target
from odibi_actors.sim import columns, log, targets
from odibi_actors.sim.columns import MIXED, SHAPE
from odibi_actors.sim.host import Host, Output, Part, SimFile, digest_of
from odibi_actors.sim.truth import check
from odibi_actors.sources.file_position import file_times

Place = tuple[str, int, str]
"""(pipeline, iteration, sink)."""


class Killed(BaseException):
    """A worker is killed at a failpoint, whose name this is: nobody catches it."""


class Reading(NamedTuple):
    """What was read. ``shape``: columns and types of the files, b"" for headers alone."""

    rows: list[int]
    shape: bytes
    files: list[PositionRead]


def failed(host: Host, task: Task | PublishTask, node: str, failure: Failure) -> NodeFailed:
    """A node has failed just now."""
    return NodeFailed(task.attempt, task.pipeline, task.iteration, node, failure, host.world.now, 0.01, "w")


class Work:
    """Work of all workers of a life."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def read(self, task: Task, step: Step) -> Reading | NodeFailed:
        """The files of a source."""
        node = step.node
        assert node.read is not None
        rows: list[int] = []
        files: list[PositionRead] = []
        folder = self.host.folders[node.read.connection.path]
        if self.host.outside is not None and node.read.mode not in (log.MODE, "file_watch", "batch"):
            read, told = self.host.outside.read(node.read, step.positions)
            return Reading(read, step.schema or SHAPE * bool(read), told)
        there = [name for position in step.positions for name in log.records(position)]
        shape = step.schema or self.first_shape([folder[name] for name in there if name in folder])
        taking = columns.evolves(node)
        rescuing = columns.rescues(node)
        if taking:
            shape, _ = columns.taken(step.schema, [folder[name].shape for name in there if name in folder])
        if node.read.mode == log.MODE:
            return self._read_log(task, step, folder, shape)
        for position in step.positions:
            file = folder.get(position.identity)
            times = file_times(position.detail)
            same = file is not None and (file.size, file.mtime_ns) == (position.size, times.mtime_ns)
            kind: FailureKind = "changed"
            if file is None or not same or position.digest not in ("", file.digest):
                return failed(self.host, task, node.name, Failure(kind, kind, position=position.identity))
            fits = file.shape in (b"", shape) or ((taking or rescuing) and columns.columns_of(file.shape))
            other = not fits and shape != MIXED
            if file.malformed or other:
                kind = "malformed"
                failure = Failure(kind, kind, position=position.identity, line=2, schema=not file.malformed)
                return failed(self.host, task, node.name, failure)
            check(file.whole, "I1", f"{position.identity} was read before it was whole")
            rows += file.rows
            files.append(PositionRead(bytes.fromhex(file.digest), times._replace(ctime_ns=file.ctime_ns).packed()))
        return Reading(rows, shape, files)

    def _read_log(self, task: Task, step: Step, folder: dict[str, SimFile], shape: bytes) -> Reading | NodeFailed:
        """Ranges of a log: each record of each, in order."""
        rows: list[int] = []
        read: list[PositionRead] = []
        for position in step.positions:
            files = [folder[name] for name in log.records(position)]
            kind: FailureKind = "changed"
            if digest_of(b"".join(file.digest.encode() for file in files)) != position.digest:
                return failed(self.host, task, step.node.name, Failure(kind, kind, position=position.identity))
            if any(file.malformed or (file.shape not in (b"", shape) and shape != MIXED) for file in files):
                kind = "malformed"
                return failed(self.host, task, step.node.name, Failure(kind, kind, position=position.identity, line=2))
            rows += [row for file in files for row in file.rows]
            read.append(PositionRead(bytes.fromhex(position.digest), position.detail))
        return Reading(rows, shape, read)

    def first_shape(self, files: list[SimFile]) -> bytes:
        """What the files of a first batch tell of their columns and types."""
        return next((file.shape for file in files if file.shape), b"")

    def transform(self, task: Task, step: Step, inputs: dict[str, Output]) -> None:
        """A transform is run; what it gives is known."""

    def stage(self, task: Task, step: Step, output: Output) -> tuple[StagedRef, bytes] | NodeFailed:
        """The part of a sink; also the schema that it tells, b"" if none."""
        node, data = step.node, msgspec.msgpack.encode(output)
        assert node.write is not None
        if self.refused(task, step):
            return failed(self.host, task, node.name, Failure("conflict", "conflict"))
        at = node.write.target
        made = self.made(node.write, data, digest_of(data))
        self.host.owners[at] = (task.pipeline, node.name)
        staged = f"part-{task.iteration:010d}-{node.name}.{task.attempt}.staged"
        if self.host.staged.get(f"{task.pipeline}/{staged}", made).digest != made.digest:
            staged = f"{staged}-{made.digest}"  # another part of that attempt, from before an older store was put back
        self.host.staged[f"{task.pipeline}/{staged}"] = made
        target = f"part-{task.iteration:010d}{made.suffix}"
        target = f"{at}/{task.attempt}/{target}" if made.replaces else f"{at}/{target}"
        part = StagedRef(
            at,
            f"{task.pipeline}/{staged}",
            target,
            len(output.rows),
            len(data),
            made.digest,
            exclusive="mart" if self.host.together else at.name,
            retracts=True,
            replaces=made.replaces,
        )
        if columns.evolves(node):
            told, _ = columns.taken(b"" if step.open else step.schema, [columns.of_part(task.iteration)])
            return part, told if step.open or told != step.schema else b""
        # Iterations disagree about the schema of a sink, so that whether one is pinned makes a difference.
        return part, b"" if step.schema and not step.open else b"schema %d" % (task.iteration % 2)

    def suffix(self, write: WriteSpec) -> str:
        """What files of this sink end in."""
        return f".{write.format}.{write.compression}" if write.compression else f".{write.format}"

    def made(self, write: WriteSpec, data: bytes, digest: str) -> Part:
        """A part of this sink."""
        keyed, deletes = write.mode in ("upsert", "delete"), write.mode == "delete"
        return Part(data, digest, write.target, self.suffix(write), write.mode == "overwrite", keyed, deletes)

    def mixes(self, part: Part, iteration: int = 0) -> bool:
        """The target holds what such a part does not go with. ``iteration``: whose it is, once it is prepared."""
        return targets.mixes(self.host, part.at, part.replaces, part.suffix)

    def refused(self, task: Task, step: Step) -> bool:
        """The target is another's, or holds what the sink does not go with; which is noted."""
        write, sink = step.node.write, (task.pipeline, step.node.name)
        assert write is not None
        refused = targets.others(self.host, task.pipeline, step) or self.mixes(self.made(write, b"", ""))
        if refused:
            self.host.refused[sink] = write.target
        return refused

    def publish(self, task: PublishTask) -> PublishDone | NodeFailed:
        """Publish a part, discard it, or take back what was published."""
        host, place = self.host, (task.pipeline, task.iteration, task.node.name)
        done = PublishDone(task.attempt, *place, "w")
        match task.action:
            case "retract":
                self._retract(task)
            case "discard":
                self._discard(task)
            case "publish":
                if self.refuses(task) or targets.lacks(host, task) or targets.unknown(host, task):
                    return self._conflict(task)
                made = host.staged.get(task.part.staged)
                if made is not None and place not in host.visible and self.mixes(made, task.iteration):
                    host.refused[task.pipeline, task.node.name] = task.part.at
                    return self._conflict(task)
                if not self._publish(task, place):
                    return self._conflict(task)
        return done

    def refuses(self, task: PublishTask) -> bool:
        """The sink is broken."""
        return (task.pipeline, task.node.name) in self.host.broken

    def put_back(self, at: Target, count: int) -> Callable[[], None]:
        """An older copy of a target is put in its place, which lacks what was published last; the answer brings the
        newer one back, but for what was taken back meanwhile."""
        host = self.host
        newer = dict(host.visible)
        lacks = host.missing[at] = host.standing(at)[-count:]
        for place in lacks:
            del host.visible[place]

        def bring_back() -> None:
            for place in host.missing.pop(at):
                host.visible.setdefault(place, newer[place])

        return bring_back

    def fill(self, at: Target, ids: list[int]) -> None:
        """Somebody puts rows into a table by hand: there is one only where sinks are real."""

    def outside(self, path: str) -> str:
        """Where a path of the life really is."""
        return path

    def held(self, at: Target) -> bool:
        """A target has what was published there, for readers."""
        return True

    def move_away(self, place: Place) -> None:
        """Somebody moves away what was published."""
        del self.host.visible[place]

    def reset(self, pipeline: str, targets: list[Target]) -> None:
        """All that stands in these targets of a pipeline is deleted, and all that it has staged."""
        host = self.host
        for place in [place for place, part in host.visible.items() if part.at in targets]:
            del host.visible[place]
            host.took.pop(place, None)
            if place[0] != pipeline:
                host.deleted[place] = None
        for at in targets:
            host.owners.pop(at)
            host.joined.pop(at, None)
            host.current.pop(at, None)
        for path in [path for path in host.staged if path.startswith(f"{pipeline}/")]:
            del host.staged[path]

    def check(self) -> None:
        """The targets hold what was published. Raises Violation."""

    def close(self) -> None:
        """The life has ended."""

    # --- the model of a target ------------------------------------------------------------------------------------

    def _conflict(self, task: PublishTask) -> NodeFailed:
        return failed(self.host, task, task.node.name, Failure("conflict", "conflict"))

    def _publish(self, task: PublishTask, place: Place) -> bool:
        host = self.host
        part, there = host.staged.get(task.part.staged), host.visible.get(place)
        if there is not None and there.digest != task.part.digest:
            return False
        if there is None and (part is None or part.digest != task.part.digest):
            return False
        host.truth.published(*place, task.part.digest)
        host.staged.pop(task.part.staged, None)
        self._check_order(task)
        if there is None and part is not None:
            targets.check_once(host, task, part)
            host.changes += 1
            host.visible[place] = part
            if task.part.replaces:
                self._overwrite(task)
        return True

    def _discard(self, task: PublishTask) -> None:
        """Somebody may have died after it was published, and before that was told; what was overwritten stays so."""
        host, place = self.host, (task.pipeline, task.iteration, task.node.name)
        host.changes += host.staged.pop(task.part.staged, None) is not None
        lacks = host.missing.get(task.part.at, [])
        lacks[:] = [key for key in lacks if key != place]
        there = host.visible.get(place)
        if there is not None and there.digest == task.part.digest and not there.replaces:
            del host.visible[place]
            host.changes += 1
            host.world.count("published and given up")

    def _retract(self, task: PublishTask) -> None:
        host, at = self.host, task.part.at
        host.truth.retracted(task.pipeline, task.after, task.iteration)
        for key in self.retracted(task):
            del host.visible[key]
            host.changes += 1
        lacks = host.missing.get(at, [])
        lacks[:] = [key for key in lacks if key[0] != task.pipeline or not task.after < key[1] <= task.iteration]

    def retracted(self, task: PublishTask) -> list[Place]:
        """What a retraction takes back: what was appended by its name, but for numbers that are another pipeline's."""
        appended = [one for one in self.host.standing(task.part.at) if not self.host.visible[one].replaces]
        mine = [one for one in appended if one[2] == task.node.name]
        found = [place for place in mine if task.after < place[1] <= task.iteration and place[1] not in task.given_up]
        found = [one for one in found if not any(low < one[1] <= (high or one[1]) for low, high in task.spared)]
        check(all(one[0] == task.pipeline for one in found), "I3", f"{task.pipeline} takes back {found}")
        return found

    def _overwrite(self, task: PublishTask) -> None:
        """What the sink holds is replaced, never by what is older."""
        host, at = self.host, task.part.at
        name = f"{task.pipeline}/{task.iteration}/{task.node.name}"
        check(host.current.get(at, 0) < task.iteration, "I1", f"{name} replaces {host.current.get(at)}")
        check(task.lane == LIVE, "I1", f"{name} of {task.lane} replaces what is live")
        replay = host.truth.iterations[task.pipeline, task.iteration].plan.replay
        if replay is not None and not host.cumulative(task.pipeline, task.node.name):
            mine, stands = self._age(task.pipeline, task.iteration), host.standing(at)
            later = [n for who, n, _ in stands if n < task.iteration and self._age(who, n) > mine]
            check(not later and replay.whole, "I1", f"{name}, a replay of {replay.iteration}, replaces {later}")
        host.current[at] = task.iteration
        host.world.count("overwritten")

    def _age(self, pipeline: str, number: int) -> int:
        """The iteration that was planned with its data first: a replay brings those of a letter, which may be one's."""
        replay = self.host.truth.iterations[pipeline, number].plan.replay
        return number if replay is None else self._age(pipeline, replay.iteration)

    def _check_order(self, task: PublishTask) -> None:
        """A part is published after those before it in its lane. What it calls settled is so, durably: a sink deletes
        parts and markers up to there."""
        host, node = self.host, task.node.name
        mine = [(n, one) for (name, n), one in host.truth.iterations.items() if name == task.pipeline]
        for number, earlier in mine:
            if number >= task.iteration:
                continue
            settled = number > task.settled or earlier.terminal
            check(settled, "I2", f"{task.pipeline}: {number} is not settled when {task.iteration} is published")
            if earlier.plan.lane != task.lane:
                continue
            skipped = (
                earlier.state in ("cancelled", "dead_lettered", "rewound")
                or node in earlier.abandoned
                or (earlier.state in ("prepared", "blocked", "committed") and node not in earlier.sinks)
            )
            place = (task.pipeline, number, node)
            done = skipped or place in host.visible or any(place in lacks for lacks in host.missing.values())
            check(done, "I1", f"{task.pipeline}/{task.iteration}/{node} is published before {number}")
        self._check_parents(task)

    def _check_parents(self, task: PublishTask) -> None:
        """Sinks of the same database that stand before this one have published their parts, unless these are given up,
        or were refused, which may not be in the log yet."""
        host, iteration = self.host, self.host.truth.iterations[task.pipeline, task.iteration]
        standing = {*host.visible, *(place for lacks in host.missing.values() for place in lacks)}
        for name in itertools.takewhile(lambda one: one != task.node.name, iteration.sinks):
            if iteration.sinks[name].exclusive != task.part.exclusive or name in iteration.refused:
                continue
            place = (task.pipeline, task.iteration, name)
            done = place in standing or (*place, task.attempt.epoch) in host.tried
            check(done, "I1", f"{task.node.name} is published before {place}")
            host.world.count("published behind another of its database")
