"""What the store knows to stand in a target: whatever else a sink of its has left there, a newer one has published."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from odibi_actors.errors import ConflictError
from odibi_actors.nodes.sinks.owner import Owner

T = TypeVar("T", str, Path)
ATTEMPT = r"\d+-\d+(?:-[0-9a-f]{32})?"
"""The attempt in the name of what it has staged, with the digest of that where another part had the name."""
SHOWN = 5
"""Numbers in a message."""


class Known(NamedTuple):
    """``upto``: what stands there under a number up to it is accounted for; -1: it is not known, and not asked.
    ``coming``: iteration -> digest of its part, of what is prepared for the target, and may be there already."""

    upto: int = -1
    coming: Mapping[int, str] = {}

    def missed(self, there: Iterable[tuple[int, T]], digest: Callable[[T], str]) -> list[tuple[int, T]]:
        """Those of the parts that are ``there``, as (iteration, part), of which the store knows nothing, ascending.
        Raises what ``digest`` raises."""
        above = sorted((number, part) for number, part in there if number > self.upto >= 0)
        return [(number, part) for number, part in above if self.coming.get(number) != digest(part)]


UNKNOWN = Known()


def unknown(target: str, what: str, numbers: Sequence[int], owner: Owner, ways: str) -> ConflictError:
    """The target holds ``what``, of which the store knows nothing. ``ways``: out of it, but for the newer store."""
    listed = ", ".join(map(str, numbers[:SHOWN])) + (f" and {len(numbers) - SHOWN} more" if numbers[SHOWN:] else "")
    of = "iteration" if len(numbers) == 1 else "iterations"
    return ConflictError(
        f"{target} holds {what} of {of} {listed} of {owner.pipeline}.{owner.node}, of which these checkpoints know "
        "nothing: was an older copy of them put back? What would be published now may be there already. Bring the "
        f"newer checkpoints back; {ways}"
    )
