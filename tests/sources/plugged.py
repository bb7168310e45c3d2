"""The contract for the source of docs/kinds.md, where it is installed: ``python -m tests.sources.plugged FOLDER``."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from odibi_actors.config.model import ConnectionSpec, ReadSpec
from odibi_actors.kinds.registry import source_of, sources
from odibi_actors.nodes.failures import Failed
from tests.sources.contract import FAULTS, TYPES, Bench, Kind, Rows


def read(root: Path) -> ReadSpec:
    landing = ConnectionSpec("landing", "local", str(root))
    return ReadSpec(landing, "arrow", "mailbox", path="mail", schema=TYPES, consumption="cursor")


def add(root: Path, rows: Rows) -> None:
    folder = root / "mail/a"
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        (folder / f"{len(list(folder.iterdir())) + 1}.json").write_text(json.dumps(row))


def main(root: Path) -> None:
    assert "mailbox" in sources()
    kind = Kind("mailbox", lambda: source_of("mailbox"), read, add, lambda root: shutil.rmtree(root / "mail/a"))
    for number, (name, (_, run)) in enumerate(FAULTS.items()):
        folder = root / str(number)
        folder.mkdir()
        run(Bench(kind, folder))
        print(name, flush=True)
    bench = Bench(kind, root / "changed")
    bench.fill()
    pieces = list(bench.drained())
    (root / "changed/mail/a/1.json").write_text('{"id": 9, "s": "x"}')
    assert bench.again(*pieces).changed == [pieces[0].position.identity]
    with pytest.raises(Failed, match="is not what was planned"):
        bench.rows(*pieces)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
