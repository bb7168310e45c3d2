"""The digest of the user's code: part of every node's key, so that changed code runs again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec
import xxhash

from odibi_actors.config.model import CodeSpec, NodeSpec, ReadSpec
from odibi_actors.config.reach import PACKAGE, Reach
from odibi_actors.errors import ConfigError

MAX_CODE_FILES = 10_000
MAX_CODE_BYTES = 64 * 1024 * 1024
"""A ``nodes/`` beyond these holds something else than code (a virtual environment, data)."""
MAX_CODE_TOLD = 200
"""Files that a version names with their digests, so that the next can say which have changed; of more it says
``nodes/``."""


def code_files(root: Path) -> list[str]:
    """The project's node modules: paths of ``nodes/**/*.py`` relative to ``root`` with ``/``, sorted. Linked folders
    are not followed. Raises ConfigError when there are too many."""
    found: list[str] = []
    for path in _walk(root / "nodes"):
        found.append(path.relative_to(root).as_posix())
        if len(found) > MAX_CODE_FILES:
            raise ConfigError(f"nodes/ holds more than {MAX_CODE_FILES} Python files; keep only node functions there")
    return sorted(found)


def read_code(root: Path) -> dict[str, bytes]:
    """The node modules and their bytes, sorted; raises ConfigError past the limits, OSError when a file cannot be
    read."""
    files: dict[str, bytes] = {}
    total = 0
    for name in code_files(root):
        files[name] = (root / name).read_bytes()
        total += len(files[name])
        if total > MAX_CODE_BYTES:
            raise ConfigError(
                f"nodes/ holds more than {MAX_CODE_BYTES} bytes of Python; keep only node functions there"
            )
    return files


def code_digest(root: Path) -> str:
    """xxh3-128 (32 hex digits) over names and bytes of ``nodes/**/*.py``; raises as ``read_code``."""
    return digest_of(read_code(root))


def digest_of(files: Mapping[str, bytes]) -> str:
    """The same of files that were read."""
    digest = xxhash.xxh3_128()
    for name, data in files.items():
        # Lengths go first: else bytes could move from one file to the next without a trace.
        digest.update(f"{len(name.encode())}:{name}:{len(data)}:".encode())
        digest.update(data)
    return str(digest.hexdigest())


class Code:
    """The code of a project as it is now, read once; outside of it nothing counts but functions that are ``lent``
    (reference -> digest). Raises as ``read_code``."""

    def __init__(self, root: Path, lent: Mapping[str, str] | None = None) -> None:
        self._files = read_code(root)
        self._lent = lent or {}
        self.digest = digest_of(self._files | {name: digest.encode() for name, digest in sorted(self._lent.items())})
        self._reach = Reach(self._files, lambda name: _is_module(root, name))

    def of(self, nodes: Iterable[NodeSpec]) -> CodeSpec:
        """What these nodes depend on."""
        found: dict[str, str] = {}
        files: dict[str, str] = {}
        for node in nodes:
            if not (function := _function(node)):
                continue
            if (lent := self._lent.get(function)) is not None:
                found[node.name] = lent
                continue
            reached = self.reached(function)
            found[node.name] = digest_of(reached)
            files |= {name: str(xxhash.xxh3_64_hexdigest(data)) for name, data in reached.items()}
        if len(files) > MAX_CODE_TOLD:
            files = {f"{PACKAGE}/": self.digest}
        return CodeSpec(nodes=found, files=files)

    def reached(self, function: str) -> dict[str, bytes]:
        """The files, sorted, that a function (``nodes.flights:clean``) depends on."""
        module, _, _ = function.partition(":")
        return {name: self._files[name] for name in sorted(self._reach.of(module))}


def _function(node: NodeSpec) -> str:
    """The function that a node calls, or has called when it is polled; "" where there is none."""
    if node.read is not None and node.read.polled is not None:
        return node.read.polled.function
    return (node.transform.function or "") if node.transform is not None else ""


def _is_module(root: Path, name: str) -> bool:
    """Whether ``import name`` may find something in the project's folder, which is on the path of node functions."""
    return (root / f"{name}.py").exists() or (root / name).is_dir()


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__" and not name.startswith(".")]
        yield from (Path(parent, name) for name in names if name.endswith(".py"))


def read_digest(read: ReadSpec) -> str:
    """xxh3-64 (16 hex digits) of what a source reads, and how: tells what it says now from what it said before."""
    return xxhash.xxh3_64_hexdigest(msgspec.msgpack.encode(read, order="deterministic"))
