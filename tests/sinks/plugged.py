"""The contract for the sink of docs/kinds.md, where it is installed: ``python -m tests.sinks.plugged FOLDER``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from odibi_actors.config.model import ConnectionSpec, WriteSpec
from odibi_actors.kinds.registry import sinks
from tests.sinks.contract import FAULTS, Bench, Kind, Rows


def write(root: Path) -> WriteSpec:
    return WriteSpec(ConnectionSpec("books", "journal", str(root / "books")), table="out")


def read(root: Path) -> Rows:
    path = root / "books/out.jsonl"
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [row for line in lines[1:] if line.endswith(b"\n") for row in json.loads(line)["rows"]]


def main(root: Path) -> None:
    assert "journal" in sinks()
    for number, (name, (_, run)) in enumerate(FAULTS.items()):
        with pytest.MonkeyPatch.context() as patch:
            folder = root / str(number)
            folder.mkdir()
            run(Bench(Kind("journal", write, read), folder, patch))
        print(name, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
