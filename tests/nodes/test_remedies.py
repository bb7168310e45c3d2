"""What messages tell to write into odibi.yaml: valid YAML, for any name and type, and from one place."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from odibi_actors.config import remedies
from odibi_actors.config.load import load_project
from odibi_actors.nodes.schemas import parse_type

SOURCE = Path(remedies.__file__).parents[1]
TYPES = [
    *(pa.int64(), pa.float16(), pa.date32(), pa.timestamp("us"), pa.timestamp("ns", "Europe/Berlin"), pa.time64("us")),
    *(pa.duration("s"), pa.decimal128(10, 2), pa.string(), pa.bool_(), pa.timestamp("s", "+05:30")),
]


def _read(told: str, folder: Path) -> dict[str, object]:
    """A project file with what was told in its source."""
    (folder / "odibi.yaml").write_text(
        f"""project: demo
connections: {{here: {{type: local, path: data}}}}
pipelines:
  - pipeline: p
    nodes:
      - name: a
        read:
          connection: here
          format: parquet
          mode: file_watch
          pattern: "*.parquet"
          {told.removeprefix("read.")}
      - name: w
        inputs: [a]
        write: {{connection: here, path: out, format: parquet}}
""",
        encoding="utf-8",
    )
    read = load_project(folder / "odibi.yaml").pipelines[0].nodes[0].read
    assert read is not None
    return {"schema": read.schema, "ignore": read.ignore}


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_given_any_type_when_its_column_is_to_be_declared_then_the_line_is_valid(
    tmp_path: Path, kind: pa.DataType
) -> None:
    schema = _read(remedies.schema("read", "Datum", kind), tmp_path)["schema"]
    assert isinstance(schema, dict)
    assert parse_type(schema["Datum"]) == kind


@given(name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0$"), max_size=20))
def test_given_any_name_when_it_is_told_then_yaml_reads_the_same(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("p", numbered=True)
    told = remedies.listed("read.ignore", name, "other")
    assert "\n" not in told
    assert _read(told, folder)["ignore"] == [name, "other"]


@pytest.mark.parametrize("name", ["no", "ON", "null", "1", "a b", "a: b", "[x]", "", "é", "x\ny", "\u2028", "😀", "#"])
def test_given_names_that_mean_something_to_yaml_then_they_are_quoted(tmp_path: Path, name: str) -> None:
    assert _read(remedies.listed("read.ignore", name), tmp_path)["ignore"] == [name]


def test_nothing_else_makes_such_lines() -> None:
    wrong = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr) and path != Path(remedies.__file__):
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
                if re.search(r"schema: \{|(ignore|optional|columns|null_values): \[\0", text):
                    wrong.append(f"{path}:{node.lineno}: {text[:60]}")
    assert not wrong
