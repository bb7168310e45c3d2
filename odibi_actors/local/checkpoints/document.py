"""A checkpoint, and how it stands in its file: the JSON that odibi_core wrote, and a digest of it.

A file of odibi_core has no digest, and is read all the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, Final

import xxhash

from odibi_actors.errors import StoreError

DIGEST: Final = "digest"


@dataclass
class NodeCheckpoint:
    """How one node ended. ``state``: ``success`` or ``failed``, in either case; ``duration_ms``: milliseconds;
    ``attempts``: tries; ``cached``: its output was there already; ``output_path``: where it is kept; ``error``."""

    node_name: str
    state: str
    completed_at: datetime
    duration_ms: float
    attempts: int = 1
    cached: bool = False
    output_path: str | None = None
    error: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the node has its output."""
        return self.state.lower() == "success"


@dataclass
class Checkpoint:
    """How far a DAG has come. ``created_at``: aware datetime; ``mode``: ``batch``, ``stream`` or ``resume``;
    ``iteration``: of a stream, from 0; ``metadata``: values that JSON has."""

    checkpoint_id: str
    dag_name: str
    created_at: datetime
    mode: str
    completed_nodes: list[NodeCheckpoint] = field(default_factory=list)
    pending_nodes: set[str] = field(default_factory=set)
    failed_nodes: set[str] = field(default_factory=set)
    iteration: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it: times as ISO 8601, sets as sorted lists."""
        nodes = [{**asdict(node), "completed_at": _text(node.completed_at)} for node in self.completed_nodes]
        return {
            "checkpoint_id": self.checkpoint_id,
            "dag_name": self.dag_name,
            "created_at": _text(self.created_at),
            "mode": getattr(self.mode, "value", self.mode),
            "completed_nodes": nodes,
            "pending_nodes": sorted(self.pending_nodes),
            "failed_nodes": sorted(self.failed_nodes),
            "iteration": self.iteration,
            "metadata": dict(self.metadata),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Checkpoint:
        """The checkpoint that ``to_dict`` has written. Keys that it does not know are left out. Raises ValueError."""
        try:
            known = {one.name for one in fields(NodeCheckpoint)}
            nodes = [
                NodeCheckpoint(
                    **{
                        **{key: value for key, value in node.items() if key in known},
                        "completed_at": _moment(node["completed_at"]),
                    }
                )
                for node in data.get("completed_nodes", [])
            ]
            return cls(
                checkpoint_id=_name(data, "checkpoint_id"),
                dag_name=_name(data, "dag_name"),
                created_at=_moment(data["created_at"]),
                mode=str(data.get("mode", "batch")),
                completed_nodes=nodes,
                pending_nodes=set(data.get("pending_nodes") or ()),
                failed_nodes=set(data.get("failed_nodes") or ()),
                iteration=int(data.get("iteration", 0)),
                metadata=dict(data.get("metadata") or {}),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a checkpoint: {error!r}") from error


def encode(checkpoint: Checkpoint) -> bytes:
    """The file of a checkpoint. Raises TypeError naming a value that JSON does not have, and its node."""
    body = checkpoint.to_dict()
    _check(body["metadata"], "metadata")
    try:
        return _json({**body, DIGEST: _digest(body)}) + b"\n"
    except (TypeError, ValueError) as error:
        raise TypeError(f"{_unwritten(body)}: {error}; give a text or a number") from error


def _unwritten(body: Mapping[str, Any]) -> str:
    """Where that stands which no file of JSON in UTF-8 has."""
    nodes = {f"node {node['node_name']!r}: {key}": node[key] for node in body["completed_nodes"] for key in node}
    metadata = {f"metadata[{key!r}]": value for key, value in body["metadata"].items()}
    for at, value in {**nodes, **metadata, **body}.items():
        try:
            _json(value)
        except (TypeError, ValueError):
            return at
    return "the checkpoint"


def decode(data: bytes, path: str) -> Checkpoint:
    """The checkpoint in a file. Raises StoreError that names it: damaged, or none."""
    try:
        body = json.loads(data)
        digest = body.pop(DIGEST, None)
        if digest is not None and digest != _digest(body):
            raise ValueError(f"it is not as it was written (if you changed it by hand, take its {DIGEST} out)")
        return Checkpoint.from_dict(body)
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise StoreError(f"checkpoint {path} is damaged: {error}") from error


def _digest(body: Mapping[str, Any]) -> str:
    return "xxh3:" + xxhash.xxh3_128_hexdigest(_json(body))


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode()


def _check(value: Any, at: str) -> None:
    """Raise TypeError unless JSON gives the value back (a tuple as a list)."""
    match value:
        case None | bool() | int() | str():
            if type(value) in (type(None), bool, int, str):
                return
        case float():
            if type(value) is float and math.isfinite(value):
                return
        case dict():
            for key, inner in value.items():
                if not isinstance(key, str):
                    raise TypeError(f"{at}: key {key!r} is not a text, as JSON asks; write {str(key)!r}")
                _check(inner, f"{at}[{key!r}]")
            return
        case list() | tuple():
            for place, inner in enumerate(value):
                _check(inner, f"{at}[{place}]")
            return
    raise TypeError(f"{at}: JSON has no {type(value).__name__} ({value!r:.60}); give a text or a number")


def _text(at: datetime | str) -> str:
    return at if isinstance(at, str) else at.isoformat()


def _moment(at: Any) -> datetime:
    return at if isinstance(at, datetime) else datetime.fromisoformat(at)


def _name(data: Mapping[str, Any], key: str) -> str:
    if not isinstance(data[key], str):
        raise TypeError(f"{key} is {data[key]!r}")
    return str(data[key])
