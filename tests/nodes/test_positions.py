"""What is read of planned files: their bytes, the digest of these, and what another ctime means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from odibi_actors.batches.files import digest_bytes
from odibi_actors.config.model import NodeSpec
from odibi_actors.messages import Step
from odibi_actors.model import Position, PositionRead
from odibi_actors.nodes import positions
from odibi_actors.nodes.executor import Executor
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.positions import TRIES, Files
from odibi_actors.nodes.read import read
from odibi_actors.sources.file_position import file_position, file_times
from tests.nodes.helpers import done, position, read_spec, task
from tests.nodes.test_read import PINNED

ONE, TWO = b"a,b\n1,x\n", b"a,b\n2,y\n"


def planned(folder: Path, name: str = "f", data: bytes = ONE) -> Position:
    file = position(folder, name, data)
    return with_ctime(file, (folder / name).stat().st_ctime_ns)


def with_ctime(file: Position, ctime_ns: int) -> Position:
    return replace(file, detail=file_times(file.detail)._replace(ctime_ns=ctime_ns).packed())


def rewrite(path: Path, data: bytes) -> None:
    """In place, with the times set back."""
    before = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("pinned", [PINNED, b""])
def test_given_files_when_read_then_digest_and_ctime_of_each_are_told(tmp_path: Path, pinned: bytes) -> None:
    files = [planned(tmp_path, "f"), planned(tmp_path, "g", TWO)]
    found = read(read_spec(tmp_path), files, pinned)
    assert [(one.digest.hex(), one.detail) for one in found.files] == [
        (digest_bytes(data), file.detail) for data, file in zip((ONE, TWO), files, strict=True)
    ]
    assert found.touched == []


@pytest.mark.parametrize("what", ["written", "permissions", "link", "name"])
def test_given_a_file_with_another_ctime_only_when_read_then_it_is_read_as_it_is_and_told(
    tmp_path: Path, what: str
) -> None:
    file, path = planned(tmp_path), tmp_path / "f"
    match what:
        case "written":
            rewrite(path, TWO)
        case "permissions":
            path.chmod(0o600)
        case "link":
            os.link(path, tmp_path / "other")
        case "name":
            path.rename(tmp_path / "away").rename(path)
    found = read(read_spec(tmp_path), [file], PINNED)
    data = TWO if what == "written" else ONE
    assert found.table.column("a").to_pylist() == [2 if what == "written" else 1]
    times = with_ctime(file, path.stat().st_ctime_ns).detail
    assert found.files == [PositionRead(bytes.fromhex(digest_bytes(data)), times, rows=1)]
    assert found.touched == ["f"]
    assert read(read_spec(tmp_path), [with_ctime(file, 0)], PINNED).touched == []  # planned by a former release


@pytest.mark.parametrize("times", [1, TRIES])
def test_given_a_file_that_is_written_while_it_is_read_then_only_bytes_count_that_stood_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    file, path, real, calls = planned(tmp_path), tmp_path / "f", os.fstat, []

    def fstat_then_write(descriptor: int) -> os.stat_result:
        found = real(descriptor)
        calls.append(found.st_ctime_ns)
        if len(calls) % 2 and len(calls) <= 2 * times:  # between the first look and the read: half of the new bytes
            with path.open("r+b") as other:
                other.write(TWO[:6] if len(calls) == 2 * times - 1 else b"???")
            os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
        return found

    monkeypatch.setattr(positions.os, "fstat", fstat_then_write)
    files = Files(tmp_path)
    if times == TRIES:
        with pytest.raises(Failed, match="its ctime moved each of 3 times"):
            files.load(file)
    else:
        assert files.load(file) == TWO[:6] + ONE[6:]
        assert files.touched == ["f"]


def test_given_a_file_that_is_read_twice_when_its_bytes_are_others_by_then_it_has_changed(tmp_path: Path) -> None:
    file, files = planned(tmp_path), Files(tmp_path)
    assert files.load(file) == ONE
    rewrite(tmp_path / "f", TWO)
    with pytest.raises(Failed, match="its bytes are others than a moment ago") as caught:
        files.load(file)
    assert (caught.value.failure.kind, caught.value.failure.position) == ("changed", "f")


def test_given_a_read_node_when_run_then_its_result_tells_of_the_files(tmp_path: Path) -> None:
    folder = tmp_path / "landing"
    folder.mkdir()
    file = planned(folder)
    (folder / "f").chmod(0o600)
    step = Step(NodeSpec("read", read=read_spec(folder)), "static", [file], PINNED)
    executor = Executor(tmp_path / ".odibi", "host", "w", "code")
    result = done(executor, task(step))
    executor.close()
    assert [one.digest.hex() for one in result.files] == [digest_bytes(ONE)]
    assert result.touched == ["f"]


def test_given_a_link_that_is_followed_when_it_leads_elsewhere_then_it_is_not_the_planned_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(b"abc")
    (tmp_path / "link").symlink_to(tmp_path / "one")
    seen = (tmp_path / "one").stat()
    link = file_position("link", 3, seen.st_mtime_ns, seen.st_ino)
    spec = read_spec(tmp_path, follow_links=True)
    assert read(spec, [link], b"").table.column_names == ["abc"]
    with pytest.raises(Failed, match="a link or a socket stands in its place"):
        Files(tmp_path).load(link)
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to(tmp_path / "two")
    with pytest.raises(Failed, match="another file has taken its name"):
        read(spec, [link], b"")
