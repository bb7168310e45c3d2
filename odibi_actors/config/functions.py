"""Does ``module:function`` exist, and does it fit the node? Answered from the source: user code is never imported here,
for importing runs it."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from odibi_actors.config.digest import code_files
from odibi_actors.errors import ConfigError

MAX_MODULE = 1024 * 1024
"""Bytes of one node module that are parsed."""
CONTEXT = "context"
"""The parameter that receives pipeline, iteration, node, attempt, watermark and logger."""

Report = Callable[[str, str], None]
"""(what is wrong, suggestion)"""


@dataclass(frozen=True)
class Module:
    """The top level of one module. ``functions``: plain definitions; ``others``: names bound in some other way, about
    which the source alone does not tell."""

    file: str
    functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef]
    others: frozenset[str]
    star: bool


class Modules:
    """The modules of one project, parsed when first asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[str, Module | tuple[str, str]] = {}

    def check(self, reference: str, inputs: list[str], params: Iterable[str], report: Report) -> None:
        """Reports what is wrong with a node that calls ``reference`` with these inputs and params."""
        module_name, name = reference.split(":")
        if module_name not in self._known:
            self._known[module_name] = self._load(module_name)
        module = self._known[module_name]
        if isinstance(module, tuple):
            report(*module)
        elif name in module.functions:
            _check_call(module.file, module.functions[name], inputs, list(params), report)
        elif name not in module.others and not module.star:
            near = difflib.get_close_matches(name, module.functions, n=1)
            if near:
                hint = f'did you mean "{near[0]}" (line {module.functions[near[0]].lineno})?'
            else:
                hint = "it defines: " + (", ".join(module.functions) or "no function")
            report(f"{module.file} has no function {name}", hint)

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
        return f"{file}:{error.lineno or 1}: {error.msg}", "mend the Python file"
    except (OSError, ValueError, RecursionError) as error:
        return f"{file} cannot be read: {error}", "mend the Python file"
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
            targets = (node.id for node in ast.walk(statement) if isinstance(node, ast.Name))
            if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
                others.update(targets)
            for field in ("body", "orelse", "finalbody"):
                _collect(getattr(statement, field, []), functions, others)
            for handler in getattr(statement, "handlers", []):
                _collect(handler.body, functions, others)
    for name in others & functions.keys():
        del functions[name]


def _check_call(
    file: str,
    function: ast.FunctionDef | ast.AsyncFunctionDef,
    inputs: list[str],
    params: list[str],
    report: Report,
) -> None:
    """Does ``function(inputs by name, else in order; **params; context)`` bind?"""
    where = f"{file}:{function.lineno}: {function.name}()"
    if isinstance(function, ast.AsyncFunctionDef):
        report(f"{where} is async", "write a plain def")
        return
    if function.decorator_list:
        return  # the decorator may have changed its parameters
    arguments = function.args
    positional = [argument.arg for argument in arguments.posonlyargs + arguments.args]
    keyword = {argument.arg for argument in arguments.args + arguments.kwonlyargs}
    optional = set(positional[len(positional) - len(arguments.defaults) :])
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    optional |= {argument.arg for argument, default in pairs if default is not None}
    names = positional + [argument.arg for argument in arguments.kwonlyargs]

    for name in params:
        if name == CONTEXT:
            report(f"params: {CONTEXT} is given to the function by the runtime", "choose another name")
        elif name not in keyword and arguments.kwarg is None:
            near = difflib.get_close_matches(name, sorted(keyword - {CONTEXT, *inputs}), n=1)
            hint = f'did you mean "{near[0]}"?' if near else "its parameters: " + (", ".join(names) or "none")
            report(f"params: {where} has no parameter {name}", hint)
    taken = {CONTEXT, *params}
    matched = [name for name in inputs if name in keyword and name not in taken]
    free = [name for name in positional if name not in taken and name not in matched]
    rest = len(inputs) - len(matched)
    if rest > len(free) and arguments.vararg is None:
        report(f"{where} takes {len(matched) + len(free)} inputs, the node has {len(inputs)}", "adapt one to the other")
    given = {*matched, *free[:rest], *taken}
    for name in names:
        if name not in given and name not in optional:
            report(f"{where}: nothing is given for its parameter {name}", "give it in inputs or params, or a default")
