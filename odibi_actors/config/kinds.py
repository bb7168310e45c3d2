"""What a value of the project file may be. Each kind checks a value and describes itself as JSON Schema, so that the
loader, the editor and the documentation cannot disagree."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import msgspec

from odibi_actors import units
from odibi_actors.config.places import MAX_PATH
from odibi_actors.config.problems import UNKNOWN, Problems, did_you_mean
from odibi_actors.config.secrets import FILE, VARIABLE
from odibi_actors.config.tree import Mapping, Scalar, Sequence, Tree, lost, plain_data, resolve_plain

NAME = r"[a-z][a-z0-9_]*"
MAX_NAME = 64
"""Names become parts of file names (at most 255 bytes) together with numbers and suffixes."""
MAX_WORD = 1000
MAX_TEXT = 64 * 1024
"""Characters of one value."""
LATER = "not available in this version"
_VARIABLE = {"type": "string", "pattern": r"\$\{"}


class _Bad:
    """Stands for a value that is wrong; its problem is recorded."""


BAD = _Bad()


class Kind(Protocol):
    """A kind of value."""

    def check(self, tree: Tree, path: str, problems: Problems) -> Any:
        """The value as the specs hold it, or BAD with a problem recorded."""

    def schema(self) -> dict[str, Any]:
        """JSON Schema 2020-12 of what :meth:`check` accepts, as nearly as it can say."""

    def show(self, value: Any) -> Any:
        """``value`` as it would be written in the file (for the schema's defaults)."""


class _Simple:
    def show(self, value: Any) -> Any:
        return value


@dataclass(frozen=True)
class Text(_Simple):
    """Text; with ``pattern`` (whole value) and ``what`` to say when it does not match. ``verify`` raises ValueError for
    what a pattern cannot tell; its message, and its ``suggestion`` if it has one, are shown. A ``secret`` is not shown
    in a problem."""

    pattern: str = ""
    what: str = ""
    limit: int = MAX_TEXT
    verify: Callable[[str], object] | None = None
    blank: bool = False
    secret: bool = False

    def check(self, tree: Tree, path: str, problems: Problems) -> Any:
        if self.secret and isinstance(tree, Scalar):
            tree = replace(tree, source="")
        value = _scalar(tree, path, problems, "text")
        if isinstance(value, _Bad):
            return BAD
        if not isinstance(value, str):
            return _wrong(tree, path, problems, "must be text", f'quote it: "{_source(tree) or "..."}"')
        if self.pattern and not re.fullmatch(self.pattern, value, re.ASCII):
            return _wrong(tree, path, problems, f"must be {self.what}")
        if (not value.strip() and not self.blank) or "\0" in value:
            return _wrong(tree, path, problems, "must not be blank or hold a NUL")
        if len(value) > self.limit:
            return _wrong(tree, path, problems, f"longer than {self.limit} characters")
        try:
            if self.verify is not None:
                self.verify(value)
        except ValueError as error:
            return _wrong(tree, path, problems, str(error), getattr(error, "suggestion", ""))
        return value

    def schema(self) -> dict[str, Any]:
        if not self.pattern:
            return {"type": "string", "minLength": 0 if self.blank else 1}
        return {"anyOf": [{"type": "string", "pattern": f"^(?:{self.pattern})$", "maxLength": self.limit}, _VARIABLE]}


NAME_TEXT = Text(NAME, f"a name: lower-case letters, digits, _ ({NAME})", MAX_NAME)


@dataclass(frozen=True)
class Word(_Simple):
    """A text or a number, kept as it is written."""

    def check(self, tree: Tree, path: str, problems: Problems) -> Any:
        value = _scalar(tree, path, problems, "text")
        if isinstance(value, _Bad):
            return BAD
        text = str(value) if isinstance(value, str) else _source(tree)
        if isinstance(value, bool) or not text.strip() or "\0" in text or len(text) > MAX_WORD:
            return _wrong(tree, path, problems, "must be a text or a number")
        return text

    def schema(self) -> dict[str, Any]:
        return {"type": ["string", "number"]}


@dataclass(frozen=True)
class Secret(_Simple):
    """A reference to a secret, ``${NAME}`` or ``{file: PATH}``; kept as it is written (see ``config.secrets``), so that
    the secret itself is in no spec."""

    def check(self, tree: Tree, path: str, problems: Problems) -> Any:
        if isinstance(tree, Mapping) and list(tree.items) == ["file"]:
            name = Text(limit=MAX_PATH).check(tree.items["file"][1], f"{path}.file", problems)
            return BAD if isinstance(name, _Bad) else FILE + name
        if isinstance(tree, Scalar) and tree.variable and VARIABLE.fullmatch(tree.source):
            return tree.source
        where = replace(tree, source="") if isinstance(tree, Scalar) else tree
        return _wrong(where, path, problems, "a secret stands elsewhere", 'write "${NAME}", or {file: PATH}')

    def schema(self) -> dict[str, Any]:
        file = {
            "type": "object",
            "properties": {"file": {"type": "string"}},
            "required": ["file"],
            "additionalProperties": False,
        }
        return {"anyOf": [{"type": "string", "pattern": f"^{VARIABLE.pattern}$"}, file]}


@dataclass(frozen=True)
class Choice(_Simple):
    """One of ``values``; those ``later`` are in the design and not built yet."""

    values: tuple[str, ...]
    later: tuple[str, ...] = ()

    def check(self, tree: Tree, path: str, problems: Problems) -> Any:
        value = _scalar(tree, path, problems, "text")
        if isinstance(value, _Bad) or value in self.values:
            return value
        listed = "one of: " + ", ".join(self.values)
        if value in self.later:
            return _wrong(tree, path, problems, LATER, listed)
        hint = did_you_mean(str(value), self.values, "one of")
        return _wrong(tree, path, problems, "unknown value", hint)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"enum": list(self.values)}, _VARIABLE]}


@dataclass(frozen=True)
class Number(_Simple):
    """A number from ``low`` to ``high``, both included; whole unless ``real``."""

    low: float
    high: float
    real: bool = False

    def check(self, tree: Tree, path: str, problems: Problems) -> Any:
        noun = "a number" if self.real else "a whole number"
        value = _scalar(tree, path, problems, noun)
        if isinstance(value, _Bad):
            return BAD
        if isinstance(value, bool) or not isinstance(value, (int, float) if self.real else int):
            return _wrong(tree, path, problems, f"must be {noun}")
        if not (math.isfinite(value) and self.low <= value <= self.high):
            return _wrong(tree, path, problems, f"must be from {self.low:g} to {self.high:.15g}")
        return float(value) if self.real else value

    def schema(self) -> dict[str, Any]:
        kind = "number" if self.real else "integer"
        return {"anyOf": [{"type": kind, "minimum": self.low, "maximum": self.high}, _VARIABLE]}


@dataclass(frozen=True)
class Flag(_Simple):
    """true or false."""

    def check(self, tree: Tree, path: str, problems: Problems) -> Any:
        value = _scalar(tree, path, problems, "true or false")
        if isinstance(value, (bool, _Bad)):
            return value
        return _wrong(tree, path, problems, "must be true or false")

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "boolean"}, _VARIABLE]}


@dataclass(frozen=True)
class Unit:
    """A quantity with a unit, of at least ``low``: seconds or bytes."""

    parse: Callable[[str], float]
    format: Callable[[Any], str]
    noun: str
    pattern: str
    low: float = 0

    def check(self, tree: Tree, path: str, problems: Problems) -> Any:
        value = _scalar(tree, path, problems, self.noun)
        if isinstance(value, _Bad):
            return BAD
        try:
            parsed = self.parse(str(value))
        except ValueError as error:
            return _wrong(tree, path, problems, f"not {self.noun}", str(error))
        if parsed < self.low:
            return _wrong(tree, path, problems, f"must be at least {self.format(self.low)}")
        return parsed

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "pattern": self.pattern}, _VARIABLE]}

    def show(self, value: Any) -> Any:
        return self.format(value)


def duration(low: float = 0) -> Unit:
    """Durations of at least ``low`` seconds."""
    return Unit(units.parse_duration, units.format_duration, "a duration", units.DURATION_PATTERN, low)


def size(low: float = 1) -> Unit:
    """Sizes of at least ``low`` bytes."""
    return Unit(units.parse_size, units.format_size, "a size", units.SIZE_PATTERN, low)


@dataclass(frozen=True)
class Anything(_Simple):
    """A mapping with any plain data in it, passed on to a function or a reader."""

    def check(self, tree: Tree, path: str, problems: Problems) -> Any:
        if not isinstance(tree, Mapping):
            return _wrong(tree, path, problems, "must be a mapping")
        for key, (where, value) in tree.items.items():
            _mark(f"{path}.{key}", where, value, problems)
        return plain_data(tree, path, problems)

    def schema(self) -> dict[str, Any]:
        return {"type": "object"}


@dataclass(frozen=True)
class Listing(_Simple):
    """A list of ``kind``, not empty unless ``empty``; ``unique``: without repetition."""

    kind: Kind
    empty: bool = False
    unique: bool = False
    limit: int = 1000

    def check(self, tree: Tree, path: str, problems: Problems) -> Any:
        if not isinstance(tree, Sequence):
            hint = f"write [{tree.source}]" if isinstance(tree, Scalar) and tree.source else ""
            return _wrong(tree, path, problems, "must be a list", hint)
        if not tree.items and not self.empty:
            return _wrong(tree, path, problems, "must not be empty")
        if len(tree.items) > self.limit:
            return _wrong(tree, path, problems, f"has {len(tree.items)} entries; at most {self.limit}")
        values = []
        for index, item in enumerate(tree.items):
            at = f"{path}[{index}]"
            problems.mark(at, item.line, item.column)
            value = self.kind.check(item, at, problems)
            if self.unique and value is not BAD and value in values:
                value = _wrong(item, at, problems, "listed twice")
            values.append(value)
        return values

    def schema(self) -> dict[str, Any]:
        low = {} if self.empty else {"minItems": 1}
        return {"type": "array", "items": self.kind.schema(), "uniqueItems": self.unique, "maxItems": self.limit} | low


@dataclass(frozen=True)
class OneOrMore(_Simple):
    """One of ``kind``, or a list of such; a list it becomes."""

    kind: Kind
    limit: int = 100

    def check(self, tree: Tree, path: str, problems: Problems) -> Any:
        if isinstance(tree, Sequence):
            return Listing(self.kind, unique=True, limit=self.limit).check(tree, path, problems)
        value = self.kind.check(tree, path, problems)
        return value if value is BAD else [value]

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self.kind.schema(), Listing(self.kind, unique=True, limit=self.limit).schema()]}


@dataclass(frozen=True)
class Table(_Simple):
    """A mapping from names of the user's choice (by ``names``) to ``kind``."""

    kind: Kind
    names: Text = Text()

    def check(self, tree: Tree, path: str, problems: Problems) -> Any:
        if not isinstance(tree, Mapping):
            return _wrong(tree, path, problems, "must be a mapping")
        found = {}
        for name, (key, value) in tree.items.items():
            at = f"{path}.{name}"
            _mark(at, key, value, problems)
            if self.names.check(key, at, problems) is not BAD:
                found[name] = self.kind.check(value, at, problems)
        return found

    def schema(self) -> dict[str, Any]:
        names = {"propertyNames": {"pattern": f"^(?:{self.names.pattern})$"}} if self.names.pattern else {}
        return {"type": "object", "additionalProperties": self.kind.schema()} | names


@dataclass(frozen=True)
class Later(_Simple):
    """A key that the design names and this version does not have: never silently ignored."""

    instead: str = ""

    def check(self, tree: Tree, path: str, problems: Problems) -> Any:
        return _wrong(tree, path, problems, LATER, self.instead or "delete it")

    def schema(self) -> dict[str, Any]:
        return {"not": {}}


@dataclass(frozen=True)
class Key:
    """One key of an Object; ``doc`` is what an editor shows."""

    kind: Kind
    doc: str
    required: bool = False


@dataclass(frozen=True)
class Object(_Simple):
    """A mapping with known keys. ``model`` is the spec whose field defaults apply to missing ones; of the keys
    ``one_of`` exactly one must be there. The checked value holds what was written and is valid, nothing else."""

    keys: dict[str, Key]
    model: type[msgspec.Struct] | None = None
    one_of: tuple[str, ...] = ()
    doc: str = field(default="", kw_only=True)
    instead: str = field(default="", kw_only=True)
    """What may have been meant where it is no mapping."""

    def check(self, tree: Tree, path: str, problems: Problems) -> Any:
        if not isinstance(tree, Mapping):
            hint = "keys: " + ", ".join(self.keys) + (f"; {self.instead}" if self.instead else "")
            return _wrong(tree, path, problems, "must be a mapping", hint)
        found = {}
        meant: set[str] = set()  # keys that are there but misspelt: not missing as well
        for name, (where, value) in tree.items.items():
            at = f"{path}.{name}" if path else name
            known = self.keys.get(name)
            if known is None:
                hint = did_you_mean(name, self.keys, "known keys")
                problems.add_at(where.line, where.column, at, UNKNOWN, suggestion=hint)
                meant.update(difflib.get_close_matches(name, self.keys, n=1))
                continue
            _mark(at, where, value, problems)
            checked = known.kind.check(value, at, problems)
            if checked is not BAD:
                found[name] = checked
        for name, key in self.keys.items():
            if key.required and name not in tree.items and name not in meant:
                problems.add_at(tree.line, tree.column, path, f'the key "{name}" is missing', suggestion=key.doc)
        self._check_one_of(tree, path, problems, meant)
        return found

    def _check_one_of(self, tree: Mapping, path: str, problems: Problems, meant: set[str]) -> None:
        written = [name for name in tree.items if name in self.one_of]
        listed = ", ".join(self.one_of)
        if self.one_of and not written and meant.isdisjoint(self.one_of):
            problems.add_at(tree.line, tree.column, path, f"needs one of: {listed}")
        for name in written[1:]:
            where = tree.items[name][0]
            message = f'only one of {listed}, and "{written[0]}" is there'
            at = f"{path}.{name}" if path else name
            problems.add_at(where.line, where.column, at, message, suggestion="keep one")

    def schema(self) -> dict[str, Any]:
        properties = {name: self._property(name, key) for name, key in self.keys.items()}
        schema: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": properties}
        if required := [name for name, key in self.keys.items() if key.required]:
            schema["required"] = required
        if self.one_of:
            schema["oneOf"] = [{"required": [name]} for name in self.one_of]
        return schema

    def _property(self, name: str, key: Key) -> dict[str, Any]:
        doc = f"{key.doc} ({LATER})" if isinstance(key.kind, Later) else key.doc
        schema = key.kind.schema() | {"description": doc}
        fields = msgspec.structs.fields(self.model) if self.model is not None else ()
        for item in fields:
            if item.name == name and isinstance(item.default, (bool, int, float, str)):
                schema["default"] = key.kind.show(item.default)
        return schema


def _scalar(tree: Tree, path: str, problems: Problems, noun: str) -> Any:
    """The value of a leaf; a value that came from a variable is understood as if it stood there unquoted."""
    if not isinstance(tree, Scalar):
        return _wrong(tree, path, problems, f"must be {noun}, not a {type(tree).__name__.lower()}")
    if tree.value is None:
        return _wrong(tree, path, problems, "is empty", "give it a value or delete the key")
    if noun == "text":
        return tree.value
    text = str(tree.value) if tree.variable else tree.source
    value = resolve_plain(text) if tree.variable else tree.value
    if says := lost(value, text):
        return _wrong(tree, path, problems, says, "write what is meant")
    return value


def _wrong(tree: Tree, path: str, problems: Problems, message: str, suggestion: str = "") -> _Bad:
    problems.add_at(tree.line, tree.column, path, message, value=_source(tree), suggestion=suggestion)
    return BAD


def _source(tree: Tree) -> str:
    return tree.source if isinstance(tree, Scalar) else ""


def _mark(path: str, key: Scalar, value: Tree, problems: Problems) -> None:
    """A leaf is where its value stands; anything larger where its key does, for it may begin on the next line."""
    where = value if isinstance(value, Scalar) else key
    problems.mark(path, where.line, where.column)
