"""Which SQL hands a column on that is new to its input: what the advice about pinned sinks goes by."""

from __future__ import annotations

import duckdb
import pytest

from odibi_actors.config.handed_on import selects

NEW = "ch"
QUERIES = (
    "select * from a",
    "select distinct * from a",
    "select a.*, b.name from a left join b using (k)",
    "select b.*, a.k from a join b using (k)",
    "select k, count(*) as n from a group by k",
    "select k, 2 * k as twice, count(*) filter (k > 0) from a group by all -- select * from a",
    "select k, '*, ch' as text /* ch, * */ from a group by k",
    "select x.*, b.name from a as x join b using (k)",
    "select y.* from a as x join b y using (k)",
    "from a",
    "select k, ch from a",
    "with x as (select k from a) select * from x",
    "with x as (select * from a) select k from x",
    "with x as (select * from a) select * from x",
    "select * from (select k from a) t",
    "select * from a where k in (select k from b)",
    "select * from a qualify row_number() over (partition by k order by k) = 1",
    "select columns('.*') from a",
    "select k from a union all select k from a",
)


@pytest.mark.parametrize("sql", QUERIES)
def test_given_sql_then_it_hands_a_new_column_on_just_as_duckdb_has_it(sql: str) -> None:
    with duckdb.connect() as db:
        db.execute("create table a (k int, ch int); create table b (k int, name text)")
        names = db.sql(sql).columns
    assert selects(sql, NEW, ["a"]) == (NEW in names)
