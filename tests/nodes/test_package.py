"""``nodes`` is this project's folder, whatever lies on the import path."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from odibi_actors.errors import ConfigError
from odibi_actors.nodes import package

OTHERS = {
    "a package": ("nodes/__init__.py", "nodes/own.py"),
    "a folder": ("nodes/own.py",),
    "a module": ("nodes.py",),
}
"""What of that name may lie on the path."""


def put(root: Path, *names: str, value: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"VALUE = {value!r}\n")
    return root


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("ours", ["nodes/own.py", "nodes/__init__.py nodes/own.py", "nodes.py nodes/own.py"])
def test_given_another_nodes_on_the_path_then_the_projects_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str, ours: str
) -> None:
    monkeypatch.syspath_prepend(str(put(tmp_path / "other", *OTHERS[other], value="other")))
    package.claim(put(tmp_path / "project", *ours.split(), value="ours"))
    assert importlib.import_module("nodes.own").VALUE == "ours"


@pytest.mark.parametrize("other", OTHERS)
def test_given_no_nodes_folder_then_the_other_one_is_named_and_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    monkeypatch.syspath_prepend(str(put(tmp_path / "other", *OTHERS[other], value="other")))
    package.claim(tmp_path / "project")
    with pytest.raises(ModuleNotFoundError, match=rf"{tmp_path}/project/nodes; {tmp_path}/other/nodes"):
        importlib.import_module("nodes.own")


def test_given_a_nodes_that_somebody_has_imported_before_then_its_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(put(tmp_path / "other", "nodes/__init__.py", value="other")))
    importlib.import_module("nodes")
    with pytest.raises(ConfigError, match=rf"{tmp_path}/other/nodes/__init__\.py"):
        package.claim(put(tmp_path / "project", "nodes/own.py", value="ours"))


def test_given_two_projects_in_one_process_then_each_has_its_own(tmp_path: Path) -> None:
    for name in ("first", "second", "first"):
        package.claim(put(tmp_path / name, "nodes/own.py", value=name))
        value = importlib.import_module("nodes.own").VALUE
        assert value == name


def test_given_a_barred_module_then_its_import_says_why_and_others_are_imported(tmp_path: Path) -> None:
    package.claim(put(tmp_path, "nodes/own.py", "nodes/bad.py", value="ours"), {"nodes.bad": "it ends its process"})
    with pytest.raises(package.BarredError, match="it ends its process"):
        importlib.import_module("nodes.bad")
    assert importlib.import_module("nodes.own").VALUE == "ours"


def test_given_released_then_python_looks_as_before(tmp_path: Path) -> None:
    before = list(sys.path), list(sys.meta_path)
    package.release(package.claim(tmp_path))
    assert (sys.path, sys.meta_path) == before


PROJECT = """\
project: x
connections: {in: {type: local, path: in}, out: {type: local, path: out}}
pipelines:
  - pipeline: p
    nodes:
      - {name: s, read: {connection: in, format: csv, mode: file_watch, pattern: "*.csv", settle: 0s}}
      - {name: f, inputs: [s], transform: {function: "nodes.own:mark"}}
      - {name: w, inputs: [f], write: {connection: out, path: o, format: parquet}}
"""


def test_given_a_foreign_nodes_in_pythonpath_when_a_pipeline_is_run_or_validated_then_the_projects_code_runs(
    tmp_path: Path,
) -> None:
    other = put(tmp_path / "other", "nodes/__init__.py", "nodes/own.py", value="other")
    root = tmp_path / "project"
    (root / "nodes").mkdir(parents=True)
    (root / "in").mkdir()
    (root / "odibi.yaml").write_text(PROJECT)
    (root / "nodes/own.py").write_text("def mark(s):\n    return s.assign(who='ours')\n")
    (root / "in/a.csv").write_text("k\n1\n")
    env = {**os.environ, "PYTHONPATH": f"{Path(__file__).parents[2]}{os.pathsep}{other}"}
    for words in (["validate", "--deep"], ["run", "p"]):
        argv = [sys.executable, "-m", "odibi_actors.cli", *words]
        done = subprocess.run(argv, cwd=root, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert len(list((root / "out/o").glob("*.parquet"))) == 1
