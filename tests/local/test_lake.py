"""Sources and references over what this project has published below folders of partitions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from odibi_actors import Client, read_committed
from odibi_actors.cli.__main__ import odibictl
from odibi_actors.config import load_project
from odibi_actors.errors import NotFoundError
from odibi_actors.local import run_pipeline
from odibi_actors.local.trying import Trial
from odibi_actors.nodes.partition import partition_of
from odibi_actors.streaming.effects import Scan, Scanned, Stat
from odibi_actors.streaming.scan import look, scan
from odibi_actors.streaming.watcher import Watcher

PROJECT = """\
project: shop
connections:
  landing: {type: local, path: landing}
  lake: {type: local, path: lake}
pipelines:
  - pipeline: first
    nodes:
      - name: src
        read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv", schema: {k: string, n: int64}}
      - name: out
        inputs: [src]
        write: {connection: lake, path: out, format: FORMAT, partition_by: [k]}
  - pipeline: second
    trigger: manual
    nodes:
      - name: again
        read: {connection: lake, path: out, format: FORMAT, mode: MODE, pattern: "**/part-*"}
      - name: copy
        inputs: [again]
        write: {connection: lake, path: copy, format: parquet}
"""


def project(root: Path, mode: str, format: str = "parquet") -> None:
    (root / "landing").mkdir()
    (root / "odibi.yaml").write_text(PROJECT.replace("MODE", mode).replace("FORMAT", format))
    (root / "landing/1.csv").write_text("k,n\n007,1\n,2\na/b,3\n12,4\n")
    assert run_pipeline(load_project(root), "first").committed == 1


@pytest.mark.parametrize("format", ["parquet", "csv"])
@pytest.mark.parametrize("mode", ["file_watch", "batch"])
def test_given_folders_of_partitions_when_read_then_values_and_types_are_those_of_the_sink(
    mode: str, format: str, tmp_path: Path
) -> None:
    project(tmp_path, mode, format)
    summary = run_pipeline(load_project(tmp_path), "second")
    assert (summary.committed, summary.failed) == (1, 0)
    found = read_committed(tmp_path / "lake/copy").sort_by("n")
    assert [row["k"] for row in found.to_pylist()] == ["007", None, "a/b", "12"]
    assert str(found.schema.field("k").type) == "string"
    (tmp_path / "landing/2.csv").write_text("k,n\n13,5\n")
    assert run_pipeline(load_project(tmp_path), "first").committed == 1
    assert run_pipeline(load_project(tmp_path), "second").committed == 1
    rows = read_committed(tmp_path / "lake/copy").num_rows
    assert rows == (5 if mode == "file_watch" else 9)
    if format == "parquet":
        removed(tmp_path, mode)


def removed(root: Path, mode: str) -> None:
    """What a manifest names and is not there is no iteration with fewer rows; what was read before may go."""
    there, aside = root / "lake/out/k=12", root / "aside"
    there.rename(aside)
    if mode == "file_watch":
        assert run_pipeline(load_project(root), "second").state == "no_data"
        (root / "landing/3.csv").write_text("k,n\n14,6\n15,7\n")
        assert run_pipeline(load_project(root), "first").committed == 1
        there, aside = root / "lake/out/k=15", root / "gone"
        there.rename(aside)
    elif mode == "batch":
        table = CliRunner().invoke(odibictl, ["--project", str(root), "try", "second"])
        assert "k=12/part-0000000001-out.parquet is not there, though" in table.stderr
    name = f"out/{there.name}/part-000000000{3 if mode == 'file_watch' else 1}-out.parquet"
    for _ in range(2):  # to try again does not help
        summary = run_pipeline(load_project(root), "second")
        assert (summary.state, summary.committed) == ("failed", 0)
        assert f"{name} is not there, though the sink that published it has it among what is committed" in summary.error
        assert "Put it back, or take back what that sink has published" in summary.error
    aside.rename(there)
    assert run_pipeline(load_project(root), "second").failed == 0
    assert read_committed(root / "lake/copy").num_rows == (7 if mode == "file_watch" else 19)


def test_given_joined_files_when_they_are_read_whole_then_values_are_those_of_the_sink(tmp_path: Path) -> None:
    project(tmp_path, "batch")
    (tmp_path / "landing/2.csv").write_text("k,n\n13,5\n007,6\n")
    assert run_pipeline(load_project(tmp_path), "first").committed == 1
    with Client(project=tmp_path) as client:
        told = client.sink_compact("first", "out")
    assert (told["joined"], told["kept"]) == (2, 4)  # those of 007; of the others there is one each
    there = scanned(tmp_path / "lake/out", whole=True)
    assert (len(there.files), there.written) == (5, [])
    summary = run_pipeline(load_project(tmp_path), "second")
    assert (summary.committed, summary.failed) == (1, 0)
    found = read_committed(tmp_path / "lake/copy").sort_by("n")
    assert [row["k"] for row in found.to_pylist()] == ["007", None, "a/b", "12", "13", "007"]


def scanned(root: Path, pattern: str = "**/part-*", whole: bool = False) -> Scanned:
    effect = Scan("s", 1, str(root), "", pattern, whole=whole)
    (said,) = [one for one in scan(effect, Watcher(lambda *_: None)) if one is not None]
    return said


def test_given_files_without_their_manifest_when_listed_then_they_wait_for_it(tmp_path: Path) -> None:
    project(tmp_path, "batch")
    root = tmp_path / "lake/out"
    assert len(scanned(root).files) == 4
    assert scanned(root).written == []
    (manifest,) = (root / "_odibi_manifests").iterdir()
    manifest.rename(tmp_path / "aside")
    names = sorted(found.identity for found in scanned(root).files)
    assert sorted(scanned(root).written) == names
    answer = look(Stat("s", 1, str(root), names, True))
    assert sorted(answer.written) == names
    (tmp_path / "aside").rename(manifest)
    assert look(Stat("s", 1, str(root), names, True)).written == []
    gone = root / names[0]
    gone.rename(tmp_path / "aside")
    (listed,) = [found for found in scanned(root).files if found.gone]
    assert (listed.identity, [*look(Stat("s", 1, str(root), names[:1], True)).files]) == (names[0], [listed])
    manifest.rename(tmp_path / "manifest")  # it is being taken back: first goes who names it
    assert [found for found in scanned(root).files if found.gone] == []
    assert look(Stat("s", 1, str(root), names[:1], True)).gone == names[:1]
    (tmp_path / "manifest").rename(manifest)
    (tmp_path / "aside").rename(gone)
    os.mkdir(tmp_path / "k=1")
    (tmp_path / "k=1/part-0000000001-out.parquet").write_bytes(b"")  # of another tool: there are no manifests
    assert scanned(tmp_path, "k=1/*").written == []


def test_given_a_pattern_that_reaches_no_folder_of_a_partition_then_it_is_told(tmp_path: Path) -> None:
    project(tmp_path, "batch")
    (problem,) = scanned(tmp_path / "lake/out", "part-*").problems
    assert problem.endswith('are in folders of partitions: `pattern: "**/part-*"` reaches them')
    spec = tmp_path / "odibi.yaml"
    spec.write_text(spec.read_text().replace("**/part-*", "part-*"))
    with pytest.raises(NotFoundError) as nothing:
        list(Trial(load_project(tmp_path), "second").run())
    assert problem in str(nothing.value)
    assert "odibictl run" not in str(nothing.value)


def test_given_a_file_of_a_partition_then_its_manifest_is_asked(tmp_path: Path) -> None:
    project(tmp_path, "batch")
    path = tmp_path / "lake/out/k=007/part-0000000001-out.parquet"
    found = partition_of(path)
    assert found is not None
    assert (found.values, str(found.types["k"])) == ({"k": "007"}, "string")
    assert partition_of(tmp_path / "landing/1.csv") is None
