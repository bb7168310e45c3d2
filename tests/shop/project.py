"""The shop's project file, and the code of its nodes.

``sales`` joins what is read with a reference and sets aside what it cannot use; ``totals`` keeps totals in its state
and halts at an error; ``report`` runs when it is asked to, with a parameter; ``rates`` polls what is replaced now and
then; ``returns`` deletes rows of a table that others fill; the columns of ``wares`` come and go.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from ruamel.yaml import YAML

Polled = Literal["file", "query", "function"]

PIPELINES = ("sales", "totals", "report", "rates", "returns", "wares")
SETS_ASIDE = ("sales", "report", "rates", "returns", "wares")
REFERRING = ("sales", "report")
LANDING = ("sales", "totals", "report", "returns", "wares")
"""Those that read a folder of files."""
TABLES = ("sales", "report", "wares")
"""Those that have a table of the pipeline's name to which rows are added, if tables are drawn for them."""

_PROJECT = """\
# The shop.
project: shop
workers: {workers}
connections:
  landing:   {{type: local, path: data/landing}}
  reference: {{type: local, path: data/reference}}
  board:     {{type: local, path: data/board}}
  exchange:  {{type: sqlite, path: data/exchange.db}}
  lake:      {{type: local, path: data/lake}}
  mart:      {{type: sqlite, path: data/mart.db}}
pipelines:
"""
_PIPELINE = """\
  # What {name} is for, its owner knows.
  - pipeline: {name}
    trigger: {trigger}
    on_error: {on_error}
    batch: {{max_files: {files}}}
    max_in_flight: {in_flight}
    retry: {{max_attempts: 2, backoff: fixed, initial: 20ms}}
    nodes:
"""
_ROWS = """\
      - name: rows
        read:
          {{connection: landing, path: {name}, format: csv, mode: file_watch, pattern: "*.csv", settle: {settle},
           schema: {schema}}}
"""
_ORDERS = _ROWS.replace("{schema}", "{{id: int64, shop: string, amount: int64}}")
_REFERRING = """\
      - {{name: prices, read: {{connection: reference, format: csv, mode: batch, pattern: "{pattern}"}}}}
      - name: priced
        description: The rows, with the number of the reference.
        inputs: [rows, prices]
        transform: {{function: "nodes.shop:priced", params: {{tag: {tag}, slow: {slow}}}}}
      - name: rated
        inputs: [priced]
        transform: {{sql: "select *, getvariable('rate')::bigint as rate from priced"}}
      - {{name: lake, inputs: [rated], write: {{connection: lake, path: {name}, format: parquet}}}}
"""
_REFERRING_TABLES = """\
      - {{name: mart, inputs: [rated], write: {{connection: mart, table: {name}}}}}
      - {{name: latest, inputs: [rated], write: {{connection: mart, table: {name}_latest, mode: upsert, keys: [id]}}}}
"""
_SUMMING = """\
      - name: summed
        description: Rows and amount of each shop since the beginning.
        inputs: [rows]
        state: true
        transform: {{function: "nodes.shop:summed"}}
      - name: checked
        description: The rows, unless one of them is refused.
        inputs: [rows]
        transform: {{function: "nodes.shop:checked", params: {{tag: {tag}, slow: {slow}}}}}
      - {{name: lake, inputs: [checked], write: {{connection: lake, path: totals, format: parquet}}}}
      - name: whole
        inputs: [summed]
        write: {{connection: lake, path: totals_whole, format: parquet, mode: overwrite}}
"""
_SUMMING_TABLES = """\
      - {{name: mart, inputs: [summed], write: {{connection: mart, table: totals, mode: upsert, keys: [shop]}}}}
"""
_TAGGED = """\
      - {{name: tagged, inputs: [rows], transform: {{sql: "select *, {tag}::bigint as tag from rows"}}}}
"""
_LAKE = """\
      - {{name: lake, inputs: [tagged], write: {{connection: lake, path: {name}, format: parquet}}}}
"""
_RATES: dict[Polled, str] = {
    "file": """\
      - name: rows
        read: {{connection: board, path: rates.csv, format: csv, mode: interval, every: {every},
               schema: {{writing: int64, n: int64, whole: int64}}}}
""",
    "query": """\
      - name: rows
        read: {{connection: exchange, query: "select * from rates order by n", mode: interval, every: {every}}}
""",
    "function": """\
      - {{name: rows, read: {{mode: interval, every: {every}, function: "nodes.shop:quoted"}}}}
""",
}
_RETURNS = (
    _ROWS.replace("{schema}", "{{id: int64, version: int64}}")
    + _TAGGED
    + _LAKE
    + """\
      - name: mart
        inputs: [tagged]
        write: {{connection: mart, table: stock, mode: delete, keys: [id], version: version}}
"""
)
_EVOLVING = "{{id: int64, amount: int64}}, on_schema_change: evolve"
_WARES = (
    _ROWS.replace("{schema}", _EVOLVING)
    + _TAGGED
    + """\
      - name: lake
        inputs: [tagged]
        write: {{connection: lake, path: wares, format: parquet, on_schema_change: evolve}}
"""
)
_WARES_TABLES = """\
      - {{name: mart, inputs: [tagged], write: {{connection: mart, table: wares, on_schema_change: evolve}}}}
"""
NODES = '''\
import time
from pathlib import Path

import pandas


def checked(rows, tag, slow):
    """The rows, unless one of them is refused."""
    time.sleep(slow)
    if (rows["amount"] < 0).any():
        raise ValueError("a negative amount")
    return rows.assign(tag=tag)


def priced(rows, prices, tag, slow):
    """The rows, with the number of the reference."""
    return checked(rows, tag, slow).assign(reference=int(prices["number"].iloc[0]))


def summed(rows, state):
    """Rows and amount of each shop since the beginning."""
    fresh = rows.groupby("shop", as_index=False).agg(n=("id", "count"), amount=("amount", "sum"))
    if state is not None:
        fresh = pandas.concat([state, fresh]).groupby("shop", as_index=False).sum()
    return fresh, fresh


def quoted(context):
    """What stands on the board, and the tick at which it was asked."""
    board = pandas.read_csv(Path("data/board/rates.csv"), dtype="int64")
    return board.assign(tick=context.scheduled_at.timestamp())
'''


class Settings(msgspec.Struct, frozen=True):
    """What the project file says of a pipeline at a moment: ``tag`` is told in every row; ``slow``: seconds."""

    tag: int = 0
    slow: float = 0.0
    files: int = 2
    in_flight: int = 2
    settle: str = "20ms"
    pattern: str = "prices-*.csv"
    every: str = "1s"


class Form(msgspec.Struct, frozen=True):
    """What stays as it is for a life. ``tables``: the pipelines that write into tables as well, and so cannot be taken
    back; ``polled``: what ``rates`` polls."""

    pipelines: tuple[str, ...]
    tables: frozenset[str]
    polled: Polled

    def intervals(self) -> tuple[str, ...]:
        """Between two polls: those that need a process of their own are fewer."""
        return ("1s", "2s") if self.polled == "file" else ("4s", "5s")


def project_file(form: Form, settings: dict[str, Settings], workers: int) -> str:
    """The project file."""
    return _PROJECT.format(workers=workers) + "".join(_section(form, name, settings[name]) for name in form.pipelines)


def section(form: Form, name: str, settings: Settings) -> dict[str, Any]:
    """What stands in it under ``pipelines`` for one of them, as plain data."""
    (found,) = plain(_section(form, name, settings))
    return dict(found)


def plain(text: str) -> Any:
    """What YAML says, as plain data."""
    return YAML(typ="safe", pure=True).load(text)


def _section(form: Form, name: str, settings: Settings) -> str:
    return (_PIPELINE + _nodes(form, name)).format(
        name=name,
        trigger="manual" if name == "report" else "data",
        on_error="dead_letter" if name in SETS_ASIDE else "halt",
        **msgspec.structs.asdict(settings),
    )


def _nodes(form: Form, name: str) -> str:
    if name == "rates":
        return _RATES[form.polled] + _TAGGED + _LAKE
    if name == "returns":
        return _RETURNS
    always, tables = {
        "totals": (_ORDERS + _SUMMING, _SUMMING_TABLES),
        "wares": (_WARES, _WARES_TABLES),
    }.get(name, (_ORDERS + _REFERRING, _REFERRING_TABLES))
    return always + (tables if name in form.tables else "")
