"""References to secrets: what the project file may say, and what they stand for where they are used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from odibi_actors.config.kinds import BAD, Secret
from odibi_actors.config.problems import Problems
from odibi_actors.config.secrets import resolve
from odibi_actors.config.tree import Mapping, parse
from odibi_actors.config.variables import expand
from odibi_actors.errors import AccessError

ENV = {"PG_PASSWORD": "canary-7f3"}


def checked(text: str) -> tuple[Any, str]:
    """What is kept of a value, and what is said about it."""
    problems = Problems("odibi.yaml")
    tree = parse(f"password: {text}\n", problems, lambda value: expand(value, ENV))
    if not isinstance(tree, Mapping):
        return BAD, " ".join(map(str, problems.found))
    value = Secret().check(tree.items["password"][1], "password", problems)
    return value, " ".join(map(str, problems.found))


def test_given_a_reference_then_it_is_kept_as_it_is_written() -> None:
    assert checked('"${PG_PASSWORD}"') == ("${PG_PASSWORD}", "")
    assert checked("{file: secrets/pg}") == ("file:secrets/pg", "")


@pytest.mark.parametrize("text", ["canary-7f3", '"x${PG_PASSWORD}"', '"${PG_PASSWORD:-canary-7f3}"', "{env: a}", "[a]"])
def test_given_what_is_no_reference_then_it_is_refused_and_not_shown(text: str) -> None:
    value, said = checked(text)
    assert value is BAD
    assert 'a secret stands elsewhere; write "${NAME}", or {file: PATH}' in said
    assert "canary" not in said


def test_given_a_variable_that_is_not_set_then_it_is_named_when_the_file_is_read() -> None:
    assert "MISSING" in checked('"${MISSING}"')[1]


def test_given_a_reference_then_it_stands_for_what_is_there_when_it_is_used(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PG_PASSWORD=from-env-file\n")
    assert resolve("${PG_PASSWORD}", str(tmp_path), ENV) == "canary-7f3"
    assert resolve("${PG_PASSWORD}", str(tmp_path), {}) == "from-env-file"
    (tmp_path / ".env").write_text("PG_PASSWORD=rotated\n")
    assert resolve("${PG_PASSWORD}", str(tmp_path), {}) == "rotated"
    (tmp_path / "pg").write_text("in a file\n")
    assert resolve("file:pg", str(tmp_path)) == "in a file"
    assert resolve(f"file:{tmp_path}/pg", "/nowhere") == "in a file"


@pytest.mark.parametrize("reference", ["${GONE}", "file:gone", "file:empty", "file:binary"])
def test_given_a_reference_to_nothing_when_it_is_used_then_it_is_named(tmp_path: Path, reference: str) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(AccessError, match=reference.strip("${}").removeprefix("file:")):
        resolve(reference, str(tmp_path), {})
