"""Lists, structs and maps as Arrow writes them: ``list<int64>``, ``struct<a: int64, b: list<string>>``."""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_DEPTH = 16
"""Types within types: what nests deeper is no column that anybody reads."""
_NESTED = re.compile(r"\s*(list|struct|map)\s*<(.*)>\s*", re.DOTALL)
_NAMED = re.compile(r"\s*([^<>:,\[\]()]*[^<>:,\[\]()\s])\s*:(.*)", re.DOTALL)
_OPENS, _CLOSES = "<[(", ">])"


class Nested(NamedTuple):
    """One level: ``kind`` and its parts, (name, type) each. That of a list is named ``item`` unless it says how; those
    of a map are ``key`` and ``value``."""

    kind: str
    parts: list[tuple[str, str]]


def split(text: str) -> Nested | None:
    """The outermost level of a type that has others in it; None for one that has none. Raises ValueError saying what is
    wrong with it."""
    found = _NESTED.fullmatch(text)
    if found is None:
        return None
    if text.count("<") > MAX_DEPTH:
        raise ValueError(f"it nests deeper than {MAX_DEPTH} levels")
    kind, parts = found[1], _parts(found[2])
    if kind == "map":
        if len(parts) != 2:
            raise ValueError("write map<KEY, VALUE>, such as map<string, int64>")
        return Nested(kind, list(zip(("key", "value"), parts, strict=True)))
    named = [(match[1], match[2].strip()) if (match := _NAMED.fullmatch(part)) else ("", part) for part in parts]
    if kind == "list":
        if len(parts) != 1 or not parts[0]:
            raise ValueError("write list<TYPE>, such as list<int64>")
        return Nested(kind, [(named[0][0] or "item", named[0][1])])
    names = [name for name, _ in named]
    if not all(names):
        raise ValueError("write struct<NAME: TYPE, ...>, such as struct<a: int64, b: string>")
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"two fields are named {twice[0]}")
    return Nested(kind, named)


def joined(nested: Nested) -> str:
    """As Arrow writes it."""
    if nested.kind == "map":
        return f"map<{', '.join(kind for _, kind in nested.parts)}>"
    return f"{nested.kind}<{', '.join(f'{name}: {kind}' for name, kind in nested.parts)}>"


def _parts(text: str) -> list[str]:
    """What commas separate that are in no brackets."""
    parts, depth = [""], 0
    for one in text:
        depth += (one in _OPENS) - (one in _CLOSES)
        if one == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += one
    return [part.strip() for part in parts]
