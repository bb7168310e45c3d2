"""A project file as plain data, and as the text that says it."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa

from odibi_actors.config.arrow_types import type_name
from odibi_actors.config.load import PROJECT_FILE, load_written
from odibi_actors.config.tree import MAX_FILE
from odibi_actors.errors import ConfigError

INDENT = 2
_SIMPLE = re.compile(r"[\w.$*/(-]([\w .$*/(){}<>=+@%,-]|:(?! ))*")
"""Texts that stand as they are, or in quotes if YAML would take them for something else; others in double quotes."""
FLOW = 90
"""Characters of a section that stands on one line."""


def written(root: PurePath) -> dict[str, Any] | None:
    """What the ``odibi.yaml`` of a folder says, as written; None without one. Raises ConfigError."""
    path = Path(root, PROJECT_FILE)
    return load_written(path) if path.exists() else None


def name_of(folder: PurePath) -> str:
    """A project's name, made of that of its folder."""
    name = re.sub(r"[^a-z0-9_]+", "_", folder.name.lower()).strip("_")
    return name if name[:1].isalpha() else f"p_{name}".rstrip("_")


def plain(value: Any, at: str) -> Any:
    """The value as YAML says it. ``at``: what it is, for the error. Raises ConfigError: it has no such form."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)  # of a member of an Enum that is text, the text
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) and not math.isnan(value):
        return float(value)
    if isinstance(value, timedelta):
        return _duration(value)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ConfigError(f"{at}: a key must be text, not {key!r}")
        return {str.__str__(key): plain(one, f"{at}.{key}") for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one, f"{at}[{place}]") for place, one in enumerate(value)]
    if isinstance(value, pa.DataType):
        return type_name(value)
    if isinstance(value, float):
        raise ConfigError(f"{at}: {value} is no number that a project can have; leave it out, or say it as text")
    what = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    raise ConfigError(
        f"{at}: {what} has no form in {PROJECT_FILE}; give text, numbers, booleans, None, lists or mappings"
    )


def _duration(value: timedelta) -> str:
    """As a project says it, to the microsecond."""
    milliseconds, microseconds = divmod(value // timedelta(microseconds=1), 1000)
    if microseconds:
        return f"{milliseconds}.{microseconds:03d}ms"
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"


def render(data: Mapping[str, Any] | list[Any], indent: int = 0) -> str:
    """The data as YAML, each line behind so many blanks."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.default_flow_style = False
    yaml.indent(mapping=INDENT, sequence=2 * INDENT, offset=INDENT)
    yaml.width = MAX_FILE  # no text is folded
    yaml.allow_unicode = True
    out = io.StringIO()
    yaml.dump(_styled(data), out)
    text = out.getvalue()
    return "".join(f"{' ' * indent}{line}" if line.strip() else line for line in text.splitlines(keepends=True))


def _styled(value: Any) -> Any:
    """Text of several lines as a block, and what is short within its braces, as people write it."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

    if isinstance(value, Mapping):
        mapping = CommentedMap({_styled(key): _styled(one) for key, one in value.items()})
        if _short(value):
            mapping.fa.set_flow_style()
        return mapping
    if isinstance(value, list):
        listed = CommentedSeq([_styled(one) for one in value])
        if value and _short({str(place): one for place, one in enumerate(value)}):
            listed.fa.set_flow_style()
        return listed
    if isinstance(value, str) and "\n" in value:
        return LiteralScalarString(value) if _blockable(value) else DoubleQuotedScalarString(value)
    return DoubleQuotedScalarString(value) if isinstance(value, str) and not _SIMPLE.fullmatch(value) else value


def differing(one: Any, other: Any, at: str = "") -> str | None:
    """Where two documents are not the same: the path of the first such value; None if they are."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        pairs = [(f"{at}.{key}".lstrip("."), value, other[key]) for key, value in one.items()]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = [(f"{at}[{place}]", value, other[place]) for place, value in enumerate(one)]
    else:
        return None if one == other and type(one) is type(other) else at
    return next((found for path, a, b in pairs if (found := differing(a, b, path)) is not None), None)


def _short(section: Mapping[str, Any]) -> bool:
    whole = sum(len(key) + len(str(value)) + 4 for key, value in section.items())
    return whole <= FLOW and not any(
        "\n" in str(value) or (isinstance(value, (Mapping, list)) and value) for value in section.values()
    )


def _blockable(text: str) -> bool:
    """A block keeps it: it begins with no blank, no line ends with one, and all of it can be seen."""
    lines = text.split("\n")
    return not text.startswith((" ", "\n")) and all(
        line == line.rstrip() and (line.isprintable() or not line) for line in lines
    )
