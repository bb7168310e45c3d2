"""A step: what one node of a DAG does, and by which keys its data come and go."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

LAYERS: Final = ("ingest", "ingestion", "transform", "transformation", "store", "publish")
TYPES: Final = ("config_op", "sql", "function")
ENGINES: Final = ("pandas", "spark")
SELECT: Final = "select"
"""Value of a transform that takes the columns of ``params["columns"]``."""
_FUNCTION: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


class NodeState(StrEnum):
    """What has become of a node; RETRY: it has failed, and is tried again."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILED = "failed"
    RETRY = "retry"


class Step:
    """A node of a DAG.

    ``layer``: ingest (also ingestion): ``value`` is the path of a file or database, ``params`` go to its reader;
    transform (transformation): ``value`` is what ``type`` says, SQL over the logical names of the inputs, or a function
    as ``module.function``, called with the inputs by their logical names and with ``params``; a config_op or sql whose
    value is "select" takes the columns of ``params["columns"]``; store, publish: ``value`` is the file to be written.
    ``inputs``, ``outputs``: logical name -> key of ``data_map``. ``metadata``: for people, it changes nothing.

    ``name`` may be said as ``step_name``. Without ``type`` a transform whose value is ``module.function`` is a
    function, "select" a config_op, any other SQL. Raises ValueError, TypeError.
    """

    def __init__(
        self,
        layer: str,
        name: str | None = None,
        type: str | None = None,
        engine: str = "pandas",
        value: str = "",
        params: Mapping[str, Any] | None = None,
        inputs: Mapping[str, str] | None = None,
        outputs: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        step_name: str | None = None,
    ) -> None:
        if name is not None and step_name is not None and name != step_name:
            raise ValueError(f"name: {name!r}, step_name: {step_name!r}; they mean the same, give one")
        self.name = _text(name if name is not None else step_name, "name")
        self.layer = _one_of(layer, LAYERS, f"step {self.name}: layer")
        self.engine = _one_of(engine, ENGINES, f"step {self.name}: engine")
        self.value = _text(value, f"step {self.name}: value")
        self.type = _one_of(type or _type_of(self.reads, self.writes, self.value), TYPES, f"step {self.name}: type")
        self.params = dict(params or {})
        self.inputs = _keys(inputs, f"step {self.name}: inputs")
        self.outputs = _keys(outputs, f"step {self.name}: outputs")
        self.metadata = dict(metadata or {})
        if self.writes and not self.inputs:
            raise ValueError(f"step {self.name}: a {self.layer} needs an input: inputs={{'data': KEY}}")

    @property
    def step_name(self) -> str:
        """The name."""
        return self.name

    @property
    def reads(self) -> bool:
        """It brings data from outside."""
        return self.layer.startswith("ingest")

    @property
    def writes(self) -> bool:
        """It takes data outside."""
        return self.layer in ("store", "publish")

    @property
    def selects(self) -> bool:
        """It takes columns of its input."""
        return not self.reads and not self.writes and self.value == SELECT and self.type != "function"

    def __repr__(self) -> str:
        return f"Step({self.layer!r}, {self.name!r}, {self.type!r}, {self.engine!r}, {self.value!r:.60})"


def _type_of(reads: bool, writes: bool, value: str) -> str:
    if reads or writes or value == SELECT:
        return "config_op"
    return "function" if _FUNCTION.fullmatch(value) else "sql"


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{what}: {value!r} is not a text")
    return value


def _one_of(value: Any, known: tuple[str, ...], what: str) -> str:
    if value not in known:
        raise ValueError(f"{what}: {value!r} is none of {', '.join(known)}")
    return str(value)


def _keys(given: Mapping[str, str] | None, what: str) -> dict[str, str]:
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f"{what}: {given!r} is not a dict of logical name -> key")
    for name, key in (given or {}).items():
        if not isinstance(name, str) or not isinstance(key, str) or not name or not key:
            raise TypeError(f"{what}: {name!r} -> {key!r}; both are texts")
    return dict(given or {})
