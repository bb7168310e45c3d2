"""What a process says is not held up by who reads it, and is nowhere lost without a word."""

from __future__ import annotations

import fcntl
import os
import pty
import socket
import termios
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from odibi_actors.runtime.logfile import LogFile
from odibi_actors.runtime.outlet import Outlet

LINE = b"0123456789" * 10 + b"\n"


class Shown:
    """An outlet into ``write``, and what it spills."""

    def __init__(self, write: int, limit: int = 10_000) -> None:
        self.spilled = b""
        self.outlet = Outlet(lambda count: b"left out %d\n" % count, self.spill, write, limit)

    def spill(self, data: bytes) -> None:
        self.spilled += data


def a_pipe() -> tuple[int, int]:
    return os.pipe()


def a_terminal() -> tuple[int, int]:
    reader, writer = pty.openpty()
    tty.setraw(writer)
    termios.tcflow(writer, termios.TCOOFF)  # Ctrl-S
    return reader, writer


def a_socket() -> tuple[int, int]:
    reader, writer = socket.socketpair()
    return reader.detach(), writer.detach()


@pytest.fixture(params=[a_pipe, a_terminal, a_socket])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    make: Callable[[], tuple[int, int]] = request.param
    reader, writer = make()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def everything(reader: int, writer: int, shown: Shown) -> bytes:
    """Read until nothing is kept any more."""
    if os.isatty(writer):
        termios.tcflow(writer, termios.TCOON)
    os.set_blocking(reader, False)
    taken = b""
    while True:
        shown.outlet.pump()
        try:
            taken += os.read(reader, 65536)
        except BlockingIOError:
            if not shown.outlet.waiting:
                return taken


def test_given_a_reader_that_does_not_read_then_nothing_waits_for_it_and_it_is_told_what_it_missed(
    ends: tuple[int, int],
) -> None:
    reader, writer = ends
    shown = Shown(writer)
    mode = fcntl.fcntl(writer, fcntl.F_GETFL)
    lines = [b"%06d " % number + LINE for number in range(20_000)]
    for line in lines:
        shown.outlet.write(line)
    assert fcntl.fcntl(writer, fcntl.F_GETFL) == mode  # others write there too
    taken = everything(reader, writer, shown)
    shown.outlet.write(b"and on\n")
    taken += everything(reader, writer, shown)
    first = b"".join(lines).removesuffix(shown.spilled)
    assert len(first) < 1_000_000
    assert taken == first + b"left out %d\n" % shown.spilled.count(b"\n") + b"and on\n"


def test_given_a_reader_that_has_gone_then_all_goes_on_elsewhere() -> None:
    reader, writer = os.pipe()
    shown = Shown(writer)
    os.close(reader)
    shown.outlet.write(b"one\n")
    shown.outlet.write(b"two\n")
    assert (shown.spilled, shown.outlet.gone, shown.outlet.waiting) == (b"one\ntwo\n", True, False)
    os.close(writer)


def test_given_a_reader_that_goes_later_then_what_it_has_not_taken_is_not_lost() -> None:
    reader, writer = os.pipe()
    shown = Shown(writer, limit=1_000_000)
    for _ in range(2000):
        shown.outlet.write(LINE)
    os.close(reader)
    shown.outlet.close()
    assert shown.spilled.endswith(LINE)
    assert shown.outlet.waiting is False
    os.close(writer)


def test_given_a_file_on_a_full_disk_then_what_is_missing_is_counted_once_there_is_space(tmp_path: Path) -> None:
    writer = os.open("/dev/full", os.O_WRONLY)
    shown = Shown(writer)
    for _ in range(3):
        shown.outlet.write(b"one\ntwo\n")
    space = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    os.dup2(space, writer)
    shown.outlet.write(b"three\n")
    assert (tmp_path / "out").read_text() == "left out 6\nthree\n"
    os.close(writer)
    os.close(space)


# --- log files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("idle", [False, True])
@pytest.mark.parametrize("taken", ["file", "folder", "renamed"])
def test_given_a_log_that_is_taken_away_then_it_is_made_again_and_says_so(
    tmp_path: Path, taken: str, idle: bool
) -> None:
    folder = tmp_path / "log"
    path = folder / "broker.log"
    file = LogFile(path)
    file.write(b"before\n")
    if taken == "renamed":
        path.rename(folder / "broker.log.7")
    else:
        path.unlink()
    if taken == "folder":
        folder.rmdir()
    if idle:
        file.look()
        assert path.exists()
    file.write(b"after\n")
    note, after = path.read_text().splitlines()
    assert "warning broker this log begins here: the former file was removed or renamed" in note
    assert after == "after"
    if taken == "renamed":
        assert (folder / "broker.log.7").read_text() == "before\n"


def test_given_a_log_that_cannot_be_written_then_the_next_line_that_can_says_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "broker.log"
    path.symlink_to("/dev/full")
    file = LogFile(path)
    file.write(b"one\ntwo\n")
    file.write(b"three\n")
    path.unlink()
    file.write(b"four\n")
    text = path.read_text()
    assert "3 lines are missing here: No space left on device" in text
    assert text.endswith("four\n")


def test_given_a_log_that_could_not_be_cut_over_then_it_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "broker.log"
    former = tmp_path / "broker.log.1"
    former.mkdir()  # cannot be replaced by a file
    file = LogFile(path, limit=10)
    for _ in range(3):
        file.write(b"123456\n")
    former.rmdir()
    file.write(b"last\n")
    assert "2 lines are missing here: Is a directory" in path.read_text()
    assert path.read_text().endswith("last\n")
