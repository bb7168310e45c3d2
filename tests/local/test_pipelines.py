"""Pipelines that are built in code: they say what ``odibi.yaml`` would say, run as it would, and become part of it."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from odibi_actors import Pipeline, recorded, run_node
from odibi_actors.config import load_project
from odibi_actors.config.load import load_written
from odibi_actors.config.problems import Problems
from odibi_actors.config.tree import parse, plain_data
from odibi_actors.errors import ConfigError, ConflictError, NodeError, NotFoundError, RunFailedError
from odibi_actors.local import RunSummary, run_pipeline
from odibi_actors.local.pipelines.deploying import deploy
from odibi_actors.local.pipelines.document import name_of, plain, render
from odibi_actors.nodes import lent
from odibi_actors.nodes.package import forget

ORDERS = "id,country,amount\n1,de,9.5\n2,fr,1.0\n3,,2.0\n"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "orders-1.csv").write_text(ORDERS)
    return tmp_path


@pytest.fixture
def in_nodes(shop: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """``clean`` of the project's own ``nodes/sales.py``."""
    (shop / "nodes").mkdir()
    (shop / "nodes" / "sales.py").write_text("def clean(orders):\n    return orders.dropna(subset=['country'])\n")
    monkeypatch.syspath_prepend(str(shop))
    forget()
    from nodes.sales import clean  # type: ignore[import-not-found]

    yield clean
    forget()


def sales(root: Path, **settings: Any) -> Pipeline:
    made = Pipeline("sales", root, **settings)
    made.connection("landing", "local", path="in")
    made.connection("lake", "local", path="lake")
    made.read("orders", "landing", format="csv", pattern="orders-*.csv")
    return made


def with_clean(root: Path, clean: Callable[..., Any], **settings: Any) -> Pipeline:
    made = sales(root, **settings)
    made.node(clean)
    made.write("lake_sales", clean, "lake", path="sales", format="parquet")
    return made


def clean(orders: pd.DataFrame) -> pd.DataFrame:
    """Orders with a country.

    More of it."""
    return orders.dropna(subset=["country"])


def fails(orders: pd.DataFrame) -> pd.DataFrame:
    raise ValueError(f"no price in {len(orders)} rows")


def published(root: Path) -> list[int]:
    parts = sorted((root / "lake" / "sales").glob("part-*.parquet"))
    return [one for part in parts for one in pq.read_table(part).column("id").to_pylist()]


# --- what it says -----------------------------------------------------------------------------------------------------


def test_given_a_pipeline_in_code_when_its_text_is_a_project_file_then_it_is_the_same_project(
    shop: Path, in_nodes: Callable[..., Any]
) -> None:
    made = with_clean(shop, in_nodes, on_error="dead_letter", batch={"max_files": 2}, timeout=timedelta(minutes=2))
    made.sql("sums", "SELECT country, sum(amount) AS amount\n  FROM clean  GROUP BY 1\n")
    made.write("lake_sums", "sums", "lake", path="sums", format="csv")
    spec = made.spec()
    (shop / "odibi.yaml").write_text(made.to_yaml())
    assert load_project(shop) == spec
    assert spec.pipelines[0].node("clean").timeout == 120


def test_given_a_project_file_then_its_keys_and_connections_hold_and_its_pipelines_stand_aside(shop: Path) -> None:
    (shop / "odibi.yaml").write_text(
        "project: shop\ndata_dir: kept\nconnections:\n  landing: {type: local, path: '${IN:-in}'}\n"
        "  lake: {type: local, path: lake}\npipelines:\n  - pipeline: other\n    nodes: []\n"
    )
    made = Pipeline("sales", shop)
    made.read("orders", "landing", format="csv", pattern="*.csv")
    made.write("lake_sales", "orders", "lake", path="sales", format="parquet")
    project = made.spec()
    assert (project.name, project.data_dir) == ("shop", str(shop / "kept"))
    assert [one.name for one in project.pipelines] == ["sales"]
    assert "${IN:-in}" in made.to_yaml()


_plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=8), inner, max_size=3),
    max_leaves=12,
)


@given(params=st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), _plain, max_size=4))
def test_given_any_params_then_the_text_says_them_exactly_or_they_are_refused(params: dict[str, Any]) -> None:
    made = Pipeline("p", "/nowhere")
    made.node(clean, inputs=["orders"], params=params)
    text = refused = ""
    try:
        text = made.to_yaml()
    except ConfigError as error:
        refused = str(error)
    if refused:
        assert "nodes[0].transform.params" in refused
        return
    problems = Problems("x")
    tree = parse(text, problems, lambda value: (value, []))
    assert tree is not None
    read = plain_data(tree, "", problems)["pipelines"][0]["nodes"][0]["transform"]
    assert read.get("params", {}) == params


@pytest.mark.parametrize(
    "text", ["? x", ":a", "a: b", "#c", "- d", "!e", "&f", "*g", "%h", "@i", "`j", "{k}", "[l]", "a\tb"]
)
def test_given_a_text_that_means_something_to_yaml_then_it_is_said_exactly(text: str) -> None:
    made = Pipeline("p", "/nowhere")
    made.node(clean, inputs=["orders"], params={"v": text, "w": {text: [text]}})
    problems = Problems("x")
    tree = parse(made.to_yaml(), problems, lambda value: (value, []))
    assert tree is not None
    params = plain_data(tree, "", problems)["pipelines"][0]["nodes"][0]["transform"]["params"]
    assert params == {"v": text, "w": {text: [text]}}


@pytest.mark.parametrize(
    "text", ["yes", "0x10", "1_000", "2024-01-01", "~", "", " a", "a\nb", "a\n b\n", "a \nb", "é\r\n"]
)
def test_given_a_text_that_yaml_might_take_for_something_else_then_it_stays_text(text: str) -> None:
    problems = Problems("x")
    tree = parse(render({"v": text, "w": [text], "x": {"y": {"z": text}}}), problems, lambda value: (value, []))
    assert tree is not None
    assert plain_data(tree, "", problems) == {"v": text, "w": [text], "x": {"y": {"z": text}}}


def test_given_values_without_a_form_in_yaml_then_they_are_refused_by_their_place(tmp_path: Path) -> None:
    made = Pipeline("p", tmp_path)
    made.read(
        "orders", "landing", format="csv", schema={"id": pa.int64(), "day": "date"}, timeout=timedelta(seconds=90)
    )
    assert made.section()["nodes"][0]["read"]["schema"] == {"id": "int64", "day": "date"}
    assert made.section()["nodes"][0]["timeout"] == "90s"
    with pytest.raises(ConfigError, match=r"p\.other\.read\.options\.null: set has no form"):
        made.read("other", "landing", options={"null": {"x"}})
    with pytest.raises(ConfigError, match=r"a key must be text, not 1"):
        made.read("other", "landing", options={1: 2})


class Mode(str, Enum):  # noqa: UP042 - such are around
    LOUD = "loud"


def test_given_values_of_python_then_each_is_said_exactly() -> None:
    exact = {
        timedelta(days=30, seconds=1): "2592001s",
        timedelta(milliseconds=1500): "1500ms",
        timedelta(0): "0s",
        timedelta(microseconds=1): "0.001ms",
        Mode.LOUD: "loud",
        Path("a/b"): "a/b",
    }
    assert {value: plain(value, "x") for value in exact} == exact
    assert type(plain({Mode.LOUD: Mode.LOUD}, "x")["loud"]) is str


@pytest.mark.parametrize(("folder", "name"), [("Shop-2", "shop_2"), ("2024", "p_2024"), ("ä", "p"), ("a.b", "a_b")])
def test_given_a_folder_then_its_project_has_a_name_that_is_allowed(folder: str, name: str) -> None:
    assert name_of(Path("/x") / folder) == name


# --- building ---------------------------------------------------------------------------------------------------------


def test_given_a_function_then_its_inputs_name_and_description_are_taken_from_it(shop: Path) -> None:
    made = sales(shop)
    made.read("prices", "landing", format="csv", pattern="prices-*.csv", mode="batch")

    @made.node(params={"least": 2}, retry={"max_attempts": 1})
    def joined(prices: pd.DataFrame, orders: pa.Table, context: Any, least: int = 0) -> pd.DataFrame:
        """Both."""
        return prices

    assert made.section()["nodes"][-1] == {
        "name": "joined",
        "retry": {"max_attempts": 1},
        "description": "Both.",
        "inputs": ["prices", "orders"],
        "transform": {"function": f"{__name__}:joined", "params": {"least": 2}},
    }
    assert joined.__name__ == "joined"


def test_given_sql_then_its_inputs_are_the_tables_that_it_names(shop: Path) -> None:
    made = sales(shop)
    made.sql("a", "WITH big AS (SELECT * FROM orders WHERE amount > 1) SELECT * FROM big")
    made.sql("b", "SELECT * FROM a JOIN orders USING (id)")
    made.sql("c", "SELEC * FROM a")
    assert [node["inputs"] for node in made.section()["nodes"][1:]] == [["orders"], ["a", "orders"], []]


@pytest.mark.parametrize(
    ("sql", "kept"),
    [
        ("select 'A\tB' as tab from o", "select 'A\tB' as tab from o"),
        (
            "\n        select id,\n               'x' as b\n        from o\n        ",
            "select id,\n       'x' as b\nfrom o\n",
        ),
        ("select 1\n    from o", "select 1\nfrom o\n"),
        ("\n    select 'two\n    lines' from o\n", "\n    select 'two\n    lines' from o\n"),
        ('\n  select 1 as "a\n  b" from o', '\n  select 1 as "a\n  b" from o'),
        ("\n  select $$a\n  b$$ from o", "\n  select $$a\n  b$$ from o"),
    ],
)
def test_given_sql_within_code_then_it_is_dedented_and_no_literal_changes(shop: Path, sql: str, kept: str) -> None:
    made = sales(shop)
    made.sql("b", sql, inputs=["orders"])
    assert made.section()["nodes"][-1]["transform"]["sql"] == kept
    tree = parse(made.to_yaml(), Problems("x"), lambda value: (value, []))
    assert tree is not None
    assert plain_data(tree, "", Problems("x"))["pipelines"][0]["nodes"][-1]["transform"]["sql"] == kept


def test_given_a_wrong_pipeline_then_all_problems_are_told_with_the_lines_of_its_text(shop: Path) -> None:
    made = sales(shop)
    made.node(clean, inputs=["order"])
    made.sql("b", "SELEC 1", inputs=["orders"])
    made.write("out", "b", "lak", path="x", format="parquet")
    with pytest.raises(ConfigError) as raised:
        made.spec()
    lines = made.to_yaml().splitlines()
    for problem in raised.value.problems:
        assert problem.file == "to_yaml()"
    told = {problem.message: lines[problem.line - 1].strip() for problem in raised.value.problems}
    assert told["unknown input"] == "inputs: [order]"
    assert "lak" in told["unknown connection"]
    assert any("syntax" in message for message in told)


def test_given_functions_that_do_not_fit_then_they_are_refused_before_they_run(shop: Path) -> None:
    made = sales(shop)

    def two(orders: pd.DataFrame, prices: pd.DataFrame) -> pd.DataFrame:
        return orders

    async def later(orders: pd.DataFrame) -> pd.DataFrame:
        return orders

    made.node(two)
    made.node(later)
    with pytest.raises(ConfigError, match=r"(?s)two\(\) has the parameter prices, and nothing is given.*later.* async"):
        made.spec()
    with pytest.raises(ConfigError, match="has no name of its own"):
        made.node(name="short")(lambda orders: orders)
    with pytest.raises(TypeError, match="unknown key 'retries'"):
        made.node(retries=3)(clean)
    with pytest.raises(ConfigError, match="polled in a process of its own"):
        made.read("rates", mode="interval", every="1h", function=clean)


def test_given_two_functions_of_one_name_then_in_a_file_that_is_refused_and_in_a_notebook_the_later_one_counts(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = sales(shop)
    made.node(clean)
    other = types.FunctionType(clean.__code__, globals(), "clean")
    with pytest.raises(ConfigError, match="give this one another name"):
        made.node(name="again")(other)
    with pytest.raises(ConfigError, match="has a node clean already"):
        made.node(clean)
    cell = types.ModuleType("cell_module")
    monkeypatch.setitem(sys.modules, "cell_module", cell)
    for place in range(2):
        exec(f"def step(orders): return orders.head({place})", vars(cell))  # noqa: S102
        made.node(vars(cell)["step"])
    assert [node["name"] for node in made.section()["nodes"]] == ["orders", "clean", "step"]
    assert made.functions["cell_module:step"] is vars(cell)["step"]


def test_given_a_pipeline_then_it_shows_itself_as_text_and_as_a_picture(shop: Path) -> None:
    made = with_clean(shop, clean)
    assert "↓ clean" in str(made)
    assert made.graph().startswith("flowchart LR")
    assert made._repr_markdown_().startswith("```mermaid\nflowchart LR")
    assert repr(made) == "Pipeline('sales', nodes=['orders', 'clean', 'lake_sales'])"
    made.read("other", "nowhere", format="csv")
    assert "nodes=['orders', 'clean', 'lake_sales', 'other']) is not sound yet:\nto_yaml():" in str(made)
    assert made._repr_markdown_() == f"```text\n{made}\n```"
    assert str(Pipeline("empty", shop)).startswith("Pipeline('empty', nodes=[]) is not sound yet:\nempty has no nodes")
    with pytest.raises(ConfigError, match="has no nodes"):
        Pipeline("empty", shop).check()


# --- running ----------------------------------------------------------------------------------------------------------


def test_given_a_function_of_this_program_when_run_again_then_each_row_is_there_once(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert with_clean(shop, clean).run().rows_read == 3
    assert with_clean(shop, clean).run(progress=None).state == "no_data"
    (shop / "in" / "orders-2.csv").write_text("id,country,amount\n4,de,1.0\n")
    assert with_clean(shop, clean).run({"day": "x"}, progress=None).committed == 1
    assert published(shop) == [1, 2, 4]
    assert lent.find(f"{__name__}:clean") is None
    assert capsys.readouterr().err.count("types inferred from the first batch") == 1


def test_given_a_failure_then_it_is_raised_with_the_place_and_goes_on_when_it_is_fixed(shop: Path) -> None:
    made = sales(shop)
    made.node(fails, name="clean", retry={"max_attempts": 1})
    made.write("lake_sales", "clean", "lake", path="sales", format="parquet")
    with pytest.raises(RunFailedError, match=r"(?s)no price in 3 rows.*in fails"):
        made.run(progress=None)
    assert made.run(check=False, progress=None).state == "failed"
    given = recorded(made, 1, "clean")
    assert given["orders"].num_rows == 3
    assert run_node(with_clean(shop, clean), "clean", given).num_rows == 2
    assert with_clean(shop, clean).run(progress=None).committed == 1
    assert published(shop) == [1, 2]


def test_given_a_summary_then_a_notebook_shows_what_there_is_to_be_said_and_no_markup_of_others(shop: Path) -> None:
    summary = RunSummary(
        "manual@1-7", "failed", 1, 0, 1234, 1, error="a|b <i>", traceback="x\n  y", unread=["in: gone"]
    )
    assert summary._repr_markdown_() == (
        "| run | manual@1-7 |\n|---|---|\n| state | failed |\n| iterations | 1 |\n| committed | 0 |\n"
        "| rows_read | 1,234 |\n| failed | 1 |\n| error | a&#124;b &#60;i&#62; |\n| traceback | x<br>  y |\n"
        "| unread | in: gone |"
    )


def test_given_a_sample_then_it_is_shown_node_by_node_and_nothing_is_published(shop: Path) -> None:
    made = with_clean(shop, clean)
    (shop / "in" / "orders-1.csv").write_text("id,country,amount\n1,<b>|de,9.5\n2,,1\n")
    seen = made.preview()
    assert (seen.ok, seen.sampled, [one.node for one in seen]) == (True, False, ["orders", "clean", "lake_sales"])
    assert seen["clean"].head == [{"id": 1, "country": "<b>|de", "amount": 9.5}]
    assert '  {"id": 1, "country": "<b>|de", "amount": 9.5}' in str(seen).splitlines()
    assert "| 1 | &#60;b&#62;&#124;de | 9.5 |" in seen._repr_markdown_().splitlines()
    assert not (shop / "lake").exists()

    made.run(progress=None)  # from now on the types are pinned, for a preview too
    (shop / "in" / "orders-1.csv").unlink()
    (shop / "in" / "orders-2.csv").write_text("id,country,amount\nx,de,1\n")
    seen = made.preview(node="clean")
    assert (seen.ok, [one.state for one in seen]) == (False, ["failed", "skipped"])
    assert "orders-2.csv line 2, column id: 'x' is not int64" in str(seen)
    (shop / "in" / "orders-2.csv").unlink()
    (shop / "in" / "orders-3.csv").write_text("id,country,amount\n3,de,1\n4,de,1\n")
    seen = made.preview(sample=1, head=0)
    assert (seen.sampled, seen["orders"].rows, seen["orders"].head) == (True, 1, [])
    for wrong in ({"sample": 0}, {"sample": -1}, {"head": -1}):
        with pytest.raises(ConfigError, match="a sample has a row or more, and a head none or more"):
            made.preview(**wrong)


def test_given_what_was_set_aside_then_the_run_says_so(shop: Path) -> None:
    made = sales(shop, on_error="dead_letter")
    made.node(fails, name="clean", retry={"max_attempts": 1})
    made.write("lake_sales", "clean", "lake", path="sales", format="parquet")
    with pytest.raises(RunFailedError, match=r"`odibictl deadletter list sales`.*fix it and `run\(replay=\[1\]\)`"):
        made.run(progress=None)
    assert with_clean(shop, clean, on_error="dead_letter").run(replay=[], progress=None).replayed == 1


def test_given_another_function_at_work_under_the_same_name_then_the_second_is_refused(shop: Path) -> None:
    other = types.FunctionType(clean.__code__, globals(), "clean")
    with lent.lending({f"{__name__}:clean": other}), pytest.raises(ConflictError, match="another function"):
        with_clean(shop, clean).run(progress=None)
    with lent.lending({f"{__name__}:clean": clean}):
        with_clean(shop, clean).run(progress=None)
        assert lent.find(f"{__name__}:clean") is clean


def test_given_a_folder_twice_on_the_path_then_its_nodes_are_its_own(
    shop: Path, in_nodes: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(shop / "." / "in" / ".."))
    forget()
    from nodes.sales import clean as again

    assert with_clean(shop, again).run(progress=None).committed == 1


def test_given_a_run_that_has_ended_then_another_project_s_nodes_can_be_imported(shop: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for root, kept in ((shop, "de"), (other, "fr")):
        (root / "nodes").mkdir(parents=True)
        (root / "nodes" / "sales.py").write_text(f"def clean(orders):\n    return orders[orders.country == '{kept}']\n")
        made = sales(root)
        made.node(name="clean", inputs=["orders"])(clean)
        text = made.to_yaml().replace(f"{__name__}:clean", "nodes.sales:clean")
        (root / "odibi.yaml").write_text(text)
    rows = [{"country": "de"}, {"country": "fr"}]
    for root, kept in ((shop, "de"), (other, "fr"), (shop, "de")):
        assert run_node("sales", "clean", {"orders": rows}, project=root).to_pylist() == [{"country": kept}]
    before = (list(sys.path), list(sys.meta_path))
    run_pipeline(load_project(shop), "sales")
    assert (sys.path, sys.meta_path) == before
    assert "nodes" not in sys.modules


# --- its code ---------------------------------------------------------------------------------------------------------


def typed(text: str, name: str = "step") -> Callable[..., Any]:
    """A function as a notebook has it: of a module without a file, on other lines each time."""
    module = types.ModuleType("cells")
    exec(compile(text, f"<cell {len(text)}>", "exec"), vars(module))  # noqa: S102
    function: Callable[..., Any] = vars(module)[name]
    return function


CELL = "LEAST = 2\ndef least(): return LEAST\ndef step(orders, n=1):\n    return [r for r in orders if r > least()]\n"


def test_given_functions_of_a_notebook_then_their_digest_follows_what_they_do() -> None:
    digest = lent.digest_of(typed(CELL))
    assert lent.digest_of(typed("\n\n" + CELL)) == digest
    for former, new in [
        ("LEAST = 2", "LEAST = 3"),
        ("return LEAST", "return LEAST + 1"),
        ("n=1", "n=2"),
        ("r >", "r <"),
    ]:
        assert lent.digest_of(typed(CELL.replace(former, new))) != digest, new


def test_given_a_function_of_a_file_then_its_digest_is_that_of_the_file(tmp_path: Path) -> None:
    assert lent.digest_of(clean) == lent.digest_of(fails)


def test_given_changed_code_then_a_node_that_was_done_is_done_again(shop: Path) -> None:
    digests = [
        with_clean(shop, function).spec().pipelines[0].code.nodes["clean"]
        for function in (
            typed("def clean(orders): return orders", "clean"),
            typed("def clean(orders): return None", "clean"),
        )
    ]
    assert digests[0] != digests[1]


# --- one node ---------------------------------------------------------------------------------------------------------


def test_given_inputs_of_any_kind_then_a_node_is_run_by_itself(shop: Path) -> None:
    made = with_clean(shop, clean)
    rows = [{"id": 1, "country": "de"}, {"id": 2, "country": None}]
    for given_rows in (rows, pd.DataFrame(rows), pl.DataFrame(rows), pa.Table.from_pylist(rows)):
        out = run_node(made, "clean", {"orders": given_rows})
        assert out.to_pylist() == [rows[0]]


def test_given_rows_as_mappings_then_each_value_is_carried_exactly_or_refused(shop: Path) -> None:
    made = with_clean(shop, clean)
    given_rows = [{"country": "de", "id": 1}, {"country": "fr", "late": "x"}]
    assert run_node(made, "clean", {"orders": given_rows}).to_pylist() == [
        {"country": "de", "id": 1, "late": None},
        {"country": "fr", "id": None, "late": "x"},
    ]
    for values in (
        [date(2024, 1, 1), datetime(2024, 1, 1, 5)],
        [datetime(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC)],
        [b"x", "x"],
        [2**64],
        ["\ud800"],
        [{"x"}],
    ):
        with pytest.raises(ConfigError, match="input 'orders': column 'v'"):
            run_node(made, "clean", {"orders": [{"country": "de", "v": value} for value in values]})


def test_given_sql_params_and_state_then_they_are_what_a_run_would_give(shop: Path) -> None:
    made = sales(shop)
    made.sql("one", "SELECT id, getvariable('day') AS day FROM orders")

    @made.node(state=True, inputs=["orders"])
    def counted(orders: pa.Table, state: pa.Table | None, context: Any) -> tuple[pa.Table, pa.Table]:
        before = 0 if state is None else state.column("n")[0].as_py()
        return orders, pa.table({"n": [before + orders.num_rows + context.params["plus"]]})

    rows = {"orders": [{"id": 7}]}
    assert run_node(made, "one", rows, params={"day": "mon"}).to_pylist() == [{"id": 7, "day": "mon"}]
    out, kept = run_node(made, "counted", rows, params={"plus": 10}, state=[{"n": 5}])
    assert (out.num_rows, kept.to_pylist()) == (1, [{"n": 16}])


def test_given_a_project_file_then_its_nodes_are_run_by_name(shop: Path, in_nodes: Callable[..., Any]) -> None:
    (shop / "odibi.yaml").write_text(with_clean(shop, in_nodes).to_yaml())
    assert run_node("sales", "clean", {"orders": [{"country": "de"}]}, project=shop).num_rows == 1
    with pytest.raises(NotFoundError, match='did you mean "sales"'):
        run_node("sale", "clean", {}, project=shop)


def test_given_a_wrong_call_then_it_says_what_would_be_right(shop: Path) -> None:
    made = with_clean(shop, clean)
    made.sql("bad", "SELECT missing FROM clean")
    with pytest.raises(NotFoundError, match=r"'clea' is no node of sales: did you mean \"clean\""):
        run_node(made, "clea")
    with pytest.raises(NotFoundError, match="'orders' reads or writes"):
        run_node(made, "orders")
    with pytest.raises(ConfigError, match="needs its input 'orders' too"):
        run_node(made, "clean")
    with pytest.raises(ConfigError, match="has no input 'order': did you mean \"orders\""):
        run_node(made, "clean", {"order": []})
    with pytest.raises(ConfigError, match="input 'orders' is a int"):
        run_node(made, "clean", {"orders": 7})
    with pytest.raises(NodeError, match="missing"):
        run_node(made, "bad", {"clean": [{"id": 1}]})
    made.node(fails)
    with pytest.raises(ValueError, match="no price in 1 rows"):
        run_node(made, "fails", {"orders": [{"id": 1}]})


# --- deploying --------------------------------------------------------------------------------------------------------

YAML = """\
# the shop
project: shop
connections:
  landing: {type: local, path: in}   # where files arrive

# all of them
pipelines:
  # of every day
  - pipeline: first
    nodes:
      - name: a   # kept
        read: {connection: landing, format: csv, mode: file_watch, pattern: "a-*.csv"}
      - {name: b, inputs: [a], write: {connection: lake, path: b, format: parquet}}

# at the end
history: 30d
"""


BARE = "project: shop\nconnections:\n  landing: {type: local, path: in}\n"


def deployable(root: Path, function: Callable[..., Any], pattern: str = "orders-*.csv") -> Pipeline:
    made = Pipeline("sales", root)
    made.connection("lake", "local", path="lake")
    made.read("orders", "landing", format="csv", pattern=pattern)
    made.node(function)
    made.write("lake_sales", function, "lake", path="sales", format="parquet")
    return made


def test_given_people_s_own_file_when_deployed_then_all_else_of_it_stays_as_it_is(
    shop: Path, in_nodes: Callable[..., Any]
) -> None:
    file = shop / "odibi.yaml"
    file.write_text(YAML)
    file.chmod(0o640)
    done = deployable(shop, in_nodes).deploy()
    text = file.read_text()
    assert (done.path, done.changed, done.applied) == (file, True, None)
    assert file.stat().st_mode & 0o777 == 0o640
    added = [line for line in text.splitlines() if line not in YAML.splitlines()]
    assert [line for line in YAML.splitlines() if line not in text.splitlines()] == []
    assert added[:3] == ["  lake: {type: local, path: lake}", "  - pipeline: sales", "      - name: orders"]
    assert [one.name for one in load_project(shop).pipelines] == ["first", "sales"]
    assert deployable(shop, in_nodes).deploy().changed is False
    with pytest.raises(ConflictError, match=r"replace=True"):
        deployable(shop, in_nodes, "o-*.csv").deploy()
    assert file.read_text() == text
    assert deployable(shop, in_nodes, "o-*.csv").deploy(replace=True).changed
    assert file.read_text() == text.replace("orders-*.csv", "o-*.csv")


def test_given_the_first_of_two_when_replaced_then_comments_around_it_stay(
    shop: Path, in_nodes: Callable[..., Any]
) -> None:
    file = shop / "odibi.yaml"
    file.write_text(YAML.replace("path: in}", "path: in}\n  lake: {type: local, path: lake}"))
    deployable(shop, in_nodes).deploy()
    made = Pipeline("first", shop)
    made.read("a", "landing", format="csv", pattern="aa-*.csv")
    made.write("b", "a", "lake", path="b", format="parquet")
    made.deploy(replace=True)
    text = file.read_text()
    assert "  # of every day\n  - pipeline: first\n" in text
    assert "\n\n# at the end\nhistory: 30d\n" in text
    assert [one["pipeline"] for one in load_written(file)["pipelines"]] == ["first", "sales"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (YAML.replace("\n", "\r\n"), "\r\n# at the end\r\nhistory: 30d\r\n"),
        ("\ufeff" + YAML, "\ufeff# the shop\n"),
        (YAML + "...\n", "history: 30d\n...\n"),
        (YAML.partition("# at the end")[0] + "...\n", "\n\n...\n"),
        (
            BARE + "pipelines: []  # none yet\nhistory: 30d\n",
            "pipelines:  # none yet\n",
        ),
        (BARE + "# the end\n", "\n# the end\n"),
    ],
    ids=["CRLF", "BOM", "document end", "document end after pipelines", "no pipeline", "no pipelines"],
)
def test_given_a_file_of_another_kind_when_deployed_then_it_stays_of_that_kind(
    shop: Path, in_nodes: Callable[..., Any], text: str, kept: str
) -> None:
    file = shop / "odibi.yaml"
    file.write_bytes(text.encode())
    deployable(shop, in_nodes).deploy()
    written = file.read_bytes().decode()
    assert kept in written
    assert ("\r\n" in written) == (written.count("\r\n") == written.count("\n"))
    assert "sales" in [one.name for one in load_project(shop).pipelines]
    assert not deployable(shop, in_nodes).deploy().changed


def test_given_a_file_with_two_names_then_it_is_not_split(shop: Path, in_nodes: Callable[..., Any]) -> None:
    (shop / "odibi.yaml").write_text(YAML)
    (shop / "other.yaml").hardlink_to(shop / "odibi.yaml")
    with pytest.raises(ConflictError, match="hard links"):
        deployable(shop, in_nodes).deploy()
    assert (shop / "odibi.yaml").read_text() == YAML


def test_given_no_project_file_then_one_is_written(shop: Path, in_nodes: Callable[..., Any]) -> None:
    made = with_clean(shop, in_nodes)
    assert deploy(made).changed
    assert (shop / "odibi.yaml").read_text() == made.to_yaml()


FLOW = YAML.replace(
    "connections:\n  landing: {type: local, path: in} ", "connections: {landing: {type: local, path: in}}"
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (FLOW, "cannot be added to safely"),
        (YAML.replace("path: in}", "path: in}\n  lake: {type: local, path: other}"), "another connection lake"),
    ],
)
def test_given_a_file_that_cannot_take_it_then_it_is_left_alone(
    shop: Path, in_nodes: Callable[..., Any], text: str, said: str
) -> None:
    (shop / "odibi.yaml").write_text(text)
    with pytest.raises(ConflictError, match=said):
        deployable(shop, in_nodes).deploy()
    assert (shop / "odibi.yaml").read_text() == text
    assert [one.name for one in shop.iterdir() if one.name.startswith(".odibi.yaml")] == []


def test_given_functions_of_this_program_then_they_are_not_deployed(shop: Path) -> None:
    with pytest.raises(ConfigError, match=rf"not {__name__}:clean; move what they need to nodes/sales.py"):
        with_clean(shop, clean).deploy()
    assert not (shop / "odibi.yaml").exists()


def test_given_a_running_system_then_it_applies_the_new_file(
    shop: Path, in_nodes: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from odibi_actors.client import Client

    there = shop / "odibi.yaml"
    asked: list[tuple[bool, bool]] = []

    def apply(self: Client, project: object = None, *, dry_run: bool = False) -> dict[str, Any]:
        asked.append((dry_run, there.exists()))
        return {"items": [{"pipeline": "sales", "changed": True}]}

    monkeypatch.setattr(Client, "apply", apply)
    assert with_clean(shop, in_nodes).deploy().applied == [{"pipeline": "sales", "changed": True}]
    assert asked == [(True, False), (False, True)]


def test_given_a_running_system_that_refuses_then_the_file_is_left_alone(
    shop: Path, in_nodes: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from odibi_actors.client import Client

    def apply(self: Client, project: object = None, *, dry_run: bool = False) -> dict[str, Any]:
        raise ConflictError("a sink cannot be moved now")

    monkeypatch.setattr(Client, "apply", apply)
    with pytest.raises(ConflictError, match="cannot be moved now"):
        with_clean(shop, in_nodes).deploy()
    assert not (shop / "odibi.yaml").exists()
