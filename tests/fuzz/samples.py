"""One message of every class, made from its types: seeds for the fuzzer, and complete whatever is added later."""

from __future__ import annotations

import types
import typing
from typing import Any

import msgspec

from odibi_actors import messages as m
from odibi_actors.checkpoint import records as rec

NAMES = {
    "pipeline": "p",
    "source": "read",
    "node": "read",
    "name": "read",
    "schedule": "read",
    "incarnation": "w1",
    "host": "host",
    "lane": "live",
    "verb": "iteration.wait",
    "code_digest": "code",
    "path": "/landing",
    "store_id": "store",
    "claimant": "b1",
    "worker": "pool-0-1",
    "function": "nodes.m:f",
}
"""Texts that make a sample reach further than "x" would: they are what the actors under test know."""


def sample(kind: Any, field: str = "", depth: int = 0) -> Any:
    """A value of a type as annotated."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return sample(arguments[0], field, depth)
    if origin is typing.Literal:
        return arguments[0]
    if origin in (typing.Union, types.UnionType):
        return sample(arguments[0], field, depth)
    if origin is list:
        return [sample(arguments[0], field, depth + 1)] if depth < 8 else []
    if origin is dict:
        return {sample(arguments[0], field): sample(arguments[1], "", depth + 1)} if depth < 8 else {}
    if origin is tuple:
        return tuple(sample(argument, field, depth) for argument in arguments if argument is not ...)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind, include_extras=True)
        return kind(**{name: sample(hints[name], name, depth + 1) for name in kind.__struct_fields__})
    plain = {int: 1, float: 1.0, bool: True, bytes: b"schema", type(None): None}
    return NAMES.get(field, "x") if kind is str else plain.get(kind, 1)


MESSAGES: list[m.Message] = [sample(kind) for kind in typing.get_args(m.AnyMessage)]
RECORDS: list[rec.AnyRecord] = [sample(kind) for kind in typing.get_args(rec.AnyRecord)]
LOADED: list[rec.AnyLoaded] = [sample(kind) for kind in typing.get_args(rec.AnyLoaded)]
RESULTS: list[m.AnyResult] = [sample(kind) for kind in typing.get_args(m.AnyResult)]
TASKS: list[m.AnyTask] = [sample(kind) for kind in typing.get_args(m.AnyTask)]


def seeds() -> list[m.Message]:
    """Every message, those with a union inside once per member of it, and the requests the actors know."""
    found = [*MESSAGES]
    found += [m.AppendRecords(1, 1, [record]) for record in RECORDS]
    found += [m.LoadedPage(1, [item], "", "") for item in LOADED]
    found += [m.Results(1, [result]) for result in RESULTS]
    found += [m.WorkerResult(result, True) for result in RESULTS]
    found += [m.Tasks(1, [task]) for task in TASKS]
    found += [m.Hello(role, "w1", "host", 1) for role in ("source", "scheduler", "client")]
    params = {"pipeline": "p", "iteration": 1, "run": "x", "for": ["committed"], "worker": "w0", "workers": 2}
    found += [m.Request("1", verb, params) for verb in _broker_verbs()]
    for verb, (_, model) in _store_verbs().items():
        found.append(m.Request("1", verb, msgspec.to_builtins(sample(model))))
    found.append(m.Request("1", "source.match", {"pipeline": "p", "source": "read", "pattern": "*"}))
    for lane in ("backfill-1", "trigger"):
        found.append(m.Sources(1, [msgspec.structs.replace(sample(m.SourceSpec), lane=lane)]))
    span = {"spec": {"name": "read", "cron": "0 * * * *"}, "from": 0.0, "to": 9000.0, "limit": 5}
    found += [m.Request("1", "schedule.range", span), m.Request("1", "schedule.next", {})]
    found += [m.Request("1", "source.why", {"file": "a.csv"}), m.Request("1", "source.list", {}), _apply()]
    return found


def _apply() -> m.Apply:
    from tests.broker.harness import project

    return m.Apply("1", project())


def _broker_verbs() -> list[str]:
    from tests.broker.harness import Broker

    commands = Broker().start().actor._commands
    assert commands is not None
    return list(commands._verbs)


def _store_verbs() -> dict[str, Any]:
    from odibi_actors.checkpoint.queries import VERBS

    return VERBS
