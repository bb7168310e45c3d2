"""What a simulated target says when something is to be published into it, and what must hold then: it lacks what is
missing from an older copy of it, or has what an older store knows nothing of."""

from __future__ import annotations

from zlib import crc32

from odibi_actors.messages import PublishTask
from odibi_actors.model import LIVE
from odibi_actors.sim.host import Host
from odibi_actors.sim.verdict import check


def lacks(host: Host, task: PublishTask) -> bool:
    """The target is a table in which marks tell what was published, and that of the task's ``before`` is missing.
    What was committed last is to be looked for."""
    sink = (task.pipeline, task.node.name)
    if not host.missing.get(sink) or not tells(host, task):
        return False
    if task.before and (task.pipeline, task.before, task.node.name) in host.missing[sink]:
        host.world.count("older target told")
        return True
    newest = host.truth.newest_commit.get(task.pipeline)
    if newest is not None and task.node.name in newest.sinks and task.node.name not in newest.abandoned:
        place = (task.pipeline, newest.plan.iteration, task.node.name)
        name = f"{task.pipeline}/{task.iteration}/{task.node.name}"
        check(place not in host.missing[sink], "I1", f"{name} is published, and {newest.plan.iteration} is missing")
    return False


def unknown(host: Host, task: PublishTask) -> bool:
    """The target has what the store knows nothing of, as an older copy of it was put back; nothing else brings that
    about. What is overwritten is replaced by what is newer, whoever has published it."""
    sink = (task.pipeline, task.node.name)
    if (task.pipeline, task.iteration, task.node.name) in host.visible:
        return False
    coming = dict(task.coming)
    mine = [number for name, number, one in host.visible if (name, one) == sink and number > task.upto]
    found = [n for n in mine if coming.get(n) != host.visible[task.pipeline, n, task.node.name].digest]
    if task.part.replaces:
        found = [n for n in found if n >= task.iteration]
    if found:
        name = f"{task.pipeline}/{task.iteration}/{task.node.name}"
        check(bool(host.older), "I2", f"{name}: the target has {found}, of which the store is said to know nothing")
        host.world.count("older store told")
    return bool(found)


def check_once(host: Host, task: PublishTask) -> None:
    """What was read once is published once to a sink, whatever the store has forgotten; nothing is added to what
    was made of files that are to be read again."""
    node = task.node.name
    mine = [number for name, number, sink in host.visible if (name, sink) == (task.pipeline, node)]
    forgotten = [number for number in mine if (task.pipeline, number) not in host.truth.iterations]
    where = f"{task.pipeline}/{task.iteration}/{node}"
    check(task.part.replaces or not forgotten, "I1", f"{where} is added to parts of {forgotten}, which are forgotten")
    host.took.pop((task.pipeline, task.iteration, node), None)
    if task.lane != LIVE or task.part.replaces:
        return
    host.took[task.pipeline, task.iteration, node] = took = host.truth.files_of(task.pipeline, task.iteration)
    for place in host.visible:
        if (place[0], place[2]) == (task.pipeline, node) and place[1] != task.iteration:
            twice, number = took & host.took.get(place, frozenset()), place[1]
            check(not twice, "I1", f"{where} publishes {sorted(twice)[:3]} once more, which {number} has published")


def tells(host: Host, task: PublishTask) -> bool:
    """Half of the sinks are tables, and tell what was published into them; of a folder anybody may take parts away."""
    if host.real:
        return task.part.at.sink != "local"
    return crc32(f"{task.pipeline}.{task.node.name}".encode()) % 2 == 0
