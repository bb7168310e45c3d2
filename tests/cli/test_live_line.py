"""Progress on a terminal, and where there is none."""

from __future__ import annotations

import io

import pytest

from odibi_actors.cli.live_line import live_line
from odibi_actors.runtime.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_given_a_terminal_then_one_line_is_replaced_and_all_else_stays(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    with live_line("p: begins", out) as said:
        said(Progress("p: 1 committed [red]\x1b[2J"))
        said("a warning")
    assert "p: begins" in out.getvalue()
    assert "p: 1 committed [red]\\x1b[2J" in out.getvalue()  # neither markup nor a command
    assert out.getvalue().endswith("\x1b[2K")  # the line is gone
    assert "a warning" not in out.getvalue().split("\x1b[2K")[-1]


def test_given_no_terminal_then_progress_stands_there_seldom(capsys: pytest.CaptureFixture[str]) -> None:
    with live_line("p: begins", io.StringIO()) as said:
        for line in (Progress("1"), Progress("2"), "a warning"):
            said(line)
    assert capsys.readouterr().err == "1\na warning\n"
