"""How a system ends: pools finish what runs, then nobody discovers, then the log is durable, then all is quiet."""

from __future__ import annotations

from odibi_actors.actor import Effect, Log, Send, Stop
from odibi_actors.broker.directory import Directory
from odibi_actors.broker.flow import Flow
from odibi_actors.messages import Shutdown

STOP_GRACE = 25.0
"""Seconds ``down`` gives pools to finish the nodes that run; the rest runs again after the next start."""

TERMINATE_GRACE = 3.0
"""Seconds a signalled broker waits for pools to leave and records to be durable: less than honcho's 5 s to SIGKILL."""

FAREWELL = 0.05
"""Seconds between the last answer and the end: a socket that is closed drops what was just given to it, and whoever
has not heard the answer to its Bye waits for it in vain."""

STAGES = (("pool",), ("source", "scheduler"), ("store",))
"""Who is told to leave, one after the other. The pools first: everything is stopped as soon as one line ends, so the
others stay until no node runs."""


class Stopping:
    """The end of a broker: asked for by ``down`` (``told``: it tells the others), or by a signal, which all get."""

    def __init__(self, flow: Flow, directory: Directory, now: float, told: bool) -> None:
        self._flow = flow
        self._directory = directory
        self._told = told
        self._stage = 0
        self._reason = ""
        self.deadline = now + (STOP_GRACE if told else TERMINATE_GRACE)
        flow.stopping = True

    def begin(self) -> list[Effect]:
        """First words."""
        if not self._told:
            return [Log("info", "terminating")]
        refused: list[Effect] = [Send(name, Shutdown()) for name in self._directory.refused]
        return [Log("info", "shutting down"), *refused, *self._tell()]

    def signalled(self, now: float) -> None:
        """`up`, honcho or a person lost patience while others were leaving: no more than the signal's grace is left."""
        self._told = False
        self.deadline = min(self.deadline, now + TERMINATE_GRACE)

    def step(self, now: float) -> list[Effect]:
        """Go on to the next stage when this one is done, or has taken too long; Stop at the end."""
        late = now >= self.deadline
        if self._reason:
            return [Stop(0, self._reason)] if late else []
        if not self._told:
            done = not self._present(STAGES[0]) and not self._flow.journal.backlog
            return self._end("terminated", now, late) if done or late else []
        if not late and (self._present(STAGES[self._stage]) or (self._stage == 1 and self._flow.journal.backlog)):
            return []
        self._stage += 1
        if self._stage == len(STAGES):
            return self._end("stopped", now, late)
        self.deadline = now + TERMINATE_GRACE
        return [*self._tell(), *(self.step(now) if not self._present(STAGES[self._stage]) else [])]

    def _end(self, reason: str, now: float, late: bool) -> list[Effect]:
        self._reason, self.deadline = reason, now + FAREWELL
        return [Stop(0, reason)] if late else []

    def _present(self, roles: tuple[str, ...]) -> list[str]:
        return [peer.name for peer in self._directory if peer.role in roles]

    def _tell(self) -> list[Effect]:
        return [Send(name, Shutdown()) for name in self._present(STAGES[self._stage])]
