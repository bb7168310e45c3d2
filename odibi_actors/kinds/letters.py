"""What is to be done about a dead letter: one text, wherever one is told of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from odibi_actors.errors import ConfigError
from odibi_actors.kinds.registry import sink_of, source_of
from odibi_actors.kinds.source import Amending, Fillable
from odibi_actors.units import naming, plural

if TYPE_CHECKING:
    from odibi_actors.config.model import NodeSpec, PipelineSpec, ReadSpec

REPLAY, DISCARD = "`odibictl deadletter replay {}`", "`odibictl deadletter discard {}`"
"""The two verbs, for the letter's number."""

ID = "ID"
"""What stands for that number where a text is about letters in general."""

BEFORE = "--to N`"
"""What stands there for the iteration before the letter's, to which a rewind goes."""

NAMED = 8
"""Letters of one remedy that are named in it; of more it has the number."""


def reads(nodes: list[NodeSpec]) -> dict[str, ReadSpec]:
    """What may lie in letters of a pipeline, by source: none of references."""
    return {node.name: node.read for node in nodes if node.read is not None and not node.read.pinned}


class Overtaken(NamedTuple):
    """Why a letter is not to be replayed: ``sink`` would hold it in the place of ``what``. ``rewind``: the verb that
    reads again in order, "" where a sink forbids it."""

    sink: str
    what: str
    rewind: str


def overtaken(spec: PipelineSpec, whole: bool, later: bool) -> Overtaken | None:
    """What stands against the replay of a letter, which holds its iteration as a ``whole`` or not; ``later``: another
    iteration of its pipeline is committed or under way. None: nothing. One of the newest iteration as a whole is the
    newest batch."""
    sinks = spec.newest_only
    if not sinks or (whole and not later):
        return None
    rewind = "" if appending(spec) else f"`odibictl pipeline rewind {spec.name} {BEFORE}"
    return Overtaken(sinks[0], "what later ones bring" if later else "the rest of its own", rewind)


def appending(spec: PipelineSpec) -> list[str]:
    """Sinks that add what cannot be taken back, so that no rewind goes below what they have published."""
    found = []
    for node in spec.nodes:
        if node.write is not None and node.write.mode == "append":
            try:
                kind = sink_of(node.write.target.sink)
            except ConfigError:
                continue  # not installed any more: nobody knows
            found += [node.name] if kind.unit == "row" else []
    return found


def remedy(
    sources: Mapping[str, ReadSpec], letter: int | str = ID, late: Overtaken | None = None, iteration: int = 0
) -> str:
    """What is to be done about a letter in which positions of these sources lie. ``late``: what stands against its
    replay; ``iteration``: its own, 0 for letters in general."""
    again, gone = REPLAY.format(letter), DISCARD.format(letter)
    if late is not None:
        return _anew(sources, gone, late).replace(BEFORE, f"--to {iteration - 1}`" if iteration else BEFORE)
    wrong: dict[str, list[str]] = {}
    for name, read in sources.items():
        if text := amending(read):
            wrong.setdefault(text, []).append(name)
    if not wrong:
        return f"fix it and {again}, or give it up with {gone}"
    others = [name for name in sources if not any(name in some for some in wrong.values())]
    single = len(wrong) == 1 and not others
    told = [f"if rows{'' if single else f' of {naming(some)}'} are wrong, {text}" for text, some in wrong.items()]
    rest = f", give the files of {naming(others)} that lie in it other names" if others else ""
    return f"{', '.join(told)}{rest} and {gone}; if the pipeline is wrong, fix that and {again}"


def _anew(sources: Mapping[str, ReadSpec], gone: str, late: Overtaken) -> str:
    """Its rows as the newest batch, as they cannot be read in their order."""
    ways: dict[str, list[str]] = {}
    for name, read in sources.items():
        ways.setdefault(amending(read) or _afresh(read), []).append(name)
    told = [f"{'' if len(ways) == 1 else f'for {naming(some)} '}{text}" for text, some in ways.items()]
    back = f"; or fix what is wrong and {late.rewind} reads again in order" if late.rewind else ""
    return (
        f"sink {late.sink} is overwritten by each iteration, and a replay would replace {late.what}: to have the rows "
        f"all the same, as the newest batch, {', '.join(told)} and {gone}{back}"
    )


def _afresh(read: ReadSpec) -> str:
    if read.of_table is not None:
        return "correct them in their table under a greater watermark"
    return "write them corrected to a file of another name"


def remedies(letters: Iterable[Mapping[str, Any]], replay: str = REPLAY) -> dict[str, str]:
    """The remedies of rows of ``deadletter.list`` that are open, those that are alike once, by the letters that they
    are for. ``replay``: the command that takes one up again, for its number."""
    alike: dict[str, dict[int, int]] = {}
    for row in letters:
        if row["state"] == "open" and (text := row.get("remedy")):  # a former broker tells none
            alike.setdefault(text, {})[row["id"]] = row["iteration"]
    told: dict[str, str] = {}
    for text, numbers in alike.items():
        few = len(numbers) <= NAMED
        which = ",".join(map(str, sorted(numbers))) if few else ID
        said = text.replace(REPLAY.format(ID), replay.format(ID)).replace(f" {ID}`", f" {which}`")
        said = said.replace(BEFORE, f"--to {min(numbers.values()) - 1}`")  # below all of them
        told[which if few else f"{plural(len(numbers), 'letter')} from {min(numbers)} to {max(numbers)}"] = said
    return told


def told(found: Mapping[str, str]) -> str:
    """Remedies in one text: where there are several, each with the letters that it is for."""
    return ". ".join(found.values() if len(found) == 1 else (f"{which}: {text}" for which, text in found.items()))


def amending(read: ReadSpec) -> str:
    """How wrong rows of a source are corrected that cannot be put right where they are; "" where they can be."""
    try:
        kind = source_of(read.mode)
    except ConfigError:
        return ""  # not installed any more: what it read before is told all the same
    return kind.amending(read) if isinstance(kind, Amending) else ""


def kept(read: ReadSpec) -> bool:
    """Whether a source keeps what it has taken in as it is, in a log of its own: nothing that is done outside changes
    what an iteration reads of it."""
    try:
        return isinstance(source_of(read.mode), Fillable)
    except ConfigError:
        return False  # not installed any more
