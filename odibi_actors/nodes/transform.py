"""Transform nodes that are Python functions of the project's ``nodes`` package."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import logging
import typing
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa

from odibi_actors.batches import frames
from odibi_actors.batches.normalise import normalise
from odibi_actors.errors import BatchError, MissingExtraError
from odibi_actors.model import LIVE
from odibi_actors.nodes import lent
from odibi_actors.nodes.annotations import BindError, sort_of, wanted_sort
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.package import PACKAGE, BarredError
from odibi_actors.nodes.spark.tables import to_arrow
from odibi_actors.nodes.tracebacks import user_failure

CONTEXT = "context"
"""The parameter that receives a ``Context``."""
STATE = "state"
"""The parameter that receives what a stateful node has kept."""


@dataclass(frozen=True)
class Context:
    """What a function may know about its run.

    ``attempt`` is 1-based; ``watermark`` is None for file sources. ``run``: the run's id, "" for an iteration that was
    planned because data arrived. ``params``: what the run was started with, by an operator or its schedule; they are
    not the node's own ``transform.params``, which come as arguments. ``schedule`` and ``occurrence``: the schedule that
    started the run and the occurrence's id within it, "" without. ``scheduled_at``: when that was due (aware, UTC),
    however late it runs; None without. ``files``: those whose arrival started the run, relative to the folder of the
    schedule's connection. ``lane``: ``live``, or ``backfill-<n>``.
    """

    pipeline: str
    iteration: int
    node: str
    attempt: int
    watermark: object | None
    logger: logging.Logger
    run: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    schedule: str = ""
    occurrence: str = ""
    scheduled_at: datetime | None = None
    files: list[str] = field(default_factory=list)
    lane: str = LIVE


Frames = Callable[[pa.Table], object]
"""What makes a Spark DataFrame of a table, for a node with ``engine: spark``."""


def run_function(
    target: str,
    params: Mapping[str, Any],
    inputs: Mapping[str, pa.Table],
    context: Context,
    spark: Frames | None = None,
) -> pa.Table:
    """Call ``module:function`` with its inputs and return its table, with normal types.

    Raises Failed: see ``run_stateful``.
    """
    return _table(target, _call(target, params, inputs, context, spark))


def run_stateful(
    target: str,
    params: Mapping[str, Any],
    inputs: Mapping[str, pa.Table],
    context: Context,
    state: pa.Table | None,
    spark: Frames | None = None,
) -> tuple[pa.Table, pa.Table]:
    """Call the function of a stateful node, which is given what it kept as its parameter ``state`` (None at first);
    returns its output and what it keeps now.

    Raises Failed: ``invalid`` (no such function, parameters that do not match, a result that is no table) or ``raised``
    (the function raised; its traceback begins with the user's own code).
    """
    result = _call(target, params, inputs, context, spark, (state,))
    if not isinstance(result, tuple) or len(result) != 2:
        kind = f"a tuple of {len(result)}" if isinstance(result, tuple) else type(result).__name__
        raise Failed("invalid", f"{target} returned {kind}; a node with state: true returns (output, state)")
    return _table(target, result[0]), _table(f"{target}, as its state,", result[1])


def _call(
    target: str,
    params: Mapping[str, Any],
    inputs: Mapping[str, pa.Table],
    context: Context,
    spark: Frames | None,
    state: tuple[pa.Table | None] | None = None,
) -> object:
    function = _load(target)
    try:
        arguments = _bind(function, params, inputs, context, state, spark)
    except MissingExtraError as error:
        raise Failed("code", str(error)) from error
    except (BindError, BatchError) as error:
        column = error.column if isinstance(error, BatchError) else ""
        raise Failed("invalid", f"{target}: {error}", column=column) from error
    try:
        return function(*arguments.args, **arguments.kwargs)
    except BaseException as error:
        raise user_failure(error) from error


def _table(target: str, result: object) -> pa.Table:
    try:
        return to_table(result)
    except BatchError as error:
        message = f"{target} returned what cannot be kept: {error}"
        raise Failed("invalid", message, column=error.column) from error
    except BaseException as error:  # a table of user objects runs user code when it is read
        raise user_failure(error) from error


def to_table(result: object) -> pa.Table:
    """What a function returned as a table. Raises BatchError."""
    if isinstance(result, pa.Table):
        return normalise(result)
    if isinstance(result, pd.DataFrame):
        return frames.from_pandas(result)
    sort = sort_of(type(result))
    if sort == "polars":
        return frames.from_polars(typing.cast("Any", result))
    if sort == "spark":
        return to_arrow(result)
    kind = f"{type(result).__module__}.{type(result).__qualname__}".removeprefix("builtins.")
    hint = {"NoneType": "is a return missing?", "LazyFrame": "call .collect()"}.get(type(result).__name__, "")
    wanted = "a pandas.DataFrame, pyarrow.Table, polars.DataFrame or Spark DataFrame"
    raise BatchError(f"{kind} instead of {wanted}{'; ' if hint else ''}{hint}")


def _load(target: str) -> Callable[..., object]:
    if (function := lent.find(target)) is not None:
        return function
    module_name, _, name = target.partition(":")
    if module_name.split(".")[0] != PACKAGE:  # a task is a message, and no message may choose what else is run
        raise Failed("invalid", f"function {target!r} is not in the project's {PACKAGE}/ folder")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name == "polars":
            raise Failed("code", f"{target}: {frames.POLARS_HINT}") from error
        if error.name == PACKAGE:
            raise Failed("code", f"function {target!r}: {error}") from error
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise Failed("code", f"function {target!r}: there is no module {error.name!r}") from error
        raise user_failure(error, "code") from error
    except BarredError as error:
        raise Failed("code", f"function {target!r}: {error}") from error
    except BaseException as error:
        raise user_failure(error, "code") from error
    function = getattr(module, name, None)
    if not callable(function):
        known = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; it has: {', '.join(known) or 'none'}"
        raise Failed("code", f"module {module_name!r} has no function {name!r}{hint}")
    return typing.cast("Callable[..., object]", function)


@functools.lru_cache(maxsize=1024)
def _signature(function: Callable[..., object]) -> inspect.Signature:
    return inspect.signature(function)


def _bind(
    function: Callable[..., object],
    params: Mapping[str, Any],
    inputs: Mapping[str, pa.Table],
    context: Context,
    state: tuple[pa.Table | None] | None,
    spark: Frames | None,
) -> inspect.BoundArguments:
    signature = _signature(function) if inspect.isfunction(function) else inspect.signature(function)
    by_kind = {p.kind: p for p in signature.parameters.values()}
    tail = by_kind.get(inspect.Parameter.VAR_POSITIONAL)
    rest = by_kind.get(inspect.Parameter.VAR_KEYWORD)
    named = {name: p for name, p in signature.parameters.items() if p not in (tail, rest)}
    values: dict[str, Any] = {}
    extra = _bind_params(params, inputs, named, rest is not None, values)
    if CONTEXT in named and CONTEXT not in values and CONTEXT not in inputs:
        values[CONTEXT] = context
    if state is not None:
        values[STATE] = _bind_state(function, named, state[0], {*inputs, *params}, spark)
    unmatched = [name for name in inputs if name not in named]
    takers = _takers([p for n, p in named.items() if n not in values and n not in inputs], tail is None)
    pairs = {name: name for name in inputs if name in named} | dict(zip(takers, unmatched, strict=False))
    values |= {
        parameter: _as_annotated(function, named[parameter], inputs[name], spark) for parameter, name in pairs.items()
    }
    left = unmatched[len(takers) :]
    if left and tail is None:
        raise BindError(f"there is no parameter for input {left[0]!r}; parameters: {', '.join(named) or 'none'}")
    missing = [n for n, p in named.items() if n not in values and p.default is inspect.Parameter.empty]
    if missing:
        raise BindError(f"parameter {missing[0]!r} gets no value: neither inputs nor params name it")
    if tail is not None and left:
        values[tail.name] = tuple(_as_annotated(function, tail, inputs[name], spark) for name in left)
    if rest is not None and extra:
        values[rest.name] = extra
    ordered = OrderedDict((name, values[name]) for name in signature.parameters if name in values)
    return inspect.BoundArguments(signature, ordered)


def _bind_state(
    function: Callable[..., object],
    named: Mapping[str, inspect.Parameter],
    state: pa.Table | None,
    taken: set[str],
    spark: Frames | None,
) -> object:
    if STATE not in named:
        raise BindError(f"state: true needs a parameter {STATE!r}; parameters: {', '.join(named) or 'none'}")
    if STATE in taken:
        raise BindError(f"{STATE!r} is what the node keeps, and an input or one of params too; rename that one")
    wanted_sort(
        function, named[STATE], spark=spark is not None
    )  # an annotation that cannot be met is told at the first run, not at the second
    return None if state is None else _as_annotated(function, named[STATE], state, spark)


def _bind_params(
    params: Mapping[str, Any],
    inputs: Mapping[str, pa.Table],
    named: Mapping[str, inspect.Parameter],
    has_rest: bool,
    values: dict[str, Any],
) -> dict[str, Any]:
    """Put ``params`` into ``values``; returns those that only ``**kwargs`` can take."""
    extra: dict[str, Any] = {}
    for name, value in params.items():
        if name in inputs:
            raise BindError(f"{name!r} is both an input and one of params")
        if name in named:
            values[name] = value
        elif has_rest:
            extra[name] = value
        else:
            near = difflib.get_close_matches(name, named, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise BindError(f"there is no parameter for params.{name}{hint}")
    return extra


def _takers(open_parameters: list[inspect.Parameter], take_optional: bool) -> list[str]:
    """Parameters that take inputs by order. Those with a default are rather meant for params: they come last, and not
    at all where they are keyword-only or ``*args`` can take the inputs."""
    empty = inspect.Parameter.empty
    required = [p.name for p in open_parameters if p.default is empty]
    optional = [p.name for p in open_parameters if p.default is not empty and p.kind is not p.KEYWORD_ONLY]
    return required + (optional if take_optional else [])


def _as_annotated(
    function: Callable[..., object], parameter: inspect.Parameter, table: pa.Table, spark: Frames | None
) -> object:
    sort = wanted_sort(function, parameter, spark=spark is not None)
    if sort == "pyarrow":
        return table
    if sort == "spark":
        assert spark is not None
        return spark(table)
    return frames.to_polars(table) if sort == "polars" else frames.to_pandas(table)
