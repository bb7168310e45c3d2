"""What a message tells to write into ``odibi.yaml``: always valid there as it stands."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from odibi_actors.config.arrow_types import type_name

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORDS = ("null", "true", "false", "yes", "no", "on", "off")


def quoted(text: str) -> str:
    """A text as a YAML scalar, quoted unless it may stand plain anywhere; what cannot be seen is escaped."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return "".join(map(_shown, json.dumps(text, ensure_ascii=False)))


def _shown(one: str) -> str:
    if one.isprintable():
        return one
    return f"\\u{ord(one):04x}" if ord(one) < 1 << 16 else f"\\U{ord(one):08x}"


def typed(name: str, kind: object) -> str:
    """A mapping of a column to its type: ``{day: "timestamp[us]"}``. ``kind``: a type of Arrow or its text."""
    return f"{{{quoted(name)}: {quoted(type_name(kind))}}}"


def schema(section: str, name: str, kind: object) -> str:
    """The key that declares a column: ``read.schema: {...}``. ``section``: ``read`` or ``write``."""
    return f"{section}.schema: {typed(name, kind)}"


def columns(types: Mapping[str, object]) -> str:
    """The key of a source that declares several columns: ``schema: {day: date32, at: "timestamp[us]"}``."""
    return f"schema: {{{', '.join(typed(name, kind)[1:-1] for name, kind in types.items())}}}"


def option(name: str, text: str) -> str:
    """An option of the reader: ``read.options: {delimiter: ";"}``."""
    return f"read.options: {{{name}: {quoted(text)}}}"


def listed(key: str, *names: str) -> str:
    """A key with a list: ``read.ignore: [x]``."""
    return f"{key}: [{', '.join(map(quoted, names))}]"
