"""``CheckpointManager``: what a script saves of its DAGs, and finds again."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from odibi_actors.errors import StoreError
from odibi_actors.local.checkpoints import asked, outputs
from odibi_actors.local.checkpoints.document import Checkpoint, NodeCheckpoint
from odibi_actors.local.checkpoints.folder import MAX_ID, Folder, checked, dag_of

log = logging.getLogger("odibi_actors.checkpoint")

EXECUTOR: Final = "executor"
"""Key of ``metadata`` under which a ``DAGExecutor`` notes what it needs to go on."""
EVERY: Final = 5
"""Nodes between two checkpoints of mode INTERVAL."""


class CheckpointMode(StrEnum):
    """When a checkpoint is due. MANUAL: never by itself; AUTO: after each node; INTERVAL: after some nodes; LAYER:
    after each layer."""

    MANUAL = "manual"
    AUTO = "auto"
    INTERVAL = "interval"
    LAYER = "layer"


class CheckpointManager:
    """Keeps checkpoints in ``checkpoint_dir``, each a JSON file that anybody can read.

    ``mode``: when ``should_checkpoint`` says yes. ``keep_last_n``: checkpoints that stay of each DAG. ``save_outputs``:
    whether ``save_node_output`` keeps what it is given. ``interval``: nodes between two checkpoints (INTERVAL). Several
    threads and processes may use one folder, if each DAG is one's.
    """

    def __init__(
        self,
        checkpoint_dir: str | os.PathLike[str] = "artifacts/checkpoints",
        mode: CheckpointMode | str = CheckpointMode.AUTO,
        keep_last_n: int = 5,
        save_outputs: bool = False,
        *,
        interval: int = EVERY,
    ) -> None:
        for name, value in (("keep_last_n", keep_last_n), ("interval", interval)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name}: {value!r} is not a number from 1 on")
        self.checkpoint_dir = Path(checkpoint_dir)
        self.mode = CheckpointMode(mode)
        self.keep_last_n = keep_last_n
        self.save_outputs = save_outputs
        self.interval = interval
        self._folder = Folder(Path(os.path.abspath(checkpoint_dir)))
        self._last = ""

    def create_checkpoint(
        self,
        dag_name: str,
        completed_nodes: Iterable[NodeCheckpoint],
        pending_nodes: Iterable[str],
        failed_nodes: Iterable[str] | None = None,
        mode: str = "batch",
        iteration: int = 0,
        metadata: Mapping[str, Any] | None = None,
    ) -> Checkpoint:
        """A checkpoint of now, with an id of its own; ``save`` keeps it. Raises ValueError for a name that no file can
        have."""
        return Checkpoint(
            self._new_id(checked(dag_name, "dag_name")),
            dag_name,
            datetime.now(UTC).astimezone(),
            mode,
            list(completed_nodes),
            set(pending_nodes),
            set(failed_nodes or ()),
            iteration,
            dict(metadata or {}),
        )

    def _new_id(self, dag: str) -> str:
        """Never the one before, which need not have been saved."""
        while (new := self._folder.new_id(dag)) == self._last:
            pass  # until the next microsecond
        self._last = new
        return new

    def save(self, checkpoint: Checkpoint) -> Path:
        """Keep a checkpoint, instead of one of the same id; of its DAG the last ``keep_last_n`` stay.
        It is on disk when this returns. Returns its file. Raises TypeError for metadata that JSON does not have,
        ValueError, OSError."""
        dag, own = checked(checkpoint.dag_name, "dag_name"), dag_of(_id(checkpoint.checkpoint_id))
        if own not in ("", dag):
            raise ValueError(f"checkpoint_id: {checkpoint.checkpoint_id} is one of DAG {own!r}, not of {dag!r}")
        again = self._folder.path(checkpoint.checkpoint_id).exists()
        path = self._folder.write(checkpoint)
        if not again:
            self._prune(checkpoint.dag_name)
        return path

    def _prune(self, dag: str) -> None:
        """Damaged files do not count, and go with what is older than the last good ones."""
        good = 0
        for name in reversed(self._folder.of(dag)):
            if good >= self.keep_last_n:
                self._folder.remove(name)
            elif self._good(name) is not None:
                good += 1

    def load(self, checkpoint_id: str) -> Checkpoint | None:
        """None: there is none. Raises StoreError that names a file that is damaged."""
        return self._folder.read(_id(checkpoint_id))

    def load_latest(self, dag_name: str) -> Checkpoint | None:
        """The newest checkpoint of a DAG; one that is damaged is told of by a warning, and the one before it is taken.
        None: there is none. Where there is none of that name, that of a ``DAGExecutor`` that was told no name is
        given; and the next executor of this thread that is told no name takes this one."""
        asked.note(self, dag_name)
        for name in reversed(self._folder.of(dag_name)):
            if (found := self._good(name)) is not None:
                return found
        return self.latest_unnamed(dag_name)

    def latest_unnamed(self, dag_name: str) -> Checkpoint | None:
        """The newest checkpoint of an executor that was told no name: of iteration N for ``dag_N``; for any other name
        one that has no other name than that."""
        best: Checkpoint | None = None
        for name in self._folder.names():
            found = self._good(name)
            if found is None or found.metadata.get(EXECUTOR, {}).get("named", True):
                continue
            own = f"dag_{found.iteration}"
            fits = own == dag_name if asked.NUMBERED.fullmatch(dag_name) else found.dag_name == own
            if fits and (best is None or _moment(found) > _moment(best)):
                best = found
        return best

    def _good(self, name: str) -> Checkpoint | None:
        try:
            return self._folder.read(name)
        except StoreError as error:
            log.warning("%s; an older one is taken", error)
            return None

    def list_checkpoints(self, dag_name: str) -> list[str]:
        """The ids of a DAG's checkpoints, the oldest first."""
        return self._folder.of(dag_name)

    def delete(self, checkpoint_id: str) -> bool:
        """Remove a checkpoint and its outputs. Whether there was one."""
        return self._folder.remove(_id(checkpoint_id))

    def save_node_output(self, checkpoint_id: str, node_name: str, data: Any) -> Path | None:
        """Keep what a node returned: a frame of pandas (numpy types, its index) or polars, a table of pyarrow, or what
        JSON has. Returns its file; None without ``save_outputs``. Raises TypeError for what would not come back as it
        is, by column, OSError."""
        if not self.save_outputs:
            return None
        return outputs.save(self._folder.outputs(_id(checkpoint_id)), node_name, data)

    def load_node_output(self, checkpoint_id: str, node_name: str) -> Any:
        """What ``save_node_output`` was given; None: nothing is kept. Raises StoreError naming a damaged file."""
        return outputs.load(self._folder.outputs(_id(checkpoint_id)), node_name)

    def keep_output(self, checkpoint_id: str, name: str, data: Any) -> str:
        """As ``save_node_output``, whatever ``save_outputs`` says: for what a ``DAGExecutor`` goes on from. Returns the
        digest of the bytes."""
        path = outputs.save(self._folder.outputs(_id(checkpoint_id)), name, data)
        return path.name.removesuffix(outputs.SUFFIX).rpartition(".")[2]

    def kept_output(self, checkpoint_id: str, name: str, digest: str) -> Any:
        """What ``keep_output`` was given when it returned that digest; None: it is not there. Raises StoreError."""
        return outputs.load(self._folder.outputs(_id(checkpoint_id)), name, digest)

    def drop_outputs(self, checkpoint_id: str) -> None:
        """Forget what ``keep_output`` was given. Raises OSError."""
        self._folder.remove_outputs(_id(checkpoint_id))

    def should_checkpoint(self, nodes_since_last: int = 0) -> bool:
        """Whether one is due, ``nodes_since_last`` nodes after the one before."""
        match self.mode:
            case CheckpointMode.MANUAL:
                return False
            case CheckpointMode.INTERVAL:
                return nodes_since_last >= self.interval
        return True

    def get_resume_point(self, checkpoint: Checkpoint) -> set[str]:
        """The nodes that need not run again."""
        return {node.node_name for node in checkpoint.completed_nodes if node.succeeded}

    def get_stats(self, dag_name: str) -> dict[str, Any]:
        """``checkpoint_count``; of the newest one ``latest_checkpoint`` (its id), ``latest_created_at``,
        ``latest_completed_nodes``, ``latest_pending_nodes`` (numbers), ``latest_iteration``, if there is one."""
        names, latest = self._folder.of(dag_name), self.load_latest(dag_name)
        if latest is None:
            return {"checkpoint_count": len(names)}
        return {
            "checkpoint_count": len(names),
            "latest_checkpoint": latest.checkpoint_id,
            "latest_created_at": latest.created_at,
            "latest_completed_nodes": len(latest.completed_nodes),
            "latest_pending_nodes": len(latest.pending_nodes),
            "latest_iteration": latest.iteration,
        }


def _moment(checkpoint: Checkpoint) -> datetime:
    return checkpoint.created_at.astimezone(UTC)


def _id(checkpoint_id: str) -> str:
    return checked(checkpoint_id, "checkpoint_id", MAX_ID)
