"""Which files of ``nodes/`` a function depends on: that of its module, what that imports, and what these import.

Read from the source; nothing is imported. In doubt the answer is all of them: a module that imports by name, cannot be
read, or leads out of ``nodes/`` may reach whatever there is. A module that does more than define names when it is
imported counts for every function (see ``quiet``). Decision 0014.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from odibi_actors.config.quiet import is_quiet

PACKAGE = "nodes"
MAX_FILES = 300
"""Beyond it all functions depend on all files: parsing them takes longer than a run of some more nodes."""
MAX_BYTES = 4 * 1024 * 1024
_BY_NAME = frozenset(
    "cloudpickle dill gc imp importlib joblib marshal pickle pkg_resources pkgutil pydoc runpy shelve "  # noqa: SIM905
    "zipimport".split()
)
"""Modules that import, find or load others by a name that the source need not show."""
_NAMES = frozenset({"__builtins__", "__import__", "__loader__", "__package__", "__path__", "__spec__", "eval", "exec"})
_ATTRIBUTES = frozenset(
    {"__builtins__", "__import__", "__loader__", "__path__", "__spec__", "__subclasses__", "modules"}
)
"""``sys.modules`` among them."""
_MENTION = re.compile(rf"^{PACKAGE}[./:]?$|(?:^|\W){PACKAGE}(?:[./:]\w|/$)")
"""A text that may be the name of a module, or of a file of one, or the beginning of it."""


@dataclass(frozen=True)
class _Module:
    """``imports``: files; ``everything``: it may reach any; ``quiet``: importing it changes nothing of others."""

    imports: frozenset[str] = frozenset()
    everything: bool = False
    quiet: bool = True


class Reach:
    """The modules of one project by file. ``files``: their contents, as ``digest.code_files`` names them; ``outside``:
    whether a top-level name may be a module of the project beside ``nodes/``."""

    def __init__(self, files: Mapping[str, bytes], outside: Callable[[str], bool]) -> None:
        self._files, self._outside = files, outside
        too_many = len(files) > MAX_FILES or sum(map(len, files.values())) > MAX_BYTES
        self._modules = {} if too_many else {file: self._look(file) for file in files}
        self._loud = [file for file, module in self._modules.items() if not module.quiet]

    def of(self, module: str) -> frozenset[str]:
        """The files that functions of a module (``nodes.flights``) depend on."""
        found = self._found(module)
        if not self._modules or not found:
            return frozenset(self._files)
        start = [*found, *self._loud]
        reached: set[str] = set()
        while start:
            file = start.pop()
            if file in reached:
                continue
            reached.add(file)
            if self._modules[file].everything:
                return frozenset(self._files)
            start.extend(self._modules[file].imports)
        return frozenset(reached)

    def _found(self, module: str) -> list[str]:
        """The files of a module, and of the packages it is in; none when there is none of that name."""
        parts = module.split(".")
        path = "/".join(parts)
        own = [file for file in (f"{path}/__init__.py", f"{path}.py") if file in self._files]
        if not own and not self._is_package(module):
            return []
        above = ("/".join([*parts[:count], "__init__.py"]) for count in range(1, len(parts)))
        return [*own, *(file for file in above if file in self._files)]

    def _is_package(self, module: str) -> bool:
        folder = module.replace(".", "/") + "/"
        return any(file.startswith(folder) for file in self._files)

    def _look(self, file: str) -> _Module:
        try:
            tree = ast.parse(self._files[file], file)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return _Module(everything=True)  # importing it runs nothing of it
        package = file.split("/")[:-1]
        texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
        imports: set[str] = set()
        everything = False
        for node in ast.walk(tree):
            found: list[str] | None = []
            if isinstance(node, ast.Import):
                found = self._all_of(self._imported(alias) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                found = self._imported_from(node, package)
            elif id(node) not in texts and _by_name(node):
                found = None
            everything |= found is None
            imports.update(found or ())
        return _Module(frozenset(imports), everything, is_quiet(tree))

    @staticmethod
    def _all_of(found: Iterable[list[str] | None]) -> list[str] | None:
        """None when any of it may be everything."""
        lists = list(found)
        return None if None in lists else [file for files in lists for file in files or ()]

    def _imported(self, alias: ast.alias) -> list[str] | None:
        """``import nodes.flights`` gives the package ``nodes``, and all of it that anybody has imported."""
        top = alias.name.partition(".")[0]
        if top != PACKAGE:
            return None if self._unclear(top) else []
        return self._held(alias.name) if alias.asname and alias.name != PACKAGE else None

    def _imported_from(self, node: ast.ImportFrom, package: list[str]) -> list[str] | None:
        base = node.module or ""
        if node.level:
            if node.level > len(package):
                return None
            above = package[: len(package) - node.level + 1]
            base = ".".join([*above, *([node.module] if node.module else [])])
        top = base.partition(".")[0]
        if top != PACKAGE:
            return None if self._unclear(top) or (base == "sys" and "modules" in _names(node)) else []
        found = self._found(base)
        if not found and not self._is_package(base):
            return None
        for name in _names(node):
            if name == "*" and self._is_package(base):
                return None if base == PACKAGE else self._held(base)
            inner = f"{base}.{name}"
            if self._found(inner) or self._is_package(inner):
                found += self._held(inner) or ()
        return found

    def _held(self, module: str) -> list[str] | None:
        """What a module as a value leads to: of a package all its modules, which somebody else may have imported."""
        if not self._found(module) and not self._is_package(module):
            return None
        folder = module.replace(".", "/") + "/"
        return [*self._found(module), *(file for file in self._files if file.startswith(folder))]

    def _unclear(self, top: str) -> bool:
        return top in _BY_NAME or self._outside(top)


def _names(node: ast.ImportFrom) -> list[str]:
    return [alias.name for alias in node.names]


def _by_name(node: ast.AST) -> bool:
    """It may get at a module by its name, or at whatever there is."""
    match node:
        case ast.Name():
            return node.id in _NAMES
        case ast.Attribute():
            return node.attr in _ATTRIBUTES
        case ast.Constant():
            return isinstance(node.value, str) and _MENTION.search(node.value) is not None
    return False
