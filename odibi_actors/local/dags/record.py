"""The checkpoint of one run: saved whenever a node finishes, with the outputs from which a new process goes on.

It is a checkpoint as ``CheckpointManager`` keeps it and anybody can read; under ``metadata["executor"]`` it has the key
of each node and the digests of its outputs.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from odibi_actors.errors import StoreError
from odibi_actors.local.checkpoints.document import Checkpoint, NodeCheckpoint
from odibi_actors.local.checkpoints.manager import EXECUTOR, CheckpointManager
from odibi_actors.local.dags.results import NodeExecutionResult

log = logging.getLogger("odibi_actors.core")


class Record:
    """One checkpoint and its outputs. ``keep`` may be called by several threads, the rest by one."""

    def __init__(self, manager: CheckpointManager, checkpoint: Checkpoint) -> None:
        self.manager, self.checkpoint = manager, checkpoint

    @classmethod
    def begin(
        cls, manager: CheckpointManager, name: str, nodes: Iterable[str], mode: str, iteration: int, *, named: bool
    ) -> Record:
        """A new one; it is saved once the first node has finished. ``name``: "" for that of the iteration; ``named``:
        whether the executor was told it."""
        notes = {"named": named, "nodes": {}}
        made = manager.create_checkpoint(
            name or f"dag_{iteration}", [], nodes, mode=mode, iteration=iteration, metadata={EXECUTOR: notes}
        )
        return cls(manager, made)

    @property
    def complete(self) -> bool:
        """There is nothing left to run."""
        return not self.checkpoint.pending_nodes and not self.checkpoint.failed_nodes

    @property
    def _nodes(self) -> dict[str, Any]:
        notes = self.checkpoint.metadata.get(EXECUTOR)
        nodes = notes.get("nodes") if isinstance(notes, dict) else None
        return nodes if isinstance(nodes, dict) else {}

    def finished(self) -> dict[str, tuple[str, dict[str, str]]]:
        """Node -> its key, and the digests of its outputs by key of ``data_map``: those of which all is kept."""
        done = self.manager.get_resume_point(self.checkpoint)
        return {
            name: (str(note["key"]), dict(note["outputs"]))
            for name, note in self._nodes.items()
            if name in done and all(note["outputs"].values())
        }

    def restore(self, node: str) -> dict[str, Any] | None:
        """The outputs of a node by key; None, told by a warning, when they are lost or damaged."""
        found = {}
        for key, digest in self._nodes[node]["outputs"].items():
            name = _file(node, key, self._nodes[node]["outputs"])
            try:
                found[key] = self.manager.kept_output(self.checkpoint.checkpoint_id, name, digest)
            except (StoreError, OSError) as error:
                log.warning("%s: its output %s is lost, so it runs again: %s", node, key, error)
                return None
            if found[key] is None:
                log.warning("%s: its output %s is lost, so it runs again", node, key)
                return None
        return found

    def keep(self, node: str, outputs: Mapping[str, Any]) -> dict[str, str | None]:
        """Keep what a node has made; key -> digest, None for what cannot be kept, which is told. Raises OSError."""
        found: dict[str, str | None] = {}
        for key, value in outputs.items():
            try:
                name = _file(node, key, outputs)
                found[key] = self.manager.keep_output(self.checkpoint.checkpoint_id, name, value)
            except TypeError as error:
                log.warning("%s: its output %s cannot be kept, so it runs again in a new process: %s", node, key, error)
                found[key] = None
        return found

    def begin_again(self, nodes: Iterable[str], iteration: int) -> None:
        """A new try of what is not complete: nodes that do not stand are pending again."""
        self.checkpoint.pending_nodes, self.checkpoint.failed_nodes = set(), set()
        self.checkpoint.iteration = iteration
        self.reopen(nodes)

    def reopen(self, nodes: Iterable[str]) -> None:
        """These do not stand: they are pending. It is saved with the next node that ends."""
        names = set(nodes)
        self.checkpoint.pending_nodes |= names
        self.checkpoint.completed_nodes = [one for one in self.checkpoint.completed_nodes if one.node_name not in names]
        for name in names:
            self._nodes.pop(name, None)

    def ended(self, result: NodeExecutionResult, key: str, digests: Mapping[str, str | None]) -> None:
        """A node has ended; it is on disk once it is saved."""
        checkpoint, name = self.checkpoint, result.node_name
        node = NodeCheckpoint(
            name, result.state.value, datetime.now(UTC).astimezone(), result.duration_ms, result.attempts,
            result.cached, error=result.error,
        )  # fmt: skip
        if node.succeeded:
            if digests and self.manager.save_outputs:
                node.output_path = str(self.manager.checkpoint_dir / f"{checkpoint.checkpoint_id}.outputs")
            checkpoint.completed_nodes.append(node)
            checkpoint.pending_nodes.discard(name)
            self._nodes[name] = {"key": key, "outputs": dict(digests)}
        else:
            checkpoint.pending_nodes.discard(name)
            checkpoint.failed_nodes.add(name)

    def save(self) -> None:
        """It is on disk when this returns. Raises OSError: then it is again what it was when it was saved last."""
        try:
            self.manager.save(self.checkpoint)
        except BaseException:
            self._saved()
            raise

    def _saved(self) -> None:
        """Nodes that have ended since are pending again, in memory as on disk."""
        with contextlib.suppress(OSError, StoreError):  # as the disk is now; then it stays as it is
            found = self.manager.load(self.checkpoint.checkpoint_id)
            nodes = {node.node_name for node in self.checkpoint.completed_nodes} | self.checkpoint.failed_nodes
            if found is None:
                self.checkpoint.failed_nodes = set()
                self.reopen(nodes)
            else:
                self.checkpoint = found

    def close(self) -> None:
        """All has run: what was kept to go on from goes, unless the manager keeps outputs."""
        if not self.manager.save_outputs:
            self.manager.drop_outputs(self.checkpoint.checkpoint_id)


def _file(node: str, key: str, outputs: Mapping[str, Any]) -> str:
    """The name under which an output is kept: the node's, if it has but one."""
    return node if len(outputs) == 1 else f"{node}/{key}"
