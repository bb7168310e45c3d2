"""Compare everything the pipeline published with the truth, computed from the original data by one DuckDB query each.

    python compare.py [--days N]        exit 0 when every row is there once and right, else 1

Nothing here shares code with the pipeline: the originals are read again, as text, by another reader. Numbers that
are means may differ by ``TOLERANCE``, since the order of a sum of doubles is free; all else must be equal.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path

import duckdb
import pyarrow as pa

PROJECT = Path(__file__).resolve().parent
DAYS = 365
TOLERANCE = 1e-9  # relative, of the larger of the two
SHOWN = 3  # offending keys shown for each kind of difference

ORIGINALS = """
create table flights as
select *, make_date(year, month, day) as date
from read_csv($flights, nullstr=['NA', ''], header=true, types={
    'dep_time': 'BIGINT', 'dep_delay': 'BIGINT', 'arr_delay': 'BIGINT', 'air_time': 'BIGINT', 'tailnum': 'VARCHAR',
    'time_hour': 'VARCHAR'})
where make_date(year, month, day) < date '2013-01-01' + $days::int;
create table weather as
select * from read_csv($weather, nullstr=['NA', ''], header=true, types={
    'temp': 'DOUBLE', 'wind_speed': 'DOUBLE', 'precip': 'DOUBLE', 'visib': 'DOUBLE', 'time_hour': 'VARCHAR'});
create table airlines as select * from read_csv($airlines, header=true);
"""


@dataclass(frozen=True)
class Output:
    """One published table: ``truth`` is the query that computes it, ``means`` the columns compared within tolerance."""

    name: str
    keys: tuple[str, ...]
    truth: str
    means: tuple[str, ...] = ()


OUTPUTS = (
    Output(
        "lake_flights",
        ("date", "carrier", "flight", "origin", "dest", "scheduled"),
        """
        select f.date, strptime(f.time_hour, '%Y-%m-%dT%H:%M:%SZ') + to_minutes(f.sched_dep_time % 100) as scheduled,
            f.carrier, f.flight, f.tailnum, f.origin, f.dest, f.dep_delay, f.arr_delay, f.air_time, f.distance,
            f.dep_time is null as cancelled, f.dep_time is not null and f.arr_delay is null as diverted,
            coalesce(f.arr_delay, 0) > 15 as late, w.temp, w.wind_speed, w.precip, w.visib
        from flights f left join weather w on w.origin = f.origin and w.time_hour = f.time_hour
        """,
    ),
    Output(
        "daily_carrier",
        ("date", "carrier"),
        """
        select date, carrier, (select name from airlines a where a.carrier = f.carrier) as airline,
            count(*) as flights, count(*) - count(dep_time) as cancelled, count(*) filter (arr_delay > 15) as late,
            avg(dep_delay) as dep_delay, avg(arr_delay) as arr_delay, max(arr_delay) as worst_arr_delay,
            sum(distance)::bigint as miles
        from flights f group by all
        """,
        ("dep_delay", "arr_delay"),
    ),
    Output(
        "carrier_totals",
        ("carrier",),
        """
        select carrier, count(*) as flights, count(*) - count(dep_time) as cancelled,
            count(*) filter (arr_delay > 15) as late, sum(distance)::bigint as miles
        from flights group by all
        """,
    ),
    Output(
        "daily_route",
        ("date", "origin", "dest"),
        """
        select f.date, f.origin, f.dest, count(*) as flights, count(*) - count(f.dep_time) as cancelled,
            count(*) filter (f.dep_time is not null and f.arr_delay is null) as diverted, avg(f.arr_delay) as arr_delay,
            avg(f.air_time) as air_time, avg(w.wind_speed) as wind_speed, min(w.visib) as worst_visib
        from flights f left join weather w on w.origin = f.origin and w.time_hour = f.time_hour
        group by all
        """,
        ("arr_delay", "air_time", "wind_speed"),
    ),
)

COMPARISON = """
with truth as materialized ({truth}),
found as materialized (select {cast} from {relation}),
paired as (select {same} as same from truth t join found f using ({keys}))
select
    (select count(*) from truth) as expected,
    (select count(*) from found) as found,
    (select count(*) from truth anti join found using ({keys})) as missing,
    (select count(*) from found anti join truth using ({keys})) as extra,
    (select count(*) - count(distinct ({keys})) from found) as doubled,
    (select count(*) from paired where not same) as differing
"""

EXAMPLES = """
with truth as materialized ({truth}), found as materialized (select {cast} from {relation})
(select 'missing' as what, {keys} from truth anti join found using ({keys}) order by all limit {shown})
union all (select 'extra', {keys} from found anti join truth using ({keys}) order by all limit {shown})
union all (select 'doubled', {keys} from found group by all having count(*) > 1 order by all limit {shown})
union all (select 'differing', {keys} from truth t join found f using ({keys}) where not {same} order by all
    limit {shown})
"""


@dataclass(frozen=True)
class Verdict:
    """Counts of rows for one output, and some of the keys at fault. ``problem`` says why it cannot be compared."""

    output: str
    expected: int = 0
    found: int = 0
    missing: int = 0
    extra: int = 0
    doubled: int = 0
    differing: int = 0
    examples: tuple[str, ...] = ()
    problem: str = ""

    @property
    def holds(self) -> bool:
        """Whether every expected row is there, once and right, and nothing else."""
        faults = self.missing + self.extra + self.doubled + self.differing
        return not self.problem and faults == 0 and self.expected == self.found > 0


def compare(data: Path, days: int = DAYS) -> list[Verdict]:
    """A verdict for each output below ``data``, over the first ``days`` days of 2013."""
    originals = {name: str(data / f"original/{name}.csv") for name in ("flights", "weather", "airlines")}
    with duckdb.connect() as database:
        views = ORIGINALS.replace("$days", str(int(days)))
        for name, path in originals.items():
            views = views.replace(f"${name}", _quoted(path))
        database.execute(views)
        return [_verdict(database, output, data) for output in OUTPUTS]


def _verdict(database: duckdb.DuckDBPyConnection, output: Output, data: Path) -> Verdict:
    try:
        relation = _published(database, output.name, data)
        types = {row[0]: row[1] for row in database.execute(f"describe {output.truth}").fetchall()}
        columns = [row[0] for row in database.execute(f"describe from {relation}").fetchall()]
        if sorted(columns) != sorted(types):
            return Verdict(output.name, problem=f"columns are {columns}, expected {list(types)}")
        parts = {
            "truth": output.truth,
            "relation": relation,
            "keys": ", ".join(output.keys),
            "cast": ", ".join(f"cast({column} as {kind}) as {column}" for column, kind in types.items()),
            "same": "(" + " and ".join(_same(column, output) for column in types if column not in output.keys) + ")",
            "shown": SHOWN,
        }
        counts = database.execute(COMPARISON.format(**parts)).fetchall()[0]
        verdict = Verdict(output.name, *counts)
        if verdict.holds:
            return verdict
        rows = database.execute(EXAMPLES.format(**parts)).fetchall()
        return replace(verdict, examples=tuple(" ".join(map(str, row)) for row in rows))
    except (sqlite3.Error, duckdb.Error, pa.ArrowInvalid, FileNotFoundError) as error:
        return Verdict(output.name, problem=str(error).splitlines()[0])


def _published(database: duckdb.DuckDBPyConnection, name: str, data: Path) -> str:
    """A relation over what was published as ``name``; raises FileNotFoundError, sqlite3.Error or duckdb.Error."""
    if name == "lake_flights":
        return f"read_parquet({_quoted(escape(str(data)) + '/lake/flights/*.parquet')})"
    mart = data / "mart.db"
    if not mart.is_file():
        raise FileNotFoundError(f"{mart} does not exist")
    with sqlite3.connect(mart) as connection:
        cursor = connection.execute(f'select * from "{name}"')
        columns = [column[0] for column in cursor.description]
        values = list(zip(*cursor.fetchall(), strict=True)) or [()] * len(columns)
    connection.close()
    database.register(name, pa.table({column: list(rows) for column, rows in zip(columns, values, strict=True)}))
    return name


def _same(column: str, output: Output) -> str:
    equal = f"t.{column} is not distinct from f.{column}"
    if column not in output.means:
        return equal
    largest = f"greatest(abs(t.{column}), abs(f.{column}))"
    return f"({equal} or coalesce(abs(t.{column} - f.{column}) <= {TOLERANCE} * {largest}, false))"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def report(verdicts: list[Verdict]) -> str:
    """The table and the sentence that a person reads."""
    heads = ("output", "expected", "found", "missing", "extra", "doubled", "differing")
    lines = ["{:<14}{:>10}{:>10}{:>10}{:>10}{:>10}{:>11}".format(*heads)]
    for v in verdicts:
        counts = (v.expected, v.found, v.missing, v.extra, v.doubled, v.differing)
        lines.append(f"{v.output:<14}{''.join(f'{count:>10,}' for count in counts[:-1])}{counts[-1]:>11,}")
        lines += [f"    {v.problem}"] if v.problem else []
        lines += [f"    {example}" for example in v.examples]
    if all(v.holds for v in verdicts):
        rows = ", ".join(f"{v.found:,} rows of {v.output}" for v in verdicts)
        lines.append(f"the comparison holds: {rows} equal the originals (means within {TOLERANCE:g}, relative)")
    else:
        lines.append("the comparison does NOT hold: " + ", ".join(v.output for v in verdicts if not v.holds))
    return "\n".join(lines)


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=DAYS, help="compare the first N days only")
    verdicts = compare(PROJECT / "data", parser.parse_args().days)
    print(report(verdicts))
    return 0 if all(v.holds for v in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
