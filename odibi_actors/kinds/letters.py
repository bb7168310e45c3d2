"""What is to be done about a dead letter: one text, wherever one is told of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from odibi_actors.errors import ConfigError
from odibi_actors.kinds.registry import source_of
from odibi_actors.kinds.source import Amending
from odibi_actors.units import naming

if TYPE_CHECKING:
    from odibi_actors.config.model import NodeSpec, ReadSpec

REPLAY, DISCARD = "`odibictl deadletter replay {}`", "`odibictl deadletter discard {}`"
"""The two verbs, for the letter's number."""


def reads(nodes: list[NodeSpec]) -> dict[str, ReadSpec]:
    """What may lie in letters of a pipeline, by source: none of references."""
    return {node.name: node.read for node in nodes if node.read is not None and not node.read.pinned}


def remedy(sources: Mapping[str, ReadSpec], letter: int | str, replay: str = "") -> str:
    """What is to be done about a letter in which positions of these sources lie. ``replay``: another command that takes
    it up again."""
    again, gone = replay or REPLAY.format(letter), DISCARD.format(letter)
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


def amending(read: ReadSpec) -> str:
    """How wrong rows of a source are corrected that cannot be put right where they are; "" where they can be."""
    try:
        kind = source_of(read.mode)
    except ConfigError:
        return ""  # not installed any more: what it read before is told all the same
    return kind.amending(read) if isinstance(kind, Amending) else ""
