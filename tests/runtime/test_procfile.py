"""Which lines `up` runs, and as what."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from odibi_actors.errors import ConfigError
from odibi_actors.runtime import procfile
from odibi_actors.runtime.procfile import FORMER, MODULES, PROCFILE, Line

PATH = Path("/p/Procfile")


def own(name: str, actor: str, *words: str) -> Line:
    return Line(name, actor, (sys.executable, "-P", "-m", MODULES[actor], *words))


def one(command: str, name: str = "x") -> Line:
    return procfile.parse(f"{name}: {command}\n", PATH)[0][0]


def test_given_no_file_then_every_actor(tmp_path: Path) -> None:
    assert procfile.read(tmp_path / "Procfile") == ([own(name, name) for name in MODULES], [])


def test_given_the_former_lines_then_the_new_ones_and_it_is_said_once() -> None:
    text = "".join(f"{name}: {words}\n" for name, words in FORMER.items())
    lines, notes = procfile.parse(text, PATH)
    assert sorted(lines) == sorted(procfile.parse(PROCFILE, PATH)[0])
    (note,) = notes
    assert "`python -m broker` is taken for `odibictl actor broker`" in note
    assert all(name in note for name in MODULES)


@pytest.mark.parametrize(
    "command",
    [
        "odibictl actor worker --workers 4",
        "exec odibictl actor worker --workers 4",
        "python -m workers --workers 4",
        "python -m odibi_actors.workers --workers 4",
        "python3 -m odibi_actors.workers --workers 4",
    ],
)
def test_given_a_plain_line_of_ours_then_no_shell_and_not_the_current_folder(command: str) -> None:
    assert one(command) == own("x", "worker", "--workers", "4")


@pytest.mark.parametrize(
    ("command", "shell"),
    [
        ("ODIBI_LOG=debug odibictl actor worker", "ODIBI_LOG=debug odibictl actor worker"),
        ("nice odibictl actor worker", "nice odibictl actor worker"),
        ("odibictl actor worker --workers $N", "odibictl actor worker --workers $N"),
        ("python -m workers --workers $N", "odibictl actor worker --workers $N"),
    ],
)
def test_given_a_line_of_ours_that_needs_a_shell_then_a_shell_runs_it(command: str, shell: str) -> None:
    assert one(command) == Line("x", "worker", ("/bin/sh", "-c", shell))


def test_given_a_script_under_an_actors_name_then_it_is_that_actor() -> None:
    assert one("./pool.sh", "worker") == Line("worker", "worker", ("/bin/sh", "-c", "./pool.sh"))


@pytest.mark.parametrize("command", ["./watch --all", "python -m broker_stats", "tail -f x | grep y", "python -m http"])
def test_given_any_other_line_then_it_is_the_users_own(command: str) -> None:
    line = one(command)
    assert (line.actor, line.argv[-2:]) == ("", ("x", command))


def test_given_comments_blank_lines_and_dashes_then_as_honcho_reads_them() -> None:
    lines, _ = procfile.parse("# all\n\nmy-line_2:  echo a: b  \n", PATH)
    assert lines == [Line("my-line_2", "", (*lines[0].argv[:-2], "my-line_2", "echo a: b"))]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("broker: odibictl actor broker\nworker odibictl\n", "Procfile:2: 'worker odibictl' is no line"),
        ("a: x\nb: y\na: z\n", "Procfile:3: there are two lines 'a'"),
        ("# nothing\n", "has no lines"),
    ],
)
def test_given_what_is_no_procfile_then_the_line_is_named(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        procfile.parse(text, PATH)


def test_given_missing_actors_then_they_are_named() -> None:
    _, (note,) = procfile.parse("broker: odibictl actor broker\nworker: odibictl actor worker\n", PATH)
    assert "no line runs checkpoint, scheduler, source" in note
