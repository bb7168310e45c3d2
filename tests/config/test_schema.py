"""The JSON Schema comes from the same table as the checks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from odibi_actors.config import config_schema, write_schema
from odibi_actors.config.keys import NODE, PIPELINE, READ, RETRY


def _pipeline() -> dict[str, Any]:
    pipeline = config_schema()["properties"]["pipelines"]["items"]
    assert isinstance(pipeline, dict)
    return pipeline


def test_it_has_every_key_with_its_description_and_forbids_others() -> None:
    pipeline = _pipeline()
    node = pipeline["properties"]["nodes"]["items"]
    assert list(pipeline["properties"]) == list(PIPELINE.keys)
    assert list(node["properties"]) == list(NODE.keys)
    assert list(node["properties"]["read"]["properties"]) == list(READ.keys)
    assert not pipeline["additionalProperties"]
    assert pipeline["required"] == ["pipeline", "nodes"]
    assert node["oneOf"] == [{"required": [name]} for name in ("read", "transform", "write")]
    assert all(value["description"] for value in node["properties"].values())


def test_defaults_are_those_of_the_specs_as_they_are_written() -> None:
    retry = RETRY.schema()["properties"]
    assert {name: value["default"] for name, value in retry.items()} == {
        "max_attempts": 3,
        "backoff": "exponential",
        "initial": "1s",
        "max": "1m",
        "jitter": 0.2,
    }
    assert _pipeline()["properties"]["batch"]["properties"]["max_bytes"]["default"] == "256MB"


def test_what_is_not_built_is_refused_by_the_schema_too() -> None:
    previously = _pipeline()["properties"]["nodes"]["items"]["properties"]["previously"]
    assert previously["not"] == {}
    assert "not available in this version" in previously["description"]


def test_it_is_written_whole_into_a_private_folder(tmp_path: Path) -> None:
    path = write_schema(tmp_path / ".odibi")
    assert path == tmp_path / ".odibi" / "odibi.schema.json"
    assert json.loads(path.read_text()) == config_schema()
    assert (tmp_path / ".odibi").stat().st_mode & 0o077 == 0
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_messages_do_not_load_the_loader_nor_loading_the_heavy_libraries() -> None:
    code = (
        "import sys; import odibi_actors.config.model; early = set(sys.modules); import odibi_actors.config.load;"
        "print([m for m in ('ruamel.yaml', 'odibi_actors.config.load') if m in early],"
        " [m for m in ('ruamel.yaml', 'pandas', 'pyarrow', 'duckdb') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] []\n"
