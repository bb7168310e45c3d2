"""One step done: in the thread that calls, with the engine's context."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from odibi_actors.core.contexts import EngineContext
from odibi_actors.core.steps import Step


class StepError(Exception):
    """A step that can never run as it is: trying again does not help."""


def perform(step: Step, inputs: Mapping[str, Any], context: EngineContext) -> dict[str, Any]:
    """Do it. ``inputs``: by logical name. Returns key -> output. Raises StepError, and whatever reading, SQL, functions
    and writing raise."""
    try:
        own = context.of(step.engine)
    except ValueError as error:
        raise StepError(str(error)) from error
    with own.lending(inputs) as lent:
        return {key: own.settled(value) for key, value in _performed(step, lent, own).items()}


def _performed(step: Step, inputs: Mapping[str, Any], context: EngineContext) -> dict[str, Any]:
    if step.reads and step.type != "function":
        return dict.fromkeys(step.outputs.values(), context.read(step.value, **step.params))
    if step.writes and step.type != "function":
        data = _only(step, inputs)
        context.write(data, step.value, **step.params)
        return dict.fromkeys(step.outputs.values(), data)
    if step.type == "function":
        return _returned(step, _function(step)(**_arguments(step, inputs)))
    if step.selects:
        return dict.fromkeys(step.outputs.values(), _selected(step, _only(step, inputs)))
    return dict.fromkeys(step.outputs.values(), context.query(step.value, inputs))


def _only(step: Step, inputs: Mapping[str, Any]) -> Any:
    if len(inputs) != 1:
        raise StepError(f"a {step.layer} takes one input, not {len(inputs)}: {', '.join(inputs) or 'none'}")
    return next(iter(inputs.values()))


def _selected(step: Step, data: Any) -> Any:
    columns = step.params.get("columns")
    if not isinstance(columns, list | tuple) or not columns:
        raise StepError(f"select needs params={{'columns': [...]}}, not {columns!r}")
    if missing := [name for name in columns if name not in data.columns]:
        raise StepError(f"there is no column {missing[0]!r}; there are: {', '.join(map(str, data.columns))}")
    return data[list(columns)]


def _function(step: Step) -> Callable[..., Any]:
    module_name, _, name = step.value.rpartition(".")
    if not module_name:
        raise StepError(f"function {step.value!r}: give it as module.function")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise StepError(f"function {step.value!r}: there is no module {error.name!r}") from error
        raise
    function = getattr(module, name, None)
    if not callable(function):
        known = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(known) or 'none'}"
        raise StepError(f"module {module_name!r} has no function {name!r}; {hint}")
    found: Callable[..., Any] = function
    return found


def _arguments(step: Step, inputs: Mapping[str, Any]) -> dict[str, Any]:
    if both := sorted(set(inputs) & set(step.params)):
        raise StepError(f"{both[0]!r} is both an input and one of params")
    return {**inputs, **step.params}


def _returned(step: Step, value: Any) -> dict[str, Any]:
    """What a function returned, by key: of several outputs a dict by logical name, or a tuple in their order."""
    names = list(step.outputs)
    if not names:
        return {}
    if len(names) == 1:
        parts: Mapping[str, Any] = {names[0]: value}
    elif isinstance(value, tuple) and len(value) == len(names):
        parts = dict(zip(names, value, strict=True))
    elif isinstance(value, Mapping) and set(value) == set(names):
        parts = value
    else:
        shown = f"a tuple of {len(value)}" if isinstance(value, tuple) else type(value).__name__
        wanted = f"a dict of {', '.join(names)}, or a tuple of {len(names)}"
        raise StepError(f"{step.value} returned {shown}; outputs says {wanted}")
    if none := [name for name, part in parts.items() if part is None]:
        raise StepError(f"{step.value} returned None for output {none[0]!r}; is a return missing?")
    return {step.outputs[name]: parts[name] for name in names}
