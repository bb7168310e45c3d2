"""The copy of how far each partition of an ordered source was read."""

from __future__ import annotations

from odibi_actors.messages import PlacesPage, PlacesQuery, Planned
from odibi_actors.model import Reached
from odibi_actors.streaming.copied import Copied


class Places(Copied[Reached]):
    """The places of one source, by partition."""

    def query(self, now: float) -> PlacesQuery | None:
        """The query to send now, if one is due."""
        cursor = self.due(now)
        if cursor is None:
            return None
        return PlacesQuery(self.pipeline, self.source, self.lane, cursor, through=self.through)

    def page(self, page: PlacesPage, now: float) -> list[str] | None:
        """Take a page. After the last one: the partitions that have no place any more, else None."""
        return self.read(page, {one.partition: one for one in page.items}, now)

    def take(self, message: Planned) -> None:
        """The places of its ranges move to their ends, or behind the holes there, as the store moves them."""
        for one in message.ranges:
            former = self.index.get(one.partition)
            place, holes = one.upper, list(former.holes) if former is not None else []
            while holes and holes[0][0] <= place:
                place = max(place, holes.pop(0)[1])
            if former is None or former.place <= one.lower:
                self.index[one.partition] = Reached(one.partition, place, holes)
