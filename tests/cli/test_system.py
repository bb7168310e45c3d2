"""``up`` and ``down`` for real, with a stand-in for the actors."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import Result

import tests
from odibi_actors import config
from odibi_actors.cli import locks, system
from odibi_actors.runtime import paths

Invoke = Callable[..., Result]
ROOT = Path(tests.__file__).parent.parent


@pytest.fixture
def started(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Path]]:
    """``started("deaf")``: a project whose Procfile runs the stand-in; what still runs at the end is killed."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def prepare(how: str = "") -> Path:
        (project / "Procfile").write_text(f"broker: exec python -m tests.cli.fake_system {how}\n")
        return project

    yield prepare
    for pid in locks.holders(project / ".odibi" / "run").values():
        with suppress(ProcessLookupError):  # it has ended just now
            os.kill(pid, signal.SIGTERM)
    assert system.wait_for(lambda: not locks.holders(project / ".odibi" / "run"), 15)


@pytest.mark.process
def test_given_a_project_when_up_detached_then_it_answers_and_down_ends_everything(
    invoke: Invoke, started: Callable[..., Path]
) -> None:
    root = started()
    up = invoke("--project", root, "up", "--detach", "--workers", 3, "-o", "json")
    assert up.exit_code == 0, up.stderr
    assert json.loads(up.stdout)["project"] == "3"
    assert (root / ".odibi" / "odibi.schema.json").is_file()
    run = root / ".odibi" / "run"
    assert set(locks.holders(run)) == {"up", "broker"}

    again = invoke("--project", root, "up", "--detach")
    assert again.exit_code == 4
    assert str(locks.holders(run)["up"]) in again.stderr
    beside = invoke("--project", root, "run", "copy")
    assert beside.exit_code == 4
    assert f"a system is running on {run.parent} (pid {locks.holders(run)['broker']}): " in beside.stderr
    assert "`odibictl pipeline trigger copy --wait` runs it there; or stop that with" in beside.stderr

    down = invoke("--project", root, "down")
    assert (down.exit_code, down.stdout) == (0, ""), down.stderr
    assert locks.holders(run) == {}
    assert invoke("--project", root, "down").exit_code == 69


OVERWRITTEN = """\
project: warned
connections:
  landing: {type: local, path: landing}
  lake: {type: local, path: lake}
pipelines:
  - pipeline: copy
    nodes:
      - name: s
        read: {connection: landing, format: csv, mode: file_watch, pattern: "*"}
      - {name: out, inputs: [s], write: {connection: lake, path: out, format: parquet, mode: overwrite}}
"""


@pytest.mark.process
def test_given_what_validate_warns_of_when_up_detached_then_it_is_said_once(
    invoke: Invoke, started: Callable[..., Path]
) -> None:
    root = started()
    (root / "odibi.yaml").write_text(OVERWRITTEN)
    (root / "landing").mkdir()
    (root / "landing/1.csv").write_text("x\n1\n")
    assert invoke("--project", root, "run", "copy").exit_code == 0
    (root / "odibi.yaml").write_text(OVERWRITTEN.replace("mode: overwrite", "mode: overwrite, schema: {x: string}"))
    warned = invoke("--project", root, "validate").stderr.splitlines()
    assert len(warned) == 2
    up = invoke("--project", root, "up", "--detach")
    assert up.exit_code == 0, up.stderr
    assert [line for line in up.stderr.splitlines() if line.startswith("warning: ")] == warned
    assert not [line for line in warned if line in (root / ".odibi/log/up.log").read_text()]


def test_given_what_validate_warns_of_when_up_then_it_is_said_before_anything_starts(
    invoke: Invoke, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system.Launcher, "run", lambda _: 0)
    (project / "odibi.yaml").write_text(OVERWRITTEN)
    (project / "landing").mkdir()
    (warned,) = invoke("--project", project, "validate").stderr.splitlines()
    up = invoke("--project", project, "up")
    assert (up.exit_code, up.stderr.count(warned)) == (0, 1)


def test_given_a_project_that_contradicts_what_was_done_then_each_way_to_start_says_so_once_by_one_code(
    invoke: Invoke, project: Path
) -> None:
    (project / "odibi.yaml").write_text(OVERWRITTEN)
    (project / "landing").mkdir()
    (project / "landing/1.csv").write_text("x\n1\n")
    assert invoke("--project", project, "run", "copy").exit_code == 0
    (project / "odibi.yaml").write_text(OVERWRITTEN.replace("name: s\n", "name: s2\n").replace("[s]", "[s2]"))
    for words in (("run", "copy"), ("up",), ("up", "--detach"), ("apply", "--dry-run")):
        refused = invoke("--project", project, *words)
        assert refused.exit_code == 4, (words, refused.stderr)
        assert refused.stderr.count("source s has consumed data and cannot be removed or renamed") == 1, words
        assert "stopped" not in refused.stderr


@pytest.mark.process
def test_given_a_broker_that_answers_nothing_when_down_then_sigterm_ends_it(
    invoke: Invoke, started: Callable[..., Path]
) -> None:
    root = started("deaf")
    up = invoke("--project", root, "up", "--detach", "--timeout", "1ms")  # before the launcher can be found
    assert up.exit_code == 124, up.stderr
    down = invoke("--project", root, "down")
    assert down.exit_code == 0, down.stderr
    assert "SIGTERM" in down.stderr


@pytest.mark.process
def test_given_a_full_disk_when_up_detached_then_it_is_started_all_the_same_and_the_path_is_said(
    project: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    started: list[Path] = []
    monkeypatch.setattr(config, "write_schema", full)
    monkeypatch.setattr(system, "_detach", lambda _app, root, _places, _workers: started.append(root))
    monkeypatch.setattr(system, "_await_ready", lambda *_: None)
    said = invoke("--project", project, "up", "--detach").stderr
    assert f"warning: {project / '.odibi'}: {os.strerror(errno.ENOSPC)} (" in said
    assert started == [project]


def test_given_closed_descriptors_when_up_detached_then_it_runs_and_says_0(
    invoke: Invoke, started: Callable[..., Path]
) -> None:
    root = started()
    command = f'{sys.executable} -m odibi_actors.cli --project "{root}" up --detach <&- >&- 2>&-'
    done = subprocess.run(["/bin/sh", "-c", command], check=False, timeout=60)
    assert done.returncode == 0
    assert set(locks.holders(root / ".odibi" / "run")) == {"up", "broker"}
    assert invoke("--project", root, "down").exit_code == 0


@pytest.mark.process
def test_given_a_path_too_long_for_sockets_when_it_has_stopped_then_nothing_of_it_is_left_elsewhere(
    invoke: Invoke, started: Callable[..., Path]
) -> None:
    root = started()
    deep = root / ".odibi" / ("x" * 100)
    (root / "odibi.yaml").write_text((root / "odibi.yaml").read_text() + f"data_dir: {deep}\n")
    sockets = paths.layout(deep).sockets
    assert sockets.parent != deep
    up = invoke("--project", root, "up", "--detach")
    assert up.exit_code == 0, up.stderr
    assert sockets.is_dir()
    assert invoke("--project", root, "down").exit_code == 0
    assert not sockets.exists()


@pytest.mark.process
def test_given_lines_that_end_at_once_when_up_detached_then_their_last_words_are_shown(
    invoke: Invoke, started: Callable[..., Path]
) -> None:
    root = started()
    (root / "Procfile").write_text("broker: echo the disk is on fire; exit 3\n")
    up = invoke("--project", root, "up", "--detach")
    assert up.exit_code == 1
    assert "the disk is on fire" in up.stderr


def test_given_an_invalid_project_when_up_then_2_with_every_problem_and_nothing_is_made(
    invoke: Invoke, project: Path
) -> None:
    text = (project / "odibi.yaml").read_text()
    (project / "odibi.yaml").write_text(text.replace("mode: file_watch", "mode: file_wach") + "nonsense: 1\n")
    result = invoke("--project", project, "up")
    assert result.exit_code == 2
    assert "file_watch" in result.stderr
    assert "nonsense" in result.stderr
    assert not (project / ".odibi").exists()


def test_given_a_run_at_work_when_up_then_it_is_named(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from odibi_actors.runtime.paths import hold_lock;"
        "lock = hold_lock(Path(sys.argv[3])); print('held', flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", program, "odibictl", "run", str(tmp_path / "broker.lock")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(locks.ConflictError, match=rf"`odibictl run` is at work .*pid {child.pid}"):
            system.refuse_second(tmp_path)
        child.communicate()
    system.refuse_second(tmp_path)


# --- locks ------------------------------------------------------------------------------------------------------------


def test_given_a_lock_when_its_holder_is_gone_then_it_is_free(tmp_path: Path) -> None:
    fd = locks.hold(tmp_path / "up.pid")
    (tmp_path / "broker.lock").write_text("1\n")
    assert locks.holders(tmp_path) == {"up": os.getpid()}
    os.close(fd)
    assert locks.holders(tmp_path) == {}
    assert (tmp_path / "up.pid").exists()


def test_given_somebody_else_who_looks_then_a_free_lock_is_not_taken_for_held(tmp_path: Path) -> None:
    path = tmp_path / "broker.lock"
    path.touch()
    with path.open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert locks.holders(tmp_path) == {}


def test_given_a_held_lock_when_taken_again_then_the_conflict_names_the_pid(tmp_path: Path) -> None:
    fd = locks.hold(tmp_path / "up.pid")
    with pytest.raises(locks.ConflictError, match=str(os.getpid())):
        locks.hold(tmp_path / "up.pid")
    os.close(fd)


def test_given_what_is_left_of_a_killed_system_when_it_ends_then_up_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fd = locks.hold(tmp_path / "broker.lock")
    monkeypatch.setattr(system.time, "sleep", lambda _: os.close(fd))
    system.refuse_second(tmp_path)
