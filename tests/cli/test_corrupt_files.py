"""Every byte of the small files beside the store flipped: owner file, connection file, lock file; and of a spool file
and a staged part."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from odibi_actors.batches.spool import Spool
from odibi_actors.cli import locks
from odibi_actors.client import read_connection
from odibi_actors.errors import BatchError, ConflictError, UnreachableError
from odibi_actors.model import Attempt
from odibi_actors.nodes.sinks.owner import Owner, claim_folder
from tests.nodes.helpers import publish_task, sqlite_node
from tests.nodes.test_sinks import TABLE, World, world

__all__ = ["world"]


def damaged(whole: bytes, step: int = 1) -> Iterator[bytes]:
    """One bit of every ``step``-th byte flipped, another one from byte to byte, then cut short there."""
    for at in range(0, len(whole), step):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << (at * 5 + 3) % 8
        yield bytes(flipped)
        yield whole[:at]


def test_given_any_byte_of_a_spool_file_when_read_after_a_start_then_it_is_found(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    ref = spool.write(pa.table({"n": list(range(2000))}), "p", 1, "clean", Attempt(1, 1))
    path = tmp_path / ref.path
    whole = path.read_bytes()
    for data in damaged(whole, step=7):
        path.write_bytes(data)
        with pytest.raises(BatchError, match=r"clean-1-1\.arrow (is damaged|has \d+ bytes)"):
            spool.read(ref, verify=True)
    path.write_bytes(whole)
    assert spool.read(ref, verify=True).num_rows == 2000


@pytest.mark.parametrize("target", ["lake", "mart"])
def test_given_any_byte_of_a_staged_part_when_published_then_it_is_a_conflict_and_nothing_is_visible(
    world: World, target: str
) -> None:
    node = world.lake if target == "lake" else sqlite_node(world.mart)
    staged = world.stage(node, TABLE)
    path = Path(staged.staged.staged if staged.staged else "")
    whole = path.read_bytes()
    for data in damaged(whole, step=11):
        path.unlink()
        path.write_bytes(data)
        failure = world.publish_failure(publish_task(node, staged))
        assert (failure.kind, "it was damaged" in failure.message) == ("conflict", True)
        assert not list(world.folder.glob("part-*.parquet")) if target == "lake" else not _published(world)
    path.write_bytes(whole)
    world.publish(node, staged)


def _published(world: World) -> list[object]:
    with contextlib.closing(sqlite3.connect(world.mart)) as connection:
        tables = connection.execute("select name from sqlite_master where name = 'delays'").fetchall()
    return list(world.rows()) if tables else []


def test_given_any_byte_of_an_owner_file_then_the_folder_is_the_same_owners_or_a_conflict(tmp_path: Path) -> None:
    owner = Owner("5" * 32, "delays", "lake")
    claim_folder(tmp_path, owner)
    path = tmp_path / "_odibi_owner.json"
    whole = path.read_bytes()
    conflicts = 0
    for data in damaged(whole):
        path.write_bytes(data)
        try:
            claim_folder(tmp_path, owner)
            assert json.loads(data) == json.loads(whole)
        except ConflictError as error:
            conflicts += str(tmp_path) in str(error)
        assert path.read_bytes() == data
    assert conflicts > len(whole)


def test_given_any_byte_of_a_connection_file_then_it_is_read_or_unreachable(tmp_path: Path) -> None:
    path = tmp_path / "connection.json"
    whole = json.dumps({"endpoint": "ipc:///tmp/x/broker.ipc", "pid": 4711}).encode() + b"\n"
    for data in damaged(whole):
        path.write_bytes(data)
        with contextlib.suppress(UnreachableError):
            assert isinstance(read_connection(path)["endpoint"], str)


def test_given_any_byte_of_a_lock_file_then_its_holder_is_still_the_one_who_is_told(tmp_path: Path) -> None:
    path = tmp_path / "up.pid"
    code = (
        "import sys; from pathlib import Path; from odibi_actors.cli import locks; locks.hold(Path(sys.argv[1]));"
        " print('held', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    with child, child.stdin:
        assert child.stdout.readline() == "held\n"
        whole = path.read_bytes()
        for data in (*damaged(whole), b"1\n", b"0\n", b"\xff" * 50, f"{os.getppid()}\n".encode()):
            if data.split()[:1] == [str(os.getpid()).encode()]:
                continue  # one other digit, and it is our own pid: whoever asks knows whether that is so
            path.write_bytes(data)
            assert locks.holders(tmp_path) == {"up": child.pid}
    assert child.returncode == 0
    assert locks.holders(tmp_path) == {}
