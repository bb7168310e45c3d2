"""``mode: incremental`` over tables from end to end: every row is there once, whatever happens meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from odibi_actors.config import load_project
from odibi_actors.errors import OdibiError
from odibi_actors.local import run_pipeline
from odibi_actors.local.at_rest import AtRest
from tests.sources.tables import ENGINES, Engine, Postgres

pytestmark = pytest.mark.xdist_group("postgres")

YAML = """\
project: grow
connections:
  shop: {connection}
  lake: {{type: local, path: out}}
pipelines:
  - pipeline: p
    batch: {{max_rows: 2}}
    nodes:
      - name: orders
        read: {{connection: shop, table: t, mode: incremental, watermark_column: w, keys: [id]}}
      - {{name: out, inputs: [orders], write: {{connection: lake, path: t, format: csv}}}}
"""
SECRET = "canary-4711"


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    made = ENGINES[request.param](tmp_path)
    if isinstance(made, Postgres):
        connection = "{type: postgres, " + ", ".join(f"{k}: {v}" for k, v in made.schema.section.items())
        connection = connection.replace("timeout: 30.0", "timeout: 30s") + ', password: "${SHOP_PASSWORD}"}'
        (tmp_path / ".env").write_text(f"SHOP_PASSWORD={SECRET}\n")
    else:
        connection = f"{{type: {made.name}, path: {Path(made.path).name}}}"
    (tmp_path / "odibi.yaml").write_text(YAML.format(connection=connection))
    made.execute("create table t (id integer, w integer)")
    yield made
    if isinstance(made, Postgres):
        made.close()


def add(engine: Engine, *ids: int) -> None:
    """Two of each watermark."""
    engine.execute("insert into t values (?, ?)", [(one, one // 2) for one in ids])


def out(project: Path) -> list[int]:
    lines = [line for file in (project / "out/t").glob("*.csv") for line in file.read_text().split()[1:]]
    return sorted(int(line.partition(",")[0]) for line in lines)


def run(project: Path, **more: object):  # type: ignore[no-untyped-def]
    return run_pipeline(load_project(project), "p", **more)


def cli(project: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "odibi_actors.cli", *words]
    return subprocess.run(command, cwd=project, env=os.environ | env, capture_output=True, text=True, check=False)


KILLS = ["source.probe", "source.probed", "store.commit", "store.committed", "file.fsynced", "folder.linked"]


def test_given_a_kill_at_any_step_between_reading_and_commit_then_every_row_is_there_once(
    engine: Engine, tmp_path: Path
) -> None:
    rows = 0
    for name in KILLS if engine.name == "sqlite" else KILLS[1:3]:
        add(engine, *range(rows, rows + 3))  # an odd number: the next ones tie with the last
        rows += 3
        assert cli(tmp_path, "run", "p", ODIBI_FAILPOINTS=f"{name}:kill").returncode != 0, name
    add(engine, rows)
    run(tmp_path)
    assert out(tmp_path) == list(range(rows + 1))
    assert run(tmp_path).state == "no_data"


def test_given_a_rewind_then_what_it_took_back_is_read_again(engine: Engine, tmp_path: Path) -> None:
    add(engine, *range(5))
    run(tmp_path)
    done = cli(tmp_path, "pipeline", "rewind", "p", "--to", "1", "--yes")
    assert done.returncode == 0, done.stderr
    assert out(tmp_path) == [0, 1]
    add(engine, 5, 5)
    run(tmp_path)
    assert out(tmp_path) == [0, 1, 2, 3, 4, 5, 5]


@pytest.mark.process
@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_given_a_backfill_of_a_part_then_its_rows_are_read_again(engine: Engine, tmp_path: Path) -> None:
    add(engine, *range(8))
    run(tmp_path)
    add(engine, 8)
    done = cli(tmp_path, "up", "--detach")
    assert done.returncode == 0, done.stderr
    try:
        words = ["pipeline", "backfill", "p", "--rows", "1..3", "--yes", "--wait"]
        done = cli(tmp_path, *words)
        assert done.returncode == 0, done.stderr
        done = cli(tmp_path, "iteration", "wait", "p", "--timeout", "60s")
        assert done.returncode == 0, done.stderr
    finally:
        cli(tmp_path, "down")
    assert out(tmp_path) == sorted([*range(9), 2, 3, 4, 5])


def test_given_what_people_look_at_then_it_tells_of_the_table_and_no_secret_is_in_it(
    engine: Engine, tmp_path: Path
) -> None:
    add(engine, *range(3))
    tried = cli(tmp_path, "try", "p")
    assert tried.returncode == 0, tried.stderr
    assert "pieces" in tried.stdout
    summary = run(tmp_path)
    assert (summary.state, summary.rows_read) == ("done", 3)
    assert "table t by w" in cli(tmp_path, "graph").stdout
    with AtRest(tmp_path / ".odibi", tmp_path) as rest:
        (row,) = rest.answer("source", "source.list", {})["items"]
        (why,) = rest.answer("source", "source.why", {"file": "t"})["items"]
        with pytest.raises(OdibiError, match=r"p/\w+ reads no files, but rows of table "):
            rest.answer("source", "source.why", {"file": "x.csv"})
    assert (row["mode"], row["consumption"], row["known"], row["pattern"]) == ("incremental", "cursor", 1, "table t")
    assert why["state"] == "planned"
    shown = json.loads(cli(tmp_path, "source", "show", "p.orders", "-o", "json").stdout)
    assert "in the database" in json.dumps(shown)
    for file in (tmp_path / ".odibi").rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file


def test_given_a_transaction_that_runs_then_a_run_waits_for_its_end(tmp_path: Path) -> None:
    made = Postgres(tmp_path)
    with closing(made), closing(made.connected()) as writer:
        connection = ", ".join(f"{k}: {v}" for k, v in made.schema.section.items()).replace("30.0", "30s")
        (tmp_path / "odibi.yaml").write_text(YAML.format(connection=f"{{type: postgres, {connection}}}"))
        made.execute("create table t (id integer, w integer)")
        writer.autocommit = False
        writer.execute("insert into t values (0, 0)")
        add(made, 2)
        command = [sys.executable, "-m", "odibi_actors.cli", "run", "p"]
        with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as running:
            assert running.stderr is not None
            for line in running.stderr:
                if b"waits for the end of a transaction" in line:
                    break
            writer.commit()
            running.communicate()
        assert running.returncode == 0
    assert out(tmp_path) == [0, 2]
