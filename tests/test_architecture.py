"""The rules of the house: who imports whom, and what an actor may not know. See docs/architecture.md."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(p for top in ("odibi_actors", "broker", "workers") for p in (ROOT / top).rglob("*.py"))
"""Each file once: ``rglob`` does not follow ``odibi_actors/broker`` and ``odibi_actors/workers``, which are links."""
ACTORS = [
    *sorted((ROOT / "broker").glob("[!_]*.py")),
    *(ROOT / f"odibi_actors/{name}/actor.py" for name in ("checkpoint", "streaming", "scheduler")),
    *(ROOT / f"odibi_actors/scheduler/{name}.py" for name in ("agenda", "answers", "judge")),
    *(
        ROOT / f"odibi_actors/streaming/{name}.py"
        for name in ("batch", "changes", "effects", "files", "ledger", "offers", "source", "views")
    ),
    ROOT / "odibi_actors/sources/file_position.py",
    *(ROOT / f"odibi_actors/sources/events/{name}.py" for name in ("desk", "finder", "keeping")),
    *(ROOT / f"odibi_actors/local/callbacks/{name}.py" for name in ("callback", "desk", "effects")),
    *(ROOT / f"odibi_actors/local/streams/{name}.py" for name in ("desk", "effects")),
    *(ROOT / f"workers/{name}.py" for name in ("pool", "crew", "outbox")),
    *(ROOT / f"odibi_actors/{name}.py" for name in ("model", "messages", "actor")),
]
IMPURE = {
    *("asyncio", "datetime", "os", "pathlib", "queue", "random", "secrets", "select", "selectors", "signal", "socket"),
    *(
        "sqlite3",
        "subprocess",
        "tempfile",
        "threading",
        "time",
        "uuid",
        "zmq",
        "pandas",
        "pyarrow",
        "duckdb",
        "watchdog",
    ),
}
MAY_ASSEMBLE = ("odibi_actors/local/", "odibi_actors/sim/")
"""The two places in odibi_actors that put a whole system together."""


def _runtime_imports(path: Path) -> list[tuple[int, str]]:
    """Modules imported, but for those under ``if TYPE_CHECKING``."""
    tree = ast.parse(path.read_text())
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append((node.lineno, node.module))
    return found


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_packages_import_in_one_direction(path: Path) -> None:
    name = _name(path)
    forbidden: tuple[str, ...] = ()
    if name.startswith("broker/"):
        forbidden = ("odibi_actors.workers",)
    elif name.startswith("workers/"):
        forbidden = ("odibi_actors.broker",)
    elif not name.startswith(MAY_ASSEMBLE):
        forbidden = ("odibi_actors.broker", "odibi_actors.workers", "odibi_actors.local", "odibi_actors.sim")
    wrong = [
        f"{name}:{line} imports {module}"
        for line, module in _runtime_imports(path)
        if any(module == top or module.startswith(f"{top}.") for top in forbidden)
    ]
    assert not wrong


@pytest.mark.parametrize("path", ACTORS, ids=_name)
def test_actors_know_no_clock_no_socket_no_disk(path: Path) -> None:
    wrong = [
        f"{_name(path)}:{line} imports {module}"
        for line, module in _runtime_imports(path)
        if module.partition(".")[0] in IMPURE
    ]
    assert not wrong


@pytest.mark.parametrize("path", ACTORS, ids=_name)
def test_actors_never_iterate_over_a_set(path: Path) -> None:
    tree = ast.parse(path.read_text())
    iterated = [node.iter for node in ast.walk(tree) if isinstance(node, ast.For | ast.comprehension)]
    wrong = [
        node.lineno
        for node in iterated
        if isinstance(node, ast.Set | ast.SetComp)
        or (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("set", "frozenset"))
    ]
    assert not wrong


@pytest.mark.parametrize(
    "module",
    [
        "odibi_actors.broker.coordinator",
        "odibi_actors.checkpoint.actor",
        "odibi_actors.checkpoint.driver",
        "odibi_actors.checkpoint.engine",
        "odibi_actors.streaming.actor",
        "odibi_actors.scheduler.actor",
        "odibi_actors.runtime.process",
        "odibi_actors.runtime.supervisor",
        "odibi_actors.cli.__main__",
        "odibi_actors.workers.pool",
    ],
)
def test_no_actor_waits_for_heavy_imports(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('pandas', 'pyarrow', 'duckdb', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_nothing_received_is_executed() -> None:
    names = ("pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve")
    wrong = [
        f"{_name(path)}:{line} imports {module}"
        for path in SOURCES
        for line, module in _runtime_imports(path)
        if module.partition(".")[0] in names
    ]
    calls = [
        f"{_name(path)}:{node.lineno} calls {node.func.id}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec")
    ]
    assert not wrong + calls


def test_only_one_place_decides_where_nodes_comes_from() -> None:
    changed = [_name(path) for path in SOURCES if "sys.path.insert" in path.read_text()]
    assert changed == ["odibi_actors/nodes/package.py"], "use nodes.package.claim"
