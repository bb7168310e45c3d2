"""Which SQL hands a column on that is new to its input: what the advice about pinned sinks goes by."""

from __future__ import annotations

import duckdb
import pytest

from odibi_actors.config.handed_on import reaches, selects
from odibi_actors.config.model import ConnectionSpec, NodeSpec, PipelineSpec, ReadSpec, TransformSpec, WriteSpec

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


def way(*sqls: str | None) -> set[str] | None:
    """Under which names ``ch`` of the source ``s`` comes to a sink behind these transforms (None: a function)."""
    read = ReadSpec(ConnectionSpec("c", "local", "/x"), "csv", "file_watch")
    nodes = [NodeSpec("s", read=read)]
    for number, sql in enumerate(sqls):
        spec = TransformSpec(sql=sql) if sql is not None else TransformSpec(function="nodes.n:f")
        nodes.append(NodeSpec(f"t{number}", [nodes[-1].name], transform=spec))
    sink = NodeSpec("out", [nodes[-1].name], write=WriteSpec(ConnectionSpec("l", "local", "/y"), path="o"))
    found = reaches(PipelineSpec("p", [*nodes, sink]), "s", sink, "ch")
    return None if found is None else set(found.names)


@pytest.mark.parametrize(
    ("sqls", "names"),
    [
        (["select * from s"], {"ch"}),
        (["select id, ch as channel from s"], {"channel"}),
        (["select id, ch channel from s", "select channel from t0"], {"channel"}),
        (["select ch as channel from s", "select ch from t0"], None),
        (["select *, ch as channel from s"], {"ch", "channel"}),
        (["select *, upper(ch) as up from s", "select id, up from t0"], {"up"}),
        (["select coalesce(ch, 'web') as c from s", None, "select c as d from t1"], {"d"}),
        (["with a as (select ch as c from s) select * from a"], {"ch", "c"}),
        (['select s.ch as "c" from s'], {"c"}),
        (["select s.ch from s where ch > 'a'"], {"ch"}),
        (["select id from s"], None),
    ],
)
def test_given_a_column_that_is_renamed_on_its_way_then_its_later_names_are_known(
    sqls: list[str | None], names: set[str] | None
) -> None:
    assert way(*sqls) == names
