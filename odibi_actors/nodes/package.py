"""The package ``nodes`` is this project's folder, whatever else of that name lies on the import path.

Python takes a regular package anywhere on the path before a folder without ``__init__.py``, and a module ``nodes.py``
before such a folder: other code would run, in silence. So ``nodes`` is found by name, before the path is looked at.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from odibi_actors.errors import ConfigError

PACKAGE = "nodes"


class BarredError(ImportError):
    """A module of ``nodes/`` that is not imported, since that ended or hung a process."""


class Kept(SourceFileLoader):
    """Of a module that is kept as it was: its name and place are those of the file, whatever that says by now."""

    def __init__(self, name: str, path: str, data: bytes) -> None:
        super().__init__(name, path)
        self._data = data

    def get_data(self, path: str) -> bytes:
        """What was kept; other files of a package as they are."""
        return self._data if path == self.path else super().get_data(path)

    def path_stats(self, path: str) -> Mapping[str, Any]:
        """Raises OSError: no compiled file belongs to it, and none is made."""
        raise OSError(f"{path} is kept in memory")


class OwnNodes:
    """A finder (``sys.meta_path``) of this project's ``nodes``. ``barred``: modules of it that must not be imported
    again, with the reason: their import ended or hung a process. ``code``: files that are kept as they were, as
    ``config.digest.read_code`` names them; others are found on the disk."""

    def __init__(self, project: Path, barred: Mapping[str, str], code: Mapping[str, bytes]) -> None:
        self.folder = project / PACKAGE
        self.barred = dict(barred)
        self.code = dict(code)
        self.on_path = False  # whether the project's folder is on the path because of us
        self.first = False  # whether nobody had imported a ``nodes`` before

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """``nodes`` itself, always; its modules are found below it by Python."""
        reason = self.barred.get(name)
        if reason is not None:
            raise BarredError(reason, name=name)
        if self.code and name.partition(".")[0] == PACKAGE:
            return self._kept(name)
        return self._spec() if name == PACKAGE else None

    def _kept(self, name: str) -> ModuleSpec | None:
        """As Python would find it among the files that are kept; None when there is none of that name."""
        path = name.replace(".", "/")
        for file in (f"{path}/__init__.py", f"{path}.py"):
            if (data := self.code.get(file)) is not None:
                at = self.folder.parent / file
                below = [str(at.parent)] if at.name == "__init__.py" else None
                loader = Kept(name, str(at), data)
                return spec_from_file_location(name, at, loader=loader, submodule_search_locations=below)
        if not any(file.startswith(f"{path}/") for file in self.code):
            return None
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(self.folder.parent / path)]
        return spec

    def _spec(self) -> ModuleSpec:
        if not self.folder.is_dir():
            other = PathFinder.find_spec(PACKAGE)
            found = f"; {_place(other)} is another one, and not taken" if other is not None else ""
            raise ModuleNotFoundError(f"there is no folder {self.folder}{found}", name=PACKAGE)
        init = self.folder / "__init__.py"
        if init.is_file():
            spec = spec_from_file_location(PACKAGE, init, submodule_search_locations=[str(self.folder)])
            assert spec is not None
            return spec
        spec = ModuleSpec(PACKAGE, None, is_package=True)
        spec.submodule_search_locations = [str(self.folder)]
        return spec


def module_of(file: str) -> str:
    """The module of a file of ``nodes/``, as ``config.digest.code_files`` names it."""
    return file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def claim(project: Path, barred: Mapping[str, str] | None = None, code: Mapping[str, bytes] | None = None) -> OwnNodes:
    """From now on ``nodes`` is the folder of ``project`` in this process, whose other modules can be imported too; see
    ``OwnNodes``. What an earlier project of this process had loaded as ``nodes`` is forgotten.

    Raises ConfigError when somebody else has imported another ``nodes`` before us.
    """
    own = OwnNodes(project, barred or {}, code or {})
    former = [finder for finder in sys.meta_path if isinstance(finder, OwnNodes)]
    loaded = sys.modules.get(PACKAGE)
    if loaded is not None and not _is(loaded, own.folder):
        if not any(_is(loaded, finder.folder) for finder in former):
            raise ConfigError(
                f"`import nodes` has given {_where(loaded)} to this process before, which is not {own.folder}; rename "
                "it, or do not import it here: functions of odibi.yaml come from the project's nodes/"
            )
        forget()
    own.first = PACKAGE not in sys.modules
    sys.meta_path[:] = [own, *(finder for finder in sys.meta_path if finder not in former)]
    if str(project) not in sys.path:  # what nodes/ imports from the project's folder
        sys.path.insert(0, str(project))
        own.on_path = True
    return own


def release(own: OwnNodes) -> None:
    """Take back ``claim``: this process may import other ``nodes``, unless the program itself has imported ours."""
    if own.first:
        forget()
    sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not own]
    if own.on_path and str(own.folder.parent) in sys.path:
        sys.path.remove(str(own.folder.parent))


@contextlib.contextmanager
def claimed(project: Path) -> Iterator[None]:
    """``claim``, for as long as it holds. Raises as that."""
    own = claim(project)
    try:
        yield
    finally:
        release(own)


def forget() -> None:
    """``nodes`` and all below it are read again when they are imported next."""
    for name in [name for name in sys.modules if name == PACKAGE or name.startswith(f"{PACKAGE}.")]:
        del sys.modules[name]


def _is(module: ModuleType, folder: Path) -> bool:
    # A namespace package has a folder as often as it stands on the path, by whatever name.
    found = {Path(place).resolve() for place in getattr(module, "__path__", [])}
    return found == {folder.resolve()}


def _where(module: ModuleType) -> str:
    return str(getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", [])), "a built-in module"))


def _place(spec: ModuleSpec) -> str:
    return str(spec.origin or next(iter(spec.submodule_search_locations or []), "a built-in module"))
