"""Commands on the project file alone: init, validate, graph, config schema, run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import Result

from odibi_actors import local
from odibi_actors.errors import ConflictError

Invoke = Callable[..., Result]


def test_given_init_then_the_new_project_is_valid_and_a_second_init_is_refused(invoke: Invoke, tmp_path: Path) -> None:
    assert invoke("init", tmp_path / "new").exit_code == 0
    result = invoke("--project", tmp_path / "new", "validate", "--deep")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("ok: ")
    assert (tmp_path / "new" / "Procfile").is_file()
    assert invoke("init", tmp_path / "new").exit_code == 4


def test_given_a_valid_project_then_validate_counts(invoke: Invoke, project: Path) -> None:
    assert invoke("validate", "--project", project).stdout == "ok: 1 pipeline, 3 nodes\n"
    data = json.loads(invoke("validate", "--project", project, "-o", "json").stdout)
    assert data["ok"] is True


def test_given_problems_then_validate_lists_all_with_places_and_as_data(invoke: Invoke, project: Path) -> None:
    text = (project / "odibi.yaml").read_text()
    (project / "odibi.yaml").write_text(text.replace("pattern:", "patern:").replace("inputs: [kept]", "inputs: [kep]"))
    result = invoke("validate", "--project", project, "-o", "json")
    assert result.exit_code == 2
    problems = json.loads(result.stdout)["problems"]
    assert [problem["line"] for problem in problems] == [9, 14]
    assert 'did you mean "pattern"?' in result.stderr
    assert "2 problems" in result.stderr
    assert invoke("validate", "--project", project).stdout == ""


def test_given_bad_sql_then_it_is_found_and_bad_imports_by_deep(invoke: Invoke, project: Path) -> None:
    text = (project / "odibi.yaml").read_text()
    (project / "nodes").mkdir()
    (project / "nodes" / "deep_one.py").write_text("import nowhere_to_be_found\n\n\ndef good(kept):\n    return kept\n")
    more = """\
      - name: other
        inputs: [kept]
        transform: {function: "nodes.deep_one:good", params: {}}
      - name: out2
        inputs: [other]
        write: {connection: lake, path: out2, format: parquet}
"""
    (project / "odibi.yaml").write_text(text + more)
    assert invoke("validate", "--project", project).exit_code == 0
    result = invoke("validate", "--deep", "--project", project)
    assert result.exit_code == 2
    assert (
        "copy.other: cannot import nodes.deep_one (nodes/deep_one.py line 1): No module named 'nowhere_to_be_found'; "
        "install what has nowhere_to_be_found where odibictl is installed"
    ) in result.stderr
    (project / "odibi.yaml").write_text(text.replace("select * from incoming  -- all of it", "selekt 1") + more)
    for command in (["validate"], ["run", "copy"], ["apply"], ["up"]):
        result = invoke(*command, "--project", project)
        assert (result.exit_code, "kept: SQL does not parse" in result.stderr) == (2, True), command


def test_given_a_tab_then_it_says_use_spaces(invoke: Invoke, project: Path) -> None:
    (project / "odibi.yaml").write_text("project: x\npipelines:\n  - pipeline: a\n\tnodes: []\n")
    assert "indent with spaces" in invoke("validate", "--project", project).stderr


def test_given_a_folder_with_a_space_when_made_then_the_command_can_be_pasted(invoke: Invoke, tmp_path: Path) -> None:
    assert f"cd '{tmp_path}/my project' &&" in invoke("init", tmp_path / "my project").stderr


def test_given_no_project_then_2_says_where_it_looked(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("validate", "--project", tmp_path)
    assert result.exit_code == 2
    assert str(tmp_path / "odibi.yaml") in result.stderr


def test_given_a_pipeline_then_its_graph_is_drawn(invoke: Invoke, project: Path) -> None:
    drawn = invoke("graph", "copy", "--project", project).stdout.splitlines()
    assert drawn[0] == "copy (trigger: data, 4 in flight)"
    assert [line.split()[:2] for line in drawn[1:]] == [["incoming", "read"], ["↓", "kept"], ["↓", "out"]]
    mermaid = invoke("graph", "--project", project, "-o", "mermaid").stdout
    assert mermaid.startswith("flowchart LR\n  subgraph p_copy[copy]\n")
    assert "copy__kept --> copy__out" in mermaid
    data = json.loads(invoke("graph", "--project", project, "-o", "json").stdout)
    assert data["items"][0]["edges"] == [["incoming", "kept"], ["kept", "out"]]


def test_given_an_unknown_pipeline_then_3_names_those_there_are(invoke: Invoke, project: Path) -> None:
    result = invoke("graph", "nope", "--project", project)
    assert result.exit_code == 3
    assert "there are: copy" in result.stderr


def test_given_config_schema_then_it_is_json(invoke: Invoke) -> None:
    assert "properties" in json.loads(invoke("config", "schema").stdout)


@dataclass
class Summary:
    run: str = "r1"
    state: str = "done"
    iterations: int = 3
    committed: int = 3
    rows_read: int = 1200
    waits: str = ""
    failed: int = 0
    dead_lettered: int = 0
    error: str = ""
    untold: str = ""
    traceback: str = ""
    stuck: int = 1
    alerts: int = 0
    unread: tuple[str, ...] = ()


@pytest.mark.parametrize(("failed", "letters", "code"), [(0, 0, 0), (1, 0, 5), (0, 2, 5)])
def test_given_a_run_then_its_summary_is_printed_and_failure_is_5(
    invoke: Invoke, project: Path, monkeypatch: pytest.MonkeyPatch, failed: int, letters: int, code: int
) -> None:
    asked = []

    def run_pipeline(spec: object, pipeline: str, iterations: int | None, fresh: bool, *_: object) -> Summary:
        asked.append((pipeline, iterations, fresh))
        print("a node's own words")  # must not get among the results
        return Summary(state="failed" if failed or letters else "done", failed=failed, dead_lettered=letters)

    monkeypatch.setattr(local, "run_pipeline", run_pipeline, raising=False)
    result = invoke("run", "copy", "--iterations", 3, "--fresh", "--project", project, "-o", "json")
    assert result.exit_code == code
    assert json.loads(result.stdout)["rows_read"] == 1200
    assert asked == [("copy", 3, True)]


def test_given_a_running_system_when_run_then_4(invoke: Invoke, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_pipeline(*_: object) -> Summary:
        raise ConflictError("pid 7 runs here")

    monkeypatch.setattr(local, "run_pipeline", run_pipeline, raising=False)
    assert invoke("run", "copy", "--project", project).exit_code == 4


def test_given_try_then_tables_for_people_json_for_programs_and_failure_is_5(invoke: Invoke, project: Path) -> None:
    landing = project / "data/landing"
    landing.mkdir(parents=True)
    (landing / "a.csv").write_text("a,b\n1,x\n2,\n")
    result = invoke("try", "copy", "--project", project)
    assert result.exit_code == 0, result.stderr
    assert "kept: 2 rows\n" in result.stdout
    assert result.stdout.splitlines()[-1].split() == ["2", "null"]
    assert result.stderr == "copy: all there is; nothing was published\n"
    data = json.loads(invoke("try", "copy", "--project", project, "--sample", 1, "-o", "json").stdout)
    assert data["sample"] is True
    assert [(row["node"], row["state"], row["rows"]) for row in data["items"]] == [
        ("incoming", "ok", 1),
        ("kept", "ok", 1),
        ("out", "ok", 1),
    ]
    assert data["items"][1]["columns"] == [{"name": "a", "type": "int64"}, {"name": "b", "type": "string"}]
    assert data["items"][1]["head"] == [{"a": 1, "b": "x"}]
    assert not (project / "data/lake").exists()
    assert not (project / ".odibi").exists()
    text = (project / "odibi.yaml").read_text()
    (project / "odibi.yaml").write_text(text.replace("select *", "select a / b as c, *"))
    result = invoke("try", "copy", "--project", project)
    assert result.exit_code == 5
    assert "error: kept: sql line 1: Binder Error" in result.stderr
    assert "skipped" in result.stdout
    assert invoke("try", "copy", "--node", "nope", "--project", project).exit_code == 3


def test_given_nodes_that_print_and_log_when_tried_then_stderr_says_which(invoke: Invoke, project: Path) -> None:
    (project / "data/landing").mkdir(parents=True)
    (project / "data/landing/a.csv").write_text("a\n1\n")
    (project / "nodes").mkdir()
    (project / "nodes/prints.py").write_text(
        "def good(incoming, context):\n    print('hello')\n    context.logger.info('logged')\n    return incoming\n"
    )
    text = (project / "odibi.yaml").read_text()
    sql = 'sql: "select * from incoming  -- all of it"'
    (project / "odibi.yaml").write_text(text.replace(sql, 'function: "nodes.prints:good"'))
    modules, path = set(sys.modules), list(sys.path)
    try:
        result = invoke("try", "copy", "--project", project, "-o", "name")
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            if name.partition(".")[0] == "nodes":
                del sys.modules[name]
    assert result.stdout == "incoming\nkept\nout\n", result.stderr
    assert "copy 1 kept: hello\n" in result.stderr
    assert "INFO copy 1 kept: logged\n" in result.stderr
