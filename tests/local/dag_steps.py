"""Functions of steps for tests: each notes that it was called; what ``trouble`` names fails so many times."""

from __future__ import annotations

import threading
from typing import Any

import pandas as pd
import pyarrow as pa

from odibi_actors.core import DAGBuilder, DAGNode, Step

calls: list[str] = []
trouble: dict[str, int] = {}
barriers: dict[str, threading.Barrier] = {}
HERE = __name__


def reset() -> None:
    calls.clear()
    trouble.clear()
    barriers.clear()


def called(name: str) -> None:
    calls.append(name)
    if name in barriers:
        barriers[name].wait(30)
    if trouble.get(name, 0) > 0:
        trouble[name] -= 1
        raise ValueError(f"{name} is in trouble")


def load(name: str, rows: int = 3) -> pd.DataFrame:
    called(name)
    return pd.DataFrame({"n": range(rows)})


def add(data: pd.DataFrame, name: str, by: int = 1) -> pd.DataFrame:
    called(name)
    data["n"] = data["n"] + by  # what is lent may be changed
    return data


def both(one: pd.DataFrame, other: pd.DataFrame, name: str) -> pd.DataFrame:
    called(name)
    return pd.concat([one, other], ignore_index=True)


def keep(data: pd.DataFrame, name: str, into: list[Any] | None = None) -> None:
    called(name)


def split(data: pd.DataFrame, name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    called(name)
    return data.head(1), data.tail(-1)


def odd(name: str) -> Any:
    """What no file can keep."""
    called(name)
    return object()


def nothing(name: str) -> None:
    called(name)


def table(name: str) -> pa.Table:
    called(name)
    return pa.table({"n": list(range(9))})


def count(thing: Any, name: str) -> dict[str, int]:
    called(name)
    return {"seen": 1}


def step(name: str, function: str, inputs: dict[str, str] | None = None, **params: Any) -> Step:
    """A step that calls one of these; its output has its name."""
    return Step("transform", name, "function", "pandas", f"{HERE}.{function}", {"name": name, **params}, inputs or {},
                {"out": name})  # fmt: skip


def chain(*, given: bool = False) -> dict[str, DAGNode]:
    """a -> b -> c, each level a single node. ``given``: a takes what lies under "raw"."""
    first = step("a", "add", {"data": "raw"}) if given else step("a", "load")
    return DAGBuilder([first, step("b", "add", {"data": "a"}), step("c", "add", {"data": "b"})]).build()


def diamond() -> dict[str, DAGNode]:
    """a -> b, c -> d."""
    steps = [
        step("a", "load"),
        step("b", "add", {"data": "a"}),
        step("c", "add", {"data": "a"}, by=10),
        step("d", "both", {"one": "b", "other": "c"}),
    ]
    return DAGBuilder(steps).build()
