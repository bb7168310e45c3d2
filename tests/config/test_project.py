"""What ``odibictl init`` writes: it loads, its function and its SQL run, and nothing is ever overwritten."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from odibi_actors.config import init_project, load_project
from odibi_actors.errors import ConflictError

FILES = {
    ".env",
    ".gitignore",
    ".odibi/odibi.schema.json",
    "Procfile",
    "README.md",
    "data/landing/orders-2025-01-01.csv",
    "data/landing/orders-2025-01-02.csv",
    "nodes/orders.py",
    "odibi.yaml",
}


def test_a_new_project_is_whole_and_valid(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "shop"
    written = init_project(root)
    assert {path.relative_to(root).as_posix() for path in written} == FILES
    assert {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()} == FILES
    assert (root / ".env").stat().st_mode & 0o077 == 0
    project = load_project(root, {})
    assert [node.name for node in project.pipelines[0].nodes] == [
        "orders",
        "clean",
        "by_country",
        "lake_orders",
        "mart_sales",
    ]


def test_its_function_and_its_sql_do_what_they_say(tmp_path: Path) -> None:
    init_project(tmp_path)
    nodes = {node.name: node for node in load_project(tmp_path, {}).pipelines[0].nodes}
    module_spec = importlib.util.spec_from_file_location("orders", tmp_path / "nodes/orders.py")
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    orders = pd.concat(pd.read_csv(path) for path in sorted((tmp_path / "data/landing").glob("orders-*.csv")))
    transform, by_country = nodes["clean"].transform, nodes["by_country"].transform
    assert transform is not None
    assert by_country is not None
    clean = module.clean(orders, **transform.params)
    assert list(clean["order_id"]) == [1, 2, 3, 5, 6, 7, 9]
    database = duckdb.connect()
    database.register("clean", clean)
    sales = database.execute(by_country.sql or "").fetchall()
    assert sales[0] == ("2025-01-01", "de", 2, 35.0)
    assert len(sales) == 6


def test_a_project_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "odibi.yaml").write_text("mine")
    with pytest.raises(ConflictError, match="exists already; name another directory"):
        init_project(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["odibi.yaml"]


def test_other_files_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    written = init_project(tmp_path)
    assert tmp_path / "README.md" not in written
    assert (tmp_path / "README.md").read_text() == "mine"


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(ConflictError, match="is a file; name a directory"):
        init_project(tmp_path / "x")
