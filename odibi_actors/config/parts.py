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

_MEANING = ("inputs", "read", "transform", "write", "state")
"""Keys that decide what a node puts out (see ``broker.iteration.static_key``)."""
_NESTED = ("read", "transform", "write", "retry", "batch")
_encoder = msgspec.msgpack.Encoder(order="deterministic")


def parts(spec: PipelineSpec) -> Parts:
    """The digests of every key of a pipeline and of its nodes."""
    data = msgspec.to_builtins(msgspec.msgpack.decode(_encoder.encode(spec), type=PipelineSpec))  # 5 becomes 5.0
    found = {"": _keys({key: value for key, value in data.items() if key not in ("name", "nodes")})}
    for node in data["nodes"]:
        found[node.pop("name")] = _keys(node)
    return found


def _keys(section: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    keys: dict[str, str] = {}
    for key, value in section.items():
        if not prefix and key in _NESTED and isinstance(value, Mapping):
            keys |= _keys(value, f"{key}.")
        elif value is not None:
            keys[prefix + key] = xxhash.xxh3_64_hexdigest(_encoder.encode(value))
    return keys


class Difference(msgspec.Struct):
    """What applying a new version changes. ``keys``: node ("" for the pipeline) -> keys that are not the same;
    ``again``: nodes whose results in unfinished iterations do not stand; ``kept``: those whose results do."""

    added: list[str] = []
    removed: list[str] = []
    keys: dict[str, list[str]] = {}
    code: bool = False
    again: list[str] = []
    kept: list[str] = []

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.keys or self.code)


def difference(former: Parts, spec: PipelineSpec, code: bool) -> Difference:
    """What differs between a version and ``spec``; ``code``: the files below ``nodes/`` do."""
    new = parts(spec)
    found = Difference(
        added=[name for name in new if name not in former],
        removed=[name for name in former if name not in new],
        code=code,
    )
    for name, keys in new.items():
        old = former.get(name)
        if old is not None and (other := sorted(k for k in {*keys, *old} if keys.get(k) != old.get(k))):
            found.keys[name] = other
    for node in spec.nodes:
        changed = any(key.partition(".")[0] in _MEANING for key in found.keys.get(node.name, ()))
        runs_code = node.transform is not None and node.transform.function is not None
        if node.name in found.added or changed or (code and runs_code) or {*node.inputs} & {*found.again}:
            found.again.append(node.name)
        else:
            found.kept.append(node.name)
    return found
