"""Where a command stands: a current folder that was removed, a source's folder that cannot be listed, odd names."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from odibi_actors.cli.errors import NOWHERE
from odibi_actors.config import init_project

Invoke = Callable[..., Result]


def cast_away(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """``odibictl words`` by a process whose current folder is removed."""
    gone = tmp_path / "gone"
    gone.mkdir()
    argv = ["sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", sys.executable, "-P", "-m", "odibi_actors.cli", *words]
    return subprocess.run(argv, cwd=gone, capture_output=True, text=True, check=False)


def test_given_a_current_folder_that_was_removed_when_the_project_is_named_then_it_runs(tmp_path: Path) -> None:
    init_project(tmp_path / "p")
    done = cast_away(tmp_path, "run", "sales", "--project", str(tmp_path / "p"))
    assert (done.returncode, "committed      1" in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize("words", [("status",), ("run", "sales"), ("init", "p"), ("--project", "p", "validate")])
def test_given_a_current_folder_that_was_removed_when_something_in_it_is_meant_then_it_says_so(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = cast_away(tmp_path, *words)
    assert (done.returncode, done.stderr, done.stdout) == (2, f"error: {NOWHERE}\n", "")


def test_given_a_folder_that_cannot_be_listed_when_run_then_it_is_no_success(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    init_project(tmp_path)
    landing, listed = str(tmp_path / "data/landing"), os.scandir

    def scandir(path: str) -> object:
        if path == landing:
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    done = invoke("run", "sales", "--project", tmp_path)
    why = f"sales/orders: folder '{landing}' cannot be read: Permission denied"
    assert (done.exit_code, done.stderr.count(why)) == (5, 1), done.stderr
    assert done.stderr.endswith(
        "error: not all was read: 1 folder or file could not be read; the next run reads what it can read then\n"
    )
    assert "state          failed" in done.stdout
    (tmp_path / "data/landing").rename(tmp_path / "data/landed")
    gone = invoke("run", "sales", "--project", tmp_path)
    assert (gone.exit_code, f"folder {landing} does not exist; it is read once it is there" in gone.stderr) == (5, True)


def test_given_a_locale_that_is_not_utf8_then_that_is_said_and_not_that_a_name_is_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "Mü"
    init_project(folder)
    argv = [sys.executable, "-P", "-m", "odibi_actors.cli", "run", "sales"]
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"}
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, "is not UTF-8" in done.stderr) == (2, False), done.stderr
    assert "the encoding of names is ascii by the locale (LC_ALL, LANG)" in done.stderr
    assert "set LC_ALL=C.UTF-8, or PYTHONUTF8=1" in done.stderr


def test_given_a_name_that_is_not_utf8_when_asked_why_then_it_is_named_and_what_to_do(
    tmp_path: Path, invoke: Invoke
) -> None:
    init_project(tmp_path)
    assert invoke("run", "sales", "--project", tmp_path).exit_code == 0
    done = invoke("source", "why", "orders-\udcff.csv", "--project", tmp_path)
    assert done.exit_code == 2
    assert "'orders-\\udcff.csv' is not UTF-8, and no source takes such a file; rename it" in done.stderr
