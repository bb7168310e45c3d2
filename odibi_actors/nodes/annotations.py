"""What a parameter's annotation asks for: a pandas, pyarrow, polars or Spark table.

Annotations are resolved as Python does (``typing.get_type_hints``), one parameter at a time, so that a return type or
another parameter that cannot be resolved harms nobody. What is imported under ``if TYPE_CHECKING:`` only is looked up
in the module's source, and ``pd``, ``pa``, ``pl`` mean what they always do. An annotation that is not understood is
refused: the function would get a table of another kind than its author expects.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace, UnionType
from typing import Any

import pandas as pd
import pyarrow as pa

from odibi_actors.batches.frames import POLARS_HINT
from odibi_actors.errors import MissingExtraError

LIBRARIES = ("pandas", "pyarrow", "polars", "pyspark")
"""Also what is looked up where an annotation's name is not defined when the function runs."""
_USUAL = {"pd": "pandas", "pa": "pyarrow", "pl": "polars"} | {name: name for name in LIBRARIES}
_WANTED = "pandas.DataFrame, pyarrow.Table or polars.DataFrame"


class BindError(ValueError):
    """Inputs or params do not fit the parameters of the function."""


def wanted_sort(function: Callable[..., object], parameter: inspect.Parameter, *, spark: bool = False) -> str:
    """``pandas`` (also without an annotation, and for ``Any``; of a node with engine ``spark`` that is ``spark``),
    ``pyarrow`` or ``polars``.

    Raises BindError (an annotation that cannot be resolved, or means no table) and MissingExtraError (polars).
    """
    usual = "spark" if spark else "pandas"
    if parameter.annotation is inspect.Parameter.empty:
        return usual
    for option in _options(_resolve(function, parameter)):
        if option in (Any, object):
            return usual
        kind = typing.get_origin(option) or option  # pandera's DataFrame[Schema] is a DataFrame
        if isinstance(kind, type) and (sort := sort_of(kind)):
            if sort == "spark" and not spark:
                raise BindError(
                    f"parameter {parameter.name!r} is a DataFrame of Spark: add `engine: spark` to the node"
                )
            return sort
    shown = inspect.formatannotation(parameter.annotation).strip("'\"")
    raise BindError(f"parameter {parameter.name!r} is annotated {shown}, which is no table; annotate it as {_WANTED}")


def sort_of(kind: type) -> str:
    """The library whose table ``kind`` is; "" for all else."""
    if issubclass(kind, pd.DataFrame):
        return "pandas"
    if issubclass(kind, pa.Table):
        return "pyarrow"
    tops = {base.__module__.split(".")[0] for base in kind.__mro__ if base.__name__ == "DataFrame"}
    return "polars" if "polars" in tops else "spark" if "pyspark" in tops else ""


def _options(found: object) -> Iterator[object]:
    """The members of a union, without None; what aliases, type variables and new types stand for."""
    if typing.get_origin(found) in (typing.Union, UnionType):
        for option in typing.get_args(found):
            yield from _options(option)
    elif isinstance(found, typing.TypeVar):
        for option in found.__constraints__ or (found.__bound__,):
            yield from _options(option)
    elif type(found).__name__ == "TypeAliasType":  # ``type Rows = ...`` of Python 3.12
        yield from _options(getattr(found, "__value__", None))
    elif isinstance(found, typing.NewType):
        yield from _options(found.__supertype__)
    elif found is not type(None):
        yield found


def _resolve(function: Callable[..., object], parameter: inspect.Parameter) -> object:
    names = _globals_of(function)
    holder = SimpleNamespace(__annotations__={"it": parameter.annotation})
    extra: dict[str, Any] = {}
    while True:
        try:
            return typing.get_type_hints(holder, globalns=names, localns=extra)["it"]  # Annotated[T, ...] is T
        except NameError as error:
            if error.name in extra or (found := _library(names, error.name or "")) is None:
                raise _refused(parameter, error) from error
            extra[error.name or ""] = found
        except MissingExtraError:
            raise
        except Exception as error:  # whatever evaluating it does: it is the user's expression
            raise _refused(parameter, error) from error


def _refused(parameter: inspect.Parameter, error: Exception) -> BindError:
    hint = "import it in the module" if isinstance(error, NameError) else f"annotate it as {_WANTED}"
    return BindError(
        f"the annotation of parameter {parameter.name!r}, {str(parameter.annotation)!r}, "
        f"cannot be resolved: {error}; {hint}"
    )


def _globals_of(function: object) -> dict[str, Any]:
    """The names that annotations of a function see: those of the module it was written in, whatever wraps it."""
    while isinstance(function, functools.partial):
        function = function.func
    plain = inspect.unwrap(typing.cast("Callable[..., object]", function))
    if not hasattr(plain, "__globals__"):  # an object with __call__
        plain = type(plain).__call__
    found: dict[str, Any] = getattr(plain, "__globals__", {})
    return found


def _library(names: dict[str, Any], name: str) -> object | None:
    """What ``name`` means in a module that imports it for type checkers only; None unless it is of a table library."""
    file = names.get("__file__")
    module, _, attribute = (_checked_imports(file) if file else {}).get(name, _USUAL.get(name, "")).partition(":")
    if module.split(".")[0] not in LIBRARIES:
        return None
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == "polars":
            raise MissingExtraError(POLARS_HINT) from error
        return None
    return getattr(found, attribute, None) if attribute else found


@functools.lru_cache(maxsize=256)
def _checked_imports(file: str) -> dict[str, str]:
    """Name -> ``module`` or ``module:attribute``, of the imports below ``if TYPE_CHECKING:`` of a source file."""
    try:
        tree = ast.parse(Path(file).read_bytes(), file)
    except (OSError, SyntaxError, ValueError):
        return {}
    found: dict[str, str] = {}
    guards = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    for statement in (inner for guard in guards for inner in guard.body):
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                top = alias.name.split(".")[0]
                found[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            found |= {alias.asname or alias.name: f"{statement.module}:{alias.name}" for alias in statement.names}
    return found
