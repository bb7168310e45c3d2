"""What a project file says otherwise than what was published: it is told before anything is refused for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from odibi_actors.cli.__main__ import odibictl

PROJECT = """\
project: held
connections:
  landing: {type: local, path: landing}
  lake: {type: local, path: lake}
pipelines:
  - pipeline: p
    retry: {max_attempts: 1}
    nodes:
      - name: s
        read: {connection: landing, format: csv, mode: file_watch, pattern: "*"}
      - {name: out, inputs: [s], write: {connection: lake, path: out, format: parquet}}
"""


def call(folder: Path, *args: str) -> Result:
    return CliRunner().invoke(odibictl, ["--project", str(folder), *args])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "landing").mkdir()
    (tmp_path / "odibi.yaml").write_text(PROJECT)
    (tmp_path / "landing/a-1.csv").write_text("k,x\n1,10\n")
    assert call(tmp_path, "run", "p").exit_code == 0
    return tmp_path


def replace(folder: Path, old: str, new: str) -> None:
    text = (folder / "odibi.yaml").read_text()
    assert old in text
    (folder / "odibi.yaml").write_text(text.replace(old, new))


RESET = "publish to another place, or all of it again (`odibictl reset p --targets`)"
CASES = {
    "a source": (
        'pattern: "*"}',
        'pattern: "*", schema: {x: string}}',
        "p.out is pinned with x: int64, and s declares string: what is not exactly of the pinned type is refused; "
        + RESET,
    ),
    "a sink": (
        "format: parquet}",
        "format: parquet, schema: {x: string}}",
        "p.out is pinned with x: int64, and its write.schema says string: every part is refused; " + RESET,
    ),
    "a column that is not there": (
        "format: parquet}",
        "format: parquet, schema: {y: string}}",
        "p.out is pinned without 'y', which its write.schema names: every part is refused; to let it in, "
        "`odibictl sink repin p.out`",
    ),
    "a removed source": (
        "name: s\n",
        "name: other\n",
        "`odibictl apply` refuses it: ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", CASES)
def test_given_a_schema_that_contradicts_what_is_pinned_then_validate_and_a_dry_run_tell(
    folder: Path, what: str
) -> None:
    assert call(folder, "validate").stderr == ""
    old, new, told = CASES[what]
    replace(folder, old, new)
    if what == "a removed source":
        replace(folder, "inputs: [s]", "inputs: [other]")
    validated = call(folder, "validate", "-o", "json")
    assert validated.exit_code == 0
    (warning,) = json.loads(validated.stdout)["warnings"]
    assert warning.startswith(told)
    assert validated.stderr.count(told) == 1
    assert "nothing runs" not in validated.stderr
    dry = call(folder, "apply", "--dry-run")
    assert told.removeprefix("`odibictl apply` refuses it: ") in dry.stderr
    assert (dry.exit_code == 0) == (what != "a removed source")


def test_given_what_the_remedies_do_then_nothing_is_told_any_more(folder: Path) -> None:
    replace(folder, "format: parquet}", "format: parquet, schema: {x: double}}")
    assert "pinned with x" in call(folder, "validate").stderr
    replace(folder, "path: out", "path: elsewhere")
    assert call(folder, "validate").stderr == ""
    (folder / "landing/a-2.csv").write_text("k,x\n2,20\n")
    assert call(folder, "run", "p").exit_code == 0


def test_given_a_schema_that_says_what_is_pinned_then_nothing_is_told(folder: Path) -> None:
    replace(folder, "format: parquet}", "format: parquet, schema: {x: int64}}")
    replace(folder, 'pattern: "*"}', 'pattern: "*", schema: {x: int64}}')
    assert call(folder, "validate").stderr == ""


def test_given_a_change_within_a_struct_that_sql_takes_apart_then_no_repin_is_advised(tmp_path: Path) -> None:
    (tmp_path / "landing").mkdir()
    read = 'format: json, mode: file_watch, pattern: "*", schema: {customer: "struct<id: int64>"}'
    node = '      - {name: t, inputs: [s], transform: {sql: "select k, customer.id as c from s"}}\n'
    text = PROJECT.replace('format: csv, mode: file_watch, pattern: "*"', read)
    text = text.replace("      - {name: out, inputs: [s]", node + "      - {name: out, inputs: [t]")
    (tmp_path / "odibi.yaml").write_text(text)
    (tmp_path / "landing/a-1.json").write_text('{"k": 1, "customer": {"id": 5}}\n')
    assert call(tmp_path, "run", "p").exit_code == 0
    replace(tmp_path, "struct<id: int64>", "struct<id: int64, vip: bool>")
    assert "pinned without" not in call(tmp_path, "validate").stderr
    assert "pinned without" not in call(tmp_path, "apply", "--dry-run").stderr
