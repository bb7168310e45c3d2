"""What is to be done about a dead letter: one text, wherever one is told of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from odibi_actors.errors import ConfigError
from odibi_actors.kinds.registry import source_of
from odibi_actors.kinds.source import Amending, Fillable
from odibi_actors.units import naming

if TYPE_CHECKING:
    from odibi_actors.config.model import NodeSpec, ReadSpec

REPLAY, DISCARD = "`odibictl deadletter replay {}`", "`odibictl deadletter discard {}`"
"""The two verbs, for the letter's number."""

ID = "ID"
"""What stands for that number where a text is about letters in general."""

NAMED = 8
"""Letters of one remedy that are named in it; of more it has the number."""


def reads(nodes: list[NodeSpec]) -> dict[str, ReadSpec]:
    """What may lie in letters of a pipeline, by source: none of references."""
    return {node.name: node.read for node in nodes if node.read is not None and not node.read.pinned}


def remedy(sources: Mapping[str, ReadSpec], letter: int | str = ID) -> str:
    """What is to be done about a letter in which positions of these sources lie."""
    again, gone = REPLAY.format(letter), DISCARD.format(letter)
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


def remedies(letters: Iterable[Mapping[str, Any]], replay: str = REPLAY) -> dict[str, str]:
    """The remedies of rows of ``deadletter.list`` that are open, those that are alike once, by the letters that they
    are for. ``replay``: the command that takes one up again, for its number."""
    alike: dict[str, list[int]] = {}
    for row in letters:
        if row["state"] == "open" and (text := row.get("remedy")):  # a former broker tells none
            alike.setdefault(text, []).append(row["id"])
    told: dict[str, str] = {}
    for text, numbers in alike.items():
        few = len(numbers) <= NAMED
        which = ",".join(map(str, sorted(numbers))) if few else ID
        said = text.replace(REPLAY.format(ID), replay.format(ID)).replace(f" {ID}`", f" {which}`")
        told[which if few else f"{len(numbers):,} letters from {min(numbers)} to {max(numbers)}"] = said
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
