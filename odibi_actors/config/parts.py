"""A pipeline's configuration by its parts, as digests: to say what differs between two versions without the contents of
either."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import xxhash

from odibi_actors.config.model import PipelineSpec

Parts = dict[str, dict[str, str]]
"""Node ("" for the pipeline itself) -> dotted key -> digest of its value; what is not set is not there."""

CODE = "code"
_FILES = "nodes/"
_MEANING = ("inputs", "read", "transform", "write", "state", "engine", CODE)
"""Keys that decide what a node puts out (see ``broker.iteration.static_key``)."""
_TOLD = 3
"""Differences that are named where there is one line for all."""
_FOLLOWS = ("read.consumption",)
"""Keys that no project file says: they follow from others."""
_NESTED = ("read", "transform", "write", "retry", "batch")
_encoder = msgspec.msgpack.Encoder(order="deterministic")


def parts(spec: PipelineSpec) -> Parts:
    """The digests of every key of a pipeline and of its nodes; of the code, what each node depends on, and the files
    (``nodes/flights.py``), which are keys of the pipeline."""
    data = msgspec.to_builtins(msgspec.msgpack.decode(_encoder.encode(spec), type=PipelineSpec))  # 5 becomes 5.0
    if not spec.access:
        del data["access"]  # as before there was any
    found = {"": _keys({key: value for key, value in data.items() if key not in ("name", "nodes", CODE)})}
    found[""] |= spec.code.files
    for node in data["nodes"]:
        if not node["sql_file"]:
            del node["sql_file"]  # as before there was any
        found[node.pop("name")] = _keys(node)
    for name, digest in spec.code.nodes.items():
        if spec.node(name).read is None:  # what was polled is kept: other code changes nothing of it
            found[name][CODE] = digest
    return found


def _keys(section: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    keys: dict[str, str] = {}
    for key, value in section.items():
        if not prefix and key in _NESTED and isinstance(value, Mapping):
            keys |= _keys(value, f"{key}.")
        elif value is not None and prefix + key not in _FOLLOWS:
            keys[prefix + key] = xxhash.xxh3_64_hexdigest(_encoder.encode(value))
    return keys


class Difference(msgspec.Struct):
    """What applying a new version changes. ``keys``: node ("" for the pipeline) -> keys that are not the same;
    ``code``: files of ``nodes/`` that were changed, added, or taken away, of those that its functions depend on;
    ``again``: nodes whose results in unfinished iterations do not stand; ``kept``: those whose results do."""

    added: list[str] = []
    removed: list[str] = []
    keys: dict[str, list[str]] = {}
    code: list[str] = []
    again: list[str] = []
    kept: list[str] = []

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.keys or self.code)

    @property
    def told(self) -> list[str]:
        """The first of it, for one line: ``nodes/flights.py``, ``clean: transform.sql``, ``+ extra``, ``- out``."""
        keys = [f"{node or 'pipeline'}: {', '.join(names)}" for node, names in self.keys.items()]
        whole = [*self.code, *(f"+ {name}" for name in self.added), *(f"- {name}" for name in self.removed), *keys]
        more = len(whole) - _TOLD
        return whole if more <= 0 else [*whole[:_TOLD], f"and {more} more"]


def difference(former: Parts, spec: PipelineSpec) -> Difference:
    """What differs between a version and ``spec``."""
    new = parts(spec)
    found = Difference(
        added=[name for name in new if name not in former],
        removed=[name for name in former if name not in new],
    )
    others: dict[str, None] = {}
    for name, keys in new.items():
        old = former.get(name)
        other = [] if old is None else sorted(k for k in {*keys, *old} if keys.get(k) != old.get(k))
        found.code += [key for key in other if not name and key.startswith(_FILES)]
        if any(key.partition(".")[0] in _MEANING for key in other):
            others[name] = None
        if shown := [key for key in other if key != CODE and not key.startswith(_FILES)]:
            found.keys[name] = shown
    for node in spec.nodes:
        if node.name in found.added or node.name in others or {*node.inputs} & {*found.again}:
            found.again.append(node.name)
        else:
            found.kept.append(node.name)
    return found
