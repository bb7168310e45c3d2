"""Does importing a module do anything beyond defining names? Answered from the source, and in doubt with no.

The warm parent imports every module of ``nodes/``, so one that registers something, patches a library or sets an option
when it is imported changes what functions of other modules give, although these do not import it.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator

_BUILTINS = frozenset(
    "abs all any bool bytes complex dict divmod enumerate float format frozenset hash int len list map max min object "  # noqa: SIM905
    "ord pow range repr reversed round set slice sorted str sum tuple zip".split()
)
"""Builtins that give a value and change nothing."""
_MODULES = frozenset(
    "abc collections contextlib dataclasses datetime decimal enum fractions functools itertools math operator "  # noqa: SIM905
    "pathlib re string types typing zoneinfo".split()
)
"""Modules of the standard library whose functions and classes give values and change nothing of others."""
_CALLS = frozenset({"logging.getLogger", "os.environ.get", "os.getenv", "os.path.join", "os.path.dirname"})
_ARROW = ("pyarrow.register_", "pyarrow.set_", "pyarrow.unregister_")
"""What of pyarrow does change something; the rest (``pyarrow.schema`` and the like) does not."""
_DECORATORS = frozenset({"staticmethod", "classmethod", "property"})
_OF_PROPERTIES = frozenset({"setter", "getter", "deleter"})
_DUNDERS = frozenset({"__all__", "__author__", "__version__", "__slots__", "__match_args__"})
_HOOKS = frozenset({"__init_subclass__", "__set_name__", "__class_getitem__", "__prepare__"})
"""Methods that run while a class is made."""


def is_quiet(tree: ast.Module) -> bool:
    """Whether importing it does nothing but define names, import, and compute values."""
    return _Quiet(tree).body(tree.body)


class _Quiet:
    def __init__(self, tree: ast.Module) -> None:
        self._imported: dict[str, str] = {}
        stored = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
        for name, what in _imported(tree):
            if self._imported.setdefault(name, what) != what:
                stored.add(name)
        self._defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)} - stored
        functions = (n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
        self._bound = {*stored, *functions, *self._defined}
        """Names that are not, or not only, what an import or Python itself calls so."""

    def body(self, statements: Iterable[ast.stmt]) -> bool:
        return all(self._statement(one) for one in statements)

    def _statement(self, one: ast.stmt) -> bool:
        match one:
            case ast.Import() | ast.ImportFrom() | ast.Pass():
                return True
            case ast.Expr():
                return isinstance(one.value, ast.Constant)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                return one.name not in _HOOKS and self._function(one)
            case ast.ClassDef():
                decorators = all(self._decorator(decorator) for decorator in one.decorator_list)
                keywords = all(isinstance(keyword.value, ast.Constant) for keyword in one.keywords)
                return decorators and keywords and all(map(self._base, one.bases)) and self.body(one.body)
            case ast.Assign():
                return all(map(_plain, one.targets)) and self._value(one.value)
            case ast.AnnAssign():
                value = one.value is None or self._value(one.value)
                return _plain(one.target) and self._value(one.annotation) and value
            case ast.Assert():
                return self._value(one.test)
            case ast.If():
                return self._value(one.test) and self.body(one.body) and self.body(one.orelse)
            case ast.Try():
                parts = [one.body, one.orelse, one.finalbody, *(handler.body for handler in one.handlers)]
                return all(self.body(part) for part in parts)
        return False

    def _function(self, one: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
        given = one.args
        arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
        annotations = [argument.annotation for argument in arguments if argument is not None]
        computed = [*given.defaults, *given.kw_defaults, *annotations, one.returns]
        decorators = all(self._decorator(decorator) for decorator in one.decorator_list)
        return decorators and all(self._value(value) for value in computed if value is not None)

    def _decorator(self, one: ast.expr) -> bool:
        if isinstance(one, ast.Call):
            return self._decorator(one.func) and all(map(self._value, _arguments(one)))
        if isinstance(one, ast.Attribute) and one.attr in _OF_PROPERTIES and isinstance(one.value, ast.Name):
            return True
        return self._name(one) in _DECORATORS or self._of_modules(one)

    def _base(self, one: ast.expr) -> bool:
        if isinstance(one, ast.Subscript):  # Generic[T]
            return self._base(one.value)
        name = self._name(one)
        if name in self._defined:
            return True
        return (hasattr(builtins, name) and name not in self._bound) or self._of_modules(one)

    def _value(self, value: ast.expr) -> bool:
        """Whether computing it calls nothing but what is known to change nothing."""
        calls = (
            node for node in _computed(value) if isinstance(node, ast.Call | ast.Await | ast.Yield | ast.YieldFrom)
        )
        return all(isinstance(call, ast.Call) and self._call(call.func) for call in calls)

    def _call(self, function: ast.expr) -> bool:
        if isinstance(function, ast.Attribute):
            root = function.value
            if isinstance(root, ast.Constant | ast.JoinedStr | ast.List | ast.Tuple | ast.Dict | ast.Set):
                return True  # "a b".split()
            if isinstance(root, ast.Call):
                return self._call(root.func)  # Path(...).resolve()
        name = self._name(function)
        if name in _BUILTINS:
            return name not in self._bound and name not in self._imported
        if name.startswith("pyarrow."):
            return not name.startswith(_ARROW)
        return name in _CALLS or self._of_modules(function)

    def _of_modules(self, expression: ast.expr) -> bool:
        return self._name(expression).partition(".")[0] in _MODULES

    def _name(self, expression: ast.expr) -> str:
        """``re.compile``, whatever it is imported as; "" for what is no name, or bound in another way as well."""
        tail: list[str] = []
        while isinstance(expression, ast.Attribute):
            tail.insert(0, expression.attr)
            expression = expression.value
        if not isinstance(expression, ast.Name):
            return ""
        name = expression.id
        if name in self._imported:
            return "" if name in self._bound else ".".join([self._imported[name], *tail])
        return "" if tail else name


def _imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Name in this module -> what it is imported as."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (alias.asname, alias.name) if alias.asname else (alias.name.split(".")[0],) * 2
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, f"{'.' * node.level}{node.module or ''}.{alias.name}"


def _plain(target: ast.expr) -> bool:
    if isinstance(target, ast.Tuple | ast.List):
        return all(map(_plain, target.elts))
    if not isinstance(target, ast.Name):
        return False
    return not target.id.startswith("__") or target.id in _DUNDERS


def _arguments(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def _computed(value: ast.expr) -> Iterator[ast.AST]:
    """What is computed when the expression is; the body of a lambda is not."""
    left: list[ast.AST] = [value]
    while left:
        node = left.pop()
        yield node
        children: Iterable[ast.AST] = ast.iter_child_nodes(node)
        if isinstance(node, ast.Lambda):
            children = [one for one in [*node.args.defaults, *node.args.kw_defaults] if one is not None]
        left.extend(children)
