"""The example's modules, loaded from its folder (it is a project, not a package of ours), and a year run by hand."""

from __future__ import annotations

import importlib.util
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from ruamel.yaml import YAML

from odibi_actors.nodes.formats.columns import Wanted
from odibi_actors.nodes.formats.csv import parse
from odibi_actors.nodes.formats.exact import Spelling, infer
from odibi_actors.nodes.schemas import parse_type

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/flights"
Clean = Callable[..., pd.DataFrame]


def load(path: str) -> ModuleType:
    """A module of the example, by its path below the example's folder."""
    name = "example_" + path.removesuffix(".py").replace("/", "_")
    spec = importlib.util.spec_from_file_location(name, EXAMPLE / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def flights_data() -> ModuleType:
    return load("flights_data.py")


@pytest.fixture(scope="session")
def compare() -> ModuleType:
    return load("compare.py")


@pytest.fixture(scope="session")
def clean() -> Clean:
    function: Clean = load("nodes/flights.py").clean
    return function


def read_csv(content: bytes, schema: dict[str, str]) -> pa.Table:
    """A CSV as a read node reads it."""
    options = {"null_values": ["NA"]}
    table = parse(content, {name: parse_type(kind) for name, kind in schema.items()}, Wanted(), options).table
    columns = {n: table[n] if n in schema else infer(table[n], Spelling.of(options)).values for n in table.column_names}
    return pa.table(columns)


class ByHand:
    """The example's DAG without the system: its own functions and SQL, with the plainest of sinks."""

    def __init__(self, project: Path, clean: Clean) -> None:
        nodes = YAML(typ="safe").load(EXAMPLE / "odibi.yaml")["pipelines"][0]["nodes"]
        self.schemas = {node["name"]: node["read"]["schema"] for node in nodes if "read" in node}
        self.params = next(node["transform"]["params"] for node in nodes if node["name"] == "clean")
        self.clean = clean
        self.totals, self.state = load("nodes/totals.py").per_carrier, None
        self.lake, self.mart = project / "data/lake/flights", project / "data/mart.db"
        self.lake.mkdir(parents=True)
        reference = project / "data/reference"
        self.tables = {
            name: read_csv((reference / f"{name}.csv").read_bytes(), self.schemas[name])
            for name in ("weather", "airlines")
        }

    def iteration(self, number: int, files: list[bytes], types_mapper: Callable[..., object] | None) -> None:
        """Carry some files through the DAG and publish them."""
        table = pa.concat_tables([read_csv(content, self.schemas["flights"]) for content in files])
        cleaned = self.clean(table.to_pandas(types_mapper=types_mapper), **self.params)
        tables = {**self.tables, "clean": pa.Table.from_pandas(cleaned, preserve_index=False)}
        with duckdb.connect(config={"threads": 1}) as database:
            for node in ("flown", "by_carrier", "by_route"):
                for name, value in tables.items():
                    database.register(name, value)
                tables[node] = database.sql((EXAMPLE / f"sql/{node}.sql").read_text()).to_arrow_table()
        pa.parquet.write_table(tables["flown"], self.lake / f"part-{number:010}-lake_flights.parquet")
        totals, self.state = self.totals(cleaned, self.state)
        self.insert("carrier_totals", pa.Table.from_pandas(totals, preserve_index=False), replace=True)
        for table_name, node in (("daily_carrier", "by_carrier"), ("daily_route", "by_route")):
            self.insert(table_name, tables[node])

    def insert(self, name: str, table: pa.Table, *, replace: bool = False) -> None:
        with sqlite3.connect(self.mart) as connection:
            columns = ", ".join(table.column_names)
            connection.execute(f"create table if not exists {name} ({columns})")
            if replace:
                connection.execute(f"delete from {name}")
            rows = [tuple(str(v) if k == "date" else v for k, v in row.items()) for row in table.to_pylist()]
            connection.executemany(f"insert into {name} values ({', '.join('?' * table.num_columns)})", rows)
        connection.close()
