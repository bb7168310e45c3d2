"""Another user's project: who owns it is said, not only that it is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from odibi_actors import client
from odibi_actors.cli import errors


def denied(path: Path) -> PermissionError:
    return PermissionError(13, "Permission denied", str(path))


def test_given_a_path_of_another_user_then_its_owner_and_we_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / ".odibi"
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 12345)

    def call() -> None:
        raise denied(folder / "run" / "up.pid")

    assert errors.guard(call) == 1
    said = capsys.readouterr().err
    assert f"{folder} is {folder.owner()}'s (mode 700), and you are uid {folder.stat().st_uid + 12345}" in said
    assert "run this as its owner" in said
    assert len(said.splitlines()) == 1


def test_given_a_read_only_folder_of_our_own_then_what_opens_it(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    folder.mkdir(mode=0o500)
    said = errors.refused(denied(folder / "x"))
    assert f"it is yours, with mode 500; `chmod u+rwX '{folder}'`" in said


def test_given_a_connection_file_that_we_may_not_read_then_no_start_is_advised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "connection.json"
    path.write_text("{}")
    monkeypatch.setattr(Path, "open", lambda self, *_: (_ for _ in ()).throw(denied(self)))
    with pytest.raises(PermissionError):
        client.read_connection(path)
