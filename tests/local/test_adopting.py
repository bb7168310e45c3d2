"""A sink that was renamed, or moved to another pipeline, goes on with what it has published: ``sink adopt``."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from odibi_actors.checkpoint.engine import Engine
from odibi_actors.cli.__main__ import odibictl
from odibi_actors.client import Client
from odibi_actors.config import load_project
from odibi_actors.errors import ConflictError, NotFoundError, OdibiError
from odibi_actors.local import LocalSystem, run_pipeline
from odibi_actors.nodes.sinks.owner import OWNER_FILE
from tests.local.test_moved_projects import ALL, PROJECT, appended, first, moved, names, put, rewind, run, table
from tests.local.test_moved_projects import published as everything

__all__ = ["first"]

SINKS = {"out": "loaded", "now": "newest", "tab": "mart"}
"""Node -> what it is called later."""
OTHER = """\
  - pipeline: q
    batch: {max_files: 1}
    nodes:
      - name: src
        read: {connection: landing, format: csv, mode: file_watch, pattern: "q/*.csv", settle: 100ms}
"""


def called(text: str = PROJECT, to: dict[str, str] = SINKS) -> str:
    """The project with other names of its sinks."""
    for old, new in to.items():
        text = text.replace(f"{{name: {old},", f"{{name: {new},")
    return text


def write(root: Path, text: str) -> None:
    (root / "odibi.yaml").write_text(text)


def ctl(root: Path, *words: str) -> Result:
    return CliRunner().invoke(odibictl, ["--project", str(root), *words])


def adopt(root: Path, *words: str) -> str:
    result = ctl(root, "sink", "adopt", *words, "--yes")
    assert result.exit_code == 0, result.output
    return result.stdout


def sound(root: Path) -> None:
    result = ctl(root, "checkpoint", "verify", "-o", "json")
    assert json.loads(result.stdout)["items"] == [], result.stdout


@pytest.fixture
def renamed(first: Path) -> Path:
    """The sinks of a project that has run were renamed, and have taken over."""
    write(first, called())
    adopt(first, *(f"p.{new}" for new in SINKS.values()))
    return first


def test_given_renamed_sinks_when_run_then_each_is_told_the_one_verb_that_is_not_refused(first: Path) -> None:
    write(first, called())
    with pytest.raises(ConflictError) as refusal:
        run(first)
    lines, command = str(refusal.value).splitlines(), "sink adopt p.loaded p.newest p.mart"
    assert len(lines) == len(SINKS)
    for line in lines:
        assert f"`odibictl {command}` lets it go on there" in line
        assert "delete" not in line
        assert "drop" not in line
    assert "`odibictl sink adopt p.newest p.loaded p.mart`" in refused(first, "p.newest")
    exchanged = (
        PROJECT.replace("name: out", "name: x").replace("name: now", "name: out").replace("name: x", "name: now")
    )
    write(first, exchanged)
    found = refused(first, "p.out")
    assert found.count("`odibictl sink adopt p.out p.now` lets it go on there") == 1, found
    adopt(first, "p.out", "p.now")
    assert run(first).state == "no_data"


def test_given_sinks_that_were_adopted_when_run_then_they_go_on_and_all_is_known_of_both_names(renamed: Path) -> None:
    sound(renamed)  # before anything was staged, the targets still have their former marks
    put(renamed, 4)
    assert run(renamed).committed == 1
    assert everything(renamed) == ([*ALL, 4], [4], [*ALL, 4])
    sound(renamed)
    assert json.loads((renamed / "lake/out" / OWNER_FILE).read_text())["node"] == "loaded"
    with closing(sqlite3.connect(renamed / "mart.db")) as db:
        assert db.execute("select node from _odibi_owners").fetchall() == [("mart",)]
    shown = ctl(renamed, "sink", "show", "p.loaded").stdout
    assert "taken over from: p.out\n" in shown
    assert "published: 1 part, 1 row, in iteration 4 of the history\n" in shown
    assert "published under former names: 3 parts, 3 rows, in the history\n" in shown
    assert "pinned, 1 column by iteration 1" in shown
    assert len(list((renamed / "lake/now").glob("_current-*"))) == 2  # what the former name left goes as its own


@pytest.mark.parametrize("to", [2, 4])
def test_given_a_rewind_over_both_names_then_it_takes_back_what_either_has_published(renamed: Path, to: int) -> None:
    for number in (4, 5):
        put(renamed, number)
    assert run(renamed).committed == 2
    actions = {row["node"]: row["action"] for row in rewind(renamed, to)["retractions"]}
    assert actions["loaded"] == "parts are deleted"
    assert actions["mart"] == "rows stay until they are upserted again"
    assert appended(renamed / "lake") == list(range(1, to + 1))
    assert run(renamed).committed == 5 - to
    assert everything(renamed) == ([1, 2, 3, 4, 5], [5], [1, 2, 3, 4, 5])
    sound(renamed)


def test_given_a_rewind_before_anything_was_staged_by_the_new_name_then_it_is_the_same(renamed: Path) -> None:
    rewind(renamed, 1)
    assert appended(renamed / "lake") == [1]
    assert run(renamed).committed == 2
    assert everything(renamed) == (ALL, [3], ALL)
    sound(renamed)


def test_given_a_reset_then_what_both_names_have_published_goes_and_anybody_may_begin_there(renamed: Path) -> None:
    put(renamed, 4)
    run(renamed)
    result = ctl(renamed, "reset", "p", "--targets", "--yes")
    assert result.exit_code == 0, result.output
    assert everything(renamed) == ([], [], None)
    assert names(renamed / "lake/out") == []
    write(renamed, called(to={"out": "third", "now": "fourth", "tab": "fifth"}))
    assert run(renamed).committed == 4
    assert everything(renamed) == ([1, 2, 3, 4], [4], [1, 2, 3, 4])


def test_given_a_reset_that_dies_behind_the_targets_then_the_next_one_forgets_who_has_owned_them(
    renamed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class DeadError(Exception):
        pass

    def dies(*_: object) -> None:
        raise DeadError

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "forget", dies)
        assert isinstance(ctl(renamed, "reset", "p", "--targets", "--yes").exception, DeadError)
    assert ctl(renamed, "reset", "p", "--targets", "--yes").exit_code == 0
    write(renamed, PROJECT)
    assert run(renamed).committed == len(ALL)


def test_given_the_name_is_given_back_then_it_goes_on_under_that_and_never_without_the_verb(renamed: Path) -> None:
    write(renamed, PROJECT)
    with pytest.raises(OdibiError, match=r"belongs to p\.loaded: `odibictl sink adopt p\.out p.now p.tab` hands it"):
        run(renamed)
    adopt(renamed, *(f"p.{old}" for old in SINKS))
    put(renamed, 4)
    assert run(renamed).committed == 1
    rewind(renamed, 0)
    assert run(renamed).committed == 4
    assert everything(renamed) == ([1, 2, 3, 4], [4], [1, 2, 3, 4])
    sound(renamed)


def test_given_a_chain_of_names_then_it_goes_on_though_the_one_in_between_never_published(renamed: Path) -> None:
    last = {"out": "third", "now": "fourth", "tab": "fifth"}
    write(renamed, called(to=last))
    adopt(renamed, *(f"p.{name}" for name in last.values()))
    put(renamed, 4)
    assert run(renamed).committed == 1
    sound(renamed)
    rewind(renamed, 0)
    assert appended(renamed / "lake") == []
    assert run(renamed).committed == 4
    assert everything(renamed) == ([1, 2, 3, 4], [4], [1, 2, 3, 4])


def test_given_the_schema_was_pinned_then_the_new_name_is_held_to_it(renamed: Path) -> None:
    write(renamed, called(PROJECT.replace("select x from", "select x::varchar as x from")))
    put(renamed, 4)
    assert run(renamed).failed == 1


def test_given_an_older_copy_of_the_database_then_the_new_name_misses_what_the_former_has_published(
    renamed: Path,
) -> None:
    with closing(sqlite3.connect(renamed / "mart.db")) as db, db:
        db.execute("delete from _odibi_commits where iteration = 3")
        db.execute("delete from t where x = 3")
    put(renamed, 4)
    assert "has nothing of iteration 3" in run(renamed).error


# --- to another pipeline ----------------------------------------------------------------------------------------------


def sinks(source: str) -> str:
    """The lines of the sinks."""
    return "".join(f"{line}\n" for line in PROJECT.splitlines() if "write:" in line).replace("[same]", f"[{source}]")


def without() -> str:
    """The project without its sinks, but for one."""
    lines = [line for line in PROJECT.splitlines() if "write:" not in line]
    return "\n".join(
        [*lines, "      - {name: rest, inputs: [same], write: {connection: lake, path: rest, format: parquet}}", ""]
    )


@pytest.fixture
def across(first: Path) -> Path:
    """The sinks were moved, under their names, to another pipeline that has done two iterations elsewhere."""
    (first / "landing/q").mkdir()
    rest = "      - {name: rest, inputs: [src], write: {connection: lake, path: other, format: parquet}}\n"
    write(first, PROJECT + OTHER + rest)
    for number in (11, 12):
        (first / f"landing/q/{number}.csv").write_text(f"x\n{number}\n")
    assert run_pipeline(load_project(first), "q").committed == 2
    write(first, without() + OTHER + rest + sinks("src"))
    said = adopt(first, *(f"q.{name}" for name in SINKS))
    assert said.count(f" takes over {first}/") == len(SINKS)
    return first


def test_given_sinks_that_were_moved_then_their_numbers_go_on_above_and_each_takes_back_its_own(across: Path) -> None:
    for number in (13, 14):
        (across / f"landing/q/{number}.csv").write_text(f"x\n{number}\n")
    assert run_pipeline(load_project(across), "q").committed == 2
    put(across, 4)
    assert run(across).committed == 1  # goes on elsewhere, with numbers that are the other's in the target
    assert everything(across) == ([*ALL, 13, 14], [14], [*ALL, 13, 14])
    assert "part-0000000004-out.parquet" in names(across / "lake/out")
    sound(across)
    with LocalSystem(load_project(across)) as system:
        for pipeline, to in (("p", 2), ("q", 4)):
            system.request("pipeline.drain", {"pipeline": pipeline})
            if pipeline == "p":
                with pytest.raises(OdibiError, match=r"which q\.tab has taken over: they cannot be taken back"):
                    system.request("pipeline.rewind", {"pipeline": pipeline, "to": to})
            else:
                system.request("pipeline.rewind", {"pipeline": pipeline, "to": to})
            system.request("pipeline.resume", {"pipeline": pipeline})
    assert appended(across / "lake") == [*ALL, 13]
    with LocalSystem(load_project(across)) as system:
        system.request("pipeline.drain", {"pipeline": "q"})
        shown = system.request("pipeline.rewind", {"pipeline": "q", "to": 0, "dry_run": True})
        assert (shown["missing"], shown["last"]) == (0, 5)
        system.request("pipeline.rewind", {"pipeline": "q", "to": 0})
        system.request("pipeline.resume", {"pipeline": "q"})
    assert appended(across / "lake") == ALL


def test_given_a_reset_of_the_former_pipeline_then_the_target_stays_and_one_of_the_new_one_empties_it(
    across: Path,
) -> None:
    result = ctl(across, "reset", "p", "--targets", "--yes")
    assert result.exit_code == 0, result.output
    assert everything(across) == (ALL, [3], ALL)
    assert ctl(across, "reset", "q", "--targets", "--yes").exit_code == 0
    assert everything(across) == ([], [], None)


def test_given_a_folder_alone_was_moved_then_a_rewind_of_the_former_pipeline_spares_the_new_ones_parts(
    first: Path,
) -> None:
    (first / "landing/q").mkdir()
    out = "      - {name: out, inputs: [src], write: {connection: lake, path: out, format: parquet}}\n"
    rest = PROJECT.replace("{name: out, inputs: [same], write: {connection: lake, path: out,", "{name: rest, inputs: [same], write: {connection: lake, path: rest,")  # fmt: skip  # noqa: E501
    write(first, rest + OTHER + out)
    adopt(first, "q.out")
    for number in (11, 12):
        (first / f"landing/q/{number}.csv").write_text(f"x\n{number}\n")
    assert run_pipeline(load_project(first), "q").committed == 2
    put(first, 4)
    assert run(first).committed == 1
    assert appended(first / "lake") == [*ALL, 11, 12]
    rewind(first, 1)
    assert appended(first / "lake") == [1, 11, 12]
    write(first, PROJECT + OTHER)
    adopt(first, "p.out")
    assert run(first).committed == 3  # 5 was above q's numbers
    assert appended(first / "lake") == [1, 2, 3, 4, 11, 12]
    rewind(first, 0)
    assert appended(first / "lake") == [11, 12]


# --- what is refused --------------------------------------------------------------------------------------------------


def refused(root: Path, *words: str) -> str:
    result = ctl(root, "sink", "adopt", *words, "--yes")
    assert result.exit_code != 0, result.output
    return result.stderr


def test_given_what_cannot_be_adopted_then_it_is_said_why_and_nothing_is_applied(first: Path) -> None:
    assert "p.out owns" in refused(first, "p.out")
    write(first, called(to={"out": "loaded"}))
    assert "odibi.yaml has no sink p.out; those of p: p.loaded, p.now, p.tab" in refused(first, "p.out")
    assert "p.nobody has published nothing to" in refused(first, "p.loaded", "--from", "p.nobody")
    assert "there was no pipeline x" in refused(first, "p.loaded", "--from", "x.out")
    assert "names no sink" in refused(first, "p.loaded", "--from", "out")
    both = (
        PROJECT
        + OTHER
        + "      - {name: loaded, inputs: [src], write: {connection: lake, path: out, format: parquet}}\n"
    )
    write(first, both)
    assert "a target belongs to one node" in refused(first, "q.loaded")
    write(first, PROJECT)
    put(first, 4)
    assert run(first).committed == 1
    assert ctl(first, "pipeline", "show", "p", "-o", "json").stdout.count('"version": 1') >= 1


APPENDING = """\
project: renamed
connections: {landing: {type: local, path: landing}, lake: {type: local, path: lake}, mart: {type: duckdb, path: m.db}}
pipelines:
  - pipeline: p
    nodes:
      - {name: s, read: {connection: landing, format: csv, mode: file_watch, path: in, pattern: "*.csv", settle: 0s}}
      - {name: log, inputs: [s], write: {connection: mart, table: log}}
      - {name: all, inputs: [s], write: {connection: lake, path: all, format: csv}}
      - {name: now, inputs: [s], write: {connection: lake, path: now, format: csv, mode: overwrite}}
"""


def test_given_a_renamed_pipeline_then_nothing_that_it_has_read_is_appended_again_unasked(tmp_path: Path) -> None:
    (tmp_path / "landing/in").mkdir(parents=True)
    (tmp_path / "landing/in/1.csv").write_text("x\n1\n")
    write(tmp_path, APPENDING)
    assert run(tmp_path).committed == 1
    write(tmp_path, APPENDING.replace("pipeline: p", "pipeline: q"))
    with pytest.raises(ConflictError, match=r"if p was renamed, call it p again.* if the node was moved to q, `odibi"):
        run_pipeline(load_project(tmp_path), "q")
    said = refused(tmp_path, "q.log", "q.all", "q.now")
    for sink in ("q.log", "q.all"):
        assert f"{sink} appends to " in said
    assert "q.now appends" not in said  # what is overwritten is not there twice
    assert said.count("1 position that p.s has read is not known to q.s (in/1.csv): it would read that again") == 2
    assert (
        "first `odibictl reset p --targets` under the former name; `odibictl sink adopt q.log q.all q.now --re" in said
    )
    with pytest.raises(ConflictError, match="rows would be there twice"):
        Client(project=tmp_path).sink_adopt("q.log", "q.all", "q.now", dry_run=True)
    elsewhere = APPENDING.replace("pipeline: p", "pipeline: q").replace('"*.csv"', '"y*.csv"')
    write(tmp_path, elsewhere)  # what it has not read it would not read either
    assert ctl(tmp_path, "sink", "adopt", "q.log", "q.all", "q.now", "--dry-run").exit_code == 0
    other = elsewhere.replace('"y*.csv"', '"*.csv"').replace("path: landing}, lake", "path: landing/in}, lake")
    write(tmp_path, other.replace(" path: in,", ""))  # the same folder by another connection
    said = refused(tmp_path, "q.log", "q.all", "q.now")
    assert "reads again what p.s has read (both read below one folder, by two connections): rows would be" in said
    write(tmp_path, APPENDING.replace("pipeline: p", "pipeline: q"))
    assert "q.all takes over" in adopt(tmp_path, "q.log", "q.all", "q.now", "--read-again")
    assert run_pipeline(load_project(tmp_path), "q").committed == 1
    write(tmp_path, APPENDING)
    adopt(tmp_path, "p.log", "p.all", "p.now")  # both have read the same by now
    assert run(tmp_path).state == "no_data"


def test_given_a_renamed_pipeline_that_polls_then_that_is_not_taken_for_read(tmp_path: Path) -> None:
    polled = "read: {connection: landing, format: csv, mode: interval, path: in/1.csv, every: 1h}"
    text = APPENDING.replace(
        'read: {connection: landing, format: csv, mode: file_watch, path: in, pattern: "*.csv", settle: 0s}', polled
    )
    (tmp_path / "landing/in").mkdir(parents=True)
    (tmp_path / "landing/in/1.csv").write_text("x\n1\n")
    write(tmp_path, text)
    assert run(tmp_path).committed == 1
    write(tmp_path, text.replace("pipeline: p", "pipeline: q"))
    assert "(both are polled (mode: interval), each by itself)" in refused(tmp_path, "q.log", "q.all", "q.now")


def test_given_the_former_node_is_still_in_the_project_then_the_broker_refuses(first: Path) -> None:
    from odibi_actors.local.changes import Changes
    from odibi_actors.messages import Adopt, Apply

    project = load_project(first, sql=True)
    with Changes(Path(project.data_dir), first) as broker, pytest.raises(OdibiError, match="still in odibi"):
        broker.ask(Apply("a", project, adopt=[Adopt("p", "out", "p", "out")]), "apply")


def test_given_a_target_of_another_store_then_it_is_not_given_away(first: Path, tmp_path: Path) -> None:
    write(first, called(to={"out": "loaded"}))
    mark = first / "lake/out" / OWNER_FILE
    mark.write_text(json.dumps({**json.loads(mark.read_text()), "store_id": "0" * 32}))
    assert "its checkpoints are not these" in refused(first, "p.loaded", "--from", "p.out")


def test_given_something_of_the_former_name_is_on_its_way_then_it_ends_first(first: Path) -> None:
    with closing(sqlite3.connect(first / "mart.db")) as db, db:
        db.execute("create trigger no before insert on t begin select raise(abort, 'not now'); end")
    put(first, 4)
    assert run(first).failed == 1
    write(first, called())
    said = refused(first, *(f"p.{new}" for new in SINKS.values()))
    assert "iteration 4 of p is blocked, and p.out publishes it" in said
    assert "`odibictl iteration retry p 4`" in said
    write(first, PROJECT)
    with closing(sqlite3.connect(first / "mart.db")) as db, db:
        db.execute("drop trigger no")
    assert run(first).state == "done"
    write(first, called())
    adopt(first, *(f"p.{new}" for new in SINKS.values()))
    assert run(first).state == "no_data"
    sound(first)


def test_given_an_adoption_when_asked_again_or_only_shown_then_nothing_changes(first: Path) -> None:
    write(first, called(to={"out": "loaded"}))
    said = ctl(first, "sink", "adopt", "p.loaded", "--dry-run").stdout
    assert said == f"p.loaded would take over {first}/lake/out from p.out\n"
    with pytest.raises(ConflictError):
        run(first)
    taken = ctl(first, "sink", "adopt", "p.loaded", "--yes")
    assert (taken.exit_code, taken.output.count("takes over")) == (0, 1), taken.output
    assert adopt(first, "p.loaded") == f"p.loaded has taken over {first}/lake/out from p.out\n"


def test_given_the_mark_is_gone_then_the_former_name_is_to_be_said(first: Path) -> None:
    write(first, called(to={"out": "loaded"}))
    (first / "lake/out" / OWNER_FILE).unlink()
    assert "nobody of this store is known to own" in refused(first, "p.loaded")
    adopt(first, "p.loaded", "--from", "p.out")
    with pytest.raises(NotFoundError):
        Client(project=first).sink_adopt("p.nothing")
    put(first, 4)
    assert "was it moved?" in run(first).error  # what was published there is missed, as ever


def test_given_a_project_that_was_moved_then_what_it_has_adopted_is_known_there(renamed: Path) -> None:
    root = moved(renamed)
    put(root, 4)
    assert run(root).committed == 1
    assert everything(root) == ([*ALL, 4], [4], [*ALL, 4])
    rewind(root, 0)
    assert appended(root / "lake") == []
    assert table(root / "mart.db") == [*ALL, 4]


# --- killed at every step ---------------------------------------------------------------------------------------------

ADOPTING = [f"{place}:kill@{time}" for place in ("store.begin", "store.commit", "store.committed") for time in (1, 2)]
CLAIMING = [
    *("owner.replace:kill@1", "owner.replaced:kill@1", "owner.replace:kill@2", "owner.replaced:kill@2"),
    *("table.begin:kill@1", "table.commit:kill@1", "table.committed:kill@1"),
    *("folder.staged:kill@1", "folder.linked:kill@1", "folder.rename:kill@1"),
]


def killed(root: Path, point: str, *words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "odibi_actors.cli", *words, "--project", str(root)],
        env={**os.environ, "ODIBI_FAILPOINTS": point},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("point", [*ADOPTING, *CLAIMING])
def test_given_a_kill_at_any_step_when_it_is_done_again_then_each_part_is_published_once(
    first: Path, point: str
) -> None:
    write(first, called())
    words = [f"p.{new}" for new in SINKS.values()]
    put(first, 4)
    if point in ADOPTING:
        killed(first, point, "sink", "adopt", *words, "--yes")
        sound(first)
    assert all(line.startswith("p.") for line in adopt(first, *words).splitlines())
    if point in CLAIMING:
        killed(first, point, "run", "p")
    assert run(first).state == "done"
    assert everything(first) == ([*ALL, 4], [4], [*ALL, 4])
    assert not list((first / "lake").rglob("*part*.staged"))
    sound(first)
    rewind(first, 0)
    assert appended(first / "lake") == []
    assert run(first).committed == 4
    assert everything(first) == ([*ALL, 4], [4], [*ALL, 4])


def test_given_a_kill_while_both_names_are_taken_back_then_the_rest_goes_and_all_is_read_again(renamed: Path) -> None:
    put(renamed, 4)
    run(renamed)
    ctl(renamed, "pipeline", "pause", "p")
    with LocalSystem(load_project(renamed)) as system:
        system.request("pipeline.drain", {"pipeline": "p"})
    script = (
        "import sys; from odibi_actors.config import load_project; from odibi_actors.local import LocalSystem\n"
        "with LocalSystem(load_project(sys.argv[-1])) as s: s.request('pipeline.rewind', {'pipeline': 'p', 'to': 0})\n"
    )
    env = {**os.environ, "ODIBI_FAILPOINTS": "folder.retract:kill@2"}
    done = subprocess.run([sys.executable, "-c", script, str(renamed)], env=env, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    ctl(renamed, "pipeline", "resume", "p")
    assert run(renamed).state == "done"
    assert everything(renamed) == ([*ALL, 4], [4], [*ALL, 4])
    sound(renamed)
