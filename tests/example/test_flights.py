"""The example's nodes compute what the originals say, and its comparison sees every kind of fault."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from odibi_actors.config import load_project

from .conftest import EXAMPLE, ByHand, Clean, read_csv

pytestmark = pytest.mark.xdist_group("flights")
"""One process: what is made for all of them is made once."""

DAYS_OF_TEST = 8
ROWS_OF_PART = 914 + 915  # 3 and 4 January


def publish(project: Path, flights_data: ModuleType, clean: Clean, days: int, per_iteration: int) -> None:
    flights_data.prepare(project)
    files = [content for _, content in flights_data.days(project)][:days]
    run = ByHand(project, clean)
    for number, start in enumerate(range(0, days, per_iteration), start=1):
        # Both kinds of pandas types that a table may arrive in.
        mapper = pd.ArrowDtype if number % 2 else None
        run.iteration(number, files[start : start + per_iteration], mapper)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, flights_data: ModuleType, clean: Clean) -> Path:
    project = tmp_path_factory.mktemp("flights")
    publish(project, flights_data, clean, days=DAYS_OF_TEST, per_iteration=2)
    # Reading the other days of the year again for each fault would only take time.
    files = [content for _, content in flights_data.days(project)][:DAYS_OF_TEST]
    header = files[0].splitlines(keepends=True)[0]
    (project / "data/original/flights.csv").write_bytes(header + b"".join(f.removeprefix(header) for f in files))
    return project / "data"


@pytest.fixture
def data(published: Path, tmp_path: Path) -> Path:
    """A copy of what was published, to be spoiled."""
    return Path(shutil.copytree(published, tmp_path / "data"))


@pytest.mark.soak
def test_given_the_whole_year_when_carried_through_the_dag_then_every_output_equals_the_originals(
    tmp_path: Path, flights_data: ModuleType, compare: ModuleType, clean: Clean
) -> None:
    publish(tmp_path, flights_data, clean, days=365, per_iteration=16)
    verdicts = {verdict.output: verdict for verdict in compare.compare(tmp_path / "data")}
    assert all(verdict.holds for verdict in verdicts.values()), compare.report(list(verdicts.values()))
    assert verdicts["lake_flights"].found == 336_776


def test_given_some_days_when_compared_with_those_days_then_the_comparison_holds(
    published: Path, compare: ModuleType
) -> None:
    verdicts = compare.compare(published, DAYS_OF_TEST)
    assert all(verdict.holds for verdict in verdicts), compare.report(verdicts)
    assert "the comparison holds" in compare.report(verdicts)


def part(data: Path) -> Path:
    return sorted((data / "lake/flights").iterdir())[1]


def change_part(data: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pa.parquet.write_table(change(pa.parquet.read_table(part(data))), part(data))


def change_mart(data: Path, statement: str) -> None:
    with sqlite3.connect(data / "mart.db") as connection:
        assert connection.execute(statement).rowcount != 0
    connection.close()


def negate(column: str) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        values = table[column].to_pylist()
        values[5] = -1 if values[5] is None else None
        return table.set_column(
            table.column_names.index(column), column, pa.array(values, table.schema.field(column).type)
        )

    return change


FAULTS: dict[str, tuple[Callable[[Path], None], str, dict[str, int]]] = {
    "a lost row": (lambda d: change_part(d, lambda t: t.slice(1)), "lake_flights", {"missing": 1}),
    "a lost part": (lambda d: part(d).unlink(), "lake_flights", {"missing": ROWS_OF_PART}),
    "a doubled row": (
        lambda d: change_part(d, lambda t: pa.concat_tables([t, t.slice(3, 1)])),
        "lake_flights",
        {"doubled": 1},
    ),
    "a part published twice": (
        lambda d: shutil.copy(part(d), d / "lake/flights/part-0000000099-lake_flights.parquet") and None,
        "lake_flights",
        {"doubled": ROWS_OF_PART},
    ),
    "a changed count": (lambda d: change_part(d, negate("dep_delay")), "lake_flights", {"differing": 1}),
    "weather that was not there": (lambda d: change_part(d, negate("temp")), "lake_flights", {"differing": 1}),
    "a lost carrier": (
        lambda d: change_mart(d, "delete from daily_carrier where carrier = 'HA' and date = '2013-01-03'"),
        "daily_carrier",
        {"missing": 1},
    ),
    "a doubled carrier": (
        lambda d: change_mart(d, "insert into daily_carrier select * from daily_carrier where carrier = 'HA' limit 1"),
        "daily_carrier",
        {"doubled": 1},
    ),
    "a carrier that never flew": (
        lambda d: change_mart(
            d, "update daily_carrier set carrier = 'ZZ' where carrier = 'HA' and date = '2013-01-03'"
        ),
        "daily_carrier",
        {"missing": 1, "extra": 1},
    ),
    "a total that missed an iteration": (
        lambda d: change_mart(d, "update carrier_totals set flights = flights - 1 where carrier = 'HA'"),
        "carrier_totals",
        {"differing": 1},
    ),
    "a mean beyond the tolerance": (
        lambda d: change_mart(
            d, "update daily_route set arr_delay = arr_delay * (1 + 3e-9) where dest = 'HNL' and date = '2013-01-02'"
        ),
        "daily_route",
        {"differing": 2},
    ),
    "a mean that is gone": (
        lambda d: change_mart(d, "update daily_route set wind_speed = null where dest = 'HNL' and date = '2013-01-02'"),
        "daily_route",
        {"differing": 2},
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_given_a_fault_in_one_output_when_compared_then_it_is_counted_and_shown(
    data: Path, compare: ModuleType, fault: str
) -> None:
    spoil, output, expected = FAULTS[fault]
    spoil(data)
    verdicts = {verdict.output: verdict for verdict in compare.compare(data, DAYS_OF_TEST)}
    spoiled = verdicts.pop(output)
    counts = {name: getattr(spoiled, name) for name in ("missing", "extra", "doubled", "differing")}
    assert counts == {"missing": 0, "extra": 0, "doubled": 0, "differing": 0} | expected
    assert not spoiled.holds
    assert spoiled.examples
    assert all(verdict.holds for verdict in verdicts.values())
    assert f"the comparison does NOT hold: {output}" in compare.report([spoiled, *verdicts.values()])


def test_given_a_mean_within_the_tolerance_when_compared_then_the_comparison_holds(
    data: Path, compare: ModuleType
) -> None:
    change_mart(data, "update daily_route set arr_delay = arr_delay * (1 + 1e-12)")
    assert all(verdict.holds for verdict in compare.compare(data, DAYS_OF_TEST))


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda d: shutil.rmtree(d / "lake"), "No files found"),
        (lambda d: part(d).write_bytes(b"PAR1 torn"), "part-"),
        (lambda d: (d / "mart.db").unlink(), "does not exist"),
        (lambda d: change_mart(d, "alter table daily_route drop column dest"), "columns are"),
    ],
)
def test_given_an_output_that_cannot_be_read_when_compared_then_the_verdict_says_why(
    data: Path, compare: ModuleType, spoil: Callable[[Path], None], problem: str
) -> None:
    spoil(data)
    verdicts = compare.compare(data, DAYS_OF_TEST)
    assert any(problem in verdict.problem for verdict in verdicts)
    assert not all(verdict.holds for verdict in verdicts)


@pytest.fixture
def project(tmp_path: Path, flights_data: ModuleType) -> Path:
    flights_data.prepare(tmp_path)
    return tmp_path


def test_given_the_originals_when_cut_then_the_daily_files_hold_each_line_once(
    project: Path, flights_data: ModuleType
) -> None:
    files = dict(flights_data.days(project))
    assert list(files) == sorted(files)
    assert len(files) == 365
    header, *lines = (project / "data/original/flights.csv").read_bytes().splitlines()
    cut = [content.splitlines() for content in files.values()]
    assert {content[0] for content in cut} == {header}
    assert sorted(line for content in cut for line in content[1:]) == sorted(lines)


def test_given_two_deliveries_when_made_then_the_second_brings_the_next_days(
    project: Path, flights_data: ModuleType
) -> None:
    assert list(flights_data.deliver_all(project, per_second=1e6, count=3)) == [1, 2, 3]
    assert list(flights_data.deliver_all(project, per_second=1e6, count=2)) == [1, 2]
    names = sorted(path.name for path in (project / "data/landing").iterdir())
    assert names == [f"flights-2013-01-0{day}.csv" for day in range(1, 6)]


def test_given_a_slow_delivery_when_made_then_the_file_is_whole_in_the_end(
    project: Path, flights_data: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    target = project / "data/landing/a.csv"
    monkeypatch.setattr(flights_data.time, "sleep", lambda _: sizes.append(target.stat().st_size))
    flights_data.deliver(project / "data/landing", "a.csv", b"0123456789", slowly=True)
    assert sizes == [5]
    assert target.read_bytes() == b"0123456789"


def test_given_no_rows_when_cleaned_then_the_types_are_those_of_any_other_day(
    project: Path, flights_data: ModuleType, clean: Clean
) -> None:
    run = ByHand(project, clean)
    _, content = next(flights_data.days(project))
    table = read_csv(content, run.schemas["flights"])
    schemas = [
        pa.Table.from_pandas(
            clean(rows.to_pandas(types_mapper=pd.ArrowDtype), late_after=15), preserve_index=False
        ).schema
        for rows in (table, table.slice(0, 0))
    ]
    assert schemas[0].equals(schemas[1])


def test_given_the_example_when_its_procfile_is_read_then_it_starts_every_actor() -> None:
    lines = dict(line.split(": ") for line in (EXAMPLE / "Procfile").read_text().splitlines())
    assert list(lines) == ["broker", "checkpoint", "scheduler", "source", "worker"]


def test_given_the_example_when_its_project_file_is_read_then_it_is_valid() -> None:
    project = load_project(EXAMPLE / "odibi.yaml", env={})
    assert [pipeline.name for pipeline in project.pipelines] == ["delays"]
