"""A mapping whose ``type`` decides which other keys it has: connections, each of a kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from odibi_actors.config import tree as trees
from odibi_actors.config.kinds import Choice, Key, Object
from odibi_actors.config.problems import Problems

TYPE = "type"


@dataclass(frozen=True)
class ByType:
    """``types``: what there is to choose from; ``keys``: of a type, those that it has beside it. ``model`` as in
    ``Object``."""

    types: Choice
    keys: Callable[[str], Mapping[str, Key]]
    doc: str
    model: type[msgspec.Struct] | None = None

    def of(self, name: str) -> Object:
        """The mapping of one type."""
        return Object({TYPE: Key(self.types, self.doc, required=True), **self.keys(name)}, self.model)

    def check(self, tree: trees.Tree, path: str, problems: Problems) -> Any:
        chosen = tree.items[TYPE][1] if isinstance(tree, trees.Mapping) and TYPE in tree.items else None
        value = chosen.value if isinstance(chosen, trees.Scalar) else None
        if value in self.types.values:
            return self.of(str(value)).check(tree, path, problems)
        # Without a type nothing can be said of the other keys but that some type has them.
        known = {key: one for name in self.types.values for key, one in self.keys(name).items()}
        keys = {TYPE: Key(self.types, self.doc, required=True)}
        keys |= {key: Key(one.kind, one.doc) for key, one in known.items()}
        return Object(keys, self.model).check(tree, path, problems)

    def schema(self) -> dict[str, Any]:
        found = []
        for name in self.types.values:
            one = self.of(name).schema()
            one["properties"][TYPE] |= Choice((name,)).schema()
            found.append(one)
        return {"anyOf": found}

    def show(self, value: Any) -> Any:
        return value
