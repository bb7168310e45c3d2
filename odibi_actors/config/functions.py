"""Does ``module:function`` exist, and does it fit the node? Answered from the source: user code is never imported here,
for importing runs it. Only of functions that a script has lent is the object itself asked."""

from __future__ import annotations

import ast
import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from odibi_actors.config.digest import code_files
from odibi_actors.errors import ConfigError

MAX_MODULE = 1024 * 1024
"""Bytes of one node module that are parsed."""
CONTEXT = "context"
"""The parameter that receives pipeline, iteration, node, attempt, watermark and logger."""
STATE_PARAMETER = "state"
"""The parameter of a stateful node's function that receives what it kept."""

Report = Callable[[str, str, str], None]
"""(key of the transform it is about, what is wrong, suggestion)"""


@dataclass(frozen=True)
class Module:
    """The top level of one module. ``functions``: plain definitions; ``others``: names bound in some other way, about
    which the source alone does not tell."""

    file: str
    functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef]
    others: frozenset[str]
    star: bool


@dataclass(frozen=True)
class Parameters:
    """What a function takes. ``optional``: those with a default -> are they positional? ``any_input``: it has
    ``*args``; ``any_param``: it has ``**kwargs``."""

    required: list[str]
    optional: dict[str, bool]
    any_input: bool
    any_param: bool


class Modules:
    """The modules of one project, parsed when first asked for. ``lent``: functions of the program itself, by
    ``module:function`` (see ``nodes.lent``)."""

    def __init__(self, root: Path, lent: Mapping[str, Callable[..., object]] | None = None) -> None:
        self._root = root
        self._lent = lent or {}
        self._known: dict[str, Module | tuple[str, str]] = {}

    def check(
        self, reference: str, inputs: list[str] | None, params: Iterable[str], state: bool, report: Report
    ) -> None:
        """Reports what is wrong with a node that calls ``reference`` with these inputs (None: unknown) and params; with
        ``state`` it is given what it kept."""
        if reference in self._lent:
            if inputs is not None:
                _check_lent(reference, self._lent[reference], inputs, list(params), state, report)
            return
        module_name, name = reference.split(":")
        if module_name not in self._known:
            self._known[module_name] = self._load(module_name)
        module = self._known[module_name]
        if isinstance(module, tuple):
            report("function", *module)
        elif name in module.functions:
            if inputs is not None:
                _check_call(module.file, module.functions[name], inputs, list(params), state, report)
        elif name not in module.others and not module.star:
            near = difflib.get_close_matches(name, module.functions, n=1)
            if near:
                hint = f'did you mean "{near[0]}" (line {module.functions[near[0]].lineno})?'
            else:
                hint = "it defines: " + (", ".join(module.functions) or "no function")
            report("function", f"{module.file} has no function {name}", hint)

    def _load(self, name: str) -> Module | tuple[str, str]:
        if name.partition(".")[0] != "nodes":
            return f"the module {name} is not in nodes/", "functions live in nodes/*.py, such as nodes.flights:clean"
        base = self._root.joinpath(*name.split("."))
        candidates = [base / "__init__.py", base.with_suffix(".py")]
        path = next((candidate for candidate in candidates if candidate.is_file()), None)
        if path is None:
            return self._missing(candidates[1].relative_to(self._root).as_posix())
        return _parse(path, path.relative_to(self._root).as_posix())

    def _missing(self, file: str) -> tuple[str, str]:
        try:
            files = code_files(self._root)
        except ConfigError as error:
            return f"there is no file {file}", str(error)
        near = difflib.get_close_matches(file, files, n=1)
        return f"there is no file {file}", f'did you mean "{near[0]}"?' if near else "write it"


def _parse(path: Path, file: str) -> Module | tuple[str, str]:
    try:
        if path.stat().st_size > MAX_MODULE:
            return f"{file} is larger than {MAX_MODULE} bytes", "split it"
        tree = ast.parse(path.read_bytes(), file)
    except SyntaxError as error:
        return f"{file}:{error.lineno or 1}: {error.msg}", "fix the Python file"
    except (OSError, ValueError, RecursionError) as error:
        return f"{file} cannot be read: {error}", "fix the Python file"
    functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = {}
    others: set[str] = set()
    _collect(tree.body, functions, others)
    return Module(file, functions, frozenset(others - {"*"}), "*" in others)


def _collect(
    body: list[ast.stmt], functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef], others: set[str]
) -> None:
    """Names bound at the top level; also below if, try, with, for, while. Of functions the last definition counts,
    unless a name is bound in another way as well."""
    for statement in body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            functions[statement.name] = statement
        elif isinstance(statement, ast.ClassDef):
            others.add(statement.name)
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            others.update((alias.asname or alias.name).split(".")[0] for alias in statement.names)
        else:
            others.update(_bound(statement))
            for field in ("body", "orelse", "finalbody"):
                _collect(getattr(statement, field, []), functions, others)
            for handler in getattr(statement, "handlers", []):
                _collect(handler.body, functions, others)
    for name in others & functions.keys():
        del functions[name]


def _bound(statement: ast.stmt) -> Iterator[str]:
    """Names that an assignment (or ``for``, ``with``, ``:=``) gives a value to."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _check_lent(
    reference: str,
    function: Callable[..., object],
    inputs: list[str],
    params: list[str],
    state: bool,
    report: Report,
) -> None:
    where = f"{reference}()"
    if inspect.iscoroutinefunction(function):
        report("function", f"{where} is async", "write a plain def")
    else:
        _check_binding(where, _parameters_of(function), inputs, params, state, report)


def _check_call(
    file: str,
    function: ast.FunctionDef | ast.AsyncFunctionDef,
    inputs: list[str],
    params: list[str],
    state: bool,
    report: Report,
) -> None:
    where = f"{file}:{function.lineno}: {function.name}()"
    if isinstance(function, ast.AsyncFunctionDef):
        report("function", f"{where} is async", "write a plain def")
    elif not function.decorator_list:  # a decorator may have changed its parameters
        _check_binding(where, _parameters(function.args), inputs, params, state, report)


def _check_binding(
    where: str, takes: Parameters, inputs: list[str], params: list[str], state: bool, report: Report
) -> None:
    """Does ``function(inputs by name, else in order; **params; context; state)`` bind? The rules are those of
    nodes/transform.py, which makes the call."""
    names = [*takes.required, *takes.optional]
    for name in params:
        if name in inputs:
            report(f"params.{name}", "is the name of an input as well", "rename one of them")
        elif name not in names and not takes.any_param:
            near = difflib.get_close_matches(name, [known for known in names if known not in inputs], n=1)
            hint = f'did you mean "{near[0]}"?' if near else "its parameters: " + (", ".join(names) or "none")
            report(f"params.{name}", f"{where} has no such parameter", hint)
    if state and STATE_PARAMETER not in names:
        report("function", f"{where} has no parameter {STATE_PARAMETER}", "add one: it is given what was kept, or None")
    for name in (*inputs, *params) if state else ():
        if name == STATE_PARAMETER:
            report("function", f"{where}: {name} is what was kept, and an input or parameter too", "rename that one")
    taken = {CONTEXT, *params, *inputs, *([STATE_PARAMETER] if state else [])}
    unmatched = [name for name in inputs if name not in names]
    takers = [name for name in takes.required if name not in taken]
    if not takes.any_input:
        takers += [name for name, by_order in takes.optional.items() if by_order and name not in taken]
        for name in unmatched[len(takers) :]:
            report("function", f"{where} has no parameter for the input {name}", "add one, or take the input away")
    for name in takers[len(unmatched) :]:
        if name in takes.required:
            message = f"{where} has the parameter {name}, and nothing is given for it"
            report("function", message, "name it in inputs or params, or give it a default")


def _parameters(arguments: ast.arguments) -> Parameters:
    positional = [argument.arg for argument in arguments.posonlyargs + arguments.args]
    first = len(positional) - len(arguments.defaults)
    pairs = list(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
    required = positional[:first] + [argument.arg for argument, default in pairs if default is None]
    optional = dict.fromkeys(positional[first:], True)
    optional |= {argument.arg: False for argument, default in pairs if default is not None}
    return Parameters(required, optional, arguments.vararg is not None, arguments.kwarg is not None)


def _parameters_of(function: Callable[..., object]) -> Parameters:
    known = inspect.signature(function).parameters.values()
    tails = {one.kind for one in known if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD)}
    named = [one for one in known if one.kind not in tails]
    return Parameters(
        required=[one.name for one in named if one.default is one.empty],
        optional={one.name: one.kind is not one.KEYWORD_ONLY for one in named if one.default is not one.empty},
        any_input=inspect.Parameter.VAR_POSITIONAL in tails,
        any_param=inspect.Parameter.VAR_KEYWORD in tails,
    )
