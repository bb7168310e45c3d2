"""SQL is checked before it runs: place, tables, functions, types as far as they are declared."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from odibi_actors.config import load_project
from odibi_actors.errors import ConfigError
from tests.config.conftest import Project

OLD = 'sql: "select carrier, count(*) as n from clean group by all"'


def said(project: Project) -> str:
    """The problems, one a line; "" when there are none."""
    try:
        load_project(project.root, {}, sql=True)
    except ConfigError as error:
        return str(error)
    return ""


def write(project: Project, sql: str) -> None:
    project.write("sql/n.sql", sql)
    project.edit(OLD, "sql_file: sql/n.sql")


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("selec l.* from clean l", 'sql/n.sql:1:1: *: by_carrier: SQL does not parse: syntax error at or near "selec"'),
        ("select 'é',\n  b fro clean", 'sql/n.sql:2:9: *: by_carrier: SQL does not parse: syntax error at or near "c'),
        ("select 'abc from clean", "sql/n.sql:1:8: *: by_carrier: SQL does not parse: unterminated string literal"),
        ("select * from clen", 'sql/n.sql:1:15: *: by_carrier: reads clen, which is not among its inputs; did you'),
        ("select a from clean where b in (select b from other)", "1:47: *: reads other, * its inputs: clean"),
        ("select * from other.clean", "reads other.clean, which is not"),
        ("select * from 'a.csv'", "reads a.csv, which is not"),
        ("select * from read_csv('a.csv')", "read_csv reads files: SQL sees its inputs only"),
        ("select 'é', countt(*) from clean", '1:13: *: there is no SQL function countt; did you mean "count"?'),
        ("select st_nowhere_to_be(a) from clean", "there is no SQL function st_nowhere_to_be"),
        ("select 1;\nselect 2", "sql/n.sql:2:1: *: by_carrier: 2 SQL statements; a transform is exactly one SELECT"),
        ("insert into clean values (1)", "INSERT is not run; a transform is exactly one SELECT"),
        ("copy clean to 'x'", "COPY is not run"),
        ("-- nothing yet", "holds no statement"),
        ("pivot clean on a using sum(b)", "PIVOT without the values that become columns; list them: PIVOT"),
    ],
)  # fmt: skip
def test_given_wrong_sql_then_file_line_column_node_and_what_to_write(project: Project, sql: str, problem: str) -> None:
    write(project, sql)
    text, place = said(project), 0
    for piece in problem.split("*: "):
        for word in piece.split(" * "):
            assert word in text[place:], text
            place = text.index(word, place)
    assert "\n" not in text


def test_given_an_input_that_is_no_node_then_the_sql_is_not_told_to_read_it(project: Project) -> None:
    write(project, "select countt(*) from clean")
    (old,) = re.findall(r"inputs: \[clean\]\n +transform: ", (project.root / "odibi.yaml").read_text())
    project.edit(old, old.replace("clean", "claen"))
    text = said(project)
    assert 'unknown input (got claen); did you mean "clean"?' in text
    assert "not among its inputs" not in text
    assert "there is no SQL function countt" in text


@pytest.mark.parametrize(
    "sql",
    [
        "with one as (select * from Clean) select * from one join clean using (a)",
        "with recursive t(n) as (select 1 union all select n + 1 from t where n < 3) select * from t, clean",
        "select * from range(3), unnest([1])",
        "from clean",
        "select c.a.b, a -> 'x', {'k': a}, [z for z in list_value(1) if z > 1], getvariable('day') from main.clean c",
        "pivot clean on a in (1, 2) using sum(b)",
        "select a, sum(b) filter (where c) over (partition by d), now(), \"MD5\"(a) from clean qualify row_number() "
        "over (order by a) = 1",
        "select * exclude (k) from clean union all by name select nowhere, and_more from clean",
        "summarize clean",
        "select * from query_table('clean')",
        "select 1 as x;  -- the end",
    ],
)  # fmt: skip
def test_given_right_sql_then_nothing_is_said(project: Project, sql: str) -> None:
    write(project, sql)
    assert said(project) == ""


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("sql: selec 1 from clean", "odibi.yaml:17:26: "),
        ('sql: "select 1 frm clean"', "odibi.yaml:17:40: "),
        ("sql: |\n            select 1 as x,\n              2 frm clean", "odibi.yaml:20:21: "),
        ("sql: >\n            select 1 as x,\n            2 frm clean", "(line 1, column 22 of it)"),
        ('"sql": "select\\t1 frm clean"', "(line 1, column 14 of it)"),
    ],
)
def test_given_sql_in_the_project_file_then_the_place_is_there(project: Project, written: str, place: str) -> None:
    text = (project.root / "odibi.yaml").read_text()
    block = written.startswith("sql: |") or written.startswith("sql: >")
    new = "transform:\n          " + written if block else "transform: {" + written + "}"
    project.write("odibi.yaml", text.replace("transform: {" + OLD + "}", new))
    assert place in said(project), said(project)


def test_given_declared_types_then_a_function_that_does_not_take_them_is_named(project: Project) -> None:
    project.edit('pattern: "*.csv"}', 'pattern: "*.csv", schema: {carrier: string}}')
    project.edit("inputs: [clean]\n        transform: {sql", "inputs: [flights]\n        transform: {sql")
    project.edit(OLD, 'sql: "select sum(carrier) as n from flights"')
    assert "by_carrier: no function takes these types: sum(VARCHAR); cast its arguments" in said(project)


def test_given_types_that_are_known_in_part_then_other_columns_may_be_there(project: Project) -> None:
    project.edit('pattern: "*.csv"}', 'pattern: "*.csv", schema: {carrier: string}}')
    project.edit("inputs: [clean]\n        transform: {sql", "inputs: [flights]\n        transform: {sql")
    project.edit(OLD, 'sql: "select sum(delay) as n, max(carrier) as m from flights"')
    assert said(project) == ""


FLIGHTS = "schema: {id: int64, day: date32}"
WHOLE = f"{FLIGHTS}, columns: [id, day]"


@pytest.mark.parametrize(
    ("read", "sql", "problem"),
    [
        (FLIGHTS, "select coalesce(id, day) as x from flights", "Cannot mix values of type BIGINT and DATE in COALE"),
        (FLIGHTS, "select other,\n  id between day and day from flights", ""),  # what else there is the run knows
        (FLIGHTS, "select id,\n  id between day and day from flights", "sql/n.sql:2:6: *: by_carrier: Cannot mix"),
        (FLIGHTS, "select id,\n day - id as x,\n  abs(day) from flights", "sql/n.sql:2:6: *: no function takes these"),
        (
            FLIGHTS,
            "\ufeff-- é\n\nselect id, count(*) n from flights",
            'sql/n.sql:3:8: *: column "id" must appear in the GROUP BY',
        ),
        (FLIGHTS, "select nope, id from flights", ""),
        (
            WHOLE,
            "-- nope\n/*\n*/ select\n nope, id from flights",
            'sql/n.sql:4:2: *: Referenced column "nope" not found',
        ),
        (WHOLE, "select id, day from flights", ""),
        (WHOLE.replace("[id, day]", "[id, day, x]"), "select x, id from flights", ""),
        (WHOLE + ", on_schema_change: evolve", "select nope, id from flights", ""),
        (FLIGHTS + ", options: {column_names: [id, day]}", "select nope from flights", 'column "nope" not found'),
    ],
)
def test_given_types_and_columns_that_are_declared_then_what_they_cannot_be_is_named_with_its_place(
    project: Project, read: str, sql: str, problem: str
) -> None:
    project.edit('pattern: "*.csv"}', f'pattern: "*.csv", {read}}}')
    project.edit("inputs: [clean]\n        transform: {sql", "inputs: [flights]\n        transform: {sql")
    write(project, sql)
    text = said(project)
    assert bool(text) == bool(problem), text
    for word in problem.split("*: "):
        assert word in text


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le"])
def test_given_sql_that_is_not_utf_8_then_it_says_so(project: Project, encoding: str) -> None:
    project.edit(OLD, "sql_file: n.sql")
    (project.root / "n.sql").write_bytes("-- ü\nselect * from clean".encode(encoding))
    assert "sql_file: the file is not UTF-8 text (got n.sql); save it as UTF-8" in said(project)


def test_given_all_columns_through_sql_then_the_next_knows_them_too(project: Project) -> None:
    project.edit('pattern: "*.csv"}', f'pattern: "*.csv", {WHOLE}}}')
    project.edit(
        'transform: {function: "nodes.flights:clean", params: {max_delay: 600}}',
        'transform: {sql: "select id, day as d from flights"}',
    )
    project.edit(OLD, 'sql: "select id, day from clean"')
    assert 'Referenced column "day" not found' in said(project)


def test_given_sql_over_sql_then_types_go_on(project: Project) -> None:
    project.edit('pattern: "*.csv"}', 'pattern: "*.csv", schema: {delay: int32, carrier: string}}')
    project.edit(
        'transform: {function: "nodes.flights:clean", params: {max_delay: 600}}',
        'transform: {sql: "select sum(delay) as delay, max(carrier) as carrier from flights"}',
    )
    project.edit(OLD, 'sql: "select abs(delay) as n, abs(carrier) as m from clean"')
    assert "no function takes these types: abs(VARCHAR)" in said(project)


def test_given_other_problems_too_then_all_are_told_at_once(project: Project) -> None:
    project.edit("path: flights, format: parquet", "path: flights, format: parqet")
    project.edit(OLD, 'sql: "select 1 frm clean"')
    assert said(project).count("\n") == 1


def test_given_no_sql_then_duckdb_is_not_loaded(project: Project) -> None:
    project.edit("transform: {" + OLD + "}", 'transform: {function: "nodes.flights:clean"}')
    code = (
        "import sys; from pathlib import Path; from odibi_actors.config import load_project;"
        f"load_project(Path({str(project.root)!r}), {{}}, sql=True); print('duckdb' in sys.modules)"
    )
    root = Path(__file__).parent.parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "False"
