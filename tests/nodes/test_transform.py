"""Transforms: functions get what their annotations ask for; SQL runs in a closed room; errors are the user's own."""

from __future__ import annotations

import datetime as dt
import logging
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import polars
import pyarrow as pa
import pytest

from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.sql import NONE, SqlRunner, Variables
from odibi_actors.nodes.tracebacks import MAX_TRACEBACK
from odibi_actors.nodes.transform import Context, run_function

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as arrow

FLIGHTS = pa.table({"carrier": ["UA", "AA", "UA"], "dep_delay": [61, None, 5]})
WEATHER = pa.table({"temp": [1.5]})
CONTEXT = Context("delays", 7, "clean", 2, None, logging.getLogger("t"))


def call(function: Callable[..., Any], *inputs: str, **params: Any) -> pa.Table:
    """Run a function as if it stood in the project's nodes/flights.py."""
    module = types.ModuleType("nodes.flights")
    module.fn = function  # type: ignore[attr-defined]
    sys.modules["nodes"], sys.modules["nodes.flights"] = types.ModuleType("nodes"), module
    tables = {"flights": FLIGHTS, "weather": WEATHER}
    try:
        given = {name: tables[name] for name in inputs or ("flights",)}
        return run_function("nodes.flights:fn", params, given, CONTEXT)
    finally:
        del sys.modules["nodes"], sys.modules["nodes.flights"]


def failure_of(function: Callable[..., Any], *inputs: str, **params: Any) -> Any:
    with pytest.raises(Failed) as caught:
        call(function, *inputs, **params)
    return caught.value.failure


def test_given_no_annotation_when_called_then_pandas_works_as_its_users_expect() -> None:
    def fn(df, max_delay=600):  # type: ignore[no-untyped-def]
        assert isinstance(df, pd.DataFrame)
        late = df[df.dep_delay.fillna(0) > max_delay]
        return late.assign(carrier=late.carrier.str.lower())

    assert call(fn, max_delay=60).to_pydict() == {"carrier": ["ua"], "dep_delay": [61]}


def test_given_annotations_when_called_then_they_choose_the_type() -> None:
    def as_arrow(flights: pa.Table) -> pa.Table:
        return flights.slice(0, 1)

    def as_polars(flights: polars.DataFrame) -> polars.DataFrame:
        return flights.head(1)

    def for_checkers(flights: arrow.Table, weather: pl.DataFrame) -> arrow.Table:
        assert (type(flights), type(weather)) == (pa.Table, polars.DataFrame)
        return flights

    def optional(flights: pa.Table | None) -> pa.Table | None:
        return flights

    assert call(as_arrow).num_rows == call(as_polars).num_rows == 1
    assert call(as_polars).schema == FLIGHTS.schema
    assert call(for_checkers, "flights", "weather").equals(call(optional))

    def resolved(flights: Any) -> pa.Table:
        return flights

    resolved.__annotations__["flights"] = pa.Table
    assert call(resolved).equals(FLIGHTS)


def test_given_parameters_when_bound_then_names_come_first_and_order_fills_the_rest() -> None:
    def swapped(weather, flights):  # type: ignore[no-untyped-def]
        return flights if list(weather.columns) == ["temp"] else None

    def by_order(left, right, how="x"):  # type: ignore[no-untyped-def]
        return left if list(right.columns) == ["temp"] and how == "x" else None

    def mixed(left, weather):  # type: ignore[no-untyped-def]
        return left if list(weather.columns) == ["temp"] else None

    def many(*frames, how="x"):  # type: ignore[no-untyped-def]
        return frames[0] if len(frames) == 2 and how == "x" else None

    def positional(a, /, b, *, c):  # type: ignore[no-untyped-def]
        return a if c == 1 else None

    for fn in (swapped, by_order, mixed, many):
        assert call(fn, "flights", "weather").equals(FLIGHTS), fn
    assert call(positional, "flights", "weather", c=1).equals(FLIGHTS)


def test_given_a_context_parameter_when_called_then_it_tells_the_run() -> None:
    def fn(flights, context, **rest):  # type: ignore[no-untyped-def]
        assert (context.pipeline, context.iteration, context.node, context.attempt) == ("delays", 7, "clean", 2)
        assert rest == {"extra": 1}
        return flights

    assert call(fn, extra=1).num_rows == 3


def _none(flights):  # type: ignore[no-untyped-def]
    return None


def _lazy(flights: polars.DataFrame) -> Any:
    return flights.lazy()


def _grouped(flights):  # type: ignore[no-untyped-def]
    return flights.groupby("carrier").sum()


def _wants_two(a, b):  # type: ignore[no-untyped-def]
    return a


def _wants_number(flights: int) -> Any:
    return flights


@pytest.mark.parametrize(
    ("function", "params", "says"),
    [
        (_none, {}, "is a return missing"),
        (_lazy, {}, r"call \.collect\(\)"),
        (_grouped, {}, "reset_index"),
        (_wants_two, {}, "'b' gets no value"),
        (_none, {"max_dely": 1}, "no parameter for params.max_dely"),
        (_none, {"flights": 1}, "both an input and one of params"),
        (_wants_number, {}, "annotate it as pandas.DataFrame"),
        (lambda: FLIGHTS, {}, "no parameter for input 'flights'"),
    ],
)
def test_given_a_function_that_does_not_fit_when_run_then_it_is_invalid(
    function: Callable[..., Any], params: dict[str, Any], says: str
) -> None:
    failure = failure_of(function, **params)
    assert failure.kind == "invalid"
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(failure.message)


def test_given_a_misspelt_param_when_run_then_the_error_suggests_the_right_one() -> None:
    assert "did you mean 'max_delay'" in failure_of(lambda flights, max_delay=1: flights, max_dely=1).message


@pytest.mark.parametrize(
    "error", [ValueError("boom"), SystemExit(3), KeyboardInterrupt(), MemoryError(), OSError(5, "x")]
)
def test_given_code_that_raises_when_run_then_it_is_raised_with_the_users_frames_first(error: BaseException) -> None:
    def inner() -> None:
        raise error

    def fn(flights):  # type: ignore[no-untyped-def]
        inner()

    failure = failure_of(fn)
    assert failure.kind == "raised"
    assert failure.message.startswith(type(error).__name__)
    assert failure.message.endswith("in inner)")
    frames = [line for line in failure.traceback.splitlines() if line.startswith("  File")]
    assert frames[0].endswith("in fn")
    assert not any("odibi_actors/nodes" in line for line in frames)


def test_given_an_endless_recursion_or_a_hostile_message_when_run_then_the_traceback_is_bounded() -> None:
    class Hostile(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    def recurse(flights):  # type: ignore[no-untyped-def]
        return recurse(flights)

    def long(flights):  # type: ignore[no-untyped-def]
        raise ValueError("x" * 1_000_000 + "\udcff")

    def hostile(flights):  # type: ignore[no-untyped-def]
        raise Hostile

    for fn in (recurse, long, hostile):
        failure = failure_of(fn)
        assert len(failure.traceback) <= MAX_TRACEBACK + 100
        assert len(failure.message) < 4200
        failure.message.encode()
        failure.traceback.encode()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project's root on the import path; its nodes package is forgotten afterwards."""
    (tmp_path / "nodes").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / "nodes"
    for name in [name for name in sys.modules if name.split(".")[0] == "nodes"]:
        del sys.modules[name]


def run(target: str) -> Any:
    with pytest.raises(Failed) as caught:
        run_function(target, {}, {"flights": FLIGHTS}, CONTEXT)
    return caught.value.failure


def test_given_modules_of_a_project_when_loaded_then_each_way_to_fail_is_told_apart(project: Path) -> None:
    (project / "good.py").write_text("def clean(flights):\n    return flights\n")
    (project / "typo.py").write_text("def clean(flights)\n    return flights\n")
    (project / "lacks.py").write_text("import not_installed\n")
    (project / "raises.py").write_text("\n1 / 0\n")
    assert run_function("nodes.good:clean", {}, {"flights": FLIGHTS}, CONTEXT).equals(FLIGHTS)
    assert "did you mean 'clean'" in run("nodes.good:claen").message
    assert run("nodes.absent:clean").message.endswith("no module 'nodes.absent'")
    syntax = run("nodes.typo:clean")
    assert (syntax.kind, "typo.py" in syntax.traceback) == ("code", True)
    assert run("nodes.lacks:clean").message.startswith("ModuleNotFoundError: No module named 'not_installed'")
    targets = ("nodes.good:claen", "nodes.absent:clean", "nodes.lacks:clean", "nodes.raises:clean")
    assert [run(target).kind for target in targets] == ["code"] * 4
    zero = run("nodes.raises:clean")
    assert "raises.py line 2" in zero.message
    assert zero.traceback.splitlines()[1].lstrip().startswith(f'File "{project}')


@pytest.mark.parametrize("target", ["os:system", "nodesx.a:b", "odibi_actors.nodes.read:read", ""])
def test_given_a_function_outside_of_nodes_when_run_then_it_is_refused(target: str) -> None:
    failure = run(target)
    assert (failure.kind, "not in the project's nodes/ folder" in failure.message) == ("invalid", True)


def test_given_no_polars_when_wanted_then_the_error_says_what_to_install(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    (project / "one.py").write_text("import polars as pl\ndef f(flights: pl.DataFrame):\n    return flights\n")
    (project / "two.py").write_text("def f(flights: 'pl.DataFrame'):\n    return flights\n")
    for target in ("nodes.one:f", "nodes.two:f"):
        assert "pip install 'odibi-actors[polars]'" in run(target).message


# --- SQL ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sql() -> Iterator[SqlRunner]:
    runner = SqlRunner()
    yield runner
    runner.close()


def test_given_sql_over_inputs_when_run_then_types_are_normal(sql: SqlRunner) -> None:
    query = """
        with late as (select * from flights where dep_delay > 1)
        select carrier, count(*) as n, sum(dep_delay) as total, avg(dep_delay) as mean, null as nothing,
               date '2013-01-01' as day, now() as at, carrier::enum('UA', 'AA') as kind
        from late, weather group by all"""
    table = sql.run(query, {"flights": FLIGHTS, "weather": WEATHER})
    types_found = [str(kind) for kind in table.schema.types]
    assert types_found[:6] == ["string", "int64", "int64", "double", "string", "date32[day]"]
    assert types_found[6].startswith("timestamp[us, tz=")
    assert types_found[7] == "string"
    assert table.column("total").to_pylist() == [66]


def test_given_runs_after_each_other_then_nothing_stays_behind(sql: SqlRunner) -> None:
    assert sql.run("select * from x", {"x": WEATHER}).equals(WEATHER)
    assert sql.run("select * from x", {"x": FLIGHTS}).equals(FLIGHTS)
    with pytest.raises(Failed, match="x does not exist"):
        sql.run("select * from x", {"y": FLIGHTS})


def test_given_what_a_run_was_started_with_when_sql_asks_then_variables_tell_it_and_the_next_run_has_its_own(
    sql: SqlRunner,
) -> None:
    noon = dt.datetime(2024, 3, 1, 12, tzinfo=dt.UTC)
    query = """select getvariable('day') as day, getvariable('n') + 1 as n, getvariable('share') as share,
               getvariable('full') as full_, getvariable('no') as nothing, getvariable('tags') ->> 1 as tag,
               getvariable('it''s "x"') as odd, getvariable('occurrence') as o, getvariable('scheduled_at') as at"""
    params = {"day": "it's", "n": 2**40, "share": 0.5, "full": True, "no": None, "tags": ["a", "b"], 'it\'s "x"': 1}
    first = sql.run(query, {}, Variables(params, "2024-03-01T12:00", noon))
    assert first.to_pylist() == [
        {
            "day": "it's",
            "n": 2**40 + 1,
            "share": 0.5,
            "full_": True,
            "nothing": None,
            "tag": "b",
            "odd": 1,
            "o": "2024-03-01T12:00",
            "at": noon,
        }
    ]
    small = "select getvariable('day') as day, getvariable('n') as n, getvariable('occurrence') as o"
    assert sql.run(small, {}, Variables({"n": True})).to_pylist() == [{"day": None, "n": True, "o": None}]
    assert sql.run(small, {}, Variables({"n": 1})).to_pylist() == [{"day": None, "n": 1, "o": None}]
    unset = sql.run("select getvariable('occurrence') as o, getvariable('scheduled_at') as at", {})
    assert str(unset.schema.field("o").type) == "string"
    assert unset.schema.field("at").type == first.schema.field("at").type
    assert unset.to_pylist() == [{"o": None, "at": None}]


def test_given_params_by_the_names_of_the_runs_own_variables_when_sql_asks_then_they_are_hidden(sql: SqlRunner) -> None:
    hidden = Variables({"occurrence": "mine", "SCHEDULED_AT": 1}, "o1", None)
    query = "select getvariable('occurrence') as o, getvariable('scheduled_at') as at"
    assert sql.run(query, {}, hidden).to_pylist() == [{"o": "o1", "at": None}]


@pytest.mark.parametrize("params", [{"": 1}, {"a": 1 << 200}, {"a": object()}])
def test_given_params_that_cannot_be_variables_when_run_then_it_is_told_and_the_next_run_is_well(
    sql: SqlRunner, params: dict[str, object]
) -> None:
    with pytest.raises(Failed, match="the run's parameter") as caught:
        sql.run("select 1 as a", {}, Variables({"day": 1, **params}))
    assert caught.value.failure.kind == "invalid"
    assert sql.run("select getvariable('day') as a", {}).to_pylist() == [{"a": None}]


@pytest.mark.parametrize(
    ("query", "kind", "says", "line"),
    [
        ("select\nnope(\nfrom flights", "invalid", "syntax error", 3),
        ("select\n carier from flights", "invalid", '"carrier"', 2),
        ("select *\n\nfrom flight", "invalid", '"flights"', 3),
        ("select now() + carrier::time from flights", "invalid", "SMALLINT\n\t... and ", 1),  # not all it could add
        ("select carrier::int from flights", "raised", "Could not convert string 'UA'", 1),
        ("select 1 as a, 2 as a", "invalid", "several columns named 'a'", 0),
        ("select 1 as a; select 2 as a", "invalid", "exactly one SELECT", 0),
        ("", "invalid", "exactly one SELECT", 0),
        ("create table t as select 1 as a", "invalid", "exactly one SELECT", 0),
        ("copy flights to '/tmp/x.csv'", "invalid", "exactly one SELECT", 0),
        ("install httpfs", "invalid", "exactly one SELECT", 0),
        ("set threads = 8", "invalid", "exactly one SELECT", 0),
        ("select * from read_csv('/etc/passwd')", "invalid", "disabled by configuration", 0),
        ("select * from '/etc/passwd'", "invalid", "", 1),
        ("select sum(9223372036854775807) as s from flights", "invalid", "beyond 64 bits", 0),
    ],
)
def test_given_sql_that_cannot_run_when_run_then_the_error_tells_why(
    sql: SqlRunner, query: str, kind: str, says: str, line: int
) -> None:
    with pytest.raises(Failed) as caught:
        sql.run(query, {"flights": FLIGHTS})
    failure = caught.value.failure
    assert (failure.kind, failure.line) == (kind, line), failure.message
    assert says in failure.message
    assert failure.message.startswith(f"sql line {line}: " if line else "sql: ")
    with pytest.raises(Failed) as caught:
        sql.run(query, {"flights": FLIGHTS}, NONE, "sql/n.sql")
    assert caught.value.failure.message == failure.message.replace("sql", "sql/n.sql", 1)
