"""Functions that a program lends to the engine in its own process: those of a pipeline that is built in code.

No task, which is a message, may choose what else than the project's ``nodes/`` is run (see ``transform``); what is lent
was put here by the program itself, for as long as it runs the pipeline.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import xxhash

from odibi_actors.errors import ConflictError

Function = Callable[..., object]

_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_lent: dict[str, Function] = {}


@contextlib.contextmanager
def lending(functions: Mapping[str, Function]) -> Iterator[None]:
    """While it holds, nodes call these functions by their references (``module:function``).

    Raises ConflictError: another function is lent under one of them.
    """
    for reference, function in functions.items():
        if _lent.get(reference, function) is not function:
            raise ConflictError(f"another function {reference} is at work in this process; wait for the end of its run")
    mine = {reference: function for reference, function in functions.items() if reference not in _lent}
    _lent.update(mine)
    try:
        yield
    finally:
        for reference in mine:
            del _lent[reference]


def find(reference: str) -> Function | None:
    """The function that is lent under this reference."""
    return _lent.get(reference)


def digest_of(function: Function) -> str:
    """xxh3-128 (32 hex digits) of its code, part of the keys of its node as the files of ``nodes/`` are: of the file
    that it stands in; where there is none (a notebook, a terminal), of the function, the functions of the same module
    that it calls, and the plain values that it uses."""
    digest = xxhash.xxh3_128()
    file = getattr(sys.modules.get(function.__module__), "__file__", None)
    if file is not None and Path(file).is_file():
        digest.update(Path(file).read_bytes())
    elif isinstance(function, FunctionType):
        for part in _parts(function, set()):
            digest.update(f"{len(part)}:{part}".encode("utf-8", "surrogatepass"))
    return str(digest.hexdigest())


def _parts(function: FunctionType, seen: set[str]) -> Iterator[str]:
    """What a function is made of, as text: no file name and no line, which change with every cell that is run."""
    seen.add(function.__qualname__)
    yield _value((function.__defaults__, function.__kwdefaults__))
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # not filled yet
            yield _value(cell.cell_contents)
    names: dict[str, None] = {}
    for code in _codes(function.__code__):
        yield code.co_code.hex()
        yield repr((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars))
        yield _value(code.co_consts)
        names |= dict.fromkeys(code.co_names)
    for name in names:
        value = function.__globals__.get(name)
        if isinstance(value, FunctionType):
            if value.__module__ == function.__module__ and value.__qualname__ not in seen:
                yield from _parts(value, seen)
        elif name in function.__globals__:
            yield f"{name}={_value(value)}"


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _value(value: Any) -> str:
    """Plain values as they are, of others the type: their text may hold an address."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return "(" + ",".join(_value(one) for one in value) + ")"
    if isinstance(value, (set, frozenset)):
        return "{" + ",".join(sorted(_value(one) for one in value)) + "}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_value(key)}:{_value(one)}" for key, one in value.items()) + "}"
    return type(value).__qualname__
