"""An iteration as the log tells it, for ``truth`` and what is part of it."""

from __future__ import annotations

from odibi_actors.checkpoint import records as rec
from odibi_actors.model import BatchRef, Position, StagedRef

TERMINAL = ("committed", "dead_lettered", "cancelled", "rewound")


class Planned:
    """An iteration as the log tells it."""

    def __init__(self, plan: rec.Plan) -> None:
        self.plan = plan
        self.positions: dict[str, list[Position]] = dict(plan.positions)
        self.state = "planned"
        self.acks: dict[str, rec.Ack] = {}
        self.sinks: dict[str, StagedRef] = {}
        self.blocked: dict[str, None] = {}
        self.refused: dict[str, None] = {}  # sinks that were blocked at some time
        self.states: dict[str, BatchRef] = {}
        self.again = False  # it is void, and what it had is planned again by itself
        self.abandoned: dict[str, None] = {}
        self.inputs: dict[str, str] = {}  # sink that it was prepared for -> the node that feeds it

    @property
    def terminal(self) -> bool:
        """Nothing more will happen to it by itself."""
        return self.state in TERMINAL

    @property
    def live(self) -> bool:
        """What it publishes counts."""
        return self.state not in ("cancelled", "dead_lettered", "rewound")
