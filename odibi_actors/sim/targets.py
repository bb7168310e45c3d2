"""What a simulated target says when something is to be published into it, and what must hold then: it lacks what is
missing from an older copy of it, has what an older store knows nothing of, or holds what the sink's mode or format
does not go with."""

from __future__ import annotations

from zlib import crc32

from odibi_actors.messages import PublishTask, Step
from odibi_actors.model import LIVE, Target
from odibi_actors.sim.host import Host, Part
from odibi_actors.sim.verdict import check


def resettle(host: Host) -> None:
    """Something was moved away by hand: what is overwritten holds the newest of what is left."""
    for at in [*host.current]:
        left = [number for _, number, _ in host.standing(at)]
        if left:
            host.current[at] = max(left)
        else:
            del host.current[at]


def lacks(host: Host, task: PublishTask) -> bool:
    """The target is a table in which marks tell what was published, and that of the task's ``before`` is missing.
    What was committed last is to be looked for."""
    missing = host.missing.get(task.part.at)
    if not missing or not tells(host, task):
        return False
    if task.before and task.before in [place[1] for place in missing]:
        host.world.count("older target told")
        return True
    newest = host.truth.newest_commit.get(task.pipeline)
    sink = task.node.name
    if newest is not None and not task.before <= newest.plan.iteration <= task.settled:
        newest = (
            None  # it was committed, in another lane, since the task was given; or something was published behind it
        )
    if newest is not None and sink in newest.sinks and sink not in newest.abandoned and newest.sinks[sink].rows:
        place = (task.pipeline, newest.plan.iteration, sink)
        name = f"{task.pipeline}/{task.iteration}/{sink}"
        known = not host.truth.pins.fresh(task.pipeline, sink, task.iteration)
        check(not known or place not in missing, "I1", f"{name} is published, and {newest.plan.iteration} is missing")
    return False


def unknown(host: Host, task: PublishTask) -> bool:
    """The target has what the store knows nothing of, as an older copy of it was put back; nothing else brings that
    about. What is overwritten is replaced by what is newer, whoever has published it."""
    if (task.pipeline, task.iteration, task.node.name) in host.visible:
        return False
    coming = dict(task.coming)
    standing = [place for at in beside(host, task.part.at) for place in host.standing(at)]
    mine = {n: host.visible[p, n, s].digest for p, n, s in standing if n > task.upto and s == task.node.name}
    found = [number for number, digest in mine.items() if coming.get(number) != digest]
    if task.part.replaces:
        found = [n for n in found if n >= task.iteration]
    if found:
        name = f"{task.pipeline}/{task.iteration}/{task.node.name}"
        check(bool(host.older), "I2", f"{name}: the target has {found}, of which the store is said to know nothing")
        host.world.count("older store told")
    return bool(found)


def beside(host: Host, at: Target) -> list[Target]:
    """The tables of its database, of which marks do not say which it was."""
    return [one for one in host.owners if one.connection == at.connection] if at.connection else [at]


def check_once(host: Host, task: PublishTask, part: Part) -> None:
    """What was read once is published once to a sink, whatever the store has forgotten; nothing is added to what
    was made of files that are to be read again."""
    node = task.node.name
    mine = [place[:2] for place in host.standing(task.part.at)]
    known = host.truth.iterations.keys() | host.truth.passed_over.keys()
    forgotten = [number for name, number in mine if (name, number) not in known]
    where = f"{task.pipeline}/{task.iteration}/{node}"
    again = part.replaces or part.keyed
    check(again or not forgotten, "I1", f"{where} is added to parts of {forgotten}, which are forgotten")
    host.took.pop((task.pipeline, task.iteration, node), None)
    if task.lane != LIVE or again:
        return
    host.took[task.pipeline, task.iteration, node] = took = host.truth.files_of(task.pipeline, task.iteration)
    for place in host.standing(task.part.at):
        if place[0] == task.pipeline and place[1] != task.iteration:
            twice, number = took & host.took.get(place, frozenset()), place[1]
            check(not twice, "I1", f"{where} publishes {sorted(twice)[:3]} once more, which {number} has published")


def tells(host: Host, task: PublishTask) -> bool:
    """Half of the sinks are tables, and tell what was published into them; of a folder anybody may take parts away."""
    if host.real:
        return task.part.at.sink != "local"
    return crc32(task.part.at.name.encode()) % 2 == 0


# --- what goes together --------------------------------------------------------------------------------------------


def others(host: Host, pipeline: str, step: Step) -> bool:
    """The target is another sink's, from which this one has not taken it over."""
    assert step.node.write is not None
    owner = host.owners.get(step.node.write.target)
    return owner not in (None, (pipeline, step.node.name), *step.former)


def mixes(host: Host, at: Target, replaces: bool, suffix: str) -> bool:
    """The folder holds what a sink of this mode, or files that end so, do not go with."""
    appended = [host.visible[place] for place in host.standing(at) if not host.visible[place].replaces]
    if replaces:
        return bool(appended)
    return at in host.current or any(part.suffix != suffix for part in appended)
