"""``mode: incremental`` from end to end: every row of a file that grows is there once, whatever happens meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from odibi_actors.config import load_project
from odibi_actors.failpoints import watching
from odibi_actors.local import run_pipeline
from odibi_actors.local.at_rest import AtRest
from odibi_actors.local.trying import Trial
from odibi_actors.streaming.ordered_views import NOT_LOOKED_AT
from tests.local.telling import call

YAML = """\
project: grow
connections:
  landing: {type: local, path: in}
  lake: {type: local, path: out}
pipelines:
  - pipeline: p
    on_error: dead_letter
    retry: {max_attempts: 1}
    batch: {max_rows: 2}
    nodes:
      - name: log
        read: {connection: landing, format: csv, mode: incremental, pattern: "*.csv", schema: {id: int64}}
      - {name: out, inputs: [log], write: {connection: lake, path: t, format: csv}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "odibi.yaml").write_text(YAML)
    (tmp_path / "in").mkdir()
    return tmp_path


def append(project: Path, *ids: object, name: str = "a.csv") -> None:
    path = project / "in" / name
    with path.open("a") as file:
        file.write("".join(["id\n"] * (not path.stat().st_size) + [f"{one}\n" for one in ids]))


def out(project: Path) -> list[int]:
    return sorted(int(line) for file in (project / "out/t").glob("*.csv") for line in file.read_text().split()[1:])


def run(project: Path, **more: object):  # type: ignore[no-untyped-def]
    return run_pipeline(load_project(project), "p", **more)


def test_given_more_pieces_than_a_run_takes_at_once_when_tried_then_it_says_that_these_are_the_first(
    project: Path,
) -> None:
    text = (project / "odibi.yaml").read_text()
    (project / "odibi.yaml").write_text(text.replace("{max_rows: 2}", "{max_files: 2}"))
    for name in "abc":
        append(project, 1, 2, name=f"{name}.csv")
    for files, note, sampled in (("abc", "the first 2 pieces", True), ("ab", "all 2 pieces", False)):
        for gone in {"a", "b", "c"} - set(files):
            (project / f"in/{gone}.csv").unlink()
        trial = Trial(load_project(project), "p")
        first, *_ = trial.run()
        assert (first.note, first.rows, trial.sampled) == (note, 4, sampled)


def test_given_rows_that_are_appended_then_each_run_reads_what_is_new(project: Path) -> None:
    append(project, 1, 2, 3)
    assert run(project).state == "done"
    append(project, 4)
    append(project, 7, 8, name="b.csv")
    assert run(project).rows_read == 3
    assert out(project) == [1, 2, 3, 4, 7, 8]
    assert run(project).state == "no_data"


def test_given_a_row_that_cannot_be_read_then_its_piece_is_a_letter_that_is_replayed_once_it_is_corrected(
    project: Path,
) -> None:
    append(project, 1, 2, "x", 4, 5)
    summary = run(project)
    assert (summary.state, summary.dead_lettered, out(project)) == ("failed", 1, [1, 2, 5])
    path = project / "in/a.csv"
    before = path.read_text()
    path.write_text(before.replace("x", "3"))
    assert run(project, replay=[]).replayed == 1
    assert "was replaced" in run(project).unread[0], "what precedes is not what was read"
    path.write_text(before)
    append(project, 6)
    run(project)
    assert out(project) == [1, 2, 3, 4, 5, 6]


FILES = (
    "if rows are wrong, write them corrected to a new file and `odibictl deadletter discard {}`; if the pipeline is "
    "wrong, fix that and `odibictl {}`"
)


def test_given_a_letter_of_rows_read_in_order_then_each_place_that_tells_of_it_says_how_they_are_corrected(
    project: Path,
) -> None:
    """A file that is put in the place of the one that was read is another one. What was discarded can be found, and
    what comes behind it is tried."""
    append(project, "x")
    said = call(project, "run", "p")
    assert said.exit_code == 5
    assert FILES.format(1, "run p --replay 1") in said.stderr
    remedy = FILES.format(1, "deadletter replay 1")
    assert remedy in " ".join(call(project, "deadletter", "show", "1").output.split())
    assert f"p 1: {remedy}" in " ".join(call(project, "deadletter", "list").output.split())
    why = call(project, "source", "why", "a.csv").output
    assert "set aside: a.csv:3-5 in iteration 1, as dead letter 1 (" in why
    assert remedy in why
    assert call(project, "deadletter", "discard", "1", "--yes").exit_code == 0
    assert "it was discarded, with a.csv:3-5 of p" in call(project, "deadletter", "show", "1").output
    assert "discarded: a.csv:3-5 (dead letter 1 of iteration 1)" in call(project, "source", "why", "a.csv").output
    append(project, 3)
    tried = call(project, "try", "p")
    assert (tried.exit_code, "without what was discarded" in tried.output) == (0, True)
    assert call(project, "run", "p").exit_code == 0
    assert out(project) == [3]


def test_given_a_file_that_was_truncated_then_the_run_says_so_and_reads_the_others(project: Path) -> None:
    append(project, 1, 2, 3)
    append(project, 7, name="b.csv")
    run(project)
    (project / "in/a.csv").write_text("id\n1\n")
    append(project, 8, name="b.csv")
    summary = run(project)
    assert (summary.state, out(project)) == ("failed", [1, 2, 3, 7, 8])
    assert "a.csv was truncated" in summary.unread[0]
    text = (project / "odibi.yaml").read_text()
    (project / "odibi.yaml").write_text(text.replace("mode: incremental", "mode: incremental, on_change: reprocess"))
    assert run(project).state == "done"
    assert out(project) == [1, 1, 2, 3, 7, 8]


def test_given_a_file_that_was_rotated_then_the_run_says_what_is_read_twice_and_that_another_has_its_name(
    project: Path,
) -> None:
    append(project, 1, 2, 3)
    run(project)
    (project / "in/a.csv").rename(project / "in/a.1.csv")
    append(project, 4)
    told = call(project, "run", "p").output
    assert told.count("a.1.csv begins with all that was read of a.csv, up to byte 9") == 1
    assert "a.csv was replaced: another file with 5 bytes has its name, and it was read up to byte 9" in told
    (project / "in/a.1.csv").rename(project / "in/a.2.csv")
    text = (project / "odibi.yaml").read_text().replace("incremental,", 'incremental, exclude: "*.[0-9].csv",')
    (project / "odibi.yaml").write_text(text.replace("incremental,", "incremental, on_change: reprocess,"))
    told = call(project, "run", "p").output
    assert "begins with" not in told
    assert out(project) == [1, 1, 2, 2, 3, 3, 4]


def test_given_a_rewind_then_what_it_took_back_is_read_again(project: Path) -> None:
    append(project, 1, 2, 3)
    run(project)
    done = subprocess.run(
        [sys.executable, "-m", "odibi_actors.cli", "pipeline", "rewind", "p", "--to", "1", "--yes"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert out(project) == [1, 2]
    append(project, 4)
    run(project)
    assert out(project) == [1, 2, 3, 4]


KILLS = ["source.probe", "source.probed", "store.commit", "store.committed", "file.fsynced", "folder.linked"]


def test_given_a_kill_at_any_step_between_reading_and_commit_then_every_row_is_there_once(project: Path) -> None:
    rows = 0
    for name in KILLS:
        append(project, *range(rows, rows + 3))
        rows += 3
        env = os.environ | {"ODIBI_FAILPOINTS": f"{name}:kill"}
        words = [sys.executable, "-m", "odibi_actors.cli", "run", "p"]
        killed = subprocess.run(words, cwd=project, env=env, capture_output=True, check=False)
        assert killed.returncode != 0, name
    run(project)
    assert out(project) == list(range(rows))


def test_given_a_store_at_rest_then_lists_and_why_tell_of_the_file(project: Path) -> None:
    append(project, 1)
    run(project)
    with AtRest(project / ".odibi", project) as rest:
        (row,) = rest.answer("source", "source.list", {})["items"]
        (why,) = rest.answer("source", "source.why", {"file": "a.csv"})["items"]
    assert (why["state"], why["reason"]) == ("planned", NOT_LOOKED_AT)
    assert (row["mode"], row["consumption"], row["known"]) == ("incremental", "cursor", 1)


def test_given_a_run_then_it_reaches_the_failpoints_of_probes(project: Path) -> None:
    append(project, 1)
    reached: list[str] = []
    with watching(reached.append):
        run(project)
    assert {"source.probe", "source.probed"} <= {*reached}
