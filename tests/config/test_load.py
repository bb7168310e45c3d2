"""Loading: defaults, resolving, variables, limits, and that nothing a file may hold raises anything but ConfigError."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from odibi_actors.config import load_project
from odibi_actors.config.arrow_types import ARROW_TYPES, arrow_type
from odibi_actors.config.model import BatchSpec, RetrySpec, WorkerSpec
from odibi_actors.config.order import sort_nodes
from odibi_actors.config.problems import Problems
from odibi_actors.config.tree import MAX_DEPTH, MAX_FILE, parse, plain_data, resolve_plain
from odibi_actors.config.variables import expand
from odibi_actors.errors import ConfigError
from odibi_actors.nodes.schemas import parse_type
from tests.config.conftest import VALID, Project


def test_paths_are_absolute_and_defaults_are_those_of_the_specs(project: Project) -> None:
    project.edit("workers: 2\n", "")
    spec = project.load()
    (pipeline,) = spec.pipelines
    assert spec.workers == os.cpu_count()
    assert (spec.root, spec.data_dir) == (str(project.root), str(project.root / ".odibi"))
    assert (spec.history, len(spec.code_digest)) == (30 * 86400.0, 32)
    assert (pipeline.trigger, pipeline.on_error, pipeline.keep_last, pipeline.batch) == ("data", "halt", 5, BatchSpec())
    read = pipeline.node("flights").read
    assert read is not None
    assert read.connection.path == str(project.root / "data/landing")
    assert (read.path, read.settle) == (".", 2.0)


def test_limits_of_a_worker_are_those_of_the_file_and_none_by_default(project: Project) -> None:
    assert project.load().worker == WorkerSpec(max_tasks=None, max_memory=None)
    project.edit("workers: 2\n", 'worker: {max_tasks: 500, max_memory: "${LIMIT}"}\n')
    assert project.load({"LIMIT": "2GB"}).worker == WorkerSpec(500, 2_000_000_000)


def test_nodes_are_in_topological_order_and_else_in_that_of_the_file(project: Project) -> None:
    text = VALID.split("    nodes:\n")
    nodes, rest = text[1].split("    retry:")
    blocks = ["      - name:" + block for block in nodes.split("      - name:")[1:]]
    project.write("odibi.yaml", text[0] + "    nodes:\n" + "".join(reversed(blocks)) + "    retry:" + rest)
    names = [node.name for node in project.load().pipelines[0].nodes]
    assert names == ["flights", "clean", "lake_flights", "by_carrier", "mart_delays"]


def test_retry_and_timeout_of_the_pipeline_are_defaults_of_its_nodes_key_by_key(project: Project) -> None:
    project.edit(
        "      - name: clean\n", "      - name: clean\n        retry: {max_attempts: 1}\n        timeout: 1h\n"
    )
    project.edit("initial: 1s", "initial: 5s")
    pipeline = project.load().pipelines[0]
    assert pipeline.node("clean").retry == RetrySpec(max_attempts=1, initial=5.0)
    assert pipeline.node("by_carrier").retry == RetrySpec(max_attempts=3, initial=5.0)
    assert (pipeline.node("clean").timeout, pipeline.node("by_carrier").timeout) == (3600.0, 600.0)


def test_sql_files_become_sql_and_are_not_expanded(project: Project) -> None:
    project.write("sql/n.sql", "select '${X}' as x from clean")
    project.edit('sql: "select carrier, count(*) as n from clean group by all"', "sql_file: sql/n.sql")
    transform = project.load().pipelines[0].node("by_carrier").transform
    assert transform is not None
    assert transform.sql == "select '${X}' as x from clean"


def test_a_linked_sql_file_outside_the_project_is_refused(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    secret = tmp_path_factory.mktemp("other") / "secret.sql"
    secret.write_text("select 1")
    (project.root / "n.sql").symlink_to(secret)
    project.edit('sql: "select carrier, count(*) as n from clean group by all"', "sql_file: n.sql")
    assert "leads out of the project folder" in project.problems()[0]


def test_every_problem_is_told_at_once_in_the_order_of_the_file(project: Project) -> None:
    project.edit("workers: 2", "workers: two")
    project.edit("inputs: [by_carrier]", "inputs: [by_carier]")
    project.edit("timeout: 10m", "timeout: 10")
    project.edit("table: delays", "tabel: delays")
    lines = [int(problem.split(":")[1]) for problem in project.problems()]
    assert lines == [2, 22, 23, 25]  # what is misspelt is not missing as well


# --- variables ----------------------------------------------------------------------------------------------------


def test_a_variable_is_the_environments_then_the_env_files_then_its_default(project: Project) -> None:
    project.write(".env", "# secrets\nexport LAKE='from file'\nMART=from file # note\n\n")
    project.edit("data/lake", '"${LAKE}/x"')
    project.edit("data/mart.db", '"${MART}.db"')
    project.edit("data/landing", '"${LANDING:-data/in}"')
    nodes = project.load({"LAKE": "/from/env"}).pipelines[0].nodes
    assert nodes[0].read is not None
    assert nodes[0].read.connection.path == str(project.root / "data/in")
    paths = {node.write.connection.name: node.write.connection.path for node in nodes if node.write}
    assert paths == {"lake": "/from/env/x", "mart": str(project.root / "from file.db")}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${A}", "1"),
        ("${A:-x}", "1"),
        ("${E}", ""),
        ("${E:-x}", "x"),
        ("${N:-x}", "x"),
        ("${N:-}", ""),
        ("$${A}", "${A}"),
    ],
)
def test_variables_work_as_in_a_shell(text: str, value: str) -> None:
    assert expand(text, {"A": "1", "E": ""}) == (value, [])


@pytest.mark.parametrize("text", ["$A", "${a b}", "${}", "${A", "$", "^x$", "${A:x}"])
def test_what_is_no_variable_stays(text: str) -> None:
    assert expand(text, {"A": "1"}) == (text, [])


def test_a_number_may_come_from_a_variable(project: Project) -> None:
    project.edit("workers: 2", "workers: ${N}")
    assert project.load({"N": "7"}).workers == 7


def test_a_secret_is_not_shown_and_a_value_is_not_expanded_again(project: Project) -> None:
    project.edit("workers: 2", "workers: ${N}")
    (problem,) = project.problems({"N": "hunter2"})
    assert problem == "odibi.yaml:2:10: workers: must be a whole number (got ${N})"
    project.edit("workers: ${N}", "description: ${A}")
    project.load({"A": "${B}"})


def test_a_missing_variable_is_a_problem(project: Project) -> None:
    project.edit("workers: 2", "description: ${NOBODY} and $${THIS} stays")
    assert project.problems() == [
        "odibi.yaml:2:14: description: the variable NOBODY is not set (got ${NOBODY} and $${THIS} stays); "
        "set it in the environment or in .env, or give a default: ${NOBODY:-...}"
    ]


def test_a_bad_env_line_names_its_line_and_not_its_text(project: Project) -> None:
    project.write(".env", "A=1\nhunter2\n")
    assert project.problems() == [".env:2:1: not a KEY=VALUE line"]


# --- the YAML itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1\n", "odibi.yaml:1:4: not valid YAML: [ is opened here and not closed (got a: [1); close it with ]"),
        (
            "a: {b: ${C}}\n",
            "odibi.yaml:1:9: not valid YAML: expected ',' or '}', but got '{' (got a: {b: ${C}}); within { } and",
        ),
        ("", "odibi.yaml:1:1: the file is empty; `odibictl init DIR` writes a working one"),
        ("- a\n", "odibi.yaml:1:1: must be a mapping; keys: project, description"),
        ("a: !!python/object:os.system x\n", "odibi.yaml:1:4: a: tags are not supported; delete tag:yaml.org,2002:"),
        ("a: *b\n", "odibi.yaml:1:4: a: unknown alias *b"),
        ("a: &a [*a]\n", "odibi.yaml:1:8: a[0]: unknown alias *a"),
        ("a: 1\n---\nb: 1\n", "odibi.yaml:2:1: only one document per file; delete the second one and its ---"),
        ("%YAML 1.1\n---\na: 1\n", "odibi.yaml:2:1: is read as YAML 1.2; delete the %YAML line"),
        ("? [a]\n: 1\n", "odibi.yaml:1:3: a key must be text"),
        ("a: " + "[" * 5000, f"odibi.yaml:1:{MAX_DEPTH + 3}: a"),
        (b"a: \xff\n", "odibi.yaml:1:1: is not UTF-8; save it as UTF-8"),
        (
            "cron: @daily\n",
            "odibi.yaml:1:7: not valid YAML: '@' begins no text (got cron: @daily); quote a cron expression",
        ),
        (
            "cron: * * * * *\n",
            "odibi.yaml:1:8: not valid YAML: expected alphabetic or numeric character, but found ' ' (got cron: * * *",
        ),
        ("cron: */5 * * * *\n", "odibi.yaml:1:7: cron: unknown alias */5; quote a cron expression"),
        ("a: \x01\n", "odibi.yaml:1:4: not valid YAML: the control character U+0001; delete it"),
        ("#" * (MAX_FILE + 1), f"odibi.yaml:1:1: larger than {MAX_FILE} bytes; move SQL to sql/*.sql"),
    ],
)
def test_what_is_no_readable_yaml_says_where(project: Project, text: str | bytes, expected: str) -> None:
    project.write("odibi.yaml", text)
    assert project.problems()[0].startswith(expected)


def test_aliases_are_understood_and_bombs_are_not(project: Project) -> None:
    project.edit("retry: {max_attempts: 3, initial: 1s}", "retry: &r {max_attempts: 2}")
    project.edit("      - name: clean\n", "      - name: clean\n        retry: *r\n")
    assert "unknown alias" in project.problems()[0]  # an alias before its anchor
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 30))
    project.write("odibi.yaml", bomb)
    assert "more than 100000 values, aliases expanded" in project.problems()[0]


@pytest.mark.parametrize(
    "text", ["yes", "no", "on", "off", "y", "2024-01-01", "0777a", "1_000", "12:30:00", "1e", "0b1"]
)
def test_words_of_yaml_1_1_are_text(text: str) -> None:
    assert resolve_plain(text) == text


@pytest.mark.parametrize(
    ("text", "value"), [("0o17", 15), ("0x1F", 31), ("017", 17), (".5", 0.5), ("-1", -1), ("~", None)]
)
def test_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    assert resolve_plain(text) == value


@pytest.mark.parametrize(
    "text",
    ["0", "-0", "+7", "0.1", "1.50", "-0.0", ".5", "1.", "0e5", "1E5", "0o17", "0x1F", ".inf"],
)
def test_numbers_that_give_their_text_back_in_value_are_read(text: str) -> None:
    problems = Problems("")
    tree = parse(f"v: {text}\n", problems, lambda written: (written, []))
    assert tree is not None
    assert isinstance(plain_data(tree, "", problems)["v"], int | float)
    assert not problems.found


def test_a_folder_without_a_project_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"odibi.yaml:1:1: there is no such file .* `odibictl init DIR`"):
        load_project(tmp_path)


_WORDS = st.sampled_from(
    [*VALID.split(), "{", "}", "[", "]", ":", "- ", "\n", "  ", "&a", "*a", "!!str", "|", "${X}", "'", '"']
)


@given(st.one_of(st.text(max_size=200), st.lists(_WORDS, max_size=60).map(" ".join), st.binary(max_size=100)))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_is_a_project_or_a_configerror_with_places(project: Project, text: str | bytes) -> None:
    project.write("odibi.yaml", text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    with pytest.raises(ConfigError) as caught:
        project.load()
    assert all(problem.line >= 1 and problem.column >= 1 and problem.message for problem in caught.value.problems)


@given(st.integers(0, len(VALID)), st.integers(0, 30), st.text(max_size=12))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_mutated_project_never_raises_anything_else(project: Project, at: int, cut: int, put: str) -> None:
    project.write("odibi.yaml", (VALID[:at] + put + VALID[at + cut :]).encode("utf-8", "surrogatepass"))
    with contextlib.suppress(ConfigError):
        assert project.load().pipelines


# --- parts --------------------------------------------------------------------------------------------------------


@given(st.dictionaries(st.integers(0, 12), st.lists(st.integers(0, 12), max_size=3), max_size=12))
def test_sorting_gives_an_order_or_names_true_cycles(graph: dict[int, list[int]]) -> None:
    edges = {str(name): [str(i) for i in inputs if i in graph] for name, inputs in graph.items()}
    order, cycles = sort_nodes(edges)
    for cycle in cycles:
        assert all(after in edges[before] for before, after in zip(cycle, [*cycle[1:], cycle[0]], strict=True))
    if not cycles:
        left = list(edges)
        for name in order:
            ready = [known for known in left if not set(edges[known]) & set(left)]
            assert name == ready[0]  # of those whose inputs are done, the first of the file
            left.remove(name)
        assert not left


@pytest.mark.parametrize("name", [*ARROW_TYPES, "timestamp[us, UTC]", "timestamp[ms, tz=+02:00]", "decimal128(10,2)"])
def test_the_readers_know_every_type_that_is_accepted(name: str) -> None:
    assert parse_type(arrow_type(name)) is not None


def test_an_accepted_type_is_handed_on_as_arrow_writes_it(project: Project) -> None:
    project.edit('pattern: "*.csv"', 'schema: {day: date, at: "timestamp[us, UTC]"}')
    read = project.load().pipelines[0].nodes[0].read
    assert read is not None
    assert read.schema == {"day": "date32", "at": "timestamp[us, tz=UTC]"}


@pytest.mark.parametrize(
    ("source", "reference"),
    [
        ("from os.path import join as clean", "clean"),
        ("from os.path import *", "anything"),
        ("try:\n    import x\nexcept ImportError:\n    def clean(flights, max_delay): ...", "clean"),
        ("@wraps\ndef clean(): ...", "clean"),
        ("def clean(*tables, **options): ...", "clean"),
        ("def clean(renamed, /, *, max_delay, context): ...", "clean"),
        ("def clean(): ...\nclean = wrap(clean)", "clean"),
    ],
)
def test_what_the_source_does_not_decide_is_not_refused(project: Project, source: str, reference: str) -> None:
    project.write("nodes/flights.py", source)
    project.edit("flights:clean", f"flights:{reference}")
    project.load()


def test_a_module_that_does_not_parse_names_its_line(project: Project) -> None:
    project.write("nodes/flights.py", "x = 1\ndef clean(:\n")
    assert "nodes/flights.py:2: invalid syntax; fix the Python file" in project.problems()[0]


def test_user_code_is_never_imported(project: Project) -> None:
    project.write("nodes/flights.py", "raise SystemExit(3)\ndef clean(flights, max_delay): ...\n")
    project.load()


def test_a_connection_may_not_lie_in_data_dir_nor_be_the_other_kind_of_thing(project: Project) -> None:
    project.edit("data/lake", ".odibi/spool")
    project.edit("data/landing", "nodes/flights.py")
    project.edit("data/mart.db", "nodes")
    landing, lake, mart = project.problems()
    assert "connections.landing.path: is a file; a local connection is a folder" in landing
    assert "connections.lake.path: lies in data_dir" in lake
    assert "connections.mart.path: is a folder; a sqlite connection is a database file" in mart


def test_an_optional_column_has_a_type(project: Project) -> None:
    project.edit('pattern: "*.csv"', 'pattern: "*.csv", schema: {day: date}, optional: [day, "a b"]')
    (problem,) = project.problems()
    assert "read.optional: column 'a b' has no type: files that lack it tell none" in problem
    assert 'declare it: schema: {"a b": string}' in problem
    project.edit("{day: date}", '{day: date, "a b": string}')
    read = project.load().pipelines[0].nodes[0].read
    assert read is not None
    assert read.optional == ["day", "a b"]
